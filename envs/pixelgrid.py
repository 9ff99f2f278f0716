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

from fdrl.core.arrays import Array, Doubles
from fdrl.core.registry import EnvSpec, Physics

from .grid_world import MOVES, Cells, Places, neighbors

ID = "fdrl/PixelGrid-v0"
CELLS, PIXELS = 7, 3
SIZE = CELLS * PIXELS
STEPS = 40
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


def _tables() -> tuple[list[NDArray[np.float32]], Places]:
    """Return the picture [21, 21] at each place, and the pixels that a move wipes and paints.

    The pixels [cells * 4, 18] are numbers of those of a picture of one channel.
    """
    pixels = np.arange(SIZE * SIZE).reshape(CELLS, PIXELS, CELLS, PIXELS)
    inside = pixels.transpose(0, 2, 1, 3).reshape(CELLS * CELLS, PIXELS * PIXELS)
    pictures = np.zeros((CELLS * CELLS, SIZE * SIZE), np.float32)
    np.put_along_axis(pictures, inside, 255, axis=1)
    wiped, painted = inside.repeat(len(MOVES), axis=0), inside[_AFTER]
    at_places = [p for p in pictures.reshape(-1, SIZE, SIZE) for _ in MOVES]
    return at_places, np.concatenate([wiped, painted], axis=1)


_AFTER = neighbors(CELLS, CELLS).ravel()
_NEXT = _AFTER * len(MOVES)
_PICTURES, _CHANGES = _tables()


class PixelGrid(Cells):
    """Many copies of `PixelGridEnv`, equal to the bit. Parameter per copy: step_cost.

    As everywhere in fdrl, observations come as float32, here the whole numbers 0 and 255. Of a
    picture only what has changed is drawn, so what a step returns is to be read, not written.
    """

    observation_space: ClassVar[spaces.Box] = spaces.Box(0, 255, (3, SIZE, SIZE), np.uint8)
    size: ClassVar[int] = 2
    draws: ClassVar[int] = 2

    def _prepare(self, count: int, params: Mapping[str, Doubles]) -> None:
        self._make_places(count)
        self._walker, self._goal = self._state
        self._stay, self._found = -params["step_cost"], 1.0 - params["step_cost"]
        # Both arrays show the same pictures but for the `_behind`, which have just started again.
        self._flat_next, self._flat = self._next.reshape(-1), self._observations.reshape(-1)
        self._pictures = list(zip(self._next[:, :2], self._observations[:, :2], strict=True))
        seen = self._observations
        self._planes = list(zip(seen[:, WALKER], seen[:, GOAL], strict=True))
        self._behind: list[int] = []
        corners = np.arange(count) * self._next[0].size + WALKER * SIZE * SIZE
        self._corners = corners[:, None].repeat(_CHANGES.shape[1], axis=1)
        self._changes = np.zeros_like(self._corners)
        self._changed = self._changes.reshape(-1)
        self._colors = np.tile(np.array([0, 255], np.float32).repeat(PIXELS * PIXELS), count)
        self._next.setflags(write=False)
        self._observations.setflags(write=False)

    def _advance(self, actions: Array) -> None:
        walker, changes = self._walker, self._changes
        for i in self._behind:
            following, seen = self._pictures[i]
            following[...] = seen
        self._behind.clear()
        np.add(walker, actions, self._move)
        _CHANGES.take(self._move, axis=0, out=changes, mode="clip")
        np.add(changes, self._corners, changes)
        _NEXT.take(self._move, out=walker, mode="clip")
        np.equal(walker, self._goal, self._terminated)
        self._rewards[...] = self._stay
        if 1 in self._terminated.tobytes():
            rows = self._terminated.nonzero()[0]
            self._rewards[rows] = self._found[rows]
        self._flat_next[self._changed] = self._colors

    def _show(self) -> None:
        self._flat[self._changed] = self._colors

    def _plan(self, drawn: Doubles) -> Places:
        count = CELLS * CELLS
        walker, goal = np.minimum(np.maximum(drawn * count, 0), count - 1).astype(np.intp).T
        goal = np.where(goal == walker, (goal + 1) % count, goal)
        return np.stack([walker, goal], axis=1) * len(MOVES)

    def _begin(self, rows: NDArray[np.intp], planned: Places) -> None:
        self._walker[rows], self._goal[rows] = planned.T
        self._draw(rows.tolist(), planned.tolist())

    def _placed(self, rows: NDArray[np.intp]) -> None:
        self._draw(rows.tolist(), self._state[:, rows].T.tolist())

    def _draw(self, rows: list[int], places: list[list[int]]) -> None:
        """Draw whole pictures of these copies, walkers and goals at `places`."""
        for i, (walker, goal) in zip(rows, places, strict=True):
            first, second = self._planes[i]
            first[...] = _PICTURES[walker]
            second[...] = _PICTURES[goal]
        self._behind += rows


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
