"""Helpers: cohorts on small worlds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fdrl.core.cohort import CohortContext
from fdrl.core.env import Step
from fdrl.vector.factory import make_factory
from fdrl.vector.heterogeneity import Dynamics, Nothing


def context(
    agents: int | Sequence[int] = 2,
    env: str = "CartPole-v1",
    spread: float = 0.0,
    total: int = 0,
    same: bool = False,
) -> CohortContext:
    """Return the context of agents 0..n-1, or of some of ten."""
    rows = tuple(range(agents)) if isinstance(agents, int) else tuple(agents)
    hetero = Dynamics(level=spread) if spread else Nothing()
    envs = make_factory(env, max(10, *rows), hetero, seed=5).subset(rows)
    ids = tuple(f"agent-{i}" for i in rows)
    return CohortContext(ids, rows, envs, seed=5, same_init=same, total_steps=total)


class Counter:
    """n copies that count their steps: observation [episode step, copy], reward 1.

    Copy i's episode ends after `length + i` steps, by truncation or by termination.
    """

    def __init__(self, count: int, length: int, truncates: bool) -> None:
        self.count, self._length, self._truncates = count, length, truncates
        self._t = np.zeros(count, np.int64)

    def _see(self) -> NDArray[np.float32]:
        return np.stack([self._t, np.arange(self.count)], axis=1).astype(np.float32)

    def reset(self) -> NDArray[np.float32]:
        self._t[:] = 0
        return self._see()

    def step(self, actions: NDArray[Any]) -> Step:
        self._t += 1
        following = self._see()
        done = self._t >= self._length + np.arange(self.count)
        self._t[done] = 0
        no = np.zeros(self.count, np.bool_)
        ends = (no, done) if self._truncates else (done, no)
        return Step(self._see(), following, np.ones(self.count), *ends)

    def state(self) -> dict[str, NDArray[Any]]:
        return {"t": self._t.copy()}

    def load_state(self, state: dict[str, NDArray[Any]]) -> None:
        self._t[:] = state["t"]

    def close(self) -> None:
        pass


@dataclass(frozen=True)
class CounterFactory:
    """Stands in for an EnvFactory."""

    agents: int
    length: int
    truncates: bool
    observation_shape: tuple[int, ...] = (2,)
    n_actions: int = 2
    gaussian: bool = False

    def vector(self, copies: int) -> Counter:
        return Counter(self.agents * copies, self.length, self.truncates)

    def evaluation(self, episodes: int, seed: int, held_out: bool = False) -> Counter:
        return Counter(self.agents * episodes, self.length, self.truncates)


def counter_context(agents: int = 1, length: int = 3, truncates: bool = False) -> CohortContext:
    """Return a context whose environments only count."""
    envs: Any = CounterFactory(agents, length, truncates)
    ids = tuple(f"agent-{i}" for i in range(agents))
    return CohortContext(ids, tuple(range(agents)), envs, seed=1)
