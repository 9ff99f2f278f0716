"""What messages carry beside answers or parameters: a class for each part, which is all there is.

    table = ProbTable(3, probs, "uint8", parts=(Visits(counts), Score(12.5)))
    table.need(Visits).counts

A part bounds its content (`validate`: nobody could use anything else), writes and reads its bytes
(`encode`, `decode`), and says whether it is what a receiver asked for (`asked`, `check`). A new
part is a new class here, and its name in `TABLE_PARTS` or `PARAMETERS_PARTS`.

Shapes: n rows of a table, O observation shape, m grid cells, S samples, Q optimizer values.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from fdrl.core.arrays import Array
from fdrl.core.errors import BadMessage
from fdrl.core.message import MessagePart, VisitCoding, WithParts
from fdrl.wire.coding import (
    code_cells,
    code_states,
    code_values,
    code_visits,
    uncode_states,
    uncode_values,
    uncode_visits,
)
from fdrl.wire.content import (
    VERSION,
    Asked,
    CodedPart,
    Fields,
    as_float32,
    check_cells,
    check_floats,
    check_states,
)

FARTHEST = 1e9
"""Beyond it the value of a state is a fault of transmission, or meant to do harm."""
VISIT_SLACK = 1.05
"""One-byte visit counts are rounded by up to 3%."""


@dataclass(frozen=True, eq=False)
class Visits(CodedPart):
    """Visit counts [n] behind the rows of a table."""

    name: ClassVar[str] = "visit counts"
    tensors: ClassVar[str] = "n"

    counts: Array
    coding: VisitCoding = "uint8"
    """One byte a count on a log scale (error at most 3%), or four bytes, exact."""

    def validate(self, rows: int) -> None:
        """Refuse what are no counts, one a row."""
        _check_counts("visits", self.counts, rows, self.coding)

    def encode(self, fields: Fields) -> None:
        """Write n: a byte a row or four; the codec may put bytes beside those of the answers."""
        fields.tensors["n"] = _coded_counts(self.counts, self.coding)

    @classmethod
    def decode(cls, fields: Fields) -> Self:
        return cls(*_read_counts(fields.array("n", "uint8", "float32")))

    def check(self, most: float | None = None) -> None:
        """Refuse more visits than an agent can make: they decide who is heard."""
        _check_claims(self.counts, most, "visits")

    @classmethod
    def asked(cls, *, most: float | None = None, optional: bool = False) -> Asked:
        """Ask for visit counts, of at most `most` visits in all."""
        return Asked(cls, optional, (most,))

    def take(self, rows: Array) -> Self:
        """Return the counts of the chosen rows."""
        return replace(self, counts=self.counts[rows])


@dataclass(frozen=True, eq=False)
class Score(CodedPart):
    """An agent's recent return; travels with six significant digits."""

    name: ClassVar[str] = "scores"
    words: ClassVar[str] = "s"

    value: float

    def validate(self, rows: int) -> None:
        if not np.isfinite(self.value):
            raise BadMessage(f"score must be finite, got {self.value}")

    def encode(self, fields: Fields) -> None:
        """Write the word s."""
        fields.metadata["s"] = f"{self.value:.6g}"

    @classmethod
    def decode(cls, fields: Fields) -> Self:
        """Take s, written in the one way there is."""
        text = fields.metadata.pop("s")
        try:
            value = float(text)
        except ValueError:
            raise BadMessage(f"score is not a number: {text[:40]!r}") from None
        if f"{value:.6g}" != text:
            raise BadMessage(f"score is not a number: {text[:40]!r}")
        return cls(value)


@dataclass(frozen=True, eq=False)
class CellRows(CodedPart):
    """Grid cells, or labels, [n]: what the rows of a table are about."""

    name: ClassVar[str] = "rows keyed by cells"
    tensors: ClassVar[str] = "c"

    cells: NDArray[np.int64]

    def validate(self, rows: int) -> None:
        """Refuse what is not increasing, one a row."""
        check_cells("cells", self.cells, rows)

    def encode(self, fields: Fields) -> None:
        """Write c: the gaps between the cells."""
        fields.tensors["c"] = code_cells(self.cells)

    @classmethod
    def decode(cls, fields: Fields) -> Self:
        return cls(fields.cells("c"))

    def check(self, below: int | None = None) -> None:
        """Refuse cells outside the grid."""
        _check_below(self.cells, below)

    @classmethod
    def asked(cls, *, below: int | None = None, optional: bool = False) -> Asked:
        """Ask for rows keyed by cells, all of them `below`."""
        return Asked(cls, optional, (below,))

    def take(self, rows: Array) -> Self:
        """Return the cells of the chosen rows."""
        return replace(self, cells=self.cells[rows])


@dataclass(frozen=True, eq=False)
class StateRows(CodedPart):
    """Raw states [n, *O] that the rows of a table are about."""

    name: ClassVar[str] = "states"
    tensors: ClassVar[str] = "x"

    states: Array

    def validate(self, rows: int) -> None:
        """Refuse what are no states, one a row."""
        check_states(self.states, rows)

    def encode(self, fields: Fields) -> None:
        """Write x: float32, or a byte a pixel."""
        fields.tensors["x"] = code_states(as_float32(self.states))

    @classmethod
    def decode(cls, fields: Fields) -> Self:
        return cls(uncode_states(fields.array("x", "float32", "uint8")))

    def check(self, shape: tuple[int, ...] | None = None) -> None:
        """Refuse states of another shape."""
        if shape is not None and self.states.shape[1:] != shape:
            raise BadMessage(f"expected states {shape}, got {self.states.shape[1:]}")

    @classmethod
    def asked(cls, *, shape: tuple[int, ...] | None = None, optional: bool = False) -> Asked:
        """Ask for raw states of a shape O."""
        return Asked(cls, optional, (shape,))

    def take(self, rows: Array) -> Self:
        """Return the states of the chosen rows."""
        return replace(self, states=self.states[rows])


@dataclass(frozen=True, eq=False)
class Values(CodedPart):
    """Values [n] of the rows' states; they travel in the coding of the answers."""

    name: ClassVar[str] = "values"
    tensors: ClassVar[str] = "b"

    values: Array

    def validate(self, rows: int) -> None:
        """Refuse what are no finite numbers, one a row."""
        check_floats("values", self.values, (rows,))

    def encode(self, fields: Fields) -> None:
        fields.tensors["b"] = code_values(as_float32(self.values), fields.coding)

    @classmethod
    def decode(cls, fields: Fields) -> Self:
        return cls(uncode_values(fields.array("b", fields.coding)))

    def check(self) -> None:
        """Refuse what no return is."""
        if (far := float(np.abs(self.values).max(initial=0.0))) > FARTHEST:
            raise BadMessage(f"a value of {far:g}: no return is that")

    def take(self, rows: Array) -> Self:
        """Return the values of the chosen rows."""
        return replace(self, values=self.values[rows])


@dataclass(frozen=True, eq=False)
class Seen(CodedPart):
    """Grid cells [m] that an agent visited most, from which visited proxies are chosen."""

    name: ClassVar[str] = "visited cells"
    tensors: ClassVar[str] = "sw"

    cells: NDArray[np.int64]
    visits: Array | None = None
    """How often [m] it visited them, in a coding of `Visits`."""
    coding: VisitCoding = "uint8"

    def validate(self, rows: int) -> None:
        """Refuse what is not increasing, and what are no counts of as many cells."""
        check_cells("seen", self.cells)
        if self.visits is not None:
            _check_counts("seen_visits", self.visits, len(self.cells), self.coding)

    def encode(self, fields: Fields) -> None:
        """Write s, and the visits as w."""
        fields.tensors["s"] = code_cells(self.cells)
        if self.visits is not None:
            fields.tensors["w"] = _coded_counts(self.visits, self.coding)

    @classmethod
    def decode(cls, fields: Fields) -> Self:
        cells = fields.cells("s")
        if "w" not in fields.tensors:
            return cls(cells)
        return cls(cells, *_read_counts(fields.array("w", "uint8", "float32")))

    def check(
        self, below: int | None = None, most: int | None = None, most_visits: float | None = None
    ) -> None:
        """Refuse cells outside the grid, too many, or with more visits than an agent can make."""
        _check_below(self.cells, below)
        if most is not None and len(self.cells) > most:
            raise BadMessage(f"reports {len(self.cells)} visited cells, more than {most}")
        if self.visits is not None:
            _check_claims(self.visits, most_visits, "visits to cells")

    @classmethod
    def asked(
        cls,
        *,
        below: int | None = None,
        most: int | None = None,
        most_visits: float | None = None,
        optional: bool = False,
    ) -> Asked:
        """Ask for visited cells: at most `most`, all `below`, of at most so many visits in all."""
        return Asked(cls, optional, (below, most, most_visits))


@dataclass(frozen=True, eq=False)
class OptimizerState(CodedPart):
    """The state [Q] of the optimizer of the parameters that it travels with."""

    name: ClassVar[str] = "optimizer values"
    tensors: ClassVar[str] = "o"

    values: Array

    def validate(self, rows: int) -> None:
        """Refuse what are no finite numbers."""
        check_floats("optimizer", self.values, (None,))

    def encode(self, fields: Fields) -> None:
        fields.tensors["o"] = as_float32(self.values)

    @classmethod
    def decode(cls, fields: Fields) -> Self:
        return cls(fields.array("o", "float32"))

    def check(self, size: int | None = None) -> None:
        """Refuse another size."""
        if size is not None and len(self.values) != size:
            raise BadMessage(f"expected {size} optimizer values, got {len(self.values)}")

    @classmethod
    def asked(cls, *, size: int | None = None, optional: bool = False) -> Asked:
        """Ask for `size` values."""
        return Asked(cls, optional, (size,))


@dataclass(frozen=True, eq=False)
class NextSet(CodedPart):
    """On the way down: cells [m] of the next proxy set, and the set's hash."""

    name: ClassVar[str] = "next proxy sets"
    words: ClassVar[str] = "d"
    tensors: ClassVar[str] = "d"

    cells: NDArray[np.int64]
    version: str

    def validate(self, rows: int) -> None:
        """Refuse what is not increasing, or has no hash."""
        if not isinstance(self.version, str) or not VERSION.fullmatch(self.version):
            raise BadMessage(f"next proxy set of the version {self.version!r:.80}")
        check_cells("next_cells", self.cells)

    def encode(self, fields: Fields) -> None:
        """Write d: the word is the hash, the array the gaps between the cells."""
        fields.metadata["d"] = self.version
        fields.tensors["d"] = code_cells(self.cells)

    @classmethod
    def decode(cls, fields: Fields) -> Self:
        return cls(fields.cells("d"), fields.metadata.pop("d", ""))

    def check(self, below: int | None = None) -> None:
        """Refuse cells outside the grid."""
        _check_below(self.cells, below)

    @classmethod
    def asked(cls, *, below: int | None = None, optional: bool = False) -> Asked:
        """Ask for the next proxy set, all its cells `below`."""
        return Asked(cls, optional, (below,))


@dataclass(frozen=True, eq=False)
class SeedSamples(CodedPart):
    """Samples [S, *O] on which a server may train, and the labels [S, N] of each, N mixed up."""

    name: ClassVar[str] = "seed samples"
    tensors: ClassVar[str] = "il"

    samples: Array
    """uint8 pixels 0..255, or float32 as they are."""
    labels: NDArray[np.uint8]

    def validate(self, rows: int) -> None:
        """Refuse samples that are no numbers, and labels that are not theirs."""
        x, y = self.samples, self.labels
        if x.ndim < 2:
            raise BadMessage(f"seeds must be [s, *O], got {list(x.shape)}")
        if x.dtype not in (np.uint8, np.float32):
            raise BadMessage(f"seeds have dtype {x.dtype}")
        if not np.isfinite(x).all():
            raise BadMessage("seeds contain NaN or infinity")
        if y.ndim != 2 or len(y) != len(x) or y.dtype != np.uint8:
            raise BadMessage(f"seed_labels must be uint8 [{len(x)}, n], got {list(y.shape)}")

    def encode(self, fields: Fields) -> None:
        """Write the samples as i and the labels as l."""
        fields.tensors |= {"i": self.samples, "l": self.labels}

    @classmethod
    def decode(cls, fields: Fields) -> Self:
        return cls(fields.array("i", "uint8", "float32"), fields.array("l", "uint8"))

    def check(
        self,
        shape: tuple[int, ...] | None = None,
        most: int | None = None,
        mixed: int | None = None,
        below: int | None = None,
    ) -> None:
        """Refuse samples of another shape, too many, or with other labels."""
        count, n = self.labels.shape
        if shape is not None and self.samples.shape[1:] != shape:
            raise BadMessage(f"seeds of {self.samples.shape[1:]}, not {shape}")
        if mixed is not None and n != mixed:
            raise BadMessage(f"seeds must have {mixed} labels each")
        if most is not None and count > most:
            raise BadMessage(f"more than {most} seeds")
        if below is not None and self.labels.max(initial=0) >= below:
            raise BadMessage(f"seeds of labels beyond {below - 1}")

    @classmethod
    def asked(
        cls,
        *,
        shape: tuple[int, ...] | None = None,
        most: int | None = None,
        mixed: int | None = None,
        below: int | None = None,
        optional: bool = False,
    ) -> Asked:
        """Ask for at most `most` samples of a shape O, `mixed` labels in each, all `below`."""
        return Asked(cls, optional, (shape, most, mixed, below))


@dataclass(frozen=True, eq=False)
class MissingSeeds(CodedPart):
    """On the way down: agents [m], by number, whose seed samples have not arrived."""

    name: ClassVar[str] = "agents without seeds"
    tensors: ClassVar[str] = "m"

    agents: NDArray[np.int64]

    def validate(self, rows: int) -> None:
        """Refuse what is not increasing."""
        check_cells("wanted", self.agents)

    def encode(self, fields: Fields) -> None:
        """Write m: the gaps between the numbers."""
        fields.tensors["m"] = code_cells(self.agents)

    @classmethod
    def decode(cls, fields: Fields) -> Self:
        return cls(fields.cells("m"))


TABLE_PARTS: tuple[type[CodedPart], ...] = (
    Visits, Score, CellRows, StateRows, Values, Seen, NextSet, SeedSamples,
)  # fmt: skip
"""What tables may carry, in the order in which it is written."""
PARAMETERS_PARTS: tuple[type[CodedPart], ...] = (Score, OptimizerState, NextSet, MissingSeeds)
"""What parameters may carry, in the order in which it is written."""


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


def _check_counts(name: str, counts: Array, n: int, coding: VisitCoding) -> None:
    if coding not in ("uint8", "float32"):
        raise BadMessage(f"unknown coding {coding!r}")
    if counts.shape != (n,):
        raise BadMessage(f"{name} must have shape [{n}], got {list(counts.shape)}")
    if counts.dtype.kind not in "fiu":
        raise BadMessage(f"{name} must be numbers, got {counts.dtype}")
    if not np.isfinite(counts).all():
        raise BadMessage(f"{name} contains NaN or infinity")
    if (counts < 0).any():
        raise BadMessage(f"{name} contains a negative count")


def _coded_counts(counts: Array, coding: VisitCoding) -> Array:
    return code_visits(counts) if coding == "uint8" else as_float32(counts)


def _read_counts(codes: Array) -> tuple[NDArray[np.float32], VisitCoding]:
    return (uncode_visits(codes), "uint8") if codes.dtype == np.uint8 else (codes, "float32")


def _check_claims(counts: Array, most: float | None, what: str) -> None:
    if most is not None and counts.sum() > VISIT_SLACK * most + len(counts):
        raise BadMessage(f"claims {counts.sum():.0f} {what}, more than steps taken")


def _check_below(cells: Array, below: int | None) -> None:
    if below is not None and len(cells) and cells[-1] >= below:
        raise BadMessage("cells outside the grid")
