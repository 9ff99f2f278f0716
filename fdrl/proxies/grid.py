"""A grid over a box of states, and which cell or proxy state an observation belongs to.

Shapes: O observation shape, n cells, N proxy states, B observations. Works on flattened
observations in raw units.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from fdrl.core.arrays import Array
from fdrl.core.errors import FdrlError

CellCounts = Mapping[int, float] | tuple[Array, Array]


def check_box(low: Array, high: Array) -> None:
    """Raise `FdrlError` unless low < high are finite and of one shape, naming the component."""
    if low.shape != high.shape:
        raise FdrlError(f"proxy box: low has shape {low.shape}, high has {high.shape}")
    wrong = ~(np.isfinite(low) & np.isfinite(high) & (low < high))
    if wrong.any():
        i = int(np.flatnonzero(wrong.ravel())[0])
        raise FdrlError(
            f"proxy box: component {i} is [{low.ravel()[i]:g}, {high.ravel()[i]:g}], which is no"
            " finite interval; ask about states of your own (--proxy file --proxy.path"
            " STATES.npy), or register the environment with proxy_low and proxy_high"
            " (fdrl.register_env)"
        )


class GridCells:
    """A box cut into `bins` intervals a component; cells are numbered, never stored.

    The number of a cell is its interval in each component, read as digits in base `bins`, first
    component first. Edge cells reach to infinity.
    """

    def __init__(self, bins: int, low: Array, high: Array) -> None:
        self.low = np.asarray(low, dtype=np.float64).ravel()
        self.high = np.asarray(high, dtype=np.float64).ravel()
        self.shape = np.shape(low)
        check_box(self.low, self.high)
        self.bins = bins
        n = self.low.size
        self.count = bins**n
        if self.count > 2**63 - 1:
            fits = max(b for b in range(1, bins) if b**n < 2**63)
            if fits == 1:
                raise FdrlError(
                    f"proxy grid: no grid covers {n} observation components (images have one a"
                    " pixel); ask about states that a random policy visits (--proxy rollout), or"
                    " about your own (--proxy file --proxy.path STATES.npy)"
                )
            raise FdrlError(
                f"proxy grid: {bins} bins in each of {n} observation components make {bins}**{n}"
                f" cells, too many to number; use at most {fits} bins, or 'sobol' proxies"
            )
        self._radix = np.array([bins ** (n - 1 - i) for i in range(n)], dtype=np.int64)

    def assign(self, observations: Array) -> NDArray[np.int64]:
        """Return the cell [B] of each observation [B, *O]; NaN raises `FdrlError`."""
        x = np.asarray(observations, dtype=np.float64).reshape(len(observations), self.low.size)
        digits = np.floor((x - self.low) * (self.bins / (self.high - self.low)))
        if np.isnan(digits).any():
            raise FdrlError("proxy grid: an observation contains NaN")
        np.clip(digits, 0, self.bins - 1, out=digits)
        return np.asarray(digits.astype(np.int64) @ self._radix)

    def centers(self, cells: Array) -> NDArray[np.float32]:
        """Return the states [n, *O] in the middle of cells [n]."""
        c = np.asarray(cells, dtype=np.int64)
        outside = (c < 0) | (c >= self.count)
        if outside.any():
            raise FdrlError(
                f"proxy grid: cell {c[outside][0]} is outside 0..{self.count - 1}; agents and"
                " server must use the same bins"
            )
        digits = (c[:, None] // self._radix) % self.bins
        states = self.low + (digits + 0.5) * ((self.high - self.low) / self.bins)
        return states.astype(np.float32).reshape(len(c), *self.shape)


def most_visited(counts: CellCounts, n: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the at most n most visited cells, increasing, and their counts.

    `counts` maps cells to visits, or is a pair of arrays, in which a cell may stand several times
    (its counts add up). Ties go to the lower cell; cells with no visits are left out.
    """
    if isinstance(counts, Mapping):
        keys, values = np.array(list(counts), np.int64), np.array([*counts.values()], np.float64)
    else:
        keys, values = np.asarray(counts[0], np.int64), np.asarray(counts[1], np.float64)
    cells, row = np.unique(keys, return_inverse=True)
    total = np.bincount(row, values, len(cells)).astype(np.float64)
    order = np.argsort(-total, kind="stable")[:n]
    chosen = np.sort(order[total[order] > 0])
    return cells[chosen], total[chosen]


def nearest(states: Array, observations: Array, low: Array, high: Array) -> NDArray[np.int64]:
    """Return the nearest of states [N, *O] to each observation [B, *O], in units of the box, [B].

    The nearest maximizes o.s - |s|**2 / 2: one matrix product of float32 in blocks that stay in
    cache. Components without a finite range count in raw units.
    """
    if len(states) == 0:
        raise FdrlError("proxy states: there are none yet, so none is nearest")
    lo, hi = (np.array(x, dtype=np.float64).ravel() for x in (low, high))
    unbounded = ~(np.isfinite(lo) & np.isfinite(hi) & (hi > lo))
    lo[unbounded], hi[unbounded] = -0.5, 0.5
    center, scale = (lo + hi) / 2, 1 / (hi - lo)
    s = (np.asarray(states).reshape(len(states), lo.size) - center) * scale
    o = (np.asarray(observations).reshape(len(observations), lo.size) - center) * scale
    matrix = np.concatenate([s, -(s**2).sum(1, keepdims=True) / 2], axis=1).astype(np.float32).T
    matrix = np.ascontiguousarray(matrix)
    points = np.ones((len(o), o.shape[1] + 1), dtype=np.float32)
    points[:, :-1] = o
    found = np.empty(len(o), dtype=np.int64)
    block = max(1, 2**16 // len(s))
    for i in range(0, len(o), block):
        np.argmax(points[i : i + block] @ matrix, axis=1, out=found[i : i + block])
    return found


def visit_counts(
    states: Array, observations: Array, low: Array, high: Array
) -> NDArray[np.float32]:
    """Count the observations [B, *O] by their nearest proxy state: visits [N]."""
    if len(observations) == 0:
        return np.zeros(len(states), dtype=np.float32)
    found = nearest(states, observations, low, high)
    return np.bincount(found, minlength=len(states)).astype(np.float32)
