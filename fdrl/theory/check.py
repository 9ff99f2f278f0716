"""Every closed form against a numerical integration of the equation that it claims to solve."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import ArrayLike

from fdrl.core.arrays import Doubles
from fdrl.core.seeding import Purpose, generator
from fdrl.theory import networks
from fdrl.theory.closed_forms import cd, cd_largest_step, kd, others_mean, periodic
from fdrl.theory.labels import MISSING, Missing, fd, fd_largest_step
from fdrl.theory.networks import label_gradient, output_gradient
from fdrl.theory.problem import LabelProblem, Problem, Theory

# ---- A plain integrator, to check closed forms against the equations they claim to solve ----


Slope = Callable[[Doubles], Doubles]


def integrate(slope: Slope, start: ArrayLike, times: ArrayLike, step: float) -> Doubles:
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


def _runge_kutta(slope: Slope, x: Doubles, h: float) -> Doubles:
    a = slope(x)
    b = slope(x + h / 2 * a)
    c = slope(x + h / 2 * b)
    d = slope(x + h * c)
    return np.asarray(x + h / 6 * (a + 2 * b + 2 * c + d))


# ---- Every closed form against a numerical integration of the equation that it claims to solve


POINTS = 25
WIDTH = 64
"""Width whose own kernels serve where workers' kernels differ."""


@dataclass(frozen=True)
class Difference:
    """The largest difference of any output at any time; outputs are of the order of 1."""

    form: str
    value: float


def differences(s: Theory, p: Problem, labels: LabelProblem) -> Iterator[Difference]:
    """Yield the difference of each closed form, on the data of the experiment."""
    draws = [generator(s.seed, Purpose.INIT, 0, WIDTH, i) for i in range(s.workers)]
    nets = networks.initial(s.inputs, WIDTH, draws)
    start, own = networks.answers(nets, p.inputs), networks.kernels(nets, p.inputs)
    times = np.linspace(0, p.steps, POINTS)
    made = kd(p.kernel, start[0], p.target, p.teacher, s.weight, p.eta, times)
    slope = _slope(p.kernel[None], p, s.weight, partial(_held, p.teacher))
    yield _difference("KD", made, integrate(slope, start[:1], times, _step(s, p, own))[:, 0])
    for name, kernel in (("equal", p.kernel), ("unequal", own)):
        ks = np.broadcast_to(kernel, own.shape)
        made = cd(kernel, start, p.target, s.weight, p.eta, times)
        slope = _slope(ks, p, s.weight, others_mean)
        found = integrate(slope, start, times, _step(s, p, own))
        yield _difference(f"CD, {name} kernels", made, found)
        made = periodic(kernel, start, p.target, s.weight, p.eta, times, s.period)
        found = _periods(ks, p, s, start, times, _step(s, p, own))
        yield _difference(f"periodic, {name} kernels", made, found)
    yield from _label_differences(s, p, labels)


def _difference(form: str, one: Doubles, two: Doubles) -> Difference:
    return Difference(form, float(np.abs(one - two).max()))


def _step(s: Theory, p: Problem, kernels: Doubles) -> float:
    """Return a tenth of the shortest time constant, in gradient steps."""
    limits = cd_largest_step(p.kernel, s.weight, s.workers), cd_largest_step(kernels, s.weight)
    return 0.1 * min(limits) / (2 * p.eta)


def _slope(
    kernels: Doubles, p: Problem, weight: float, teacher: Callable[[Doubles], Doubles]
) -> Callable[[Doubles], Doubles]:
    def slope(f: Doubles) -> Doubles:
        gradients = output_gradient(f, p.target, teacher(f), weight)
        return np.asarray(-p.eta * (kernels @ gradients[..., None])[..., 0])

    return slope


def _periods(
    kernels: Doubles, p: Problem, s: Theory, start: Doubles, times: Doubles, step: float
) -> Doubles:
    """Integrate period after period, each with the teachers of its beginning."""
    out, f = np.empty((len(times), *start.shape)), start
    for begin in range(0, int(times[-1]) + 1, s.period):
        inside = (times >= begin) & (times < begin + s.period)
        grid = np.append(times[inside] - begin, min(s.period, p.steps - begin))
        slope = _slope(kernels, p, s.weight, partial(_held, others_mean(f)))
        found = integrate(slope, f, grid, step)
        out[inside], f = found[:-1], found[-1]
    return out


def _held(teacher: Doubles, outputs: Doubles) -> Doubles:
    return teacher


def _label_differences(s: Theory, p: Problem, q: LabelProblem) -> Iterator[Difference]:
    start = generator(s.seed, Purpose.ENV, 3).standard_normal(q.target.shape)
    times = np.linspace(0, p.steps, POINTS)
    for missing in MISSING:
        step = 0.1 * fd_largest_step(q.kernel, q.worker, q.label, s.weight, missing) / (2 * p.eta)
        found = integrate(partial(_label_slope, s, p, q, missing), start, times, step)
        made = fd(
            q.kernel, start, q.target, q.worker, q.label, s.weight, p.eta, times, missing
        )  # fmt: skip
        yield _difference(f"FD by label, missing: {missing}", made, found)


def _label_slope(s: Theory, p: Problem, q: LabelProblem, missing: Missing, f: Doubles) -> Doubles:
    gradients = label_gradient(f, q.target, q.worker, q.label, s.weight, missing)
    return np.asarray(-p.eta * (q.kernel @ gradients))
