"""Counting training episodes of K agents in E environment copies each."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def any_set(flags: NDArray[np.bool_]) -> bool:
    """Say whether any flag is set; on small arrays three times faster than `any`."""
    return 1 in flags.tobytes()


class Harvest(NamedTuple):
    """Each agent's episodes that ended, in the order in which they did.

    Their returns, their lengths, and the agent's steps since the last harvest when they ended.
    """

    returns: list[NDArray[np.float64]]
    lengths: list[NDArray[np.int64]]
    ends: list[NDArray[np.int64]]


@dataclass
class Tally:
    """Episodes in progress, and those that ended since the last `harvest`.

    Rewards are summed as the environment gives them, whatever the learner makes of them.
    """

    agents: int
    copies: int
    sums: NDArray[np.float64] = field(init=False)
    lengths: NDArray[np.int64] = field(init=False)

    def __post_init__(self) -> None:
        self.sums = np.zeros((self.agents, self.copies))
        self.lengths = np.zeros((self.agents, self.copies), np.int64)
        self._forget()

    def add(self, rewards: Array, done: NDArray[np.bool_], live: NDArray[np.bool_] | None) -> None:
        """Count one step of every copy [K * E]; episodes of agents not live [K] do not end."""
        sums, lengths = self.sums.reshape(-1), self.lengths.reshape(-1)
        np.add(sums, rewards, out=sums)
        np.add(lengths, 1, out=lengths)
        self.moments += 1 if live is None else live
        if not any_set(done):
            return
        for i in np.flatnonzero(done).tolist():
            k = i // self.copies
            if live is None or live[k]:
                self.returns[k].append(float(sums[i]))
                self.ended[k].append(int(lengths[i]))
                self.ends[k].append(int(self.moments[k]) * self.copies)
        sums[done] = 0.0
        lengths[done] = 0

    def count(self) -> NDArray[np.int64]:
        """Return how many episodes of each agent have ended [K]."""
        return np.array([len(r) for r in self.returns], dtype=np.int64)

    def harvest(self) -> Harvest:
        """Return each agent's finished episodes, and forget them."""
        out = Harvest(
            [np.array(r, dtype=np.float64) for r in self.returns],
            [np.array(n, dtype=np.int64) for n in self.ended],
            [np.array(n, dtype=np.int64) for n in self.ends],
        )
        self._forget()
        return out

    def _forget(self) -> None:
        self.moments = np.zeros(self.agents, np.int64)
        self.returns: list[list[float]] = [[] for _ in range(self.agents)]
        self.ended: list[list[int]] = [[] for _ in range(self.agents)]
        self.ends: list[list[int]] = [[] for _ in range(self.agents)]
