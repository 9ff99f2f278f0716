"""What parts of messages are made of: fields on the wire, a base class, and checks of arrays.

Shapes: n rows of a table, O observation shape, m grid cells.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from fdrl.core.arrays import Array
from fdrl.core.errors import BadMessage
from fdrl.core.message import Coding, MessagePart
from fdrl.wire.coding import uncode_cells

VERSION = re.compile(r"[0-9A-Za-z._-]{1,64}")
"""The hash of a proxy set."""


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

    def cells(self, name: str) -> NDArray[np.int64]:
        """Take numbers of grid cells."""
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
        """Raise `BadMessage` beyond the bounds that `asked` was given, in the order it has them."""

    @classmethod
    def asked(cls, *, optional: bool = False) -> Asked:
        """Return what a receiver asks for: that it must come along, or may."""
        return Asked(cls, optional)


@dataclass(frozen=True)
class Asked:
    """A kind of part that must or may come along, and the bounds that its `check` is given."""

    kind: type[CodedPart]
    optional: bool
    bounds: tuple[Any, ...] = ()


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
    if not np.isfinite(array).all():
        raise BadMessage(f"{name} contains NaN or infinity")


def check_cells(name: str, cells: Array, n: int | None = None) -> None:
    """Raise `BadMessage` unless cells [m] are nonnegative and strictly increasing, n of them."""
    if cells.ndim != 1:
        raise BadMessage(f"{name} must be [m], got {list(cells.shape)}")
    if n is not None and len(cells) != n:
        raise BadMessage(f"{len(cells)} {name} for {n} rows")
    if cells.dtype.kind not in "iu":
        raise BadMessage(f"{name} must be integers, got {cells.dtype}")
    if len(cells) and (cells[0] < 0 or not (cells[1:] > cells[:-1]).all()):
        raise BadMessage(f"{name} must be nonnegative and strictly increasing")


def check_states(states: Array, n: int | None) -> None:
    """Raise `BadMessage` unless states [n, *O] are finite floats."""
    if states.ndim < 2:
        raise BadMessage(f"states must be [n, *O], got {list(states.shape)}")
    if n is not None and len(states) != n:
        raise BadMessage(f"{len(states)} states for {n} rows")
    if states.dtype.kind != "f":
        raise BadMessage(f"states must be floats, got {states.dtype}")
    if not np.isfinite(states).all():
        raise BadMessage("states contain NaN or infinity")


def as_float32(array: Array) -> NDArray[np.float32]:
    """Return finite numbers as float32, or raise `BadMessage` if one does not fit."""
    with np.errstate(over="ignore"):
        cast = np.asarray(array, dtype=np.float32)
    if not np.isfinite(cast).all():
        raise BadMessage("a value does not fit in float32")
    return cast
