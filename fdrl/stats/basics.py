"""What all statistics share: intervals, bands, and scores as tables."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

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

    value: Floats
    low: Floats
    high: Floats


def as_table(scores: ArrayLike) -> Floats:
    """Return scores as [..., R, T]; one axis alone is the runs of one task."""
    table = np.asarray(scores, dtype=np.float64)
    if table.ndim == 1:
        table = table[:, None]
    if table.ndim < 2 or 0 in table.shape[-2:]:
        raise ValueError(f"scores must be [runs] or [runs, tasks] with a run, not {table.shape}")
    return table


def bounds(draws: Floats, confidence: float) -> Floats:
    """Return the two percentiles [2, ...] of draws [D, ...]."""
    tail = (1 - confidence) / 2
    return np.asarray(np.quantile(draws, (tail, 1 - tail), axis=0))


def draw_counts(rng: np.random.Generator, runs: int, draws: int) -> Floats:
    """Return how often [D, R] each run is drawn: what resampling does to a mean."""
    return rng.multinomial(runs, np.full(runs, 1 / runs), size=draws).astype(np.float64)
