"""Stretches of learning under way: what is left of each, and sums of what they report.

Shapes: K agents, R of them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fdrl.cohort import Episodes

from .policies import Metrics

NEVER = np.iinfo(np.int64).max
"""More episodes than an agent will ever end."""


class Stretches:
    """One stretch for each of K agents, none of them busy at first."""

    def __init__(self, agents: int) -> None:
        self.left = np.zeros(agents, np.int64)
        """Steps that each agent may still take; 0 once it is through."""
        self._goal = np.zeros(agents, np.int64)
        self._taken = np.zeros(agents, np.int64)
        self._iterations = np.zeros(agents)
        self._sums: Metrics = {}

    @property
    def busy(self) -> NDArray[np.bool_]:
        """Who is not through [K]."""
        return self.left > 0

    def begin(self, rows: NDArray[np.int64], steps: NDArray[np.int64], episodes: Episodes) -> None:
        """Start a stretch of agents `rows`: `steps` [R], or until `episodes` ([R]) have ended."""
        goal = np.broadcast_to(np.int64(NEVER) if episodes is None else episodes, rows.shape)
        self.left[rows] = np.where(goal > 0, steps, 0)
        self._goal[rows] = goal

    def note(
        self,
        rows: NDArray[np.int64],
        steps: int,
        ended: NDArray[np.int64],
        metrics: Metrics,
        learned: NDArray[np.bool_] | None = None,
    ) -> None:
        """Count an iteration of agents `rows`, which have `ended` [R] episodes in the stretch.

        Metrics of agents that had nothing to learn from (`learned` [R], all by default) are left
        out.
        """
        there = np.ones(len(rows), np.bool_) if learned is None else learned
        for name, values in metrics.items():
            if name not in self._sums:
                self._sums[name] = np.zeros(len(self.left))
            self._sums[name][rows[there]] += values[there]
        self._iterations[rows[there]] += 1
        self._taken[rows] += steps
        left = self.left[rows] - steps
        left[ended >= self._goal[rows]] = 0
        self.left[rows] = left

    def taken(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the steps that stretches have taken of their budget [R], and forget them."""
        taken = self._taken[rows]
        self._taken[rows] = 0
        return taken

    def end(self, rows: NDArray[np.int64]) -> Metrics:
        """Return means over the stretches' iterations [R], none if there were none; forget them."""
        learned = self._iterations[rows]
        sums = self._sums if learned.any() else {}
        metrics = {n: v[rows] / np.maximum(learned, 1) for n, v in sums.items()}
        self._iterations[rows] = 0
        for values in self._sums.values():
            values[rows] = 0
        return metrics
