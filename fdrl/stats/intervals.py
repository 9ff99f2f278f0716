"""Aggregates of scores, and their intervals and tests by resampling runs."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from fdrl.core.arrays import Doubles

# ---- What all statistics share: intervals, bands, and scores as tables ----


DRAWS = 10_000
CONFIDENCE = 0.95


class Interval(NamedTuple):
    """A number and its interval; the bounds are NaN where there are too few runs for one."""

    value: float
    low: float
    high: float

    def excludes(self, point: float = 0.0) -> bool:
        """Say whether the interval lies on one side of a point; without bounds it never does."""
        return self.low > point or self.high < point


class Band(NamedTuple):
    """A curve [M] and its pointwise interval."""

    value: Doubles
    low: Doubles
    high: Doubles


def as_table(scores: ArrayLike) -> Doubles:
    """Return scores as [..., R, T]; one axis alone is the runs of one task."""
    table = np.asarray(scores, dtype=np.float64)
    if table.ndim == 1:
        table = table[:, None]
    if table.ndim < 2 or 0 in table.shape[-2:]:
        raise ValueError(f"scores must be [runs] or [runs, tasks] with a run, not {table.shape}")
    return table


def bounds(draws: Doubles, confidence: float) -> Doubles:
    """Return the two percentiles [2, ...] of draws [D, ...]."""
    tail = (1 - confidence) / 2
    return np.asarray(np.quantile(draws, (tail, 1 - tail), axis=0))


def draw_counts(rng: np.random.Generator, runs: int, draws: int) -> Doubles:
    """Return how often [D, R] each run is drawn: what resampling does to a mean."""
    return rng.multinomial(runs, np.full(runs, 1 / runs), size=draws).astype(np.float64)


# ---- Aggregates of scores: one number out of runs and tasks ----


def _flat(scores: ArrayLike) -> Doubles:
    """Return [..., R*T]."""
    table = as_table(scores)
    return table.reshape(*table.shape[:-2], -1)


def mean(scores: ArrayLike) -> Doubles:
    """Return the mean over runs and tasks."""
    return np.asarray(_flat(scores).mean(-1))


def median(scores: ArrayLike) -> Doubles:
    """Return the median over runs and tasks."""
    return np.asarray(np.median(_flat(scores), axis=-1))


def iqm(scores: ArrayLike) -> Doubles:
    """Return the interquartile mean: a quarter of all scores cut off at each end.

    The number cut is rounded down, as in ``scipy.stats.trim_mean(x, 0.25)``: three scores or
    fewer lose none, and the result is their mean.
    """
    flat = np.sort(_flat(scores), axis=-1)
    count = flat.shape[-1]
    cut = count // 4
    return np.asarray(flat[..., cut : count - cut].mean(-1))


def std(scores: ArrayLike) -> Doubles:
    """Return the standard deviation of runs within their task (n - 1), mean over tasks."""
    table = as_table(scores)
    if table.shape[-2] < 2:
        return np.full(table.shape[:-2], np.nan)
    return np.asarray(table.std(axis=-2, ddof=1).mean(-1))


def optimality_gap(scores: ArrayLike, target: float = 1.0) -> Doubles:
    """Return by how much the scores miss a target on average; exceeding it does not help."""
    return np.asarray((target - np.minimum(_flat(scores), target)).mean(-1))


# ---- Intervals and tests by resampling runs ----


Statistic = Callable[[Doubles], Doubles]
"""Reduces the last two axes of [..., R, T]."""
_CHUNK = 2_000_000


def _replicates(
    tables: Sequence[Doubles], statistic: Callable[..., Doubles], draws: int, seed: int
) -> Doubles:
    """Return the statistic [D] of resampled tables [R, T], which all take the same runs."""
    rng = np.random.default_rng(seed)
    runs, tasks = tables[0].shape
    size = max(1, _CHUNK // (runs * tasks))
    found = []
    for start in range(0, draws, size):
        count = min(size, draws - start)
        index = rng.integers(runs, size=(count, runs, tasks))
        found.append(statistic(*(np.take_along_axis(t[None], index, axis=1) for t in tables)))
    return np.concatenate(found)


def bootstrap(
    scores: ArrayLike,
    statistic: Statistic = iqm,
    *,
    draws: int = DRAWS,
    seed: int = 0,
    confidence: float = CONFIDENCE,
) -> Interval:
    """Return a statistic of [R, T] and its interval, from runs resampled within each task."""
    table = as_table(scores)
    value = float(statistic(table))
    if len(table) < 2:
        return Interval(value, math.nan, math.nan)
    low, high = bounds(_replicates([table], statistic, draws, seed), confidence)
    return Interval(value, float(low), float(high))


def paired_difference(
    a: ArrayLike,
    b: ArrayLike,
    statistic: Statistic = mean,
    *,
    draws: int = DRAWS,
    seed: int = 0,
    confidence: float = CONFIDENCE,
) -> Interval:
    """Return ``statistic(a) - statistic(b)`` and its interval; row r of both is the same seed.

    Both are resampled with the same rows, so what a seed does to both methods cancels.
    """
    one, two = as_table(a), as_table(b)
    if one.shape != two.shape:
        raise ValueError(f"pairs need equal shapes, not {one.shape} and {two.shape}")
    value = float(statistic(one) - statistic(two))
    if len(one) < 2:
        return Interval(value, math.nan, math.nan)
    both = _replicates([one, two], lambda x, y: statistic(x) - statistic(y), draws, seed)
    low, high = bounds(both, confidence)
    return Interval(value, float(low), float(high))


def sign_flip(a: ArrayLike, b: ArrayLike, *, draws: int = 20_000, seed: int = 0) -> float:
    """Return the two-sided p-value of the paired difference [R] in means, by flipping signs.

    If the methods are alike, each pair's difference is as likely with the other sign. Exact up to
    12 pairs (the smallest value is 2 / 2**R), sampled beyond. Unlike the percentile bootstrap, it
    claims no more than it should from six pairs. NaN without a pair, or if one has no number.
    """
    one, two = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if one.shape != two.shape:
        raise ValueError(f"pairs need equal shapes, not {one.shape} and {two.shape}")
    if one.ndim != 1:
        raise ValueError(f"a sign-flip test is of pairs [runs], not {one.shape}")
    count = len(one)
    if not count or not (np.isfinite(one).all() and np.isfinite(two).all()):
        return math.nan
    gaps = one - two
    if count <= 12:
        signs = 1.0 - 2.0 * ((np.arange(2**count)[:, None] >> np.arange(count)) & 1)
    else:
        flips = np.random.default_rng(seed).integers(2, size=(draws, count))
        # What was seen is one of the possible draws, so the value is never 0.
        signs = np.concatenate([np.ones((1, count)), 1.0 - 2.0 * flips])
    seen = abs(gaps.sum())
    return float(np.mean(np.abs(signs @ gaps) >= seen * (1 - 1e-12)))


def _tasks(scores: ArrayLike | Sequence[ArrayLike]) -> list[Doubles]:
    """Return the runs of each task; a list of arrays may have another number of runs per task."""
    if isinstance(scores, list | tuple) and scores and np.ndim(scores[0]) == 1:
        return [_runs_of_tasks(s)[:, 0] for s in scores]
    return list(_runs_of_tasks(scores).T)  # type: ignore[arg-type]


def _runs_of_tasks(scores: ArrayLike) -> Doubles:
    table = as_table(scores)
    if table.ndim > 2:
        raise ValueError(f"scores must be [runs] or [runs, tasks] with a run, not {table.shape}")
    return table


def probability_of_improvement(
    x: ArrayLike | Sequence[ArrayLike],
    y: ArrayLike | Sequence[ArrayLike],
    *,
    draws: int = DRAWS,
    seed: int = 0,
    confidence: float = CONFIDENCE,
) -> Interval:
    """Return P(X > Y) + P(X = Y) / 2 of a run of each, mean over tasks (Mann-Whitney's U / mn).

    Both sides are [R], [R, T], or a list of a [R] per task; runs are resampled independently. NaN
    if a run has no number.
    """
    rng = np.random.default_rng(seed)
    ours, theirs = _tasks(x), _tasks(y)
    if len(ours) != len(theirs):
        raise ValueError(f"both sides need the same tasks, not {len(ours)} and {len(theirs)}")
    if any(np.isnan(runs).any() for runs in (*ours, *theirs)):
        return Interval(math.nan, math.nan, math.nan)
    tasks = list(zip(ours, theirs, strict=True))
    values, samples = [], np.zeros(draws)
    for a, b in tasks:
        wins = (a[:, None] > b) + 0.5 * (a[:, None] == b)
        values.append(wins.mean())
        left, right = draw_counts(rng, len(a), draws), draw_counts(rng, len(b), draws)
        samples += ((left @ wins) * right).sum(1) / wins.size / len(tasks)
    value = float(np.mean(values))
    if any(min(len(a), len(b)) < 2 for a, b in tasks):
        return Interval(value, math.nan, math.nan)
    low, high = bounds(samples, confidence)
    return Interval(value, float(low), float(high))


def proportion(k: int, n: int, *, confidence: float = CONFIDENCE) -> Interval:
    """Return k / n and Wilson's score interval (1927)."""
    if not 0 <= k <= n:
        raise ValueError(f"k must lie in 0..n, not {k} of {n}")
    if n == 0:
        return Interval(math.nan, math.nan, math.nan)
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    p, z2 = k / n, z * z
    center = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = z * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    return Interval(p, max(0.0, center - half), min(1.0, center + half))
