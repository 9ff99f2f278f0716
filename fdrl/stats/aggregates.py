"""Aggregates of scores: one number out of runs and tasks."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from fdrl.stats.basics import Floats, as_table


def _flat(scores: ArrayLike) -> Floats:
    """Return [..., R*T]."""
    table = as_table(scores)
    return table.reshape(*table.shape[:-2], -1)


def mean(scores: ArrayLike) -> Floats:
    """Return the mean over runs and tasks."""
    return np.asarray(_flat(scores).mean(-1))


def median(scores: ArrayLike) -> Floats:
    """Return the median over runs and tasks."""
    return np.asarray(np.median(_flat(scores), axis=-1))


def iqm(scores: ArrayLike) -> Floats:
    """Return the interquartile mean: a quarter of all scores cut off at each end.

    The number cut is rounded down, as in ``scipy.stats.trim_mean(x, 0.25)``: three scores or
    fewer lose none, and the result is their mean.
    """
    flat = np.sort(_flat(scores), axis=-1)
    count = flat.shape[-1]
    cut = count // 4
    return np.asarray(flat[..., cut : count - cut].mean(-1))


def std(scores: ArrayLike) -> Floats:
    """Return the standard deviation of runs within their task (n - 1), mean over tasks."""
    table = as_table(scores)
    if table.shape[-2] < 2:
        return np.full(table.shape[:-2], np.nan)
    return np.asarray(table.std(axis=-2, ddof=1).mean(-1))


def optimality_gap(scores: ArrayLike, target: float = 1.0) -> Floats:
    """Return by how much the scores miss a target on average; exceeding it does not help."""
    return np.asarray((target - np.minimum(_flat(scores), target)).mean(-1))
