"""Putting arrays of different lengths side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def stack(arrays: Sequence[Array]) -> Array:
    """Return [K, ...] of K arrays of equal rank, padded with zeros to the longest on each axis."""
    shape = tuple(np.max([np.shape(a) for a in arrays], axis=0).astype(int).tolist())
    out = np.zeros((len(arrays), *shape), np.asarray(arrays[0]).dtype)
    for k, array in enumerate(arrays):
        place: Any = (k, *map(slice, np.shape(array)))
        out[place] = array
    return out
