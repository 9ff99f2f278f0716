"""Diagonal Gaussian policies: sampling, log-probabilities, and the losses' slopes.

The standard deviations do not depend on the state, as in Stable-Baselines3: their logarithms are
parameters of their own. Actions are drawn unbounded, and clipped to the space only where an
environment takes a step.

Shapes: K agents, B rows, E environment copies, D action dimensions. A network's outputs are
[K, 2D, B], the means and then the logarithms of the standard deviations, with actions before rows
as for logits; sampled actions are [K, E, D], float32.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fdrl.core.arrays import Doubles, Floats
from fdrl.core.env import Envs

from .losses import ActorCriticLoss, means, over_planes, softmax

HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)
Bounds = tuple[Floats, Floats]
"""The lowest and the highest action, [D] each."""


def answers(outputs: Floats, gaussian: bool) -> Floats:
    """Return what policies say [K, B, W]: probabilities, or means and standard deviations."""
    if not gaussian:
        return np.ascontiguousarray(softmax(outputs).swapaxes(1, 2))
    rows = np.ascontiguousarray(outputs.swapaxes(1, 2))
    std = rows[..., rows.shape[-1] // 2 :]
    np.exp(std, out=std)
    return rows


def draw_shape(n_actions: int, gaussian: bool) -> tuple[int, ...]:
    """Return the shape of the uniforms that choose an action: pairs make pairs of normals."""
    return (2 * -(-n_actions // 2),) if gaussian else ()


def normals(uniforms: Floats) -> Floats:
    """Return standard normals [..., 2m] of uniforms [..., 2m] in [0, 1) (Box and Muller 1958)."""
    u = np.ascontiguousarray(np.moveaxis(uniforms, -1, 0))
    m = len(u) // 2
    radius = np.sqrt(np.float32(-2) * np.log1p(-u[:m]))
    angle = np.float32(2 * math.pi) * u[m:]
    return np.moveaxis(np.concatenate([radius * np.cos(angle), radius * np.sin(angle)]), 0, -1)


def sample(outputs: Floats, uniforms: Floats) -> Floats:
    """Draw actions [K, E, D] of outputs [K, 2D, E]; `uniforms` are [K, E, 2 * ceil(D / 2)]."""
    d = outputs.shape[1] // 2
    rows = outputs.swapaxes(1, 2)
    return np.asarray(rows[..., :d] + np.exp(rows[..., d:]) * normals(uniforms)[..., :d])


def greedy(outputs: Floats) -> Floats:
    """Return the likeliest actions [K, E, D]: the means."""
    return np.asarray(outputs[:, : outputs.shape[1] // 2].swapaxes(1, 2))


def bounds_of(envs: Envs) -> Bounds | None:
    """Return the bounds of continuous actions; None if they are discrete."""
    if not envs.gaussian:
        return None
    space: Any = envs.action_space
    return space.low.astype(np.float32), space.high.astype(np.float32)


def playable(actions: NDArray[Any], bounds: Bounds | None) -> NDArray[Any]:
    """Return [K, E] or [K, E, D] as what copies are given: [K * E], or [K * E, D] in bounds."""
    flat = actions.reshape(-1, *actions.shape[2:])
    return flat if bounds is None else np.clip(flat, *bounds)


def log_probs(outputs: Floats, actions: Floats) -> Floats:
    """Return log-densities [K, B] of actions [K, B, D]."""
    d = outputs.shape[1] // 2
    z, _ = _standardized(outputs, actions)
    log_std = outputs[:, d:]
    return np.asarray(-np.add.reduce(z * z / np.float32(2) + log_std + HALF_LOG_2PI, axis=1))


def _standardized(outputs: Floats, actions: Floats) -> tuple[Floats, Floats]:
    """Return (actions - means) / std [K, D, B], and std."""
    d = outputs.shape[1] // 2
    std = np.exp(outputs[:, d:])
    return np.asarray((actions.swapaxes(1, 2) - outputs[:, :d]) / std), std


@dataclass
class GaussianActorCritic(ActorCriticLoss):
    """The losses of `ActorCriticLoss` for continuous actions: its `actions` are [K, B, D],
    float32.
    """

    def gradient(self, outputs: Floats, values: Floats, rows: slice) -> Doubles:
        """Overwrite outputs by slopes; see `Objective`.

        log pi has the slopes z / std by the mean and z**2 - 1 by the logarithm of std; the
        entropy, log std + 1/2 + log(2 pi) / 2 a dimension, has the slope 1 by that alone.
        """
        scale = self._share(rows)
        d = outputs.shape[1] // 2
        actions = self.actions[:, rows]
        log_pi = log_probs(outputs, actions)
        entropy = np.add.reduce(outputs[:, d:] + np.float32(0.5 + HALF_LOG_2PI), axis=1)
        gain, slope, kl, clipped = self._surrogate(log_pi, rows)
        value_loss = self._value_slope(values, rows, scale)
        z, std = _standardized(outputs, actions)
        push = (slope * -scale)[:, None]
        np.multiply(z / std, push, out=outputs[:, :d])
        np.multiply(z * z - np.float32(1), push, out=outputs[:, d:])
        if self.ent_coef:
            factor: np.float32 | Floats = np.float32(self.ent_coef) * scale
            outputs[:, d:] -= over_planes(factor)
        return means(np.stack([-gain, value_loss, -entropy, kl, clipped]), scale)


def objective_of(actions: NDArray[Any]) -> type[ActorCriticLoss]:
    """Return the losses for actions [K, B], or [K, B, D] if they are continuous."""
    return ActorCriticLoss if actions.ndim == 2 else GaussianActorCritic
