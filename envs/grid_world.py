"""What grid worlds share: where each move leads, copies whose state is a place, and pictures.

A cell c of a grid is kept as 4 c, the place of its first move in the tables: adding an action, 0
to 3, gives the place of that move, and one look into a table does what a step would compute.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from fdrl.core.arrays import Array

from .vectorized import Vectorized

MOVES = np.array([[-1, 0], [1, 0], [0, -1], [0, 1]])
"""Up, down, left, right, as changes of (row, column)."""
Places = NDArray[np.intp]


def neighbors(rows: int, columns: int) -> Places:
    """Return the cell that each move leads to [cells, 4]; walls hold."""
    row, column = np.divmod(np.arange(rows * columns), columns)
    down = np.clip(row[:, None] + MOVES[:, 0], 0, rows - 1)
    right = np.clip(column[:, None] + MOVES[:, 1], 0, columns - 1)
    after: Places = down * columns + right
    return after


class Cells(Vectorized):
    """Copies whose state is cells, as places [D, n]; saved states hold cells, as floats."""

    action_space: ClassVar[spaces.Discrete] = spaces.Discrete(len(MOVES))

    def _make_places(self, count: int) -> None:
        """Replace the state by whole numbers; `_prepare` calls it."""
        self._state: Places = np.zeros((self.size, count), np.intp)  # type: ignore[assignment]
        self._move = np.zeros(count, np.intp)

    def state(self) -> dict[str, Array]:
        """Return cells, steps and streams, each with n as its first axis."""
        saved = super().state()
        return saved | {"state": saved["state"] / len(MOVES)}

    def load_state(self, state: dict[str, Array]) -> None:
        """Continue from what `state` returned."""
        super().load_state(state | {"state": state["state"] * len(MOVES)})


# ---- Small pictures with NumPy alone, of every world of boxes and disks ----

Image = NDArray[np.uint8]
Color = tuple[int, int, int]

WHITE: Color = (255, 255, 255)
PALE: Color = (232, 234, 237)
GRAY: Color = (150, 155, 160)
DARK: Color = (60, 64, 67)
RED: Color = (204, 37, 41)
GREEN: Color = (62, 150, 81)
COLORS: tuple[Color, ...] = ((57, 106, 177), (218, 124, 48), (62, 150, 81), (107, 76, 154))
"""One color per agent."""


def canvas(height: int, width: int) -> Image:
    """Return a white picture [height, width, 3]."""
    return np.full((height, width, 3), 255, np.uint8)


def box(image: Image, top: int, left: int, height: int, width: int, color: Color) -> None:
    """Fill a rectangle, cut off at the borders."""
    image[max(top, 0) : max(top + height, 0), max(left, 0) : max(left + width, 0)] = color


def disk(image: Image, y: float, x: float, radius: float, color: Color) -> None:
    """Fill a disk around (y, x), in pixels."""
    rows, columns = np.ogrid[: image.shape[0], : image.shape[1]]
    image[(rows - y) ** 2 + (columns - x) ** 2 <= radius**2] = color
