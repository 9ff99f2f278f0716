"""Curves over runs, and what is read off them."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from fdrl.core.arrays import Doubles
from fdrl.stats.intervals import CONFIDENCE, Band, as_table, bounds, draw_counts


def performance_profile(
    scores: ArrayLike,
    thresholds: ArrayLike,
    *,
    draws: int = 2_000,
    seed: int = 0,
    confidence: float = CONFIDENCE,
) -> Band:
    """Return the fraction [M] of runs above each threshold, mean over tasks, with its band."""
    table, at = as_table(scores), np.asarray(thresholds, dtype=np.float64)
    above = (table[:, :, None] > at).astype(np.float64)
    value = above.mean((0, 1))
    runs, tasks = table.shape
    if runs < 2:
        return Band(value, np.full(at.shape, np.nan), np.full(at.shape, np.nan))
    rng = np.random.default_rng(seed)
    samples = np.zeros((draws, len(at)))
    for task in range(tasks):
        samples += draw_counts(rng, runs, draws) @ above[:, task] / (runs * tasks)
    return Band(value, *bounds(samples, confidence))


def curve_band(
    values: ArrayLike, *, draws: int = 2_000, seed: int = 0, confidence: float = CONFIDENCE
) -> Band:
    """Return the mean curve [M] of runs [R, M] and its band over runs, not over time.

    NaN says that a run has no value there; a point needs two runs for a band.
    """
    table = np.asarray(values, dtype=np.float64)
    known = ~np.isnan(table)
    filled = np.where(known, table, 0.0)
    low, high = np.full((2, table.shape[1]), np.nan)
    counts = draw_counts(np.random.default_rng(seed), len(table), draws)
    tail = (1 - confidence) / 2
    with np.errstate(invalid="ignore", divide="ignore"):
        value = filled.sum(0) / known.sum(0)
        # A draw may hold none of the runs that have a value; where all have one, numpy's plain
        # quantile does, which is ten times faster.
        for columns, quantile in (
            (known.all(0), np.quantile),
            (~known.all(0), np.nanquantile),
        ):
            columns &= known.sum(0) > 1
            if columns.any():
                samples = (counts @ filled[:, columns]) / (counts @ known[:, columns])
                low[columns], high[columns] = quantile(samples, (tail, 1 - tail), axis=0)
    return Band(value, low, high)


def area(steps: ArrayLike, values: ArrayLike) -> Doubles:
    """Return the area under curves [..., M] divided by the steps they span: their mean height.

    Trapezoids between the points; points without a value (NaN) are left out. One point alone
    has no area: its value is the result.
    """
    x = np.asarray(steps, dtype=np.float64)
    y = np.asarray(values, dtype=np.float64)
    rows = [_area(x, row) for row in y.reshape(-1, y.shape[-1])]
    return np.array(rows).reshape(y.shape[:-1])


def _area(x: Doubles, y: Doubles) -> float:
    known = ~np.isnan(y)
    x, y = x[known], y[known]
    if len(y) < 2 or x[-1] == x[0]:
        return float(y.mean()) if len(y) else math.nan
    return float((np.diff(x) * (y[1:] + y[:-1]) / 2).sum() / (x[-1] - x[0]))


def first_reach(x: ArrayLike, values: ArrayLike, threshold: float) -> Doubles:
    """Return the first x [..., M] at which the curve is at or above a threshold; NaN if never."""
    reached = np.asarray(values, dtype=np.float64) >= threshold
    places = np.broadcast_to(np.asarray(x, dtype=np.float64), reached.shape)
    first = np.take_along_axis(places, reached.argmax(-1)[..., None], axis=-1)[..., 0]
    return np.asarray(np.where(reached.any(-1), first, np.nan))
