"""Statistics of a few runs: aggregates, and intervals that say how little a few runs tell.

R runs (seeds), T tasks, M points of a curve or thresholds, D bootstrap draws. Scores are [R, T], or
[R] for one task. Runs are resampled within each task (stratified), never across tasks. Everything
is vectorized and seeded: the same numbers give the same interval. One run has no interval: its
bounds are NaN. Aggregates follow Agarwal et al., "Deep RL at the Edge of the Statistical
Precipice" (2021); the intervals are percentile intervals.
"""

from __future__ import annotations

from fdrl.stats.censored import (
    Reached,
    SpreadRatio,
    censored_bootstrap,
    censored_quantile,
    earlier,
    reached,
    spread_ratio,
)
from fdrl.stats.curves import area, curve_band, first_reach, performance_profile
from fdrl.stats.intervals import (
    CONFIDENCE,
    DRAWS,
    Band,
    Interval,
    Statistic,
    bootstrap,
    iqm,
    mean,
    median,
    optimality_gap,
    paired_difference,
    probability_of_improvement,
    proportion,
    sign_flip,
    std,
)

__all__ = [
    "CONFIDENCE",
    "DRAWS",
    "Band",
    "Interval",
    "Reached",
    "SpreadRatio",
    "Statistic",
    "area",
    "bootstrap",
    "censored_bootstrap",
    "censored_quantile",
    "curve_band",
    "earlier",
    "first_reach",
    "iqm",
    "mean",
    "median",
    "optimality_gap",
    "paired_difference",
    "performance_profile",
    "probability_of_improvement",
    "proportion",
    "reached",
    "sign_flip",
    "spread_ratio",
    "std",
]
