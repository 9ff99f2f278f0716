"""Each agent's recent return, and who takes part because of it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fdrl.core.arrays import Array, Bools, Doubles
from fdrl.wire.parts import Score

# ---- Each agent's recent return, the score that return-weighted methods upload ----


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


# ---- Who takes part: an agent far below its own best neither teaches nor, in the end, is taught


SIGNIFICANT = 2.0
"""A fall counts if it exceeds this many standard errors of the difference of two means."""
GRACE = 8
"""Exchanges for which a fallen agent still listens: the others may well put it right."""
PATIENCE = 50
"""Exchanges for which an agent is left alone; if it has not recovered, its record starts anew."""


class ReturnGate:
    """Follows K agents' recent returns between the worst and the best that each has had.

    An agent whose environment is unlike the others' may be taught a policy that fails there, and be
    taught it again after every local training. Its own return is the evidence, so the
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

    def pass_by(self, mean: Doubles, error: Doubles, fresh: Doubles) -> tuple[Bools, Bools]:
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

    def state(self) -> Doubles:
        """Return everything needed to continue [5, K]."""
        return np.stack([self._low, self._high, self._error, self._down, self._alone])

    def load_state(self, state: Doubles) -> None:
        """Continue from what `state` returned."""
        rows = np.array(state, dtype=np.float64)
        self._low, self._high, self._error, self._down, self._alone = rows


def known_scores(scores: Sequence[float | None]) -> Array:
    """Return the scores [U], the mean of the known ones standing in for the missing."""
    known = [s for s in scores if s is not None]
    stand_in = float(np.mean(known)) if known else 0.0
    return np.array([stand_in if s is None else s for s in scores], dtype=np.float64)
