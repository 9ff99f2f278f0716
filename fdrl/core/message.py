"""The kinds of message; `fdrl.wire.checks` is the public face.

A table of answers and a set of parameters may carry parts: values, visit counts, a next proxy set,
... Each is a class of `fdrl.wire.parts` that knows all about itself; nothing here does.

Shapes: n rows of a table, A actions or D dimensions of a continuous one, W numbers in a row (A, or
2D), O observation shape, P parameters, m grid cells. Cells are strictly increasing wherever they
appear: that makes a set of them unique, and its coding short.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from fdrl.core.arrays import Array
from fdrl.core.errors import BadMessage

Coding = Literal["float32", "float16", "uint8"]
VisitCoding = Literal["uint8", "float32"]
Part = Literal["policy", "all", "optimizer"]
Recipe = dict[str, int | float | str]

PARTS: tuple[Part, ...] = ("policy", "all", "optimizer")
CODINGS: tuple[Coding, ...] = ("float32", "float16", "uint8")


class MessagePart:
    """What a message may carry beside its answers or parameters, one of a kind."""

    name: ClassVar[str]
    """What it is called where it is missing, or was not asked for; a plural."""

    def take(self, rows: Array) -> Self:
        """Return what belongs to the chosen rows of a table; all of it, if it is not by row."""
        return self


P = TypeVar("P", bound=MessagePart)


@dataclass(frozen=True, eq=False)
class WithParts:
    """A message of a round that may carry parts, at most one of each kind."""

    round: int
    parts: tuple[MessagePart, ...] = field(default=(), kw_only=True)

    def get(self, kind: type[P]) -> P | None:
        """Return the part of a kind, None if there is none: ``table.get(Visits)``."""
        for part in self.parts:
            if isinstance(part, kind):
                return part
        return None

    def need(self, kind: type[P]) -> P:
        """Return the part of a kind; `BadMessage` if there is none."""
        part = self.get(kind)
        if part is None:
            raise BadMessage(f"{kind.name} are missing")
        return part

    def with_parts(self, *parts: MessagePart) -> Self:
        """Return a copy that carries these parts, in place of those of the same kinds."""
        rest = self.without(*map(type, parts)).parts
        return replace(self, parts=(*rest, *parts))

    def without(self, *kinds: type[MessagePart]) -> Self:
        """Return a copy without the parts of these kinds."""
        return replace(self, parts=tuple(p for p in self.parts if not isinstance(p, kinds)))


@dataclass(frozen=True, eq=False)
class Table(WithParts, ABC):
    """What policies say about states: answers [n, W], on the states that the rows stand for.

    A row stands for proxy state 0..n-1 of the set named by `version`, or for a grid cell (the part
    `CellRows`), or for a raw state (`StateRows`). `ProbTable` and `GaussTable` hold the answers.
    """

    version: str = field(default="", kw_only=True)

    @property
    @abstractmethod
    def answers(self) -> Array:
        """The answers [n, W], whatever their kind."""

    @abstractmethod
    def with_answers(self, answers: Array) -> Self:
        """Return a copy with other answers [n, W]."""

    def take(self, rows: Array) -> Self:
        """Return a table of the chosen rows (indices or a mask), with what belongs to them."""
        parts = tuple(part.take(rows) for part in self.parts)
        return replace(self.with_answers(self.answers[rows]), parts=parts)


@dataclass(frozen=True, eq=False)
class ProbTable(Table):
    """Action probabilities [n, A]."""

    probs: Array
    coding: Coding = "float32"

    @property
    def answers(self) -> Array:
        """The probabilities."""
        return self.probs

    def with_answers(self, answers: Array) -> Self:
        """Return a copy with other probabilities [n, A]."""
        return replace(self, probs=answers)


@dataclass(frozen=True, eq=False)
class GaussTable(Table):
    """Gaussian policies over D continuous actions: moments [n, 2D].

    A row is D means, then D standard deviations.
    """

    moments: Array
    coding: Coding = "float32"

    @property
    def answers(self) -> Array:
        """The moments."""
        return self.moments

    def with_answers(self, answers: Array) -> Self:
        """Return a copy with other moments [n, 2D]."""
        return replace(self, moments=answers)


AnyTable = ProbTable | GaussTable


def table_of(
    answers: Array,
    gaussian: bool,
    *,
    round: int,
    coding: Coding = "float32",
    version: str = "",
    parts: tuple[MessagePart, ...] = (),
) -> AnyTable:
    """Return a table of answers [n, W], Gaussians or probabilities."""
    kind = GaussTable if gaussian else ProbTable
    return kind(round, answers, coding, version=version, parts=parts)


def parts_of(*parts: MessagePart | None) -> tuple[MessagePart, ...]:
    """Return those that are not None: ``parts_of(Visits(n) if weighed else None, Score(r))``."""
    return tuple(part for part in parts if part is not None)


@dataclass(frozen=True, eq=False)
class Parameters(WithParts):
    """One part of an agent's (or the average) parameters, `values` float32 [P]."""

    values: Array
    part: Part = "all"
    steps: int = 0
    """Environment steps behind them: the weight in FedAvg."""


@dataclass(frozen=True, eq=False)
class Transitions:
    """Named arrays as they are: the pooled oracle's experience, FAug's seeds and generator."""

    round: int
    arrays: dict[str, Array] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class ProxyUpdate:
    """A new proxy set: the recipe to rebuild it, and cells or states where a recipe is not enough.

    `version` is the hash that the rebuilt set must have.
    """

    round: int
    version: str
    recipe: Recipe = field(default_factory=dict)
    cells: NDArray[np.int64] | None = None
    states: Array | None = None


Message = ProbTable | GaussTable | Parameters | Transitions | ProxyUpdate
