"""The array types of annotations, and what every package does with arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
"""Any array."""
Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Integers = NDArray[np.int64]
Bools = NDArray[np.bool_]
Metrics = dict[str, NDArray[np.float64]]
"""Numbers by name, one for each of K agents."""


def subtree(state: Mapping[str, Array], prefix: str) -> dict[str, Array]:
    """Return the entries below a prefix, without it."""
    return {k[len(prefix) :]: v for k, v in state.items() if k.startswith(prefix)}


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
