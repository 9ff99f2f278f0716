"""Tiny PettingZoo worlds for tests."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from gymnasium import spaces
from pettingzoo import AECEnv, ParallelEnv

from fdrl import Federation


class Tiny(ParallelEnv):  # type: ignore[misc]
    """What the worlds below share: their agents, and spaces in `_seen` and `_moves`."""

    def __init__(self, agents: list[str]) -> None:
        self.possible_agents, self.agents = agents, []
        self.rng, self.t = np.random.default_rng(0), 0
        self._seen: dict[str, Any] = {}
        self._moves: dict[str, Any] = {a: spaces.Discrete(2) for a in agents}

    def observation_space(self, agent: str) -> Any:
        return self._seen[agent]

    def action_space(self, agent: str) -> Any:
        return self._moves[agent]


class Pair(Tiny):
    """Two roles: `caller_0` sees a bit and names it, `hearer_0`, `hearer_1` see what was named.

    All get 1 for each hearer that repeats the bit. Episodes take four steps. `fault` breaks it.
    """

    metadata: ClassVar[dict[str, Any]] = {"name": "pair"}

    def __init__(self, fault: str = "", length: int = 4, render_mode: str | None = None) -> None:
        super().__init__(["caller_0", "hearer_0", "hearer_1"])
        self.fault, self.length = fault, length
        self._seen = {a: spaces.Box(0.0, 1.0, (2 if a == "caller_0" else 3,)) for a in
                      self.possible_agents}  # fmt: skip

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


class Leaver(Tiny):
    """`agent_1` gets 10 a step and leaves after 2, `agent_0` gets 1 a step, and it ends after 4.

    Agents see [step, own number]. `how` agent_1 leaves: "terminated", "truncated" or, without a
    word, "vanishes".
    """

    metadata: ClassVar[dict[str, Any]] = {"name": "leaver"}

    def __init__(self, how: str = "terminated", render_mode: str | None = None) -> None:
        super().__init__(["agent_0", "agent_1"])
        self.how = how
        self._seen = {a: spaces.Box(0.0, 9.0, (2,)) for a in self.possible_agents}

    def _look(self) -> dict[str, Any]:
        return {a: np.array([self.t, int(a[-1])], np.float32) for a in self.agents}

    def reset(self, seed: int | None = None, options: Any = None) -> Any:
        self.agents, self.t = self.possible_agents[:], 0
        return self._look(), {a: {} for a in self.agents}

    def step(self, actions: dict[str, int]) -> Any:
        assert sorted(actions) == self.agents
        self.t += 1
        here, seen = self.agents[:], self._look()
        over = {a: self.t == (4 if a == "agent_0" else 2) for a in here}
        self.agents = [a for a in here if not over[a]]
        ends = {how: {a: over[a] and (a == "agent_0") == (how == "terminated") for a in here}
                for how in ("terminated", "truncated")}  # fmt: skip
        if self.how != "truncated":
            ends = {how: {a: over[a] and how == "terminated" and (a == "agent_0" or
                          self.how == how) for a in here} for how in ends}  # fmt: skip
        rewards = {a: 1.0 if a == "agent_0" else 10.0 for a in here}
        return seen, rewards, ends["terminated"], ends["truncated"], {a: {} for a in here}


class Boastful(Leaver):
    """Has something called `vectorized` that makes no worlds."""

    vectorized = True


class Turns(AECEnv):  # type: ignore[misc]
    """Its agents act one after another."""

    metadata: ClassVar[dict[str, Any]] = {"name": "turns", "is_parallelizable": True}


def turns() -> Any:
    return Turns()


class Aim(Tiny):
    """Two agents see a table [[bit, 0]] and get -(action - bit)**2, for continuous actions.

    `aimer_0` has one action dimension, `wide_0` two, of which the second does nothing. `wide_0`
    leaves after one step of three.
    """

    metadata: ClassVar[dict[str, Any]] = {"name": "aim"}

    def __init__(self, render_mode: str | None = None) -> None:
        super().__init__(["aimer_0", "wide_0"])
        self._seen = {a: spaces.Box(0.0, 1.0, (1, 2), np.float64) for a in self.possible_agents}
        self._moves = {"aimer_0": spaces.Box(-1.0, 2.0, (1,), np.float32),
                       "wide_0": spaces.Box(0.5, 2.0, (2,), np.float64)}  # fmt: skip

    def _look(self) -> dict[str, Any]:
        return {a: np.array([[self.bit, 0.0]]) for a in self.agents}

    def reset(self, seed: int | None = None, options: Any = None) -> Any:
        if seed is not None:
            self.rng = np.random.default_rng(seed)
        self.agents, self.t, self.bit = self.possible_agents[:], 0, int(self.rng.integers(2))
        return self._look(), {a: {} for a in self.agents}

    def step(self, actions: dict[str, Any]) -> Any:
        for agent, action in actions.items():
            assert self._moves[agent].contains(action), (agent, action)
        here, bit = self.agents[:], self.bit
        self.t, self.bit = self.t + 1, int(self.rng.integers(2))
        rewards = {a: -float((actions[a][0] - bit) ** 2) for a in here}
        seen = self._look()
        gone = {a: self.t == 3 or a == "wide_0" for a in here}
        self.agents = [a for a in here if not gone[a]]
        return seen, rewards, gone, dict.fromkeys(here, False), {a: {} for a in here}


class Lamps(Tiny):
    """Two agents see one picture [8, 8, 1], dark or bright, and get 1 for naming it; two steps."""

    metadata: ClassVar[dict[str, Any]] = {"name": "lamps"}

    def __init__(self, render_mode: str | None = None) -> None:
        super().__init__(["lamp_0", "lamp_1"])
        self._seen = {a: spaces.Box(0, 255, (8, 8, 1), np.uint8) for a in self.possible_agents}

    def _look(self) -> dict[str, Any]:
        self.bit = int(self.rng.integers(2))
        return {a: np.full((8, 8, 1), 200 * self.bit, np.uint8) for a in self.agents}

    def reset(self, seed: int | None = None, options: Any = None) -> Any:
        if seed is not None:
            self.rng = np.random.default_rng(seed)
        self.agents, self.t = self.possible_agents[:], 0
        return self._look(), {a: {} for a in self.agents}

    def step(self, actions: dict[str, int]) -> Any:
        here, self.t = self.agents[:], self.t + 1
        rewards = {a: float(actions[a] == self.bit) for a in here}
        seen = self._look()
        over = dict.fromkeys(here, self.t == 2)
        self.agents = [] if self.t == 2 else here
        return seen, rewards, over, dict.fromkeys(here, False), {a: {} for a in here}


def finished(federation: Federation) -> Federation:
    """Run a federation to its end."""
    while not federation.done:
        federation.round()
    return federation
