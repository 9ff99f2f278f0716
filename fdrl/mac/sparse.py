"""Which entries of a change are sent, and what is kept for later. Pure functions."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def largest(change: Array, count: int) -> NDArray[np.int64]:
    """Return where the `count` entries of largest magnitude are, in order; ties: the first ones."""
    order = np.argsort(-np.abs(change), kind="stable")
    return np.sort(order[:count]).astype(np.int64)


def common(size: int, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return `count` of `size` positions, drawn alike by everybody who has the same generator."""
    if count >= size:
        return np.arange(size)
    return np.sort(rng.choice(size, count, replace=False)).astype(np.int64)


def leftover(change: Array, at: Array, sent: Array) -> NDArray[np.float64]:
    """Return what is still owed of a change [P] once `sent` has gone out for the positions `at`.

    Added to the next change (error accumulation; Ahn et al. after Amiri and Gunduz, 2019,
    arXiv 1901.00844), so that nothing is lost for good: sent + leftover = change.
    """
    rest = np.array(change, np.float64)
    rest[at] -= sent
    return rest
