"""Environments that misbehave, each in one way, importable in worker processes too."""

from __future__ import annotations

import os
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces


class Good(gymnasium.Env[Any, Any]):
    """A noisy walk of 25 steps; its class counts the steps of all its copies."""

    observation_space: Any = spaces.Box(-10, 10, (2,))
    action_space: Any = spaces.Discrete(2)
    steps_of_all = 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.at = self.np_random.normal(size=2)
        self.left = 25
        return self.look(), {}

    def look(self) -> Any:
        return np.clip(self.at, -10, 10).astype(np.float32)

    def step(self, action: int) -> Any:
        type(self).steps_of_all += 1
        self.left -= 1
        self.at = 0.9 * self.at + 0.1 * self.np_random.normal(size=2) * action
        return self.look(), float(self.at[0]), self.left == 0, False, {}


class NoSeed(Good):
    def reset(self) -> Any:  # type: ignore[override]
        return super().reset(seed=0)


class NaN(Good):
    """The observation becomes NaN in the 300th step of all copies together."""

    def step(self, action: int) -> Any:
        seen, *rest = super().step(action)
        return (seen * np.nan if self.steps_of_all == 300 else seen, *rest)


class Breaks(Good):
    """Raises in the 1,001st step of all copies together, unless it has been mended."""

    def step(self, action: int) -> Any:
        if self.steps_of_all == 1000 and os.environ.get("FDRL_TEST_MENDED") != "yes":
            raise RuntimeError("the wheel came off")
        return super().step(action)


class Wide(Good):
    """Agents may be given more actions."""

    def __init__(self, actions: int = 2) -> None:
        self.action_space = spaces.Discrete(actions)


class Sequences(Good):
    observation_space: Any = spaces.Sequence(spaces.Discrete(3))


class TwoRewards(Good):
    def step(self, action: int) -> Any:
        seen, reward, *rest = super().step(action)
        return (seen, np.array([reward, 1.0]), *rest)


class Nested(Good):
    """A dictionary with a tuple and a text in it; two actions at once."""

    observation_space: Any = spaces.Dict(
        {
            "at": spaces.Box(-10, 10, (2,)),
            "clock": spaces.Tuple([spaces.Discrete(3), spaces.Box(0, 1, (2, 2))]),
            "order": spaces.Text(20),
        }
    )
    action_space: Any = spaces.MultiDiscrete([2, 3])

    def look(self) -> Any:
        table = np.full((2, 2), 0.5, np.float32)
        return {"at": super().look(), "clock": (self.left % 3, table), "order": "go"}

    def step(self, action: Any) -> Any:
        assert action.shape == (2,)
        assert action[1] in (0, 1, 2)
        return super().step(int(action[0]))


class Unlike(Nested):
    """Returns what is not in its observation space."""

    def look(self) -> Any:
        return {"at": np.zeros(2, np.float32), "clock": (7, np.zeros((2, 2)))}


for kind in [Good, NoSeed, NaN, Breaks, Wide, Sequences, TwoRewards, Nested, Unlike]:
    gymnasium.register(f"bad/{kind.__name__}-v0", entry_point=kind, max_episode_steps=50)
