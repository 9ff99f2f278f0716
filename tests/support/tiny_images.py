"""A small environment of images: say on which side the light is."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces


class Beacon(gymnasium.Env[Any, Any]):
    """A bright spot of a dim image is left or right; the action that says so earns 1."""

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012

    def __init__(self, first: bool = False, side: int = 8) -> None:
        self.first, self.side = first, side
        shape = (3, side, side) if first else (side, side, 3)
        self.observation_space = spaces.Box(0, 255, shape, np.uint8)
        self.action_space = spaces.Discrete(2)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        return self._look(), {}

    def step(self, action: int) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        reward = float(action == self.right)
        return self._look(), reward, False, False, {}

    def _look(self) -> Any:
        half = self.side // 2
        image = self.np_random.integers(0, 60, (self.side, self.side, 3)).astype(np.uint8)
        self.right = int(self.np_random.integers(2))
        row, column = self.np_random.integers(0, (self.side, half))
        image[row, column + half * self.right] = 250
        return image.transpose(2, 0, 1).copy() if self.first else image


gymnasium.register("Beacon-v0", entry_point=Beacon, max_episode_steps=8)
