"""Co-distillation with stale teachers: the others' outputs are fetched every P steps.

Within a period every worker does KD from a frozen teacher. P to 0 is co-distillation, P to
infinity is KD from the others' first outputs: the period interpolates between the two.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from fdrl.theory.cd import cd, cd_largest_step, coupling
from fdrl.theory.kd import kd, kd_largest_step, kd_limit
from fdrl.theory.modes import Floats, Rule, propagate, symmetric_modes


def others_mean(outputs: ArrayLike) -> Floats:
    """Return each worker's teacher [M, N, ...]: the mean of the other workers' outputs."""
    f = np.asarray(outputs, dtype=np.float64)
    if len(f) < 2:
        raise ValueError("one worker has no other to learn from")
    return np.asarray((f.sum(0) - f) / (len(f) - 1))


def periodic(
    kernel: ArrayLike,
    start: ArrayLike,
    target: ArrayLike,
    weight: float,
    eta: float,
    times: ArrayLike,
    period: float,
    rule: Rule = "flow",
) -> Floats:
    """Return F(t) [T, M, N, ...] with teachers refreshed at 0, P, 2P, ...; P = `period`.

    Per period F_i -> f*_i + exp(-eta (1 + b) K_i P) (F_i - f*_i), f*_i = (y + b phi_i) / (1 + b).
    `kernel` [N, N] or [M, N, N], `start` [M, N, ...], `target` [N, ...], `times` [T] rising.
    Period 0 is `cd`, ``inf`` is KD. In descent the period is a whole number of steps.
    """
    if period == 0:
        return cd(kernel, start, target, weight, eta, times, rule)
    t = np.asarray(times, dtype=np.float64)
    if (np.diff(t) < 0).any():
        raise ValueError("times must rise")
    f, y = np.asarray(start, dtype=np.float64), np.asarray(target, dtype=np.float64)
    kernels = np.broadcast_to(np.asarray(kernel), (len(f), *np.shape(kernel)[-2:]))
    parts, first, now = [], 0, 0.0
    whole = _one_period(kernels, eta * (1 + weight), period, rule)
    while first < len(t):
        last = int(np.searchsorted(t, now + period, side="left"))
        teacher, inside = others_mean(f), t[first:last] - now
        if last > first:
            parts.append(_frozen(kernels, f, y, teacher, weight, eta, inside, rule))
        limit = kd_limit(y, teacher, weight)
        f = limit + np.stack(
            [np.tensordot(w, e, axes=1) for w, e in zip(whole, f - limit, strict=True)]
        )
        first, now = last, now + period
    return np.concatenate(parts)


def _one_period(kernels: Floats, eta: float, period: float, rule: Rule) -> Floats:
    """Return what a period does to each worker's distance to its goal, [M, N, N]."""
    eye = np.eye(kernels.shape[-1])
    if math.isinf(period):
        return np.zeros_like(kernels)
    return np.stack([propagate(symmetric_modes(k), eye, eta, [period], rule)[0] for k in kernels])


def _frozen(
    kernels: Floats, start: Floats, target: Floats, teacher: Floats,
    weight: float, eta: float, times: Floats, rule: Rule,
) -> Floats:  # fmt: skip
    each = zip(kernels, start, teacher, strict=True)
    return np.stack([kd(k, f, target, p, weight, eta, times, rule) for k, f, p in each], axis=1)


def period_factors(
    rate: float, workers: int, weight: float, eta: float, period: float, rule: Rule = "flow"
) -> tuple[float, float]:
    """Return the factors by which a period multiplies mean error and deviations along one mode.

    With q = exp(-eta (1 + b) rate P): (b + q) / (1 + b) for the mean of the workers, and
    q - (1 - q) b / ((1 + b)(M - 1)) for what sets them apart. One kernel for all workers.
    """
    x = eta * (1 + weight) * rate
    q = math.exp(-x * period) if rule == "flow" else (1 - x) ** round(period)
    coupling(workers, weight)
    apart = q - (1 - q) * weight / ((1 + weight) * (workers - 1))
    return (weight + q) / (1 + weight), apart


def periodic_largest_step(kernel: ArrayLike, weight: float, workers: int, period: float) -> float:
    """Return the learning rate below which descent with a period of P whole steps is stable.

    An even P has KD's limit; an odd one can overshoot its frozen teacher as well, and has
    (1 + ((1 - c) / (1 + c))**(1/P)) / ((1 + b) lambda_max), c = b / ((1 + b)(M - 1)): CD's limit
    at P = 1, KD's as P grows. One kernel [N, N] for all workers.
    """
    if period == 0:
        return cd_largest_step(kernel, weight, workers)
    single = kd_largest_step(kernel, weight)
    if math.isinf(period) or round(period) % 2 == 0:
        return single
    c = weight / ((1 + weight) * (workers - 1))
    return single / 2 * (1 + math.pow((1 - c) / (1 + c), 1 / round(period)))
