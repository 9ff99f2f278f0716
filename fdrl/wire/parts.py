"""What messages carry beside answers or parameters: a class for each part, which is all there is.

    table = ProbTable(3, probs, "uint8", parts=(Visits(counts), Score(12.5)))
    table.need(Visits).counts

A part bounds its content (`validate`: nobody could use anything else), writes and reads its bytes
(`encode`, `decode`), and says whether it is what a receiver asked for (`asked`, `check`). A new
part is a new class here, and its name in `TABLE_PARTS` or `PARAMETERS_PARTS`.

Shapes: n rows of a table, O observation shape, m grid cells, S samples, Q optimizer values.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from fdrl.core.arrays import Array
from fdrl.core.errors import BadMessage
from fdrl.core.message import VisitCoding
from fdrl.wire.coding import (
    ENDS,
    code_cells,
    code_states,
    code_values,
    uncode_states,
    uncode_values,
)
from fdrl.wire.content import (
    VERSION,
    CodedPart,
    Fields,
    all_finite,
    as_float32,
    check_below,
    check_cells,
    check_claims,
    check_counts,
    check_floats,
    check_near,
    check_states,
    coded_counts,
    read_counts,
)

RICHEST = 1e15
"""Beyond it a return is none: that of a million steps of the largest rewards."""
BRIGHTEST = 1e3
"""Beyond it a sample's number is none: samples are pixels, from 0 to 1."""
NOISIEST = 1e18
"""Beyond it a mean of squared gradients is a fault of transmission, or meant to do harm."""
STEEPEST = 8.0
"""A mean of gradients is never more than this many roots of the mean of their squares beside it: by
Cauchy and Schwarz 2.3 with Adam's decays, 7.3 where both have their constant factors."""


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
        check_counts("visits", self.counts, rows, self.coding)

    def encode(self, fields: Fields) -> None:
        """Write n: a byte a row or four; the codec may put bytes beside those of the answers."""
        fields.tensors["n"] = coded_counts(self.counts, self.coding)

    @classmethod
    def decode(cls, fields: Fields) -> Self:
        return cls(*read_counts(fields.array("n", "uint8", "float32")))

    def check(self, most: float | None = None) -> None:
        """Refuse more visits than an agent can make: they decide who is heard."""
        check_claims(self.counts, self.coding, most, "visits")

    @classmethod
    def most_bytes(cls, rows: int, **bounds: Any) -> int:
        """Four a row."""
        return 4 * rows

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

    def check(self) -> None:
        """Refuse what no return is: it decides how much an agent weighs."""
        if abs(self.value) > RICHEST:
            raise BadMessage(f"a score of {self.value:g}: no return is that")

    @classmethod
    def most_bytes(cls, rows: int, **bounds: Any) -> int:
        """None beside the header."""
        return 0


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
        check_below(self.cells, below)

    @classmethod
    def most_bytes(cls, rows: int, **bounds: Any) -> int:
        """Nine a row."""
        return 9 * rows

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
        """Refuse states of another shape, and what no state is."""
        if shape is not None and self.states.shape[1:] != shape:
            raise BadMessage(f"expected states {shape}, got {self.states.shape[1:]}")
        check_near("a state", self.states)

    @classmethod
    def most_bytes(cls, rows: int, **bounds: Any) -> int | None:
        """Four a number."""
        return None if (shape := bounds.get("shape")) is None else 4 * rows * math.prod(shape)

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
        check_near("a value", self.values)

    @classmethod
    def most_bytes(cls, rows: int, **bounds: Any) -> int:
        """Four a row, or one and the range."""
        return 4 * rows + ENDS

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
            check_counts("seen_visits", self.visits, len(self.cells), self.coding)

    def encode(self, fields: Fields) -> None:
        """Write s, and the visits as w."""
        fields.tensors["s"] = code_cells(self.cells)
        if self.visits is not None:
            fields.tensors["w"] = coded_counts(self.visits, self.coding)

    @classmethod
    def decode(cls, fields: Fields) -> Self:
        cells = fields.cells("s")
        if "w" not in fields.tensors:
            return cls(cells)
        return cls(cells, *read_counts(fields.array("w", "uint8", "float32")))

    def check(
        self, below: int | None = None, most: int | None = None, most_visits: float | None = None
    ) -> None:
        """Refuse cells outside the grid, too many, or with more visits than an agent can make."""
        check_below(self.cells, below)
        if most is not None and len(self.cells) > most:
            raise BadMessage(f"reports {len(self.cells)} visited cells, more than {most}")
        if self.visits is not None:
            check_claims(self.visits, self.coding, most_visits, "visits to cells")

    @classmethod
    def most_bytes(cls, rows: int, **bounds: Any) -> int | None:
        """Nine a cell, and four for its visits."""
        return None if (most := bounds.get("most")) is None else 13 * int(most)


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

    def check(self, size: int | None = None, squares: tuple[int, int] = (0, 0)) -> None:
        """Refuse another size, and what no gradients give: a step would destroy what was learned.

        Where means of squares are known, at ``squares[0]:squares[1]``, they are at least 0, and
        what stands before them, as many means of the same gradients, fits them.
        """
        if size is not None and len(self.values) != size:
            raise BadMessage(f"expected {size} optimizer values, got {len(self.values)}")
        first, end = squares
        spread = self.values[first:end].astype(np.float64)
        check_near("an optimizer value", self.values[:first])
        check_near("an optimizer value", self.values[end:])
        check_near("a mean of squared gradients", spread, NOISIEST)
        if (least := float(spread.min(initial=0.0))) < 0:
            raise BadMessage(f"a mean of squared gradients of {least:g}: squares are not negative")
        means = np.abs(self.values[:first].astype(np.float64))
        if len(means) == len(spread) and (means > STEEPEST * np.sqrt(spread) + 1e-12).any():
            raise BadMessage("a mean of gradients that is too large for that of their squares")

    @classmethod
    def most_bytes(cls, rows: int, **bounds: Any) -> int | None:
        """Four a value."""
        return None if (size := bounds.get("size")) is None else 4 * int(size)


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

    def check(self, below: int | None = None, most: int | None = None) -> None:
        """Refuse cells outside the grid, or too many."""
        check_below(self.cells, below)
        if most is not None and len(self.cells) > most:
            raise BadMessage(f"a next proxy set of {len(self.cells)} cells, more than {most}")

    @classmethod
    def most_bytes(cls, rows: int, **bounds: Any) -> int | None:
        """Nine a cell."""
        return None if (most := bounds.get("most")) is None else 9 * int(most)


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
        if not all_finite(x):
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
        if self.samples.dtype != np.uint8:
            check_near("a seed sample", self.samples, BRIGHTEST)

    @classmethod
    def most_bytes(cls, rows: int, **bounds: Any) -> int | None:
        """Four a pixel and one a label."""
        shape, most, mixed = (bounds.get(name) for name in ("shape", "most", "mixed"))
        if shape is None or most is None or mixed is None:
            return None
        return int(most * (4 * math.prod(shape) + mixed))


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

    def check(self, below: int | None = None) -> None:
        """Refuse agents that there are not."""
        check_below(self.agents, below)

    @classmethod
    def most_bytes(cls, rows: int, **bounds: Any) -> int | None:
        """Nine an agent."""
        return None if (below := bounds.get("below")) is None else 9 * int(below)


TABLE_PARTS: tuple[type[CodedPart], ...] = (
    Visits, Score, CellRows, StateRows, Values, Seen, NextSet, SeedSamples,
)  # fmt: skip
"""What tables may carry, in the order in which it is written."""
PARAMETERS_PARTS: tuple[type[CodedPart], ...] = (Score, OptimizerState, NextSet, MissingSeeds)
"""What parameters may carry, in the order in which it is written."""
