"""Knowledge distillation (KD): one student, a fixed teacher on the same inputs.

Loss L(f) = |f - y|**2 / 2 + b |f - phi|**2 / 2, teacher's outputs phi, weight b. Hence
df/dt = -eta K ((1 + b) f - y - b phi): the student ends between the targets and its teacher.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from fdrl.theory.modes import Floats, Rule, propagate, symmetric_modes


def kd_limit(target: ArrayLike, teacher: ArrayLike, weight: float) -> Floats:
    """Return f* = (y + b phi) / (1 + b), where KD ends if K has no zero eigenvalue.

    The error there is the floor b / (1 + b) |phi - y|: zero for a perfect teacher only.
    """
    y, phi = np.asarray(target, dtype=np.float64), np.asarray(teacher, dtype=np.float64)
    return np.asarray((y + weight * phi) / (1 + weight))


def kd(
    kernel: ArrayLike,
    start: ArrayLike,
    target: ArrayLike,
    teacher: ArrayLike,
    weight: float,
    eta: float,
    times: ArrayLike,
    rule: Rule = "flow",
) -> Floats:
    """Return f(t) = f* + exp(-eta (1 + b) K t) (f0 - f*), [T, N, ...].

    `kernel` [N, N]; `start`, `target` and `teacher` [N, ...]. With ``rule="descent"`` the
    exponential is (I - eta (1 + b) K)**t: the exact course of gradient descent.
    """
    limit = kd_limit(target, teacher, weight)
    error = np.asarray(start, dtype=np.float64) - limit
    return limit + propagate(symmetric_modes(kernel), error, eta * (1 + weight), times, rule)


def kd_largest_step(kernel: ArrayLike, weight: float) -> float:
    """Return 2 / ((1 + b) lambda_max): gradient descent is stable below this learning rate."""
    return float(2 / ((1 + weight) * symmetric_modes(kernel).rates.max()))
