"""Episodes in progress, and those that ended, of K agents in E environment copies each."""

from __future__ import annotations

from collections.abc import Sequence
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
    moments: NDArray[np.int64] = field(init=False)
    returns: list[list[float]] = field(init=False)
    ended: list[list[int]] = field(init=False)
    ends: list[list[int]] = field(init=False)

    def __post_init__(self) -> None:
        self.sums = np.zeros((self.agents, self.copies))
        self.lengths = np.zeros((self.agents, self.copies), np.int64)
        self.moments = np.zeros(self.agents, np.int64)
        self.returns = [[] for _ in range(self.agents)]
        self.ended = [[] for _ in range(self.agents)]
        self.ends = [[] for _ in range(self.agents)]

    def add(
        self,
        rewards: Array,
        done: NDArray[np.bool_],
        alive: NDArray[np.bool_] | None = None,
    ) -> None:
        """Count one step of every copy [K * E].

        Where `alive` [K * E] says no, nobody is in the copy: its reward is 0, no episode ends.
        `ends` go on counting there, because budgets do.
        """
        sums, lengths = self.sums.reshape(-1), self.lengths.reshape(-1)
        np.add(sums, rewards, out=sums)
        np.add(lengths, 1 if alive is None else alive, out=lengths)
        self.moments += 1
        if not any_set(done):
            return
        for i in np.flatnonzero(done).tolist():
            k = i // self.copies
            self.returns[k].append(float(sums[i]))
            self.ended[k].append(int(lengths[i]))
            self.ends[k].append(int(self.moments[k]) * self.copies)
        sums[done] = 0.0
        lengths[done] = 0

    def take(self, rows: NDArray[np.int64]) -> Tally:
        """Return some agents' tally: episodes that end are noted in the same lists."""
        part = Tally(len(rows), self.copies)
        part.sums, part.lengths = self.sums[rows], self.lengths[rows]
        part.moments = self.moments[rows]
        part.returns = [self.returns[k] for k in rows.tolist()]
        part.ended = [self.ended[k] for k in rows.tolist()]
        part.ends = [self.ends[k] for k in rows.tolist()]
        return part

    def put(self, rows: NDArray[np.int64], part: Tally) -> None:
        """Take back what `take` returned, as it is now."""
        self.sums[rows], self.lengths[rows] = part.sums, part.lengths
        self.moments[rows] = part.moments

    def count(self) -> NDArray[np.int64]:
        """Return how many episodes of each agent have ended [K]."""
        return np.array([len(r) for r in self.returns], dtype=np.int64)

    def harvest(self, rows: Sequence[int] | None = None) -> Harvest:
        """Return agents' finished episodes, and forget them."""
        who = range(self.agents) if rows is None else rows
        out = Harvest(
            [np.array(self.returns[k], dtype=np.float64) for k in who],
            [np.array(self.ended[k], dtype=np.int64) for k in who],
            [np.array(self.ends[k], dtype=np.int64) for k in who],
        )
        for k in who:
            self.returns[k], self.ended[k], self.ends[k] = [], [], []
            self.moments[k] = 0
        return out
