"""Watching training episodes one by one: when agents complete a goal, and how they end.

K agents. What is known of an episode depends on nothing but the episodes before it, however the
rounds cut them.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fdrl.budget import Goal

Array = NDArray[Any]
LAST = 100
"""Episodes at the end of training that are looked at by themselves."""
NEVER = -1


class Completion:
    """Each agent's latest training returns, and the episode and step at which it completed."""

    def __init__(self, agents: int, goal: Goal | None = None) -> None:
        self.goal = goal
        keep = max(LAST, goal.window if goal else 0)
        self._latest = [deque[float](maxlen=keep) for _ in range(agents)]
        self.total = np.zeros(agents)
        """[K] sum of all training returns."""
        self.episodes = np.full(agents, NEVER, np.int64)
        """[K] the episode, counted from 1, that completed the goal; `NEVER` if none has yet."""
        self.steps = np.full(agents, NEVER, np.int64)
        """[K] the agent's environment steps at its end."""

    def add(self, agent: int, first: int, returns: Array, ends: Array) -> None:
        """Take in an agent's new episodes: `first` is the number of the first of them.

        `ends` are the agent's environment steps, of the whole run, when each of them ended.
        """
        latest = self._latest[agent]
        for number, (value, step) in enumerate(zip(returns.tolist(), ends.tolist(), strict=True)):
            latest.append(value)
            self.total[agent] += value
            if self.episodes[agent] == NEVER and self._passes(latest):
                self.episodes[agent], self.steps[agent] = first + number, step

    def _passes(self, latest: deque[float]) -> bool:
        goal = self.goal
        if goal is None or len(latest) < goal.window:
            return False
        window = [latest[i] for i in range(-goal.window, 0)]
        return math.fsum(window) / goal.window > goal.mean

    @property
    def count(self) -> int | None:
        """How many agents have completed the goal; None without a goal."""
        return None if self.goal is None else int((self.episodes != NEVER).sum())

    @property
    def all_done(self) -> bool:
        """Whether every agent has completed the goal."""
        return self.count == len(self.episodes)

    def last_means(self) -> NDArray[np.float64]:
        """Return [K], the mean of each agent's last 100 episodes; NaN where none has ended."""
        latest = [list(own)[-LAST:] for own in self._latest]
        return np.array([math.fsum(own) / len(own) if own else math.nan for own in latest])

    def state(self) -> dict[str, Array]:
        """Return everything needed to resume; returns are [K, longest], flush right, else NaN."""
        longest = max(len(own) for own in self._latest)
        latest = np.full((len(self._latest), longest), np.nan)
        for k, own in enumerate(self._latest):
            latest[k, longest - len(own) :] = list(own)
        return {
            "latest": latest,
            "kept": np.array([len(own) for own in self._latest]),
            "total": self.total.copy(),
            "episodes": self.episodes.copy(),
            "steps": self.steps.copy(),
        }

    def load_state(self, state: Mapping[str, Array]) -> None:
        """Continue from what `state` returned."""
        for own, row, kept in zip(self._latest, state["latest"], state["kept"], strict=True):
            own.clear()
            own.extend(row[len(row) - int(kept) :].tolist())
        self.total = np.array(state["total"])
        self.episodes = np.array(state["episodes"])
        self.steps = np.array(state["steps"])


def known(values: Sequence[int] | Array) -> list[int | None]:
    """Return numbers with None for `NEVER`."""
    return [None if v == NEVER else int(v) for v in values]
