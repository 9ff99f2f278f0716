"""Who listens: an agent that has fallen far below its own best is left alone until it recovers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


class Gate:
    """Follows K agents' recent returns between the worst and the best that each has had.

    An agent whose environment is unlike the others' may be taught a policy that fails there, and be
    taught it again after every stretch of local learning. Its own return is the evidence, so the
    rule needs no message: below `share` of the way from its worst to its best recent return, it
    does not listen.
    """

    def __init__(self, agents: int, share: float) -> None:
        self._share = share
        self._low = np.full(agents, np.nan)
        self._high = np.full(agents, np.nan)

    def open(self, scores: Sequence[float | None]) -> NDArray[np.bool_]:
        """Take in the recent returns (None: not known yet) and return who listens [K]."""
        now = np.array([np.nan if s is None else s for s in scores], dtype=np.float64)
        self._low, self._high = np.fmin(self._low, now), np.fmax(self._high, now)
        fallen = now < self._low + self._share * (self._high - self._low)
        return np.asarray(~fallen)

    def state(self) -> NDArray[np.float64]:
        """Return the worst and the best recent returns [2, K]."""
        return np.stack([self._low, self._high])

    def load_state(self, state: NDArray[np.float64]) -> None:
        """Continue from what `state` returned."""
        self._low, self._high = np.array(state, dtype=np.float64)
