"""What is learned: inputs, targets, a wrong teacher, and the learning rate that is stable."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fdrl.errors import FdrlError
from fdrl.seeding import Purpose, generator
from fdrl.theory.cd import cd_largest_step
from fdrl.theory.energies import rms
from fdrl.theory.kernels import relu_kernel
from fdrl.theory.labels import block_diagonal
from fdrl.theory.modes import Floats
from fdrl.theory.settings import MOST_STEPS, Theory

SLOWEST_LEFT = 1e-3
MOST_OWNERS = 6
PER_LABEL = 3


@dataclass(frozen=True)
class Problem:
    """One data set, the same for all methods, widths and seeds."""

    inputs: Floats
    """[N, D], of length 1"""
    target: Floats
    """[N], root mean square 1"""
    teacher: Floats
    """[N], the targets plus the teacher's error"""
    kernel: Floats
    """[N, N], of infinite width"""
    eta: float
    steps: int

    @property
    def slowest_left(self) -> float:
        """What plain learning leaves of its slowest component after all steps."""
        return float((1 - self.eta * np.linalg.eigvalsh(self.kernel)[0]) ** self.steps)


def directions(draw: np.random.Generator, count: int, dimension: int) -> Floats:
    """Return random unit vectors [count, dimension]."""
    x = draw.standard_normal((count, dimension))
    return np.asarray(x / np.linalg.norm(x, axis=1, keepdims=True))


def make_problem(s: Theory) -> Problem:
    """Draw the data; choose or check the learning rate. Raises FdrlError naming a passed limit."""
    x = directions(generator(s.seed, Purpose.ENV, 0), s.samples, s.inputs)
    draw = generator(s.seed, Purpose.ENV, 1)
    u, v = directions(draw, 2, s.inputs)
    y = x @ u + 2 * (x @ v) ** 2
    y = y / rms(y)
    wrong = draw.standard_normal(s.samples)
    kernel = relu_kernel(x)
    eta = learning_rate(kernel, s)
    slowest = -math.log1p(-eta * float(np.linalg.eigvalsh(kernel)[0]))
    steps = s.steps or max(1, min(MOST_STEPS, math.ceil(-math.log(SLOWEST_LEFT) / slowest)))
    return Problem(x, y, y + s.teacher_error * wrong / rms(wrong), kernel, eta, steps)


def learning_rate(kernel: Floats, s: Theory) -> float:
    """Return the learning rate; the smallest limit of the three methods is co-distillation's."""
    limit = cd_largest_step(kernel, s.weight, s.workers)
    if s.lr is None:
        return limit / 4
    if s.lr >= limit:
        raise FdrlError(
            f"config: gradient descent is unstable at this learning rate, got {s.lr:g}; "
            f"co-distillation needs less than {limit:.4g} (at lr)"
        )
    return s.lr


@dataclass(frozen=True)
class LabelProblem:
    """FD by label: label l is owned by workers 0..l, so each number of owners occurs once."""

    kernel: Floats
    """[S, S], block diagonal"""
    target: Floats
    """[S, L], one-hot"""
    worker: NDArray[np.int64]
    """[S]"""
    label: NDArray[np.int64]
    """[S]"""
    inputs: Floats
    """[S, D], of length 1"""

    @property
    def workers(self) -> int:
        """M, which is also the number of labels."""
        return int(self.worker.max()) + 1


def make_label_problem(s: Theory) -> LabelProblem:
    """Draw three samples of every label that a worker owns; at most six workers."""
    m = min(s.workers, MOST_OWNERS)
    pairs = [(i, c) for i in range(m) for c in range(i, m) for _ in range(PER_LABEL)]
    worker, label = np.array(pairs, dtype=np.int64).T
    x = directions(generator(s.seed, Purpose.ENV, 2), len(pairs), s.inputs)
    kernel = block_diagonal([relu_kernel(x[worker == i]) for i in range(m)])
    return LabelProblem(kernel, np.eye(m)[label], worker, label, x)
