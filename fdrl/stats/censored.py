"""Times until something happens, of runs of which some ended before it did."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from fdrl.core.arrays import Doubles
from fdrl.stats.intervals import CONFIDENCE, DRAWS, Interval, probability_of_improvement


def censored_quantile(values: ArrayLike, q: float) -> float:
    """Return a quantile of [n] values where NaN means "later than anybody saw"; NaN if unknown.

    Linear interpolation as in `numpy.quantile`. A median exists only if more than half are known.
    """
    seen = np.asarray(values, dtype=np.float64)
    if not seen.size:
        return math.nan
    value = float(_quantile(np.sort(np.where(np.isnan(seen), np.inf, seen)), q))
    return value if math.isfinite(value) else math.nan


def _quantile(ordered: Doubles, q: float) -> Doubles:
    """Return the quantile [...] of ascending times [..., n]; inf where it was not reached."""
    place = q * (ordered.shape[-1] - 1)
    below, part = math.floor(place), place - math.floor(place)
    low = ordered[..., below]
    high = low if part < 1e-12 else ordered[..., below + 1]
    with np.errstate(invalid="ignore"):
        mixed = (1 - part) * low + part * high
    return np.where(np.isinf(high), np.inf, mixed)


class Reached(NamedTuple):
    """How many of n runs reached a threshold, and when; quartiles are NaN where censored."""

    k: int
    n: int
    median: float
    low: float
    high: float


def reached(firsts: ArrayLike) -> Reached:
    """Summarize [n] first times, NaN where a run never got there: k of n, median, quartiles."""
    values = np.asarray(firsts, dtype=np.float64)
    quartiles = [censored_quantile(values, q) for q in (0.5, 0.25, 0.75)]
    return Reached(int((~np.isnan(values)).sum()), len(values), *quartiles)


def _median_and_quartiles(times: Doubles) -> Doubles:
    """Return [3, ...], the quantiles 1/4, 1/2, 3/4 of times [..., n]; inf where not reached."""
    ordered = np.sort(times, axis=-1)
    return np.stack([_quantile(ordered, q) for q in (0.25, 0.5, 0.75)])


def _resampled(values: ArrayLike, draws: int, seed: int) -> Doubles:
    """Return times [D, n] of runs drawn again, inf for those that are not known."""
    seen = np.asarray(values, dtype=np.float64)
    times = np.where(np.isnan(seen), np.inf, seen)
    index = np.random.default_rng(seed).integers(len(times), size=(draws, len(times)))
    return np.asarray(times[index])


def _ends(draws: Doubles, confidence: float) -> tuple[float, float]:
    """Return the percentiles of draws [D] that may be infinite, or NaN, which are left out.

    No interpolation: between a number and infinity there is nothing.
    """
    ordered = np.sort(draws[~np.isnan(draws)])
    if not len(ordered):
        return math.nan, math.nan
    tail = (1 - confidence) / 2
    last = len(ordered) - 1
    return float(ordered[math.floor(tail * last)]), float(ordered[math.ceil((1 - tail) * last)])


def censored_bootstrap(
    values: ArrayLike, *, draws: int = DRAWS, seed: int = 0, confidence: float = CONFIDENCE
) -> Interval:
    """Return the median of [n] times, NaN for runs that never got there, and its interval.

    Such a run counts as later than all others. The median is NaN unless more than half got
    there; the upper bound is infinite where the resampled runs often have no median.
    """
    value = censored_quantile(values, 0.5)
    if np.size(values) < 2:
        return Interval(value, math.nan, math.nan)
    medians = _median_and_quartiles(_resampled(values, draws, seed))[1]
    low, high = _ends(medians, confidence)
    return Interval(value, low if math.isfinite(low) else math.nan, high)


def earlier(
    x: ArrayLike, y: ArrayLike, *, draws: int = DRAWS, confidence: float = CONFIDENCE
) -> Interval:
    """Return how likely a run of x gets there before one of y; times are NaN if never.

    Gehan's (1965) generalized Wilcoxon statistic, scaled to 0..1, for runs that were all watched
    equally long: whoever got there is earlier than whoever did not, two that did not are a tie.
    """
    a, b = (-np.where(np.isnan(t), np.inf, t) for t in map(np.asarray, (x, y)))
    return probability_of_improvement(a, b, draws=draws, confidence=confidence)


class SpreadRatio(NamedTuple):
    """How much one method's times vary against another's: a ratio of `kind`, and its interval."""

    kind: str
    """``variance`` if every run got there; else ``interquartile range``, which knows how to wait
    for a quarter of the runs; empty if neither can be told."""
    ratio: Interval


def spread_ratio(
    x: ArrayLike, y: ArrayLike, *, draws: int = DRAWS, confidence: float = CONFIDENCE
) -> SpreadRatio:
    """Return the spread of times x over that of y (NaN: never), both resampled independently.

    Below 1 with an interval that excludes 1, x varies less.
    """
    a, b = (np.asarray(t, dtype=np.float64) for t in (x, y))
    nothing = SpreadRatio("", Interval(math.nan, math.nan, math.nan))
    if min(len(a), len(b)) < 2:
        return nothing
    known = not (np.isnan(a).any() or np.isnan(b).any())
    measure = _variance if known else _quartile_range
    with np.errstate(invalid="ignore", divide="ignore"):
        top, below = (measure(np.where(np.isnan(t), np.inf, t)[None])[0] for t in (a, b))
        value = float(top / below)
        # Two streams: equal ones would pair the runs of both methods by their place.
        ratios = measure(_resampled(a, draws, 1)) / measure(_resampled(b, draws, 2))
    if not math.isfinite(value):
        return nothing
    kind = "variance" if known else "interquartile range"
    return SpreadRatio(kind, Interval(value, *_ends(ratios, confidence)))


def _variance(times: Doubles) -> Doubles:
    return np.asarray(times.var(-1, ddof=1))


def _quartile_range(times: Doubles) -> Doubles:
    """Return [D] the distance of the quartiles; infinite if a quarter never got there."""
    low, _, high = _median_and_quartiles(times)
    with np.errstate(invalid="ignore"):
        return np.where(np.isinf(high), np.inf, high - low)
