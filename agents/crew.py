"""The agents of a cohort that are at work, as a smaller stack of their own."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .learner import Learner
from .rollout import World


@dataclass
class Crew:
    """Agents `rows` [R] of a cohort, with what they learn with and act in."""

    rows: NDArray[np.int64]
    learner: Learner
    world: World


class Crews:
    """Hands out crews. Whoever is not in the present one stands still, at no cost.

    Rows are copied when the crew changes, not at every step; until `settle` has put them back, the
    cohort's own rows of those at work are out of date.
    """

    def __init__(self, learner: Learner, world: World) -> None:
        rows = np.arange(len(learner.count))
        self._all = Crew(rows, learner, world)
        self._out: Crew | None = None

    def take(self, rows: NDArray[np.int64]) -> Crew:
        """Return the crew of agents `rows`, increasing."""
        if len(rows) == len(self._all.rows):
            self.settle()
            return self._all
        if self._out is None or not np.array_equal(rows, self._out.rows):
            self.settle()
            learner, world = self._all.learner.take(rows), self._all.world.take(rows)
            self._out = Crew(rows, learner, world)
        return self._out

    def settle(self) -> None:
        """Put back what is out."""
        out, self._out = self._out, None
        if out is not None:
            self._all.learner.put(out.rows, out.learner)
            self._all.world.put(out.rows, out.world)
