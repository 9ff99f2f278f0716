"""Arrays of several agents put together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def stack_padded(arrays: Sequence[Array]) -> Array:
    """Concatenate arrays [k, ...] of one rank along the first axis.

    The other axes are padded with zeros to the longest. The dtype is the first array's if any has
    to be padded, else what NumPy promotes them to.
    """
    if len({a.shape[1:] for a in arrays}) == 1:
        return np.concatenate(arrays)
    tail = tuple(np.max([a.shape[1:] for a in arrays], axis=0).tolist())
    out = np.zeros((sum(len(a) for a in arrays), *tail), arrays[0].dtype)
    start = 0
    for a in arrays:
        out[(slice(start, start + len(a)), *map(slice, a.shape[1:]))] = a
        start += len(a)
    return out
