"""Uniform numbers of K agents, each from its own stream, drawn ahead in blocks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

BLOCK = 128
"""Uniforms drawn ahead per agent, where an agent needs few at a time."""


class Chances:
    """Hands out float32 uniforms in [0, 1); a stream gives the same numbers in whatever portions.

    The generators are ahead of what was handed out until `give_back` winds them back.
    """

    def __init__(self, generators: Sequence[np.random.Generator]) -> None:
        self._generators = list(generators)
        k = len(self._generators)
        self._ahead = np.zeros((k, BLOCK), np.float32)
        self._cursor = np.full(k, BLOCK)
        self._before: list[Any] = [None] * k

    def take(self, rows: NDArray[np.int64], count: int) -> Floats:
        """Return the next `count` uniforms of agents `rows` [R]: [R, count]."""
        if 8 * count > BLOCK:
            self.give_back(rows)
            out = np.empty((len(rows), count), np.float32)
            for row, k in zip(out, rows.tolist(), strict=True):
                self._generators[k].random(dtype=np.float32, out=row)
            return out
        start = self._cursor[rows]
        if int(start.max(initial=0)) + count > BLOCK:
            self._refill(rows[start + count > BLOCK])
            start = self._cursor[rows]
        self._cursor[rows] = start + count
        if count == 1:
            return np.asarray(self._ahead[rows, start])[:, None]
        return np.asarray(self._ahead[rows[:, None], start[:, None] + np.arange(count)])

    def _refill(self, rows: NDArray[np.int64]) -> None:
        self.give_back(rows)
        for k in rows.tolist():
            generator = self._generators[k]
            self._before[k] = generator.bit_generator.state
            generator.random(dtype=np.float32, out=self._ahead[k])
            self._cursor[k] = 0

    def give_back(self, rows: NDArray[np.int64] | None = None) -> None:
        """Wind the streams of some agents (all by default) back to what was handed out."""
        for k in range(len(self._cursor)) if rows is None else rows.tolist():
            used = int(self._cursor[k])
            if used < BLOCK:
                # two float32 share a draw of 64 bits, so a stream cannot just be set back by steps
                self._generators[k].bit_generator.state = self._before[k]
                self._generators[k].random(used, dtype=np.float32)
            self._cursor[k] = BLOCK
