"""Short codings of state values, and back; the decoder trusts nothing. n values of n rows."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fdrl.errors import BadMessage
from fdrl.payload import Coding

Array = NDArray[Any]
LEVELS = 255
ENDS = 8
"""Bytes of the least and the largest value, float32, which one-byte codes follow."""


def code_values(values: Array, coding: Coding) -> Array:
    """Return codes of values [n]: float32 or float16 as they are, or uint8 [8 + n].

    One byte cuts the range from the least to the largest value into 255 equal steps (error at most
    a 510th of the range); the ends come first. float16 has an error of 2**-11 of the number.
    """
    v = np.asarray(values, dtype=np.float32)
    if coding == "float32":
        return v
    if coding == "float16":
        with np.errstate(over="ignore"):
            short = v.astype(np.float16)
        if not np.isfinite(short).all():
            raise BadMessage("a value does not fit in float16")
        return short
    ends = np.array([v.min(), v.max()] if len(v) else [0, 0], dtype="<f4")
    low, wide = float(ends[0]), float(ends[1]) - float(ends[0])
    steps = np.rint((v.astype(np.float64) - low) / (wide if wide > 0 else 1.0) * LEVELS)
    return np.concatenate([ends.view(np.uint8), steps.astype(np.uint8)])


def uncode_values(codes: Array) -> NDArray[np.float32]:
    """Return the values [n] that `code_values` wrote, or raise `BadMessage`."""
    if codes.ndim != 1:
        raise BadMessage("values must be [n]")
    if codes.dtype != np.uint8:
        return codes.astype(np.float32)
    if len(codes) < ENDS:
        raise BadMessage("one-byte values without their range")
    low, high = np.ascontiguousarray(codes[:ENDS]).view("<f4").astype(np.float64).tolist()
    if not np.isfinite([low, high]).all() or low > high:
        raise BadMessage("a range of values has no order")
    share = codes[ENDS:] / LEVELS
    return np.asarray((1 - share) * low + share * high, dtype=np.float32)
