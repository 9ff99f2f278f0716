"""How far finite networks are from the theory, and how that falls with width."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from fdrl import stats
from fdrl.stats import Interval
from fdrl.theory.energies import rms
from fdrl.theory.modes import Floats


def gap(networks: ArrayLike, theory: ArrayLike) -> float:
    """Return the root mean square difference over steps, workers and samples; inf if it blew up."""
    value = float(rms(np.asarray(networks) - np.asarray(theory)))
    return value if np.isfinite(value) else float("inf")


def slopes(widths: ArrayLike, gaps: ArrayLike) -> Floats:
    """Return the least-squares slope of log gap against log width, [S], of gaps [S, W].

    NaN for a seed whose gap is zero or infinite somewhere. Raises ValueError for one width.
    """
    x, y = np.log(np.asarray(widths, dtype=np.float64)), np.asarray(gaps, dtype=np.float64)
    centered = x - x.mean()
    if not centered.any():
        raise ValueError("a slope needs two different widths")
    usable = np.all(np.isfinite(y) & (y > 0), axis=1)
    logs = np.log(np.where(np.expand_dims(usable, 1), y, 1.0))
    return np.where(usable, logs @ centered / (centered @ centered), np.nan)


def slope(widths: ArrayLike, gaps: ArrayLike) -> Interval:
    """Return the mean slope over seeds and its 95% bootstrap interval (no bounds for one seed)."""
    return stats.bootstrap(slopes(widths, gaps), stats.mean)
