"""What the grid worlds share: where each move leads, and copies whose state is a place in a table.

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
