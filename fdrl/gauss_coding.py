"""Short codings of Gaussian answers, and back; the decoders trust nothing.

Shapes: n rows, D action dimensions; moments are [n, 2D], means and then standard deviations. A
policy whose standard deviations do not depend on the state sends them once, not in every row.

    codes     [n, D] means only, if all rows have the same standard deviations; else [n, 2D]
    ranges    [r, D] float32: what `codes` need to be read, see `code_moments`
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fdrl.errors import BadMessage
from fdrl.payload import Coding

Array = NDArray[Any]
LEVELS = 255


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
    x = codes.astype(np.float64)
    if not np.isfinite(x).all():
        raise BadMessage("answers contain NaN or infinity")
    if ranges is None:
        return x.astype(np.float32)
    spread = ranges.astype(np.float64)
    if not np.isfinite(spread).all():
        raise BadMessage("ranges contain NaN or infinity")
    if one_byte:
        x[:, :d] = _between(x[:, :d], spread[0], spread[1])
    if common:
        std = np.broadcast_to(spread[-1], x.shape)
        return np.concatenate([x, std], axis=1).astype(np.float32)
    if not (spread[2:] > 0).all():
        raise BadMessage("a standard deviation is not positive")
    x[:, d:] = np.exp(_between(x[:, d:], *np.log(spread[2:])))
    return x.astype(np.float32)


def _between(steps: Array, low: Array, high: Array) -> Array:
    """Return what steps [n, D] stand for; exactly `low` and `high` at the ends."""
    if not (low <= high).all():
        raise BadMessage("a range ends below its start")
    share = steps / LEVELS
    return np.asarray((1 - share) * low + share * high)
