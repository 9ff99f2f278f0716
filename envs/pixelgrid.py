"""Pixel grid: find the goal in a picture of 7 x 7 cells, 3 pixels each.

`PixelGridEnv` is the environment as one would write it for Gymnasium, `PixelGrid` many copies.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from fdrl.registry import EnvSpec, Physics
from fdrl.vector import Array

from .vectorized import Floats, Vectorized

ID = "fdrl/PixelGrid-v0"
CELLS, PIXELS = 7, 3
SIZE = CELLS * PIXELS
STEPS = 40
MOVES = np.array([[-1, 0], [1, 0], [0, -1], [0, 1]])
"""Up, down, left, right, as changes of (row, column)."""
WALKER, GOAL = 0, 1
"""The channels of the walker (red) and the goal (green)."""


class PixelGridEnv(gymnasium.Env[NDArray[np.uint8], np.int64]):
    """Walk to the goal: up (0), down (1), left (2), right (3); walls hold.

    Observations [3, 21, 21], uint8: the walker's cell is 255 in channel 0, the goal's in channel
    1. Each step costs `step_cost`; the goal pays 1 and ends the episode. Walker and goal are
    drawn; if they are drawn into one cell, the goal moves on by one.

    >>> env = PixelGridEnv()
    >>> env.reset(seed=0)[0].sum() == 2 * 9 * 255
    True
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 8}  # noqa: RUF012

    def __init__(self, render_mode: str | None = None, step_cost: float = 0.02) -> None:
        self.render_mode, self.step_cost = render_mode, step_cost
        self.observation_space = spaces.Box(0, 255, (3, SIZE, SIZE), np.uint8)
        self.action_space = spaces.Discrete(len(MOVES))
        self.walker, self.goal = 0, 1

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.uint8], dict[str, Any]]:
        """Draw the cells of the walker and of the goal."""
        super().reset(seed=seed)
        given = options or {}
        drawn = self.np_random.uniform(given.get("low", 0.0), given.get("high", 1.0), 2)
        last = CELLS * CELLS - 1
        self.walker, self.goal = (min(max(int(d * CELLS * CELLS), 0), last) for d in drawn)
        if self.goal == self.walker:
            self.goal = (self.goal + 1) % (CELLS * CELLS)
        return self._look(), {}

    def _look(self) -> NDArray[np.uint8]:
        picture = np.zeros(self.observation_space.shape or (), np.uint8)
        for channel, cell in ((WALKER, self.walker), (GOAL, self.goal)):
            top, left = PIXELS * (cell // CELLS), PIXELS * (cell % CELLS)
            picture[channel, top : top + PIXELS, left : left + PIXELS] = 255
        return picture

    def step(self, action: Any) -> tuple[NDArray[np.uint8], float, bool, bool, dict[str, Any]]:
        """Move by one cell."""
        down, right = MOVES[action].tolist()
        row = min(max(self.walker // CELLS + down, 0), CELLS - 1)
        column = min(max(self.walker % CELLS + right, 0), CELLS - 1)
        self.walker = row * CELLS + column
        found = self.walker == self.goal
        return self._look(), float(found) - self.step_cost, found, False, {}

    def render(self) -> NDArray[np.uint8]:
        """Return the observation, [210, 210, 3]."""
        return self._look().transpose(1, 2, 0).repeat(10, 0).repeat(10, 1)


def _tables() -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """Return where each action leads [cells * 4], and the picture of each cell [cells, 21, 21]."""
    row, column = np.divmod(np.arange(CELLS * CELLS), CELLS)
    down = np.clip(row[:, None] + MOVES[:, 0], 0, CELLS - 1)
    right = np.clip(column[:, None] + MOVES[:, 1], 0, CELLS - 1)
    at = np.arange(SIZE) // PIXELS
    inside = (at[:, None] == row[:, None, None]) & (at == column[:, None, None])
    return (down * CELLS + right).ravel(), np.where(inside, 255, 0).astype(np.float32)


_NEXT, _PLANE = _tables()


class PixelGrid(Vectorized):
    """Many copies of `PixelGridEnv`, equal to the bit. Parameter per copy: step_cost.

    As everywhere in fdrl, observations come as float32, here the whole numbers 0 and 255.
    """

    observation_space: ClassVar[spaces.Box] = spaces.Box(0, 255, (3, SIZE, SIZE), np.uint8)
    action_space: ClassVar[spaces.Discrete] = spaces.Discrete(len(MOVES))
    size: ClassVar[int] = 2
    draws: ClassVar[int] = 2

    def _prepare(self, count: int, params: Mapping[str, Floats]) -> None:
        self._cost = params["step_cost"]
        self._work = np.zeros(count)
        self._choice, self._cell = np.zeros((2, count), np.intp)
        self._drawn_goals = np.full(count, -1.0)

    def _advance(self, actions: Array) -> None:
        walker, goal = self._state
        np.multiply(walker, len(MOVES), out=self._work)
        np.add(self._work, actions, out=self._work)
        np.copyto(self._choice, self._work, casting="unsafe")
        _NEXT.take(self._choice, out=self._cell, mode="clip")
        np.copyto(walker, self._cell)
        np.equal(walker, goal, out=self._terminated)
        np.subtract(self._terminated, self._cost, out=self._rewards)
        self._next[:, WALKER] = _PLANE[self._cell]
        if goal.tobytes() != self._drawn_goals.tobytes():
            rows = np.flatnonzero(goal != self._drawn_goals)
            self._next[rows, GOAL] = _PLANE[goal[rows].astype(np.intp)]
            self._drawn_goals[rows] = goal[rows]

    def _begin(self, rows: NDArray[np.intp], drawn: Floats) -> NDArray[np.float32]:
        count = CELLS * CELLS
        walker, goal = np.minimum(np.maximum(drawn * count, 0), count - 1).astype(np.intp).T
        goal = np.where(goal == walker, (goal + 1) % count, goal)
        self._state[0, rows], self._state[1, rows] = walker, goal
        picture = np.zeros((len(rows), *self.observation_space.shape), np.float32)
        picture[:, WALKER], picture[:, GOAL] = _PLANE[walker], _PLANE[goal]
        return picture


if ID not in gymnasium.registry:
    gymnasium.register(
        ID,
        entry_point="fdrl.envs.pixelgrid:PixelGridEnv",
        max_episode_steps=STEPS,
        reward_threshold=0.85,
    )

SPEC = EnvSpec(
    name="fdrl/PixelGrid-v0",
    summary="Walk to the goal in a picture of 7 x 7 cells; 40 steps at most.",
    gym_id="fdrl.envs.pixelgrid:fdrl/PixelGrid-v0",
    vector="fdrl.envs.pixelgrid:PixelGrid",
    physics={"step_cost": Physics(0.02, low=0.0, high=1.0)},
    init=(0.0, 1.0, 0.3),
    max_steps=STEPS,
    threshold=0.85,
)
"""Its entry for ``--env fdrl.envs.pixelgrid:SPEC``, for learners whose policies read images."""
