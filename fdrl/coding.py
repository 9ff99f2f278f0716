"""Short codings of arrays: probabilities, visit counts and sets of grid cells, and back.

Every decoder is the encoder's left inverse up to the stated error, and coding what was decoded
gives the same bytes again. Decoders trust nothing and raise `BadMessage`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fdrl.errors import BadMessage
from fdrl.payload import Coding

Array = NDArray[Any]
LEVELS = 255
"""A probability in uint8 is an integer out of this many."""
OCTAVE = 12
"""Steps per factor of two in a one-byte visit count."""


def code_probs(probs: Array, coding: Coding) -> Array:
    """Code rows on the simplex [n, A] as [n, A-1] numbers; the last probability is what is left.

    uint8 has an error of at most 1/255 an entry, float16 of 2**-11, float32 of rounding.
    """
    p = np.asarray(probs, dtype=np.float64)
    total = p.sum(1, keepdims=True)
    # Only rows that need it: dividing decoded rows by 1 +- 1e-8 would change their last bits.
    p = np.where(np.abs(total - 1) > 1e-6, p / total, p)
    if coding == "uint8":
        return _largest_remainder(p)[:, :-1].astype(np.uint8)
    return _at_most_one(p[:, :-1], np.float16 if coding == "float16" else np.float32)


def uncode_probs(columns: Array) -> NDArray[np.float32]:
    """Decode [n, A-1] columns of any coding to rows on the simplex, float32 [n, A]."""
    if columns.ndim != 2 or columns.shape[1] < 1:
        raise BadMessage("a table must be [n, A-1]")
    p = columns.astype(np.float64)
    if columns.dtype == np.uint8:
        rest = LEVELS - p.sum(1)
        p /= LEVELS
        rest /= LEVELS
    else:
        if not np.isfinite(p).all():
            raise BadMessage("probs contain NaN or infinity")
        if (p < 0).any():
            raise BadMessage("probs contain a negative entry")
        rest = 1 - p.sum(1)
    if (rest < 0).any():
        raise BadMessage("probs sum to more than 1")
    return np.concatenate([p, rest[:, None]], axis=1).astype(np.float32)


def _largest_remainder(p: Array) -> Array:
    """Return integers [n, A] that sum to `LEVELS` in every row, each within 1 of LEVELS * p."""
    scaled = p * LEVELS
    q = np.floor(scaled)
    missing = LEVELS - q.sum(1, keepdims=True)
    order = np.argsort(q - scaled, axis=1, kind="stable")
    rank = np.argsort(order, axis=1, kind="stable")
    return np.asarray(q + (rank < missing))


def _at_most_one(p: Array, dtype: type[np.floating[Any]]) -> Array:
    """Round entries [n, A-1]; in rows that then sum to more than 1, lower what was rounded up most.

    An entry that was rounded up and is lowered by one step is off by less than that step. Where
    none was rounded up, the entries summed to more than 1 already: the largest gives way.
    """
    columns = p.astype(dtype)
    rows = np.arange(len(columns))
    while len(rows := rows[columns[rows].sum(1, dtype=np.float64) > 1]):
        up = columns[rows].astype(np.float64) - p[rows]
        largest = columns[rows].argmax(1)
        top = np.where(up.max(1) > 0, up.argmax(1), largest)
        columns[rows, top] = np.nextafter(columns[rows, top], dtype(0))
    return columns


def code_visits(visits: Array) -> NDArray[np.uint8]:
    """Code counts as one byte each, 12 steps per factor of two; 0 stays exactly 0.

    Powers of two from 0.5 are exact, the relative error is at most 2**(1/24) - 1 = 3%, the order
    is kept. Positive counts below 0.5 count as 0.5, and those above 2**20 as 2**(20 + 1/6).
    """
    v = np.asarray(visits, dtype=np.float64)
    steps = np.rint(OCTAVE * (np.log2(np.maximum(v, 0.5)) + 1))
    return np.where(v > 0, np.minimum(steps + 1, 255), 0).astype(np.uint8)


def uncode_visits(codes: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Decode one-byte counts."""
    return _VISITS[codes]


_VISITS = np.exp2((np.arange(256) - 1) / OCTAVE - 1).astype(np.float32)
_VISITS[0] = 0


def code_cells(cells: Array) -> NDArray[np.uint8]:
    """Code strictly increasing cells [m] as the gaps between them, 7 bits a byte (LEB128).

    Visited cells cluster, so that most gaps take one or two bytes instead of eight.
    """
    if len(cells) == 0:
        return np.zeros(0, dtype=np.uint8)
    c = np.asarray(cells, dtype=np.int64)
    gaps: NDArray[np.int64] = c - np.concatenate([[-1], c[:-1]]) - 1
    groups = gaps[:, None] >> (7 * np.arange(9))
    used = groups > 0
    used[:, 0] = True
    more = np.zeros_like(used)
    more[:, :-1] = used[:, 1:]
    return np.asarray(((groups & 0x7F) | (more * 0x80))[used], dtype=np.uint8)


def uncode_cells(data: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Decode what `code_cells` wrote; any other bytes raise `BadMessage`."""
    if data.ndim != 1:
        raise BadMessage("cells must be a row of bytes")
    if len(data) == 0:
        return np.zeros(0, dtype=np.int64)
    last = data < 0x80
    if not last[-1]:
        raise BadMessage("cells end in the middle of a number")
    ends = np.flatnonzero(last)
    starts = np.concatenate([[0], ends[:-1] + 1])
    lengths = ends - starts + 1
    if (lengths > 9).any():
        raise BadMessage("a cell does not fit in 63 bits")
    if (data[ends[lengths > 1]] == 0).any():
        raise BadMessage("a cell is written with leading zeros")
    place = np.arange(len(data)) - np.repeat(starts, lengths)
    gaps = np.add.reduceat((data & 0x7F).astype(np.int64) << (7 * place), starts)
    cells = np.cumsum(gaps + 1) - 1
    # A sum beyond 63 bits wraps around to a negative number, once at least.
    if (cells < 0).any():
        raise BadMessage("a cell does not fit in 63 bits")
    return cells


def _are_pixels(states: Array) -> bool:
    """Say whether states [n, *O] are images of bytes, told by their values.

    Images whose largest value is 1 may be of floats between 0 and 1: those stay floats.
    """
    if states.ndim < 3 or not states.size or not 1 < states.max() <= 255 or states.min() < 0:
        return False
    return bool((states == np.floor(states)).all())


def code_states(states: NDArray[np.float32]) -> Array:
    """Return states [n, *O] as they travel: a byte a pixel for images of bytes, else float32.

    Nothing is lost: pixels are whole numbers from 0 to 255.
    """
    return states.astype(np.uint8) if _are_pixels(states) else states


def uncode_states(data: Array) -> NDArray[np.float32]:
    """Return the float32 states that `code_states` was given.

    Raises `BadMessage` for bytes that it would have sent as floats: what is sent has one form.
    """
    if data.dtype == np.float32:
        if _are_pixels(data):
            raise BadMessage("states of whole pixels travel as bytes")
        return data
    states = data.astype(np.float32)
    if not _are_pixels(states):
        raise BadMessage("states travel as bytes that are no images of bytes")
    return states
