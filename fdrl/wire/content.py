"""What parts of messages are made of: fields on the wire, a base class, and checks of arrays.

Shapes: n rows of a table, O observation shape, m grid cells.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from fdrl.core.arrays import Array
from fdrl.core.errors import BadMessage
from fdrl.core.message import Coding, MessagePart, VisitCoding, WithParts
from fdrl.wire.coding import OCTAVE, blocks, code_visits, uncode_cells, uncode_visits

VERSION = re.compile(r"[0-9A-Za-z._-]{1,64}")
"""The hash of a proxy set."""
FARTHEST = 1e9
"""Beyond it a reward, a state or its value is a fault of transmission, or meant to do harm."""
VISIT_ROUNDING = 2.0 ** (0.5 / OCTAVE)
"""One-byte visit counts are rounded by up to this factor, 3%."""


@dataclass
class Fields:
    """A message on the wire: words and arrays by names of one or two letters.

    Written one by one, and taken out one by one; what is left at the end is an error.
    """

    metadata: dict[str, str]
    tensors: dict[str, Array]
    coding: Coding = "float32"
    """That of the answers, which other numbers may follow."""

    def array(self, name: str, *dtypes: str) -> Array:
        """Take an array of one of `dtypes`; `BadMessage` if there is none."""
        array = self.tensors.pop(name, None)
        if array is None:
            raise BadMessage(f"tensor {name!r} is missing")
        if array.dtype.name not in dtypes:
            raise BadMessage(f"tensor {name!r} must not be {array.dtype}")
        return array

    def cells(self, name: str) -> Array:
        """Take numbers of grid cells, of 32 bits or 64."""
        return uncode_cells(self.array(name, "uint8"))


class CodedPart(MessagePart, ABC):
    """A part of a message, with all that there is to know about it."""

    words: ClassVar[str] = ""
    tensors: ClassVar[str] = ""
    """The letters under which it writes words and arrays: it is there if one of them is."""

    @abstractmethod
    def validate(self, rows: int) -> None:
        """Raise `BadMessage` for content that nobody could use, in a message of so many rows."""

    @abstractmethod
    def encode(self, fields: Fields) -> None:
        """Write valid content."""

    @classmethod
    @abstractmethod
    def decode(cls, fields: Fields) -> Self:
        """Take what `encode` wrote, or raise `BadMessage`; `validate` has yet to be called."""

    def check(self) -> None:
        """Raise `BadMessage` beyond bounds, which subclasses take by name."""

    @classmethod
    def most_bytes(cls, rows: int, **bounds: Any) -> int | None:
        """Return the bytes that it takes at most in a message of `rows`; None: no bound."""
        return None

    @classmethod
    def asked(cls, *, optional: bool = False, **bounds: Any) -> Asked:
        """Return what a receiver asks for: that it must come along, or may, within `bounds`.

        These are what `check` takes: ``Visits.asked(most=256)``.
        """
        return Asked(cls, optional, bounds)


@dataclass(frozen=True)
class Asked:
    """A kind of part that must or may come along, and the bounds that its `check` is given."""

    kind: type[CodedPart]
    optional: bool
    bounds: Mapping[str, Any] = field(default_factory=dict)

    def most_bytes(self, rows: int) -> int | None:
        """Return the bytes of the part in a message of `rows`, at the most; None: who knows."""
        return self.kind.most_bytes(rows, **self.bounds)


def validate_parts(message: WithParts, kinds: Sequence[type[CodedPart]], rows: int) -> None:
    """Raise `BadMessage` unless a message has valid parts of these kinds, at most one of each."""
    found = set()
    for part in message.parts:
        kind = type(part)
        if kind in found:
            raise BadMessage(f"{part.name} twice")
        if kind not in kinds or not isinstance(part, CodedPart):
            raise BadMessage(f"{type(message).__name__} cannot carry {kind.__name__}")
        found.add(kind)
        part.validate(rows)


def encode_parts(message: WithParts, kinds: Sequence[type[CodedPart]], fields: Fields) -> None:
    """Write a valid message's parts, in the order of their kinds."""
    own = {type(part): part for part in message.parts}
    for kind in kinds:
        if isinstance(part := own.get(kind), CodedPart):
            part.encode(fields)


def decode_parts(kinds: Sequence[type[CodedPart]], fields: Fields) -> tuple[MessagePart, ...]:
    """Take the parts of these kinds, or raise `BadMessage`."""
    words, arrays = fields.metadata, fields.tensors
    return tuple(
        kind.decode(fields)
        for kind in kinds
        if any(letter in arrays for letter in kind.tensors)
        or any(letter in words for letter in kind.words)
    )


def all_finite(array: Array) -> bool:
    """Say whether an array holds finite numbers only, a block at a time."""
    if array.dtype.kind in "iub":
        return True
    flat = np.ascontiguousarray(array).reshape(-1)
    return all(bool(np.isfinite(flat[part]).all()) for part in blocks(flat.size))


def farthest(array: Array) -> float:
    """Return the largest absolute value of finite numbers; 0 of none."""
    return max(float(array.max(initial=0.0)), -float(array.min(initial=0.0)))


def check_floats(name: str, array: Array, shape: tuple[int | None, ...] | None) -> None:
    """Raise `BadMessage` unless an array is finite, and of floats [*shape]; None fits any."""
    if shape is not None:
        if array.ndim != len(shape) or any(
            want is not None and want != got for want, got in zip(shape, array.shape, strict=True)
        ):
            want = ["?" if s is None else s for s in shape]
            raise BadMessage(f"{name} must have shape {want}, got {list(array.shape)}")
        if array.dtype.kind != "f":
            raise BadMessage(f"{name} must be floats, got {array.dtype}")
    if not all_finite(array):
        raise BadMessage(f"{name} contains NaN or infinity")


def check_cells(name: str, cells: Array, n: int | None = None) -> None:
    """Raise `BadMessage` unless cells [m] are nonnegative and strictly increasing, n of them."""
    if cells.ndim != 1:
        raise BadMessage(f"{name} must be [m], got {list(cells.shape)}")
    if n is not None and len(cells) != n:
        raise BadMessage(f"{len(cells)} {name} for {n} rows")
    if cells.dtype.kind not in "iu":
        raise BadMessage(f"{name} must be integers, got {cells.dtype}")
    ahead, behind = cells[1:], cells[:-1]
    growing = all(bool((ahead[part] > behind[part]).all()) for part in blocks(len(ahead)))
    if len(cells) and (cells[0] < 0 or not growing):
        raise BadMessage(f"{name} must be nonnegative and strictly increasing")


def check_states(states: Array, n: int | None) -> None:
    """Raise `BadMessage` unless states [n, *O] are finite floats."""
    if states.ndim < 2:
        raise BadMessage(f"states must be [n, *O], got {list(states.shape)}")
    if n is not None and len(states) != n:
        raise BadMessage(f"{len(states)} states for {n} rows")
    if states.dtype.kind != "f":
        raise BadMessage(f"states must be floats, got {states.dtype}")
    if not all_finite(states):
        raise BadMessage("states contain NaN or infinity")


def as_float32(array: Array) -> NDArray[np.float32]:
    """Return finite numbers as float32, or raise `BadMessage` if one does not fit."""
    with np.errstate(over="ignore"):
        cast = np.asarray(array, dtype=np.float32)
    if not all_finite(cast):
        raise BadMessage("a value does not fit in float32")
    return cast


def check_counts(name: str, counts: Array, n: int, coding: VisitCoding) -> None:
    """Raise `BadMessage` unless counts [n] are nonnegative numbers."""
    if coding not in ("uint8", "float32"):
        raise BadMessage(f"unknown coding {coding!r}")
    if counts.shape != (n,):
        raise BadMessage(f"{name} must have shape [{n}], got {list(counts.shape)}")
    if counts.dtype.kind not in "fiu":
        raise BadMessage(f"{name} must be numbers, got {counts.dtype}")
    if not all_finite(counts):
        raise BadMessage(f"{name} contains NaN or infinity")
    if counts.min(initial=0) < 0:
        raise BadMessage(f"{name} contains a negative count")


def coded_counts(counts: Array, coding: VisitCoding) -> Array:
    """Return counts as they travel."""
    return code_visits(counts) if coding == "uint8" else as_float32(counts)


def read_counts(codes: Array) -> tuple[NDArray[np.float32], VisitCoding]:
    """Return the counts that travelled as `codes`, and how they did."""
    return (uncode_visits(codes), "uint8") if codes.dtype == np.uint8 else (codes, "float32")


def check_claims(counts: Array, coding: VisitCoding, most: float | None, what: str) -> None:
    """Raise `BadMessage` for more than `most` visits in all, but for what one byte rounds up."""
    slack = VISIT_ROUNDING if coding == "uint8" else 1.0
    total = float(counts.sum(dtype=np.float64))
    if most is not None and total > slack * most * (1 + 1e-6):
        raise BadMessage(f"claims {total:.0f} {what}, more than steps taken")


def check_below(cells: Array, below: int | None) -> None:
    """Raise `BadMessage` for increasing cells that do not all stay `below`."""
    if below is not None and len(cells) and cells[-1] >= below:
        raise BadMessage("cells outside the grid")


def check_near(what: str, numbers: Array, far: float = FARTHEST) -> None:
    """Raise `BadMessage` for a number beyond `far`: it says ``"a value of 1e+30: ..."``."""
    if (largest := farthest(numbers)) > far:
        raise BadMessage(f"{what} of {largest:g}: none is that far from 0")
