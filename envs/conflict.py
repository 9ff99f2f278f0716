"""Conflict: a grid world with two exits, and agents that disagree which one is worth taking.

The grid has 5 rows and 9 columns; the exits are the middle cells of the left and the right border.
Every step costs `step_cost`; leaving on the right pays (1 + side) / 2, on the left (1 - side) / 2.
The heterogeneity `conflict` turns `side` from 1 towards -1 for half of the agents: at level 0 all
want to go right, at level 1 half of them want the opposite. Nobody sees `side`.

`ConflictEnv` is the environment as one would write it for Gymnasium, `Conflict` many copies of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from fdrl.core.arrays import Array, Doubles

from .grid_world import COLORS, GREEN, MOVES, Cells, Places, box, canvas, disk, neighbors

ID = "fdrl/Conflict-v0"
ROWS, COLUMNS = 5, 9
MIDDLE = ROWS // 2
STEPS = 50


class ConflictEnv(gymnasium.Env[NDArray[np.float32], np.int64]):
    """Walk to an exit: up (0), down (1), left (2), right (3); walls hold.

    Observations [2]: row and column, scaled to [-1, 1]. Episodes start anywhere but in the
    columns of the exits; numbers drawn from [low, high] (reset options, [0, 1] by default) choose
    the row and the column, low ones the top and the left.

    >>> env = ConflictEnv(side=-1.0)
    >>> env.reset(seed=0)[0].shape
    (2,)
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 8}  # noqa: RUF012

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

    def step(self, action: Any) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
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
        image = canvas(ROWS * size + 1, COLUMNS * size + 1)
        for row in range(ROWS):
            for column in range(COLUMNS):
                box(image, row * size + 1, column * size + 1, size - 1, size - 1, (232,) * 3)
        for column, worth in ((0, (1 - self.side) / 2), (COLUMNS - 1, (1 + self.side) / 2)):
            mix = [round(p + worth * (g - p)) for p, g in zip((255,) * 3, GREEN, strict=True)]
            top, color = MIDDLE * size, (mix[0], mix[1], mix[2])
            box(image, top, column * size, size + 1, size + 1, GREEN)
            box(image, top + 2, column * size + 2, size - 3, size - 3, color)
        y, x = (self.row + 0.5) * size, (self.column + 0.5) * size
        disk(image, y, x, size / 3, COLORS[0])
        return image


def _tables() -> tuple[NDArray[np.complex64], NDArray[np.bool_], Places]:
    """Return what is seen, whether it is an exit and whether it is right, at places [cells * 4]."""
    row, column = np.divmod(np.arange(ROWS * COLUMNS).repeat(len(MOVES)), COLUMNS)
    seen = np.stack([row / MIDDLE - 1.0, column / (COLUMNS // 2) - 1.0], axis=1)
    exits = (row == MIDDLE) & ((column == 0) | (column == COLUMNS - 1))
    # two float32 that are looked up as one number of 8 bytes cost half as much
    pairs = seen.astype(np.float32).view(np.complex64)[:, 0]
    return pairs, exits, (column > COLUMNS // 2).astype(np.intp)


_NEXT = neighbors(ROWS, COLUMNS).ravel() * len(MOVES)
_SEEN, _EXIT, _RIGHT = _tables()
_STARTS = np.array([ROWS, COLUMNS - 2])


class Conflict(Cells):
    """Many copies of `ConflictEnv`, equal to the bit. Parameters per copy: side, step_cost.

    The grid has 45 cells, so a step is a look into three tables.
    """

    observation_space: ClassVar[spaces.Box] = spaces.Box(-1.0, 1.0, (2,), np.float32)
    size: ClassVar[int] = 1
    draws: ClassVar[int] = 2

    def _prepare(self, count: int, params: Mapping[str, Doubles]) -> None:
        self._make_places(count)
        self._at, self._cost = self._state[0], params["step_cost"]
        self._pays = np.stack([(1 - params["side"]) / 2, (1 + params["side"]) / 2]) - self._cost
        self._stay = -self._cost
        self._next_pairs, self._pairs = (
            array.view(np.complex64)[:, 0] for array in (self._next, self._observations)
        )

    def _advance(self, actions: Array) -> None:
        at = self._at
        np.add(at, actions, self._move)
        # mode="clip" lets `take` write into `out` without a buffer
        _NEXT.take(self._move, out=at, mode="clip")
        _SEEN.take(at, out=self._next_pairs, mode="clip")
        _EXIT.take(at, out=self._terminated, mode="clip")
        self._rewards[...] = self._stay
        if 1 in self._terminated.tobytes():
            rows = self._terminated.nonzero()[0]
            self._rewards[rows] = self._pays[_RIGHT[at[rows]], rows]

    def _show(self) -> None:
        self._pairs[...] = self._next_pairs

    def _plan(self, drawn: Doubles) -> Places:
        cells = np.minimum(np.maximum(drawn * _STARTS, 0), _STARTS - 1).astype(np.intp)
        places: Places = (cells[:, 0] * COLUMNS + cells[:, 1] + 1) * len(MOVES)
        return places

    def _begin(self, rows: NDArray[np.intp], planned: Places) -> None:
        self._at[rows] = planned
        self._pairs[rows] = _SEEN[planned]


if ID not in gymnasium.registry:
    gymnasium.register(
        ID,
        entry_point="fdrl.envs.conflict:ConflictEnv",
        max_episode_steps=STEPS,
        reward_threshold=0.93,
    )
