"""Environments that ignore their seed, alone and shared: where they go differs every time."""

from __future__ import annotations

from typing import Any, ClassVar

import gymnasium
import numpy as np
from gymnasium import spaces
from pettingzoo import ParallelEnv


class Forgetful(gymnasium.Env[Any, Any]):
    """A random walk without bounds that ends by chance; its randomness is the process's own.

    `opened` and `stepped` count what all of them together were asked to do.
    """

    observation_space = spaces.Box(-np.inf, np.inf, (2,), np.float32)
    action_space = spaces.Discrete(2)
    opened: ClassVar[int] = 0
    stepped: ClassVar[int] = 0

    def __init__(self) -> None:
        Forgetful.opened += 1
        self._draw = np.random.default_rng()
        self._at = np.zeros(2)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self._at = self._draw.normal(size=2)
        return self._at.astype(np.float32), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        Forgetful.stepped += 1
        self._at = self._at + self._draw.normal(size=2) + (0.1 if action else -0.1)
        ended = bool(self._draw.random() < 0.2)
        return self._at.astype(np.float32), float(self._at[0]), ended, False, {}


gymnasium.register("Forgetful-v0", entry_point=Forgetful, max_episode_steps=30)


class ForgetfulWorld(ParallelEnv[str, Any, Any]):
    """The same, in a world of two agents, who both stay until it ends by chance."""

    metadata: ClassVar[dict[str, Any]] = {"name": "forgetful_world"}
    possible_agents: ClassVar[list[str]] = ["left", "right"]
    observation_spaces: ClassVar = dict.fromkeys(possible_agents, Forgetful.observation_space)
    action_spaces: ClassVar = dict.fromkeys(possible_agents, Forgetful.action_space)

    def __init__(self, render_mode: str | None = None) -> None:
        self._draw = np.random.default_rng()
        self._steps = 0

    def observation_space(self, agent: str) -> Any:
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> Any:
        return self.action_spaces[agent]

    def _seen(self) -> dict[str, Any]:
        return {a: self._draw.normal(size=2).astype(np.float32) for a in self.possible_agents}

    def reset(self, seed: int | None = None, options: Any = None) -> Any:
        self.agents, self._steps = [*self.possible_agents], 0
        return self._seen(), {a: {} for a in self.agents}

    def step(self, actions: dict[str, Any]) -> Any:
        self._steps += 1
        there, ended = self.agents, bool(self._draw.random() < 0.2)
        cut = self._steps == 30 and not ended
        self.agents = [] if ended or cut else there
        rewards = {a: float(actions[a]) for a in there}
        gone = dict.fromkeys(there, ended), dict.fromkeys(there, cut)
        return self._seen(), rewards, *gone, {a: {} for a in there}
