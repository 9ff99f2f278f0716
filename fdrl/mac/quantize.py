"""Dithered uniform quantization, and back onto the simplex. Pure functions."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Floats = NDArray[np.float64]


def indices(x: Array, low: float, high: float, bits: int, dither: Array) -> NDArray[np.int64]:
    """Return the code 0 .. 2**bits - 1 of each x in [low, high]: floor((x - low) / step + u).

    `dither` u is uniform on [0, 1), of the shape of `x`; step = (high - low) / (2**bits - 1).
    """
    step = (high - low) / (2**bits - 1)
    if step <= 0.0:
        return np.zeros(np.shape(x), np.int64)
    code = np.floor((np.asarray(x, np.float64) - low) / step + dither)
    return np.asarray(np.clip(code, 0, 2**bits - 1), np.int64)


def values(codes: Array, low: float, high: float, bits: int, dither: Array) -> Floats:
    """Return what the receiver makes of codes; it draws the same dither and subtracts it.

    Subtractive dither: the error is uniform on +-step/2 whatever x is, so its mean is 0 and its
    variance step**2 / 12 (Schuchman, 1964). Results may leave [low, high] by half a step.
    """
    step = (high - low) / (2**bits - 1)
    return np.asarray(low + (codes - dither + 0.5) * step) if step > 0.0 else 0.0 * codes + low


def dithered(x: Array, low: float, high: float, bits: int, dither: Array) -> Floats:
    """Return x as it arrives: quantized with `bits` each, and reconstructed."""
    return values(indices(x, low, high, bits, dither), low, high, bits, dither)


def to_simplex(leading: Array) -> NDArray[np.float32]:
    """Return probabilities [n, A] from the first A - 1 of each row as they arrived [n, A - 1].

    The last is one minus the rest; what is negative becomes 0, and rows are divided by their sum
    [choice]. Nothing changes for rows that are on the simplex already.
    """
    p = np.asarray(leading, np.float64)
    whole = np.concatenate([p, 1.0 - p.sum(1, keepdims=True)], axis=1)
    whole = np.maximum(whole, 0.0)
    return np.asarray(whole / whole.sum(1, keepdims=True), np.float32)
