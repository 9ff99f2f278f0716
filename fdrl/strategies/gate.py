"""Who takes part: an agent far below its own best is left alone until it has recovered."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
SIGNIFICANT = 2.0
"""A fall counts if it exceeds this many standard errors of the difference of two means."""
PATIENCE = 50
"""Exchanges for which an agent is left alone; if it has not recovered, its record starts anew."""


class Gate:
    """Follows K agents' recent returns between the worst and the best that each has had.

    An agent whose environment is unlike the others' may be taught a policy that fails there, and be
    taught it again after every stretch of local learning. Its own return is the evidence, so the
    rule needs no message: below `share` of the way from its worst to its best recent return it sits
    out, neither answering (it has nothing to teach: others would fall with it) nor listening. A
    fall that could be chance does not count, and an agent that learns nothing alone is not left
    alone for ever.
    """

    def __init__(self, agents: int, share: float) -> None:
        self._share = share
        self._low = np.full(agents, np.nan)
        self._high = np.full(agents, np.nan)
        self._error = np.zeros(agents)
        self._alone = np.zeros(agents)

    def open(self, mean: Array, error: Array) -> NDArray[np.bool_]:
        """Return who takes part [K], given mean returns [K] (NaN: unknown), standard errors [K]."""
        self._low = np.fmin(self._low, mean)
        best = np.isnan(self._high) | (mean >= self._high) | (self._alone >= PATIENCE)
        best &= ~np.isnan(mean)
        self._high = np.where(best, mean, self._high)
        self._error = np.where(best, error, self._error)
        fallen = mean < self._low + self._share * (self._high - self._low)
        fallen &= self._high - mean > SIGNIFICANT * np.hypot(error, self._error)
        self._alone = np.where(fallen, self._alone + 1, 0)
        return np.asarray(~fallen)

    def state(self) -> Array:
        """Return everything needed to continue [4, K]."""
        return np.stack([self._low, self._high, self._error, self._alone])

    def load_state(self, state: Array) -> None:
        """Continue from what `state` returned."""
        self._low, self._high, self._error, self._alone = np.array(state, dtype=np.float64)
