"""Two-layer ReLU networks of finite width, trained by full-batch gradient descent.

f(x) = m**-0.5 sum_r a_r relu(w_r . x), w_r ~ N(0, I) trained, a_r = +-1 fixed: the network whose
kernel tends to `kernels.relu_kernel` as the width m grows. Written in NumPy, single precision,
one worker after another: a worker's activations stay in cache, and torch need not be imported.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fdrl.theory.modes import Floats
from fdrl.theory.pulls import Teacher, pull

Singles = NDArray[np.float32]


@dataclass(frozen=True)
class Networks:
    """M networks of one width m."""

    hidden: Singles
    """[M, D, m]"""
    signs: Singles
    """[M, m], +1 or -1"""

    @property
    def width(self) -> int:
        """Units in the hidden layer."""
        return int(self.signs.shape[1])


def initial(inputs: int, width: int, draws: Sequence[np.random.Generator]) -> Networks:
    """Return a network from each generator, for inputs of that dimension."""
    hidden = [g.standard_normal((inputs, width), dtype=np.float32) for g in draws]
    signs = [2 * g.integers(2, size=width).astype(np.float32) - 1 for g in draws]
    return Networks(np.stack(hidden), np.stack(signs))


def _single(inputs: ArrayLike) -> Singles:
    return np.ascontiguousarray(inputs, dtype=np.float32)


def answers(networks: Networks, inputs: ArrayLike) -> Floats:
    """Return the outputs [M, N] on inputs [N, D]."""
    x, root = _single(inputs), networks.width**0.5
    outs = [np.maximum(x @ w, 0) @ a for w, a in zip(networks.hidden, networks.signs, strict=True)]
    return np.asarray(np.stack(outs) / root, dtype=np.float64)


def kernels(networks: Networks, inputs: ArrayLike) -> Floats:
    """Return each network's own tangent kernel [M, N, N]: x_i . x_j times the active share."""
    x = np.asarray(inputs, dtype=np.float64)
    found = []
    for w in networks.hidden:
        active = (_single(x) @ w > 0).astype(np.float32)
        found.append((active @ active.T).astype(np.float64) / networks.width * (x @ x.T))
    return np.stack(found)


def train(
    networks: Networks,
    inputs: ArrayLike,
    target: Floats,
    teacher: Teacher,
    weight: float,
    eta: float,
    steps: int,
) -> tuple[Floats, Networks]:
    """Return the outputs before each step and after the last [steps + 1, M, N], and the networks.

    Every step moves all of them once, on the loss |f - y|**2 / 2 + b |f - teacher|**2 / 2 summed
    over the samples; no gradient flows into the teacher. The given networks stay as they are.
    """
    x, hidden = _single(inputs), networks.hidden.copy()
    moved = Networks(hidden, networks.signs)
    scales = eta / networks.width**0.5 * networks.signs
    active = np.empty((len(hidden), len(x), networks.width), dtype=np.float32)
    space, turn = np.empty_like(active[0]), np.empty_like(hidden[0])
    out = []
    for step in range(steps):
        now = _forward(moved, x, active, space)
        out.append(now)
        pulls = pull(now, target, teacher(step, now), weight).astype(np.float32)
        for w, scale, on, g in zip(hidden, scales, active, pulls, strict=True):
            np.matmul(x.T * g, on, out=turn)
            turn *= scale
            w -= turn
    out.append(answers(moved, x))
    return np.stack(out), moved


def _forward(networks: Networks, x: Singles, active: Singles, space: Singles) -> Floats:
    """Return the outputs [M, N]; fill `active` [M, N, m] with 1 where a unit is on, else 0.

    Products with ones and zeros take an eighth of the time of np.maximum and of boolean masks;
    results go into arrays that exist: fresh ones of this size are mapped and cleared every time.
    """
    outs = []
    for w, a, on in zip(networks.hidden, networks.signs, active, strict=True):
        np.matmul(x, w, out=space)
        on[...] = space > 0
        np.multiply(space, on, out=space)
        outs.append(space @ a)
    return np.asarray(np.stack(outs) / networks.width**0.5, dtype=np.float64)
