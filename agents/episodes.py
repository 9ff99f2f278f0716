"""Episodes of K agents in E environment copies: in progress, finished, and whole ones on a tape."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fdrl.core.arrays import Array, Doubles, Floats

# ---- Episodes in progress, and those that ended, of K agents in E environment copies each ----


def any_set(flags: NDArray[np.bool_]) -> bool:
    """Say whether any flag is set; on small arrays three times faster than `any`."""
    return 1 in flags.tobytes()


class FinishedEpisodes(NamedTuple):
    """Each agent's episodes that ended, in the order in which they did.

    Their returns, their lengths, and the agent's steps since the last harvest when they ended.
    """

    returns: list[NDArray[np.float64]]
    lengths: list[NDArray[np.int64]]
    ends: list[NDArray[np.int64]]


@dataclass
class EpisodeStats:
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

    def take(self, rows: NDArray[np.int64]) -> EpisodeStats:
        """Return some agents' tally: episodes that end are noted in the same lists."""
        part = EpisodeStats(len(rows), self.copies)
        part.sums, part.lengths = self.sums[rows], self.lengths[rows]
        part.moments = self.moments[rows]
        part.returns = [self.returns[k] for k in rows.tolist()]
        part.ended = [self.ended[k] for k in rows.tolist()]
        part.ends = [self.ends[k] for k in rows.tolist()]
        return part

    def put(self, rows: NDArray[np.int64], part: EpisodeStats) -> None:
        """Take back what `take` returned, as it is now."""
        self.sums[rows], self.lengths[rows] = part.sums, part.lengths
        self.moments[rows] = part.moments

    def count(self) -> NDArray[np.int64]:
        """Return how many episodes of each agent have ended [K]."""
        return np.array([len(r) for r in self.returns], dtype=np.int64)

    def harvest(self, rows: Sequence[int] | None = None) -> FinishedEpisodes:
        """Return agents' finished episodes, and forget them."""
        who = range(self.agents) if rows is None else rows
        out = FinishedEpisodes(
            [np.array(self.returns[k], dtype=np.float64) for k in who],
            [np.array(self.ended[k], dtype=np.int64) for k in who],
            [np.array(self.ends[k], dtype=np.int64) for k in who],
        )
        for k in who:
            self.returns[k], self.ended[k], self.ends[k] = [], [], []
            self.moments[k] = 0
        return out


# ---- Whole episodes of K agents that end at different times: a tape, and returns-to-go ----
#
# Shapes: K agents, M steps of local training, n steps of an episode, O observation components, A
# actions.


EPSILON = 1e-5
"""Added to the standard deviation of returns, as FedHPD's published script does."""
CHUNK = 512
"""Steps for which a tape has room at first."""


def returns_to_go(rewards: Sequence[float], gamma: float) -> Doubles:
    """G_t = r_t + gamma * G_(t+1) [n] (Williams 1992); what a time limit cut off counts as 0."""
    out = np.empty(len(rewards))
    running = 0.0
    for t in range(len(rewards) - 1, -1, -1):
        running = rewards[t] + gamma * running
        out[t] = running
    return out


def standardize(returns: Doubles) -> Doubles:
    """(G - mean) / (std + eps) [n], std over n - 1; a single number has no spread and stays."""
    if len(returns) < 2:
        return returns
    centered = returns - np.add.reduce(returns) / len(returns)
    deviation = np.sqrt(np.add.reduce(centered * centered) / (len(returns) - 1))
    return np.asarray(centered / (deviation + EPSILON))


class Episode(NamedTuple):
    """One agent's finished episode: observations [1, n, O], actions [1, n], rewards [n]."""

    observations: Floats
    actions: NDArray[np.int64]
    rewards: list[float]


class Tape:
    """The steps of local training in time order, one column an agent, growing as it is written.

    Row `first` is its first step. Above it lies, flush, what each agent had done of its
    unfinished episode when it began: so an episode is always a run of rows of one column.
    `observations` [rows + 1, K, 1, O] has a row more, what to act on next.
    """

    def __init__(
        self, begun: Mapping[str, Array], lengths: NDArray[np.int64], actions: int
    ) -> None:
        """Start from `begun` (see `unfinished`), of which agent k's first `lengths[k]` count."""
        k, _, inputs = begun["observations"].shape
        self.first = int(lengths.max())
        rows = self.first + CHUNK
        self.observations = np.zeros((rows + 1, k, 1, inputs), np.float32)
        self.actions = np.zeros((rows, k), np.int64)
        self.rewards = np.zeros((rows, k))
        self.logits = np.zeros((rows, k, actions), np.float32)
        for i, n in enumerate(lengths.tolist()):
            above = slice(self.first - n, self.first)
            self.observations[above, i, 0] = begun["observations"][i, :n]
            self.actions[above, i] = begun["actions"][i, :n]
            self.rewards[above, i] = begun["rewards"][i, :n]

    @classmethod
    def nothing(cls, agents: int, inputs: int) -> dict[str, Array]:
        """Return what agents have done of their episodes before their first step."""
        return {
            "observations": np.zeros((agents, 0, inputs), np.float32),
            "actions": np.zeros((agents, 0), np.int64),
            "rewards": np.zeros((agents, 0)),
        }

    def reserve(self, rows: int) -> None:
        """Make room for `rows` rows; views of the old memory stay valid but are not written."""
        have = len(self.actions)
        if rows > have:
            more = max(rows - have, have)
            for name in ("observations", "actions", "rewards", "logits"):
                old = getattr(self, name)
                room = np.zeros((more, *old.shape[1:]), old.dtype)
                setattr(self, name, np.concatenate([old, room]))

    def episode(self, agent: int, end: int, length: int) -> Episode:
        """Return the episode of `length` steps that an agent finished just before row `end`."""
        rows = slice(end - length, end)
        # BLAS rounds differently for strided rows, and their stride would depend on K
        return Episode(
            np.ascontiguousarray(self.observations[rows, agent, 0])[None],
            np.ascontiguousarray(self.actions[rows, agent])[None],
            self.rewards[rows, agent].tolist(),
        )

    def unfinished(self, taken: NDArray[np.int64], lengths: NDArray[np.int64]) -> dict[str, Array]:
        """Return the last `lengths[k]` of the `taken[k]` steps (and those before): [K, longest].

        Rows are flush with the left; zeros follow.
        """
        k, longest = len(taken), int(lengths.max())
        out: dict[str, Array] = {
            "observations": np.zeros((k, longest, self.observations.shape[-1]), np.float32),
            "actions": np.zeros((k, longest), np.int64),
            "rewards": np.zeros((k, longest)),
        }
        for i, (end, n) in enumerate(zip((self.first + taken).tolist(), lengths, strict=True)):
            rows = slice(end - n, end)
            out["observations"][i, :n] = self.observations[rows, i, 0]
            out["actions"][i, :n] = self.actions[rows, i]
            out["rewards"][i, :n] = self.rewards[rows, i]
        return out

    def seen(self, taken: NDArray[np.int64]) -> tuple[Floats, Floats]:
        """Return the observations [K, M, O] and probabilities [K, M, A], zero-padded."""
        m = int(taken.max())
        rows = slice(self.first, self.first + m)
        observations = np.ascontiguousarray(self.observations[rows, :, 0].swapaxes(0, 1))
        # over each row by itself: the order of its sum must not depend on how many there are
        logits = np.ascontiguousarray(self.logits[rows].swapaxes(0, 1))
        e = np.exp(logits - np.maximum.reduce(logits, axis=2, keepdims=True))
        probs = np.asarray(e / np.add.reduce(e, axis=2, keepdims=True), dtype=np.float32)
        for i, n in enumerate(taken.tolist()):
            observations[i, n:], probs[i, n:] = 0, 0
        return observations, probs
