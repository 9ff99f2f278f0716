"""A plain integrator, to check closed forms against the equations they claim to solve."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from fdrl.theory.modes import Floats

Slope = Callable[[Floats], Floats]


def integrate(slope: Slope, start: ArrayLike, times: ArrayLike, step: float) -> Floats:
    """Return x(t) [T, ...] of dx/dt = slope(x) from x(0) = `start`, by classical Runge-Kutta.

    `times` [T] rise; between two of them the equal steps are at most `step`. The local error is
    of order (step * fastest rate)**5: a tenth of a time constant gives six digits.
    """
    x, now, out = np.asarray(start, dtype=np.float64), 0.0, []
    for end in np.asarray(times, dtype=np.float64).tolist():
        count = math.ceil((end - now) / step - 1e-12)
        for _ in range(count):
            x = _runge_kutta(slope, x, (end - now) / count)
        now = end
        out.append(x)
    return np.stack(out)


def _runge_kutta(slope: Slope, x: Floats, h: float) -> Floats:
    a = slope(x)
    b = slope(x + h / 2 * a)
    c = slope(x + h / 2 * b)
    d = slope(x + h * c)
    return np.asarray(x + h / 6 * (a + 2 * b + 2 * c + d))
