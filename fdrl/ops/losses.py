"""Losses on probabilities, and their gradients with respect to logits: pure functions.

Shapes: [..., A] probabilities on the last axis. p is the policy (softmax of logits), t the target.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fdrl.core.arrays import Array
from fdrl.core.settings import Loss

FLOOR = 1e-8


def kl(p: NDArray[np.floating], q: NDArray[np.floating]) -> NDArray[np.float64]:
    """KL(p || q) [...] in nats, with probabilities clamped to `FLOOR` inside the logarithm."""
    a = np.asarray(p, dtype=np.float64)
    log_p = np.log(np.maximum(a, FLOOR))
    log_q = np.log(np.maximum(np.asarray(q, dtype=np.float64), FLOOR))
    return np.asarray((a * (log_p - log_q)).sum(-1))


def loss_and_gradient(
    logits: Array, targets: Array, weights: Array, loss: Loss = "forward"
) -> tuple[Array, Array]:
    """Return each agent's loss [K] and its gradient with respect to logits [K, B, A].

    The loss of agent k is sum_b w[k,b] l[k,b] / sum_b w[k,b], and 0 without any weight; l is
    KL(t || p), KL(p || t) or JS(t, p), with p = softmax(logits). The policy's logarithm is exact
    however small p is (a clamp there would lose the gradient where the policy is most wrong), the
    target's is clamped to `FLOOR`. Computes in the dtype of `logits`, agents independently.
    """
    # Actions first: a reduction over a last axis of 2 costs numpy ten times more than over rows.
    z = _actions_first(logits, logits.dtype)
    t = _actions_first(targets, logits.dtype)
    total = weights.sum(1, keepdims=True)
    share = (weights / np.where(total > 0, total, 1)).astype(logits.dtype, copy=False)
    z -= z.max(0)
    p = np.exp(z)
    mass = p.sum(0)
    p /= mass
    z -= np.log(mass)
    each, gradient = _LOSSES[loss](z, p, t)
    each *= share
    out = np.empty_like(logits)
    np.multiply(gradient, share, out=out.transpose(2, 0, 1))
    return each.sum(1), out


def _actions_first(x: Array, dtype: np.dtype[Any]) -> Array:
    """Return a fresh contiguous [A, K, B] of [K, B, A]."""
    return x.transpose(2, 0, 1).astype(dtype, order="C", copy=True)


def _forward(log_p: Array, p: Array, t: Array) -> tuple[Array, Array]:
    """KL(t || p) [K, B] and p * sum(t) - t; arrays are [A, K, B]."""
    difference = np.log(np.maximum(t, FLOOR))
    difference -= log_p
    difference *= t
    p *= t.sum(0)
    p -= t
    return difference.sum(0), p


def _reverse(log_p: Array, p: Array, t: Array) -> tuple[Array, Array]:
    """KL(p || t) [K, B] and p * (log p - log t - KL)."""
    log_p -= np.log(np.maximum(t, FLOOR))
    each = (p * log_p).sum(0)
    log_p -= each
    log_p *= p
    return each, log_p


def _jensen_shannon(log_p: Array, p: Array, t: Array) -> tuple[Array, Array]:
    """[KL(t || m) + KL(p || m)] / 2 [K, B] with m = (p + t) / 2, and its gradient.

    The derivative with respect to p is log(p / m) / 2: what comes through m cancels.
    """
    log_m = np.log(np.maximum((p + t) / 2, np.finfo(p.dtype).tiny))
    log_p -= log_m
    from_policy = (p * log_p).sum(0)
    log_t = np.log(np.maximum(t, np.finfo(p.dtype).tiny))
    from_target = (t * (log_t - log_m)).sum(0)
    log_p -= from_policy
    log_p *= p
    log_p /= 2
    return (from_target + from_policy) / 2, log_p


_LOSSES: dict[Loss, Callable[[Array, Array, Array], tuple[Array, Array]]] = {
    "forward": _forward,
    "reverse": _reverse,
    "js": _jensen_shannon,
}
