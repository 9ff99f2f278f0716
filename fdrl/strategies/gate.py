"""Who takes part: an agent far below its own best neither teaches nor, in the end, is taught."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]
SIGNIFICANT = 2.0
"""A fall counts if it exceeds this many standard errors of the difference of two means."""
GRACE = 8
"""Exchanges for which a fallen agent still listens: the others may well put it right."""
PATIENCE = 50
"""Exchanges for which an agent is left alone; if it has not recovered, its record starts anew."""


class Gate:
    """Follows K agents' recent returns between the worst and the best that each has had.

    An agent whose environment is unlike the others' may be taught a policy that fails there, and be
    taught it again after every stretch of local learning. Its own return is the evidence, so the
    rule needs no message: below `share` of the way from its worst to its best recent return an
    agent has fallen. It does not answer (it has nothing to teach: others would fall with it), and
    if listening does not help, it stops listening until it has recovered. A fall that could be
    chance does not count, and an agent that learns nothing alone is not left alone for ever.
    """

    def __init__(self, agents: int, share: float) -> None:
        self._share = share
        self._low = np.full(agents, np.nan)
        self._high = np.full(agents, np.nan)
        self._error = np.zeros(agents)
        self._down = np.zeros(agents)
        self._alone = np.zeros(agents)

    def pass_by(self, mean: Array, error: Array, fresh: Array) -> tuple[Flags, Flags]:
        """Return who answers and who listens, [K] each.

        Takes the mean of each agent's recent returns [K] (NaN: not known yet), its standard error
        [K], and the mean return of the episodes that have ended since the last call [K] (NaN:
        none): an agent in the middle of its first long episode again must not be judged by old
        ones.
        """
        self._low = np.fmin(self._low, mean)
        best = np.isnan(self._high) | (mean >= self._high) | (self._alone >= PATIENCE)
        best &= ~np.isnan(mean)
        self._high = np.where(best, mean, self._high)
        self._error = np.where(best, error, self._error)
        bar = self._low + self._share * (self._high - self._low)
        fallen = (mean < bar) & (self._high - mean > SIGNIFICANT * np.hypot(error, self._error))
        self._down = np.where(fallen, self._down + 1, 0)
        alone = fallen & ((self._alone > 0) | ((self._down > GRACE) & (fresh < bar)))
        self._alone = np.where(alone, self._alone + 1, 0)
        return np.asarray(~fallen), np.asarray(~alone)

    def state(self) -> Array:
        """Return everything needed to continue [5, K]."""
        return np.stack([self._low, self._high, self._error, self._down, self._alone])

    def load_state(self, state: Array) -> None:
        """Continue from what `state` returned."""
        rows = np.array(state, dtype=np.float64)
        self._low, self._high, self._error, self._down, self._alone = rows
