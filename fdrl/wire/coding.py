"""Short codings of arrays, and back; the decoders trust nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fdrl.core.arrays import Array
from fdrl.core.errors import BadMessage
from fdrl.core.message import Coding

# ---- Short codings of arrays: probabilities, visit counts and sets of grid cells, and back ----
#
# Every decoder is the encoder's left inverse up to the stated error, and coding what was decoded
# gives the same bytes again. Decoders trust nothing and raise `BadMessage`.


BLOCK = 2**12
"""Numbers that a decoder works on at a time: what it takes beside its result does not grow with
the message."""


def blocks(rows: int, width: int = 1) -> Iterator[slice]:
    """Cut `rows` rows of `width` numbers into runs of about `BLOCK` numbers."""
    size = max(1, BLOCK // max(1, width))
    return (slice(start, start + size) for start in range(0, rows, size))


LEVELS = 255
"""A probability, or a step between two bounds, is in uint8 an integer out of this many."""
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
    n, width = columns.shape
    out = np.empty((n, width + 1), np.float32)
    for part in blocks(n, width):
        out[part] = _probs_of(columns[part])
    return out


def _probs_of(columns: Array) -> Array:
    """Return some rows of the simplex [n, A] in double precision."""
    if not np.isfinite(columns).all():  # before they are cast, which warns of some NaN
        raise BadMessage("probs contain NaN or infinity")
    p = columns.astype(np.float64)
    if columns.dtype == np.uint8:
        rest = LEVELS - p.sum(1)
        p /= LEVELS
        rest /= LEVELS
    else:
        if (p < 0).any():
            raise BadMessage("probs contain a negative entry")
        rest = 1 - p.sum(1)
    if (rest < 0).any():
        raise BadMessage("probs sum to more than 1")
    return np.concatenate([p, rest[:, None]], axis=1)


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
    if codes.ndim != 1:
        raise BadMessage("visit counts must be [n]")
    out = np.empty(len(codes), np.float32)
    for part in blocks(len(codes)):
        out[part] = _VISITS[codes[part]]
    return out


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


def uncode_cells(data: NDArray[np.uint8]) -> Array:
    """Decode what `code_cells` wrote; any other bytes raise `BadMessage`.

    Many cells have 32 bits if all of them fit in these: a byte of a message can be a whole cell,
    which would take eight.
    """
    if data.ndim != 1:
        raise BadMessage("cells must be a row of bytes")
    total, count = 0, 0
    for gaps in _gaps(data):
        if float(gaps.max()) * len(gaps) < 2**62:
            total += int(gaps.sum()) + len(gaps)
        else:
            total += sum(gaps.tolist()) + len(gaps)
        count += len(gaps)
        if total > 2**63:
            raise BadMessage("a cell does not fit in 63 bits")
    cells = np.empty(count, np.int32 if count > BLOCK and total <= 2**31 else np.int64)
    last, at = -1, 0
    for gaps in _gaps(data):
        own = np.cumsum(gaps + 1) + last
        cells[at : at + len(gaps)] = own
        last, at = int(own[-1]), at + len(gaps)
    return cells


def _gaps(data: NDArray[np.uint8]) -> Iterator[NDArray[np.int64]]:
    """Yield the gaps [m] between cells, a block of bytes after another."""
    start = 0
    while start < len(data):
        stop = min(start + BLOCK // 4, len(data))  # there are ten numbers for each byte
        ends = np.flatnonzero(data[start:stop] < 0x80)
        if not len(ends):
            what = "end in the middle of a number" if stop == len(data) else "do not fit in 63 bits"
            raise BadMessage(f"cells {what}")
        if stop == len(data) and ends[-1] != stop - start - 1:
            raise BadMessage("cells end in the middle of a number")
        stop = start + int(ends[-1]) + 1
        yield _gaps_of(data[start:stop], ends)
        start = stop


def _gaps_of(data: NDArray[np.uint8], ends: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the numbers whose last bytes are at `ends`."""
    starts = np.concatenate([[0], ends[:-1] + 1])
    lengths = ends - starts + 1
    if (lengths > 9).any():
        raise BadMessage("a cell does not fit in 63 bits")
    if (data[ends[lengths > 1]] == 0).any():
        raise BadMessage("a cell is written with leading zeros")
    place = np.arange(len(data)) - np.repeat(starts, lengths)
    return np.asarray(np.add.reduceat((data & 0x7F).astype(np.int64) << (7 * place), starts))


def _are_pixels(states: Array) -> bool:
    """Say whether states [n, *O] are images of bytes, told by their values.

    Images whose largest value is 1 may be of floats between 0 and 1: those stay floats.
    """
    if states.ndim < 3 or not states.size or not 1 < states.max() <= 255 or states.min() < 0:
        return False
    flat = np.ascontiguousarray(states).reshape(-1)
    return all(bool((flat[part] == np.floor(flat[part])).all()) for part in blocks(flat.size))


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
        with np.errstate(invalid="ignore"):  # NaN is looked for later
            if _are_pixels(data):
                raise BadMessage("states of whole pixels travel as bytes")
        return data
    states = data.astype(np.float32)
    if not _are_pixels(states):
        raise BadMessage("states travel as bytes that are no images of bytes")
    return states


# ---- Short codings of Gaussian answers, and back; the decoders trust nothing ----
#
# Shapes: n rows, D action dimensions; moments are [n, 2D], means and then standard deviations. A
# policy whose standard deviations do not depend on the state sends them once, not in every row.
#
#     codes     [n, D] means only, if all rows have the same standard deviations; else [n, 2D]
#     ranges    [r, D] float32: what `codes` need to be read, see `code_moments`


def code_moments(moments: Array, coding: Coding) -> tuple[Array, Array | None]:
    """Return (codes, ranges) of moments [n, 2D].

    float32 has an error of rounding, float16 of 2**-11 of the number. uint8 cuts the range of each
    column, from its least to its largest number, into 255 steps: equal ones for means (error at
    most a 510th of the range), equal ratios for standard deviations; its first two ranges are
    the least and the largest mean, and the last one or two are standard deviations: the common
    ones, or the least and the largest. Of the other codings the only range is the common ones.
    """
    m = np.asarray(moments, dtype=np.float32)
    d = m.shape[1] // 2
    common = bool(len(m)) and bool((m[:, d:] == m[0, d:]).all())
    tail = [m[0, d:]] if common else []
    if coding != "uint8":
        kind: Any = np.float16 if coding == "float16" else np.float32
        with np.errstate(over="ignore"):
            codes = m[:, :d].astype(kind) if common else m.astype(kind)
        if not np.isfinite(codes).all():
            raise BadMessage(f"a mean or standard deviation does not fit in {coding}")
        if not common and not (codes[:, d:] > 0).all():
            raise BadMessage(f"a standard deviation is 0 in {coding}")
        return codes, np.stack(tail) if common else None
    means = m[:, :d]
    low, high = means.min(0, initial=np.inf), means.max(0, initial=-np.inf)
    if not len(m):
        low = high = np.zeros(d, np.float32)
    ranges = [low, high, *tail]
    codes = _steps(means, low, high)
    if not common:
        std = m[:, d:]
        least = std.min(0, initial=np.inf) if len(m) else np.ones(d, np.float32)
        most = std.max(0, initial=0) if len(m) else np.ones(d, np.float32)
        ranges += [least, most]
        codes = np.concatenate([codes, _steps(np.log(std), np.log(least), np.log(most))], axis=1)
    return codes, np.stack(ranges).astype(np.float32)


def _steps(values: Array, low: Array, high: Array) -> NDArray[np.uint8]:
    """Return the nearest of 256 equal steps from low to high [D] for values [n, D]."""
    wide = high.astype(np.float64) - low
    safe = np.where(wide > 0, wide, 1)
    return np.rint((values.astype(np.float64) - low) / safe * LEVELS).astype(np.uint8)


def uncode_moments(codes: Array, ranges: Array | None) -> NDArray[np.float32]:
    """Return the moments [n, 2D] that `code_moments` wrote, or raise `BadMessage`."""
    if codes.ndim != 2:
        raise BadMessage("answers must be [n, D] or [n, 2D]")
    one_byte = codes.dtype == np.uint8
    r = 0 if ranges is None else len(ranges)
    if ranges is not None and (ranges.ndim != 2 or ranges.shape[1] < 1):
        raise BadMessage("ranges must be [r, D]")
    if r not in ((3, 4) if one_byte else (0, 1)):
        raise BadMessage(f"{r} ranges do not fit {codes.dtype} answers")
    common = r in (1, 3)
    width = codes.shape[1]
    if width < 1 or not (common or width % 2 == 0):
        raise BadMessage(f"answers of {width} numbers")
    d = width if common else width // 2
    if ranges is not None and ranges.shape[1] != d:
        raise BadMessage("ranges do not fit the answers")
    if ranges is not None and not np.isfinite(ranges).all():
        raise BadMessage("ranges contain NaN or infinity")
    spread = None if ranges is None else ranges.astype(np.float64)
    if one_byte and spread is not None and not common and not (spread[2:] > 0).all():
        raise BadMessage("a standard deviation is not positive")
    out = np.empty((len(codes), 2 * d), np.float32)
    for part in blocks(len(codes), width):
        if not np.isfinite(codes[part]).all():
            raise BadMessage("answers contain NaN or infinity")
        x = codes[part].astype(np.float64)
        if one_byte and spread is not None:
            x[:, :d] = _between(x[:, :d], spread[0], spread[1])
            if not common:
                x[:, d:] = np.exp(_between(x[:, d:], *np.log(spread[2:])))
        out[part, :width] = x
        if common and spread is not None:
            out[part, d:] = spread[-1]
    return out


def _between(steps: Array, low: Array, high: Array) -> Array:
    """Return what steps [n, D] stand for; exactly `low` and `high` at the ends."""
    if not (low <= high).all():
        raise BadMessage("a range ends below its start")
    share = steps / LEVELS
    return np.asarray((1 - share) * low + share * high)


# ---- Short codings of state values, and back; the decoder trusts nothing. n values of n rows


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
        if not np.isfinite(codes).all():
            raise BadMessage("values contains NaN or infinity")
        return codes.astype(np.float32)
    if len(codes) < ENDS:
        raise BadMessage("one-byte values without their range")
    ends = np.ascontiguousarray(codes[:ENDS]).view("<f4")
    low, high = ends.tolist()
    if not np.isfinite(ends).all() or low > high:
        raise BadMessage("a range of values has no order")
    steps = codes[ENDS:]
    out = np.empty(len(steps), np.float32)
    for part in blocks(len(steps)):
        share = steps[part] / LEVELS
        out[part] = (1 - share) * low + share * high
    return out
