"""Leaving out the steps that an agent did not take, because it had left a shared world.

Shapes: K agents, T steps, E copies, M = T * E rows; `alive` [K, T, E] says which steps there were.
What the other arrays hold elsewhere must reach nothing, be it NaN: it is set to 0 before anything
is computed, and then sorted behind the n_k rows of each agent that count.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Bools = NDArray[np.bool_]


def zeroed(rows: Array, alive: Bools) -> Array:
    """Return [K, T, E, ...] with zeros (or False) where nobody was."""
    where = alive.reshape(*alive.shape, *[1] * (rows.ndim - alive.ndim))
    return np.where(where, rows, rows.dtype.type(0))


def zeroed_all(arrays: Sequence[Array], alive: Bools) -> list[Array]:
    """Return `zeroed` of each array."""
    return [zeroed(rows, alive) for rows in arrays]


def lived_first(alive: Bools) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the order [K, M] that puts steps that were taken first, in time order, and n [K]."""
    flat = alive.reshape(len(alive), -1)
    return np.argsort(~flat, axis=1, kind="stable"), np.count_nonzero(flat, axis=1)


def reordered(rows: Array, order: NDArray[np.int64]) -> Array:
    """Return rows [K, M, ...] in each agent's `order` [K, M], copied."""
    return np.ascontiguousarray(rows[np.arange(len(order))[:, None], order])


def shares(counts: NDArray[np.int64], start: int, stop: int) -> NDArray[np.float32]:
    """Return what each of rows start..stop-1 counts in a mean [K, stop - start].

    Agent k has counts[k] rows: of a minibatch with n of them each counts 1/n, padding 0.
    """
    there = np.arange(start, stop) < counts[:, None]
    n = np.maximum(np.count_nonzero(there, axis=1), 1).astype(np.float32)
    return np.asarray(there / n[:, None], dtype=np.float32)
