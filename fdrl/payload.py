"""The kinds of message; `fdrl.message` is the public face.

Shapes: n rows of a table, A actions or D dimensions of a continuous one, W numbers in a row (A, or
2D), O observation shape, P parameters, m grid cells. Cells are strictly increasing wherever they
appear: that makes a set of them unique, and its coding short.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Coding = Literal["float32", "float16", "uint8"]
VisitCoding = Literal["uint8", "float32"]
Part = Literal["policy", "all", "optimizer"]
Recipe = dict[str, int | float | str]

PARTS: tuple[Part, ...] = ("policy", "all", "optimizer")
CODINGS: tuple[Coding, ...] = ("float32", "float16", "uint8")


@dataclass(frozen=True, eq=False)
class Table:
    """What policies say about states: answers [n, W], on the states that the rows stand for.

    A row stands for proxy state 0..n-1 of the set named by `version`, or for a grid cell
    (`cells` [n]), or for a raw state (`states` [n, *O]). `ProbTable` and `GaussTable` hold the
    answers.
    """

    round: int
    version: str = field(default="", kw_only=True)
    cells: NDArray[np.int64] | None = field(default=None, kw_only=True)
    states: Array | None = field(default=None, kw_only=True)
    visits: Array | None = field(default=None, kw_only=True)
    """Visit counts [n] behind each row."""
    visit_coding: VisitCoding = field(default="uint8", kw_only=True)
    """One byte a count on a log scale (error at most 3%), or four bytes, exact."""
    values: Array | None = field(default=None, kw_only=True)
    """Values [n] of the rows' states; they travel in the table's `coding`."""
    score: float | None = field(default=None, kw_only=True)
    """The agent's recent return; travels with six significant digits."""
    seen: NDArray[np.int64] | None = field(default=None, kw_only=True)
    """Grid cells [m] that the agent visited most, from which visited proxies are chosen."""
    seen_visits: Array | None = field(default=None, kw_only=True)
    """How often [m] it visited them; travels as `visits` do."""
    next_cells: NDArray[np.int64] | None = field(default=None, kw_only=True)
    """On the way down: cells [m] of the next proxy set, whose hash is `next_version`."""
    next_version: str = field(default="", kw_only=True)
    seeds: Array | None = field(default=None, kw_only=True)
    """Samples [S, *O] on which a server may train: uint8 pixels 0..255, or float32 as they are."""
    seed_labels: NDArray[np.uint8] | None = field(default=None, kw_only=True)
    """Their labels [S, N], N mixed into each."""

    @property
    def answers(self) -> Array:
        """The answers [n, W], whatever their kind."""
        raise NotImplementedError


@dataclass(frozen=True, eq=False)
class ProbTable(Table):
    """Action probabilities [n, A]."""

    probs: Array
    coding: Coding = "float32"

    @property
    def answers(self) -> Array:
        """The probabilities."""
        return self.probs


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


def table_of(answers: Array, gaussian: bool, **fields: Any) -> ProbTable | GaussTable:
    """Return a table of answers [n, W]; `fields` are its others."""
    if gaussian:
        return GaussTable(moments=answers, **fields)
    return ProbTable(probs=answers, **fields)


@dataclass(frozen=True, eq=False)
class Parameters:
    """One part of an agent's (or the average) parameters, `values` float32 [P]."""

    round: int
    values: Array
    part: Part = "all"
    steps: int = 0
    """Environment steps behind them: the weight in FedAvg."""
    score: float | None = None
    optimizer: Array | None = None
    """The optimizer's state [Q], if it travels along."""
    next_cells: NDArray[np.int64] | None = None
    """On the way down, where agents answer proxy states: cells [m] of the next proxy set."""
    next_version: str = ""
    """The hash of the next proxy set."""
    wanted: NDArray[np.int64] | None = None
    """Agents [m], by number, whose seed samples have not arrived."""


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
