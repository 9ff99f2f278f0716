"""Tiny PettingZoo worlds for tests."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from gymnasium import spaces
from pettingzoo import ParallelEnv


class Pair(ParallelEnv):  # type: ignore[misc]
    """Two roles: `caller_0` sees a bit and names it, `hearer_0`, `hearer_1` see what was named.

    All get 1 for each hearer that repeats the bit. Episodes take four steps. `fault` breaks it.
    """

    metadata: ClassVar[dict[str, Any]] = {"name": "pair"}

    def __init__(self, fault: str = "", length: int = 4, render_mode: str | None = None) -> None:
        self.possible_agents = ["caller_0", "hearer_0", "hearer_1"]
        self.agents: list[str] = []
        self.fault, self.length, self.t = fault, length, 0
        self.rng = np.random.default_rng(0)
        self._seen = {a: spaces.Box(0.0, 1.0, (2 if a == "caller_0" else 3,)) for a in
                      self.possible_agents}  # fmt: skip
        self._moves = {a: spaces.Discrete(2) for a in self.possible_agents}

    def observation_space(self, agent: str) -> Any:
        return self._seen[agent]

    def action_space(self, agent: str) -> Any:
        return self._moves[agent]

    def _look(self) -> dict[str, Any]:
        caller = np.eye(2, dtype=np.float32)[self.bit]
        heard = np.zeros(3, np.float32)
        heard[self.word] = 1.0
        return {a: caller.copy() if a == "caller_0" else heard.copy() for a in self.agents}

    def reset(self, seed: int | None = None, options: Any = None) -> Any:
        if seed is not None and self.fault != "seedless":
            self.rng = np.random.default_rng(seed)
        self.agents = self.possible_agents[: 2 if self.fault == "late" else 3]
        self.t, self.word, self.bit = 0, 2, int(self.rng.integers(2))
        return self._look(), {a: {} for a in self.agents}

    def step(self, actions: dict[str, int]) -> Any:
        if self.fault == "raises" and self.t == 2:
            raise ValueError("out of fuel")
        here = self.agents[:]
        right = sum(int(actions.get(a, -1)) == self.word for a in here if a != "caller_0")
        self.word, self.t = int(actions.get("caller_0", 0)), self.t + 1
        over = self.t >= self.length
        seen = self._look()
        gone = {a: self.fault == "leaves" and a == "hearer_1" and self.t == 2 for a in here}
        self.agents = [] if over else [a for a in here if not gone[a]]
        return (seen, dict.fromkeys(here, float(right)), gone, dict.fromkeys(here, over),
                {a: {} for a in here})  # fmt: skip


def pair(**kwargs: Any) -> ParallelEnv:  # type: ignore[type-arg]
    return Pair(**kwargs)
