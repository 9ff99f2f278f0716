"""Combining agents' answers: pure functions, float64 accumulators, agents in the given order.

Shapes: U agents that answered, N proxy states, A actions. `probs` [U, N, A] have rows on the
simplex, and so has every result; `weights` [U, N] are nonnegative and need not be normalized.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fdrl.core.arrays import Array, Bools, Doubles
from fdrl.core.errors import FdrlError


def weighted_mean(probs: Array, weights: Array) -> tuple[Doubles, Bools]:
    """Return sum_u w[u,n] p[u,n] / sum_u w[u,n], [N, A]: the linear opinion pool (Stone, 1961).

    Also returns which rows [N] rest on anybody's answer; the others have no mean and are uniform.
    """
    w = np.asarray(weights, dtype=np.float64)
    total = w.sum(0)
    return _divide((w[:, :, None] * probs).sum(0), total), total > 0


LOG_FLOOR = 1e-3
"""Least probability that `log_pool` takes an answer for: what one byte can tell from zero, about.

Without it one agent that is sure would overrule all others, however little it weighs.
"""


def log_pool(probs: Array, weights: Array) -> tuple[Doubles, Bools]:
    """Return prod_u p[u,n]**w[u,n], w normalized over agents, renormalized [N, A].

    The logarithmic opinion pool (Genest and Zidek, 1986): the mean of log-probabilities, so of
    logits, as averaging parameters does to first order. The distribution q that minimizes
    sum_u w[u] KL(q || p[u]); unlike the linear pool it is not flatter than the answers are. Rows
    that rest on nobody's answer are uniform; returned with the rows [N] that do not.
    """
    w = np.asarray(weights, dtype=np.float64)
    total = w.sum(0)
    share = w / np.where(total > 0, total, 1)
    logs = np.log(np.maximum(np.asarray(probs, dtype=np.float64), LOG_FLOOR))
    z = (share[:, :, None] * logs).sum(0)
    e = np.exp(z - z.max(-1, keepdims=True))
    return np.asarray(e / e.sum(-1, keepdims=True)), total > 0


def _divide(total: Doubles, weight: Doubles) -> Doubles:
    """Normalize [..., A] by weight [...], uniform where there is none."""
    safe = np.where(weight > 0, weight, 1)[..., None]
    return np.where(weight[..., None] > 0, total / safe, 1 / total.shape[-1])


def visit_weights(visits: Array, power: float = 1.0, offset: float = 0.1) -> Doubles:
    """Return (v + c)**a normalized over agents, [U, N]: who has been there speaks.

    `visits` [U, N] count a round's observations by their nearest proxy state (counts, not
    fractions: c = 0.1 is a tenth of one visit). It makes FRD's rule smooth, that a cell is
    averaged over its visitors only (Cha et al., 2019, arXiv 1907.06536). Without an offset, a
    state that nobody visited has weight 0 everywhere.
    """
    v = np.asarray(visits, dtype=np.float64) + offset
    top = v.max(0)
    safe = np.where(top > 0, top, 1)
    w = (v / safe) ** power
    w = np.where(top > 0, w, 0)
    total = w.sum(0)
    return np.asarray(w / np.where(total > 0, total, 1))


def return_weights(scores: Array | Sequence[float], beta: float, clip: float = 2.0) -> Doubles:
    """Return softmax(beta * z) [U], z the scores' z-score within +-clip, so that a liar is capped.

    Equal scores, one agent, or beta = 0 give uniform weights; returns of any sign are fine. NaN
    stands for an agent that has no score yet, and counts as average.
    """
    s = np.asarray(scores, dtype=np.float64)
    known = np.isfinite(s)
    z = np.zeros_like(s)
    if known.any():
        # Relative to the largest, so that rounding in a mean of equal scores is not a spread.
        scale = np.abs(s[known]).max() or 1.0
        centered = s[known] / scale - (s[known] / scale).mean()
        spread = np.sqrt((centered**2).mean())
        if spread > 1e-12:
            z[known] = np.clip(centered / spread, -clip, clip)
    e = np.exp(beta * (z - z.max(initial=0.0)))
    return np.asarray(e / e.sum())


def confidence_weights(probs: Array) -> Doubles:
    """Return 1 - H(p) / log A in [0, 1], [U, N]: 1 for a certain answer, 0 for a uniform one."""
    p = np.asarray(probs, dtype=np.float64)
    plogp = p * np.log(np.where(p > 0, p, 1))
    return np.asarray(np.clip(1 + plogp.sum(-1) / np.log(p.shape[-1]), 0, 1))


def sharpen(probs: Array, power: float) -> Doubles:
    """Return p**b renormalized, [..., A] (SCARLET, 2025, arXiv 2504.19602); b = 1 changes nothing.

    Not a softmax of probabilities, which flattens them at any temperature near 1.
    """
    p = np.asarray(probs, dtype=np.float64)
    powered = (p / p.max(-1, keepdims=True)) ** power
    return np.asarray(powered / powered.sum(-1, keepdims=True))


def median(probs: Array) -> Doubles:
    """Return the renormalized median of each coordinate, [N, A] (Yin et al., 2018, 1803.01498)."""
    return _renormalize(np.median(np.asarray(probs, dtype=np.float64), axis=0), probs)


def trimmed_mean(probs: Array, fraction: float) -> Doubles:
    """Return the renormalized mean without the extreme answers, [N, A] (1803.01498).

    Of each coordinate, floor(fraction * U) values are cut at either end.
    """
    if not 0 <= fraction < 0.5:
        raise FdrlError(f"trimmed mean: the fraction must be in [0, 0.5), got {fraction}")
    ordered = np.sort(np.asarray(probs, dtype=np.float64), axis=0)
    # The tolerance keeps 0.1 * 10 agents from losing nobody to rounding.
    cut = min(int(fraction * len(ordered) + 1e-9), (len(ordered) - 1) // 2)
    return _renormalize(ordered[cut : len(ordered) - cut].mean(0), probs)


def _renormalize(rows: Doubles, probs: Array) -> Doubles:
    """Divide by the sum; a row of zeros (agents sure of different actions) is the plain mean."""
    total = rows.sum(-1, keepdims=True)
    mean = np.asarray(probs, dtype=np.float64).mean(0)
    return np.where(total > 0, rows / np.where(total > 0, total, 1), mean)


def geometric_median(
    probs: Array, weights: Array | None = None, iterations: int = 200, tolerance: float = 1e-10
) -> Doubles:
    """Return argmin_x sum_u w[u,n] |x - p[u,n]| per row, [N, A], by Weiszfeld's iteration.

    RFA (Pillutla et al., 2019, arXiv 1912.13445), distances smoothed at 1e-8. Each iterate is a
    convex combination of answers, so it stays on the simplex.
    """
    p = np.asarray(probs, dtype=np.float64)
    w = np.ones(p.shape[:2]) if weights is None else np.asarray(weights, dtype=np.float64)
    x, _ = weighted_mean(p, w)
    for _ in range(iterations):
        distance = np.sqrt(((p - x) ** 2).sum(-1))
        step, _ = weighted_mean(p, w / np.maximum(distance, 1e-8))
        moved = np.abs(step - x).max(initial=0.0)
        x = step
        if moved <= tolerance:
            break
    return x


def mean_parameters(rows: Sequence[Array] | Array, weights: Sequence[float] | Array) -> Doubles:
    """Return sum_u w[u] theta[u] / sum_u w[u], [P]: FedAvg (McMahan et al., 2017, 1602.05629)."""
    w = np.asarray(weights, dtype=np.float64)
    if len(w) != len(rows) or not (w >= 0).all() or not w.sum() > 0:
        raise FdrlError(f"FedAvg: {len(rows)} agents need as many weights >= 0, got {w.tolist()}")
    total = np.zeros(len(rows[0]), dtype=np.float64)
    for row, share in zip(rows, w / w.sum(), strict=True):
        total += share * np.asarray(row, dtype=np.float64)
    return total


def mix_pairs(
    states: Array, probs: Array, lam: Array, first: Array, second: Array
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return lam * (s, p)[first] + (1 - lam) * (s, p)[second]: states [M, *O] and probs [M, A].

    MixFRD (2020, arXiv 2005.06105), which is mixup between entries of the global memory.
    `lam`, `first`, `second` are [M].
    """
    weight = np.asarray(lam, dtype=np.float64)

    def mix(x: Array) -> NDArray[np.float32]:
        a = weight.reshape(-1, *[1] * (x.ndim - 1))
        return np.asarray(a * x[first] + (1 - a) * x[second], dtype=np.float32)

    return mix(np.asarray(states)), mix(np.asarray(probs))
