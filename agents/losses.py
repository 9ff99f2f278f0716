"""Policy-gradient losses and their gradients at the network's outputs.

Shapes: K agents, B rows, A actions; logits [K, A, B]. Every loss is a mean over the B rows of a
minibatch, given as a factor 1/B, because a minibatch may pass in blocks. One agent's numbers depend
on its own rows alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fdrl.core.arrays import Doubles, Floats

METRICS = (
    "train/policy_gradient_loss",
    "train/value_loss",
    "train/entropy_loss",
    "train/approx_kl",
    "train/clip_fraction",
)


def log_softmax(logits: Floats) -> Floats:
    """Log-probabilities over the middle axis of [K, A, B]."""
    z = logits - np.maximum.reduce(logits, axis=1, keepdims=True)
    return np.asarray(z - np.log(np.add.reduce(np.exp(z), axis=1, keepdims=True)))


def softmax(logits: Floats) -> Floats:
    """Probabilities over the middle axis of [K, A, B]."""
    e = np.exp(logits - np.maximum.reduce(logits, axis=1, keepdims=True))
    return np.asarray(e / np.add.reduce(e, axis=1, keepdims=True))


def chosen(planes: Floats, actions: NDArray[np.int64]) -> Floats:
    """Pick planes [K, A, B] at actions [K, B]: [K, B]."""
    return np.asarray(np.take_along_axis(planes, actions[:, None], axis=1)[:, 0])


def one_hot(actions: NDArray[np.int64], n_actions: int) -> Floats:
    """Write actions [K, B] as [K, A, B]."""
    hot = actions[:, None] == np.arange(n_actions)[:, None]
    return np.asarray(hot, dtype=np.float32)


def normalize(advantages: Floats, shares: Floats | None = None) -> Floats:
    """Subtract each row's mean, divide by its standard deviation (n - 1), as in SB3's PPO.

    With `shares` [K, B], what each entry adds to its row's mean (1/n, or 0 where there is none).
    """
    if shares is not None:
        return _normalize_some(advantages, shares)
    n = advantages.shape[1]
    if n < 2:
        return advantages
    centered = advantages - np.add.reduce(advantages, axis=1, keepdims=True) / np.float32(n)
    variance = np.add.reduce(centered * centered, axis=1, keepdims=True) / np.float32(n - 1)
    return np.asarray(centered / (np.sqrt(variance) + np.float32(1e-8)))


def _normalize_some(advantages: Floats, shares: Floats) -> Floats:
    n = np.count_nonzero(shares, axis=1)[:, None].astype(np.float32)
    mean = np.add.reduce(advantages * shares, axis=1, keepdims=True)
    centered = (advantages - mean) * (shares > 0)
    squared = np.add.reduce(centered * centered, axis=1, keepdims=True)
    spread = np.sqrt(squared / np.maximum(n - 1, np.float32(1)))
    return np.where(n > 1, centered / (spread + np.float32(1e-8)), advantages)


@dataclass
class ActorCriticLoss:
    """Advantage actor-critic, plain (A2C) or with PPO's clipped ratio (Schulman et al. 2017).

    Arrays are [K, B]: `actions`, `advantages` (as they enter the loss), `targets` of the value,
    and, for PPO, the log-probabilities `old_log_probs` and values `old_values` of the rollout.
    Without `clip_range` the policy loss is -advantage * log pi(a|s). With `shares` [K, B] row b of
    agent k counts shares[k, b] instead of 1/B: nothing where it is 0.
    """

    actions: NDArray[Any]
    advantages: Floats
    targets: Floats
    old_log_probs: Floats
    old_values: Floats
    clip_range: float | None
    clip_range_vf: float | None
    ent_coef: float
    vf_coef: float
    shares: Floats | None = None

    def _share(self, rows: slice) -> np.float32 | Floats:
        """Return what each of `rows` counts in the mean: a number, or [K, b]."""
        return (
            np.float32(1 / self.actions.shape[1]) if self.shares is None else self.shares[:, rows]
        )

    def gradient(self, logits: Floats, values: Floats, rows: slice) -> Doubles:
        """Overwrite outputs by slopes; see `Objective`."""
        scale = self._share(rows)
        log_p = log_softmax(logits)
        p = np.exp(log_p)
        hot = one_hot(self.actions[:, rows], logits.shape[1])
        log_pi = np.add.reduce(hot * log_p, axis=1)
        entropy = -np.add.reduce(p * log_p, axis=1)
        gain, slope, kl, clipped = self._surrogate(log_pi, rows)
        value_loss = self._value_slope(values, rows, scale)
        np.subtract(hot, p, out=logits)
        np.multiply(logits, (slope * -scale)[:, None], out=logits)
        if self.ent_coef:
            push = p * (log_p + entropy[:, None])
            factor: np.float32 | Floats = np.float32(self.ent_coef) * scale
            logits += over_planes(factor) * push
        return means(np.stack([-gain, value_loss, -entropy, kl, clipped]), scale)

    def _surrogate(self, log_pi: Floats, rows: slice) -> tuple[Floats, Floats, Floats, Floats]:
        """Return objective, its slope by log pi, approximate KL, what was clipped: [K, b]."""
        advantages = self.advantages[:, rows]
        if self.clip_range is None:
            zero = np.zeros_like(log_pi)
            return advantages * log_pi, advantages, zero, zero
        low, high = np.float32(1 - self.clip_range), np.float32(1 + self.clip_range)
        log_ratio = log_pi - self.old_log_probs[:, rows]
        ratio = np.exp(log_ratio)
        bounded = np.minimum(np.maximum(ratio, low), high)
        free = advantages * ratio
        held = advantages * bounded
        # where the clipped branch is strictly smaller, the gradient vanishes
        slope = free * (free <= held)
        kl = (ratio - np.float32(1)) - log_ratio
        return np.minimum(free, held), slope, kl, (ratio != bounded).astype(np.float32)

    def _value_slope(self, values: Floats, rows: slice, scale: np.float32 | Floats) -> Floats:
        """Overwrite values by the slopes of vf_coef * squared error; return the errors squared."""
        factor = np.float32(2 * self.vf_coef) * scale
        if self.clip_range_vf is None:
            np.subtract(values, self.targets[:, rows], out=values)
            squared = values * values
            np.multiply(values, factor, out=values)
            return squared
        old, c = self.old_values[:, rows], np.float32(self.clip_range_vf)
        moved = values - old
        error = old + np.minimum(np.maximum(moved, -c), c) - self.targets[:, rows]
        np.multiply(error * (np.abs(moved) <= c), factor, out=values)
        return np.asarray(error * error)


def over_planes(scale: np.float32 | Floats) -> np.float32 | Floats:
    """Return a number as it is, and [K, b] as a factor of planes [K, A, b]."""
    return scale[:, None] if isinstance(scale, np.ndarray) else scale


def means(each: Floats, scale: np.float32 | Floats) -> Doubles:
    """Return means [n, K] of metrics [n, K, b] whose rows count `scale`, a number or [K, b]."""
    if isinstance(scale, np.ndarray):
        return np.asarray(np.add.reduce(each * scale, axis=2).astype(np.float64))
    return np.asarray(np.add.reduce(each, axis=2).astype(np.float64) * scale)


def total_loss(metrics: Doubles, ent_coef: float, vf_coef: float) -> Doubles:
    """Combine metrics [5, K] into SB3's ``train/loss`` [K]."""
    return np.asarray(metrics[0] + ent_coef * metrics[2] + vf_coef * metrics[1])
