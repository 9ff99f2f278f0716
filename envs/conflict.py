"""Conflict: a grid world with two exits, and agents that disagree which one is worth taking.

The grid has 5 rows and 9 columns; the exits are the middle cells of the left and the right border.
Every step costs `step_cost`; leaving on the right pays (1 + side) / 2, on the left (1 - side) / 2.
The heterogeneity `conflict` turns `side` from 1 towards -1 for half of the agents: at level 0 all
want to go right, at level 1 half of them want the opposite. Nobody sees `side`.

`ConflictEnv` is the environment as one would write it for Gymnasium, `Conflict` many copies of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from fdrl.vector import Array

from . import drawing
from .vectorized import Floats, Vectorized

ID = "fdrl/Conflict-v0"
ROWS, COLUMNS = 5, 9
MIDDLE = ROWS // 2
STEPS = 50
MOVES = np.array([[-1, 0], [1, 0], [0, -1], [0, 1]])
"""Up, down, left, right, as changes of (row, column)."""


class ConflictEnv(gymnasium.Env[NDArray[np.float32], int]):
    """Walk to an exit: up (0), down (1), left (2), right (3); walls hold.

    Observations [2]: row and column, scaled to [-1, 1]. Episodes start anywhere but in the
    columns of the exits; numbers drawn from [low, high] (reset options, [0, 1] by default) choose
    the row and the column, low ones the top and the left.

    >>> env = ConflictEnv(side=-1.0)
    >>> env.reset(seed=0)[0].shape
    (2,)
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array"], "render_fps": 8}

    def __init__(
        self, render_mode: str | None = None, side: float = 1.0, step_cost: float = 0.01
    ) -> None:
        self.render_mode, self.side, self.step_cost = render_mode, side, step_cost
        self.observation_space = spaces.Box(-1.0, 1.0, (2,), np.float32)
        self.action_space = spaces.Discrete(len(MOVES))
        self.row, self.column = MIDDLE, COLUMNS // 2

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Start in a cell that is drawn."""
        super().reset(seed=seed)
        given = options or {}
        drawn = self.np_random.uniform(given.get("low", 0.0), given.get("high", 1.0), 2)
        self.row = min(max(int(drawn[0] * ROWS), 0), ROWS - 1)
        self.column = 1 + min(max(int(drawn[1] * (COLUMNS - 2)), 0), COLUMNS - 3)
        return self._look(), {}

    def _look(self) -> NDArray[np.float32]:
        row, column = self.row / MIDDLE - 1.0, self.column / (COLUMNS // 2) - 1.0
        return np.array([row, column], np.float32)

    def step(self, action: int) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """Move by one cell; at an exit the episode ends."""
        down, right = MOVES[action].tolist()
        self.row = min(max(self.row + down, 0), ROWS - 1)
        self.column = min(max(self.column + right, 0), COLUMNS - 1)
        left = self.row == MIDDLE and self.column == 0
        out = left or (self.row == MIDDLE and self.column == COLUMNS - 1)
        pays = (1 - self.side if left else 1 + self.side) / 2 if out else 0.0
        return self._look(), pays - self.step_cost, out, False, {}

    def render(self) -> NDArray[np.uint8]:
        """Draw the grid; an exit is the greener the more it pays."""
        size = 24
        image = drawing.canvas(ROWS * size + 1, COLUMNS * size + 1)
        for row in range(ROWS):
            for column in range(COLUMNS):
                drawing.box(
                    image, row * size + 1, column * size + 1, size - 1, size - 1, (232,) * 3
                )
        for column, worth in ((0, (1 - self.side) / 2), (COLUMNS - 1, (1 + self.side) / 2)):
            mix = [
                round(p + worth * (g - p)) for p, g in zip((255,) * 3, drawing.GREEN, strict=True)
            ]
            top, color = MIDDLE * size, (mix[0], mix[1], mix[2])
            drawing.box(image, top, column * size, size + 1, size + 1, drawing.GREEN)
            drawing.box(image, top + 2, column * size + 2, size - 3, size - 3, color)
        y, x = (self.row + 0.5) * size, (self.column + 0.5) * size
        drawing.disk(image, y, x, size / 3, drawing.COLORS[0])
        return image


class Conflict(Vectorized):
    """Many copies of `ConflictEnv`, equal to the bit. Parameters per copy: side, step_cost."""

    observation_space: ClassVar[spaces.Box] = spaces.Box(-1.0, 1.0, (2,), np.float32)
    action_space: ClassVar[spaces.Discrete] = spaces.Discrete(len(MOVES))
    size: ClassVar[int] = 2
    draws: ClassVar[int] = 2

    def __init__(
        self,
        count: int,
        params: Mapping[str, Floats],
        seeds: Sequence[np.random.SeedSequence],
        max_steps: int,
    ) -> None:
        super().__init__(count, params, seeds, max_steps)
        self._pays = np.stack([(1 - params["side"]) / 2, (1 + params["side"]) / 2])
        self._cost = -params["step_cost"]
        self._down, self._right = MOVES.T.astype(np.float64).copy()
        self._at_exit = np.zeros((2, count), np.bool_)
        self._moved = np.zeros((2, count))
        self._middle = np.zeros(count, np.bool_)

    def _advance(self, actions: Array) -> None:
        row, column = self._state
        np.take(self._down, actions, out=self._moved[0], mode="clip")
        np.take(self._right, actions, out=self._moved[1], mode="clip")
        np.add(self._state, self._moved, out=self._state)
        np.minimum(np.maximum(row, 0, out=row), ROWS - 1, out=row)
        np.minimum(np.maximum(column, 0, out=column), COLUMNS - 1, out=column)
        np.equal(row, MIDDLE, out=self._middle)
        np.equal(column, 0, out=self._at_exit[0])
        np.equal(column, COLUMNS - 1, out=self._at_exit[1])
        np.logical_and(self._at_exit, self._middle, out=self._at_exit)
        np.logical_or(self._at_exit[0], self._at_exit[1], out=self._terminated)
        np.multiply(self._pays, self._at_exit, out=self._moved)
        np.add(self._moved[0], self._moved[1], out=self._rewards)
        np.add(self._rewards, self._cost, out=self._rewards)
        self._look(self._state, self._next)

    @staticmethod
    def _look(state: Floats, out: NDArray[np.float32]) -> None:
        out[:, 0] = state[0] / MIDDLE - 1.0
        out[:, 1] = state[1] / (COLUMNS // 2) - 1.0

    def _begin(self, rows: NDArray[np.intp], drawn: Floats) -> NDArray[np.float32]:
        cells = np.trunc(drawn * [ROWS, COLUMNS - 2]).T
        state = np.clip(cells, 0, [[ROWS - 1], [COLUMNS - 3]]) + [[0], [1]]
        self._state[:, rows] = state
        seen = np.empty((len(rows), 2), np.float32)
        self._look(state, seen)
        return seen


if ID not in gymnasium.registry:
    gymnasium.register(
        ID,
        entry_point="fdrl.envs.conflict:ConflictEnv",
        max_episode_steps=STEPS,
        reward_threshold=0.93,
    )
