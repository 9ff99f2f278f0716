"""Each agent's recent return, the score that return-weighted methods upload."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fdrl.message import Score


class RecentReturns:
    """The mean return of each of K agents' last `window` episodes."""

    def __init__(self, agents: int, window: int = 10) -> None:
        self._last = np.full((agents, window), np.nan)

    def add(self, returns: Sequence[NDArray[np.float64]]) -> None:
        """Append each agent's finished episodes, oldest first."""
        for row, new in zip(self._last, returns, strict=True):
            kept = np.concatenate([row, new])[-row.size :]
            row[:] = kept

    def score(self, agent: int) -> Score | None:
        """Return agent k's mean, or None before its first episode has ended."""
        known = self._last[agent][~np.isnan(self._last[agent])]
        return Score(float(known.mean())) if known.size else None

    def full(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return all agents' means and standard errors [K]; NaN until a window is full."""
        width = self._last.shape[1]
        return self._last.mean(1), self._last.std(1, ddof=1) / np.sqrt(width)

    def state(self) -> NDArray[np.float64]:
        """Return the window [K, window]; NaN where no episode is known yet."""
        return self._last.copy()

    def load_state(self, last: NDArray[np.float64]) -> None:
        """Continue from what `state` returned."""
        self._last[:] = last
