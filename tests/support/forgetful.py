"""An environment that ignores its seed, and where it goes differs every time."""

from __future__ import annotations

from typing import Any, ClassVar

import gymnasium
import numpy as np
from gymnasium import spaces


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
