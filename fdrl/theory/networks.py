"""Finite two-layer ReLU networks: training, output gradients, and the gap to the theory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fdrl import stats
from fdrl.core.arrays import Doubles, Floats
from fdrl.stats import Interval
from fdrl.theory.closed_forms import others_mean, rms
from fdrl.theory.labels import Missing

# ---- Two-layer ReLU networks of finite width, trained by full-batch gradient descent ----
#
# f(x) = m**-0.5 sum_r a_r relu(w_r . x), w_r ~ N(0, I) trained, a_r = +-1 fixed: the network whose
# kernel tends to `kernels.relu_kernel` as the width m grows. Written in NumPy, single precision,
# one worker after another: a worker's activations stay in cache, and torch need not be imported.


@dataclass(frozen=True)
class Networks:
    """M networks of one width m."""

    hidden: Floats
    """[M, D, m]"""
    signs: Floats
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


def _single(inputs: ArrayLike) -> Floats:
    return np.ascontiguousarray(inputs, dtype=np.float32)


def answers(networks: Networks, inputs: ArrayLike) -> Doubles:
    """Return the outputs [M, N] on inputs [N, D]."""
    x, root = _single(inputs), networks.width**0.5
    outs = [np.maximum(x @ w, 0) @ a for w, a in zip(networks.hidden, networks.signs, strict=True)]
    return np.asarray(np.stack(outs) / root, dtype=np.float64)


def kernels(networks: Networks, inputs: ArrayLike) -> Doubles:
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
    target: Doubles,
    teacher: Teacher,
    weight: float,
    eta: float,
    steps: int,
) -> tuple[Doubles, Networks]:
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
        gradients = output_gradient(now, target, teacher(step, now), weight).astype(np.float32)
        for w, scale, on, g in zip(hidden, scales, active, gradients, strict=True):
            np.matmul(x.T * g, on, out=turn)
            turn *= scale
            w -= turn
    out.append(answers(moved, x))
    return np.stack(out), moved


def _forward(networks: Networks, x: Floats, active: Floats, space: Floats) -> Doubles:
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


# ---- The gradient of each loss by the outputs, straight from its
# definition
#
# Finite networks train on these, and the check of the closed forms integrates them; no closed form
# uses them, except for the mean of the other workers.


Teacher = Callable[[int, Doubles], Doubles]
"""(step, outputs [M, N]) to the teacher's outputs, [M, N] or [N]."""


def output_gradient(outputs: Doubles, target: Doubles, teacher: Doubles, weight: float) -> Doubles:
    """Return (f - y) + b (f - teacher), the gradient of the squared losses by the outputs."""
    return np.asarray((outputs - target) + weight * (outputs - teacher))


def fixed_teacher(teacher: Doubles) -> Teacher:
    """Return the teacher of KD, whose answers never change."""
    return lambda step, outputs: teacher


def stale_teacher(period: int) -> Teacher:
    """Return the others' mean, fetched anew every `period` steps; 1 is co-distillation."""
    held: list[Doubles] = []

    def teacher(step: int, outputs: Doubles) -> Doubles:
        if step % period == 0 or not held:
            held[:] = [others_mean(outputs)]
        return held[0]

    return teacher


def label_gradient(
    outputs: Doubles,
    target: Doubles,
    worker: NDArray[np.int64],
    label: NDArray[np.int64],
    weight: float,
    missing: Missing,
) -> Doubles:
    """Return FD's output gradient on stacked samples [S, C], computed as devices and server would.

    Devices average their outputs by label, the server hands each label's row to the others:
    the mean over the other owners, or over all others with zeros for those who lack it.
    """
    workers, labels = int(worker.max()) + 1, int(label.max()) + 1
    sums = np.zeros((workers, labels, outputs.shape[1]))
    np.add.at(sums, (worker, label), outputs)
    counts = np.zeros((workers, labels, 1))
    np.add.at(counts, (worker, label), 1)
    rows, own = sums / np.maximum(counts, 1), counts > 0
    others = own.sum(0) - own
    divisor = others if missing == "renormalize" else np.full_like(others, workers - 1)
    teachers = (rows.sum(0) - rows) / np.maximum(divisor, 1)
    heard = (others > 0) | (missing == "zero")
    apart = (outputs - teachers[worker, label]) * heard[worker, label]
    return np.asarray(outputs - target + weight * apart)


# ---- How far finite networks are from the theory, and how that falls with width ----


def gap(networks: ArrayLike, theory: ArrayLike) -> float:
    """Return the root mean square difference over steps, workers and samples; inf if it blew up."""
    value = float(rms(np.asarray(networks) - np.asarray(theory)))
    return value if np.isfinite(value) else float("inf")


def slopes(widths: ArrayLike, gaps: ArrayLike) -> Doubles:
    """Return the least-squares slope of log gap against log width, [S], of gaps [S, W].

    NaN for a seed whose gap is zero or infinite somewhere. Raises ValueError for one width.
    """
    x, y = np.log(np.asarray(widths, dtype=np.float64)), np.asarray(gaps, dtype=np.float64)
    centered = x - x.mean()
    if not centered.any():
        raise ValueError("a slope needs two different widths")
    usable = np.all(np.isfinite(y) & (y > 0), axis=1)
    logs = np.log(np.where(np.expand_dims(usable, 1), y, 1.0))
    return np.where(usable, logs @ centered / (centered @ centered), np.nan)


def slope(widths: ArrayLike, gaps: ArrayLike) -> Interval:
    """Return the mean slope over seeds and its 95% bootstrap interval (no bounds for one seed)."""
    return stats.bootstrap(slopes(widths, gaps), stats.mean)
