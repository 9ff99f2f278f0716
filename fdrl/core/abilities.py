"""What cohorts can do, as a table: how each method is cut over agents, and joined again.

Whoever stands in for cohorts forwards their methods by it: tiles and worker processes
(`fdrl.federation.shards`) cut a call into one for each piece and join the results; packs of seeds
do the reverse, merge the calls of several runs into one and hand each its part. A new ability is a
protocol and one entry here.

Shapes: K agents of a whole, of which `rows` (a slice) are one piece's, or one caller's.
"""

from __future__ import annotations

import inspect
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, wraps
from typing import Any, Protocol, TypeVar

import numpy as np

from fdrl.core.arrays import Array, stack_padded
from fdrl.core.cohort import (
    Cohort,
    Experience,
    Extendable,
    Labeled,
    LabelTable,
    Poolable,
    Valued,
    Watched,
    is_gaussian,
    late_state,
    optimizer_squares,
)
from fdrl.core.errors import FdrlError

Given = Mapping[str, Any]
"""A call's arguments by name, defaults filled in."""
Where = Sequence[slice]


@dataclass(frozen=True)
class Profile:
    """What a cohort says of itself: all that a stand-in for it needs to know."""

    ids: tuple[str, ...]
    observation_shape: tuple[int, ...]
    n_actions: int
    iteration_steps: int
    gaussian: bool
    late_state: tuple[str, ...] = ()
    """Arrays of its state that are only there after first use; until then they count as zeros."""
    abilities: tuple[str, ...] = ()
    """The names of its abilities, beside being a `Cohort`."""
    optimizer_squares: tuple[int, int] = (0, 0)
    """Where its optimizer's state has means of squares."""


def profile(cohort: Cohort) -> Profile:
    """Ask a cohort about itself."""
    able = tuple(name for name, a in ABILITIES.items() if isinstance(cohort, a.protocol))
    return Profile(cohort.ids, cohort.observation_shape, cohort.n_actions, cohort.iteration_steps,
                   is_gaussian(cohort), late_state(cohort), able,
                   optimizer_squares(cohort))  # fmt: skip


def joined_profile(parts: Sequence[Profile]) -> Profile:
    """Return the profile of several cohorts as one, which can do what all of them can."""
    first = parts[0]
    able = tuple(a for a in first.abilities if all(a in p.abilities for p in parts))
    ids = tuple(i for p in parts for i in p.ids)
    return Profile(ids, first.observation_shape, first.n_actions, first.iteration_steps,
                   first.gaussian, first.late_state, able, first.optimizer_squares)  # fmt: skip


class Argument:
    """An argument that is the same for all agents."""

    def cut(self, value: Any, whole: Profile, where: Where) -> list[Any]:
        """Return what each piece is given."""
        return [value] * len(where)

    def alike(self, value: Any) -> Hashable:
        """Return what calls must have in common here to become one."""
        common: Hashable = value
        return common

    def merge(self, values: Sequence[Any], whole: Profile, where: Where) -> Any:
        """Return what the whole is given for several callers, each with some rows of it."""
        return values[0]


class Rows(Argument):
    """An array [K, ...], a row an agent; a number or None is the same for all.

    `idle` is a row of agents nobody asks about, whom it must leave as they are. With `apart`, a
    call whose rows are all idle is none of the others'.
    """

    def __init__(
        self, idle: float | Callable[[Profile], float] = 0.0, *, apart: bool = False
    ) -> None:
        self._idle, self._apart = idle, apart

    def cut(self, value: Any, whole: Profile, where: Where) -> list[Any]:
        """Give each piece its rows."""
        if not isinstance(value, np.ndarray):
            return [value] * len(where)
        if value.shape[:1] != (len(whole.ids),):
            raise FdrlError(f"an array {value.shape} does not fit {len(whole.ids)} agents")
        return [value[rows] for rows in where]

    def alike(self, value: Any) -> Hashable:
        """Rows must have one shape, or be None alike."""
        if value is None:
            return None
        return np.shape(value)[1:], self._apart and bool(np.any(value))

    def merge(self, values: Sequence[Any], whole: Profile, where: Where) -> Any:
        """Put each caller's rows in their place among idle ones."""
        if values[0] is None:
            return None
        idle = self._idle(whole) if callable(self._idle) else self._idle
        shape = (len(whole.ids), *np.shape(values[0])[1:])
        out = np.full(shape, idle, np.result_type(*{np.asarray(value).dtype for value in values}))
        for rows, value in zip(where, values, strict=True):
            out[rows] = value
        return out


class States(Rows):
    """States [N, *O] that are the same for all agents, or each agent's own [K, N, *O]."""

    def cut(self, value: Any, whole: Profile, where: Where) -> list[Any]:
        """Give each piece the states of its agents."""
        own = value.ndim == 2 + len(whole.observation_shape)
        return super().cut(value, whole, where) if own else [value] * len(where)

    def alike(self, value: Any) -> Hashable:
        """States must have one shape."""
        return tuple(np.shape(value))

    def merge(self, values: Sequence[Any], whole: Profile, where: Where) -> Any:
        """Give each agent a set of its own: every caller may ask about other states."""
        if values[0].ndim < 2 + len(whole.observation_shape):
            values = [
                np.broadcast_to(value, (rows.stop - rows.start, *value.shape))
                for rows, value in zip(where, values, strict=True)
            ]
        return super().merge(values, whole, where)


class Items(Argument):
    """A list of K things, or arrays [K, ...] by name. Calls that have any are not merged."""

    def cut(self, value: Any, whole: Profile, where: Where) -> list[Any]:
        """Give each piece the things of its agents."""
        if isinstance(value, Mapping):
            return [{name: array[rows] for name, array in value.items()} for rows in where]
        return [value[rows] for rows in where]

    def alike(self, value: Any) -> Hashable:
        """Whoever serves such calls looks at what they hold."""
        return None

    def merge(self, values: Sequence[Any], whole: Profile, where: Where) -> Any:
        """Raise: nobody knows what agents that are not asked about are to be given."""
        raise TypeError("a list of things, or arrays by name, cannot be merged for several runs")


class Nothing:
    """The result of a method that returns nothing."""

    def join(self, parts: Sequence[Any], sizes: Sequence[int]) -> Any:
        """Put together what pieces of so many agents returned."""
        return None

    def part(self, whole: Any, rows: slice) -> Any:
        """Return some agents' share of a result, a copy."""
        return None


class Table(Nothing):
    """An array [K, ...]."""

    def join(self, parts: Sequence[Array], sizes: Sequence[int]) -> Array:
        """Concatenate."""
        return np.concatenate(parts)

    def part(self, whole: Array, rows: slice) -> Array:
        """Copy the rows."""
        return whole[rows].copy()


class Listed(Nothing):
    """A list of K things."""

    def join(self, parts: Sequence[list[Any]], sizes: Sequence[int]) -> list[Any]:
        """Put one list behind the other."""
        return [thing for part in parts for thing in part]

    def part(self, whole: list[Any], rows: slice) -> list[Any]:
        """Cut the list."""
        return whole[rows]


class Named(Nothing):
    """Arrays [K, ...] by name, of which the other axes are padded to the longest."""

    def join(self, parts: Sequence[Mapping[str, Array]], sizes: Sequence[int]) -> dict[str, Array]:
        """Concatenate."""
        return {name: stack_padded([part[name] for part in parts]) for name in parts[0]}

    def part(self, whole: Mapping[str, Array], rows: slice) -> dict[str, Array]:
        """Copy the rows."""
        return {name: array[rows].copy() for name, array in whole.items()}


class Measured(Named):
    """Metrics [K] by name."""

    def join(self, parts: Sequence[Mapping[str, Array]], sizes: Sequence[int]) -> dict[str, Array]:
        """Concatenate; where a piece has none (it did nothing) they are 0."""
        names = {name: None for part in parts for name in part}
        return {
            name: np.concatenate(
                [p.get(name, np.zeros(n)) for p, n in zip(parts, sizes, strict=True)]
            )
            for name in names
        }


class Experienced(Nothing):
    """An `Experience`."""

    def join(self, parts: Sequence[Experience], sizes: Sequence[int]) -> Experience:
        """Put experiences of different agents together; shorter ones are padded."""
        tables, spent = [e.labels for e in parts if e.labels is not None], None
        if any(e.spent is not None for e in parts):
            spent = np.concatenate([e.steps if e.spent is None else e.spent for e in parts])
        return Experience(
            observations=stack_padded([e.observations for e in parts]),
            probs=stack_padded([e.probs for e in parts]),
            steps=np.concatenate([e.steps for e in parts]),
            returns=[r for e in parts for r in e.returns],
            lengths=[n for e in parts for n in e.lengths],
            metrics=MEASURED.join([e.metrics for e in parts], sizes),
            ends=[n for e in parts for n in e.ends] if all(e.ends for e in parts) else [],
            labels=_joined_tables(tables) if tables else None,
            spent=spent,
        )

    def part(self, whole: Experience, rows: slice) -> Experience:
        """Return some agents' share, cut to the longest of them."""
        steps, table = whole.steps[rows].copy(), whole.labels
        m = int(steps.max(initial=0))
        return Experience(
            observations=whole.observations[rows, :m].copy(),
            probs=whole.probs[rows, :m].copy(),
            steps=steps,
            returns=whole.returns[rows],
            lengths=whole.lengths[rows],
            metrics={name: v[rows].copy() for name, v in whole.metrics.items()},
            ends=whole.ends[rows],
            labels=table and LabelTable(table.probs[rows].copy(), table.counts[rows].copy()),
            spent=None if whole.spent is None else whole.spent[rows].copy(),
        )


def _joined_tables(tables: Sequence[LabelTable]) -> LabelTable:
    counts = np.concatenate([t.counts for t in tables])
    return LabelTable(np.concatenate([t.probs for t in tables]), counts)


class Both(Nothing):
    """Two results."""

    def __init__(self, first: Nothing, second: Nothing) -> None:
        self._two = first, second

    def join(self, parts: Sequence[tuple[Any, Any]], sizes: Sequence[int]) -> tuple[Any, Any]:
        """Join each."""
        one, other = zip(*parts, strict=True)
        return self._two[0].join(one, sizes), self._two[1].join(other, sizes)

    def part(self, whole: tuple[Any, Any], rows: slice) -> tuple[Any, Any]:
        """Take a share of each."""
        return self._two[0].part(whole[0], rows), self._two[1].part(whole[1], rows)


@dataclass(frozen=True)
class Method:
    """How a method is forwarded.

    `takes` has its arguments, by name, and `gives` its result. `indivisible`: it is one of cohorts
    of one agent. `alone`, if any: what runs are doing that call it, and therefore are not packed.
    """

    takes: Mapping[str, Argument]
    gives: Nothing
    indivisible: bool = False
    alone: str = ""


@dataclass(frozen=True)
class Ability:
    """The methods of a protocol; `alone`, if any: whose runs are not packed because of it."""

    protocol: type
    methods: Mapping[str, Method]
    alone: str = ""


SAME, ROWS, STATES, ITEMS = Argument(), Rows(), States(), Items()
NOTHING, TABLE, LISTED, NAMED = Nothing(), Table(), Listed(), Named()
MEASURED, EXPERIENCE = Measured(), Experienced()
POLICIES = Rows(lambda whole: 1.0 / whole.n_actions)
"""Others' targets only have to be valid: uniform probabilities, or positive deviations."""

COHORT = Ability(
    Cohort,
    {
        # Whoever has no steps left reports nothing, as alone: it must not ride with the others.
        "learn": Method({"steps": Rows(apart=True), "episodes": ROWS}, EXPERIENCE),
        "probs": Method({"states": STATES}, TABLE),
        "distill": Method(
            {"states": STATES, "targets": POLICIES, "weights": ROWS, "settings": SAME}, MEASURED
        ),
        "parameters": Method({"part": SAME}, TABLE),
        "load_parameters": Method({"rows": ROWS, "part": SAME}, NOTHING),
        "anchor": Method({"rows": ROWS, "strength": SAME}, NOTHING),
        "evaluate": Method(
            {"episodes": SAME, "seed": SAME, "held_out": SAME, "greedy": SAME}, TABLE
        ),
        "state": Method({}, NAMED),
        "load_state": Method({"state": ITEMS}, NOTHING),
    },
)
ABILITIES: dict[str, Ability] = {
    "poolable": Ability(
        Poolable,
        {
            "collect": Method({"steps": ROWS}, Both(EXPERIENCE, NAMED), alone="pooled learning"),
            "update": Method(
                {"transitions": ITEMS}, MEASURED, indivisible=True, alone="pooled learning"
            ),
        },
    ),
    "watched": Ability(Watched, {"keep_finite": Method({"rows": ROWS}, TABLE)}),
    "valued": Ability(
        Valued,
        {
            "values": Method({"states": STATES}, TABLE),
            "distill_values": Method(
                {"states": STATES, "targets": ROWS, "weights": ROWS, "settings": SAME}, MEASURED
            ),
        },
    ),
    "labeled": Ability(
        Labeled,
        {
            "samples": Method({}, LISTED),
            "histogram": Method({}, TABLE),
            "teach": Method({"targets": ROWS, "weights": ROWS, "strength": SAME}, NOTHING),
        },
        alone="agents that own labeled samples",
    ),
    "fillable": Ability(Extendable, {"extend": Method({"samples": ITEMS}, NOTHING)}),
}
"""What a cohort may be able to do besides, by name."""

_OWNERS = {name: a for a in (COHORT, *ABILITIES.values()) for name in a.methods}
METHODS: dict[str, Method] = {name: a.methods[name] for name, a in _OWNERS.items()}
"""Every method that is forwarded."""


@cache
def _signature(name: str) -> inspect.Signature:
    """Return a method's signature without `self`."""
    full = inspect.signature(getattr(_OWNERS[name].protocol, name))
    return full.replace(parameters=list(full.parameters.values())[1:])


def bound(name: str, given: Given) -> inspect.BoundArguments:
    """Return arguments as a method takes them: by position, unless it wants them by name."""
    return inspect.BoundArguments(_signature(name), OrderedDict(given))


class StandIn(Protocol):
    """Stands in for cohorts."""

    def forward(self, name: str, given: Given) -> Any:
        """Do what the cohorts' method would."""


Kind = TypeVar("Kind", bound=StandIn)


@cache
def standing_in(kind: type[Kind], abilities: tuple[str, ...]) -> type[Kind]:
    """Return a class with all methods of a `Cohort` of some abilities, and no others.

    Those that `kind` does not define itself are forwarded. So `isinstance` tells the truth.
    """
    able = [COHORT, *(ABILITIES[name] for name in abilities)]
    names = [name for a in able for name in a.methods if not hasattr(kind, name)]
    return type(kind.__name__, (kind,), {name: _forwarder(name) for name in names})


def _forwarder(name: str) -> Callable[..., Any]:
    signature = _signature(name)

    @wraps(getattr(_OWNERS[name].protocol, name))
    def forward(self: StandIn, *args: Any, **kwargs: Any) -> Any:
        given = signature.bind(*args, **kwargs)
        given.apply_defaults()
        return self.forward(name, given.arguments)

    return forward


def cut(name: str, given: Given, whole: Profile, where: Where) -> list[inspect.BoundArguments]:
    """Return the arguments of each piece of a call."""
    takes = METHODS[name].takes
    cuts = {arg: takes[arg].cut(value, whole, where) for arg, value in given.items()}
    return [bound(name, {arg: own[i] for arg, own in cuts.items()}) for i in range(len(where))]


def alike(name: str, given: Given) -> Hashable:
    """Return what calls of a method must have in common to become one call."""
    takes = METHODS[name].takes
    return tuple(takes[arg].alike(value) for arg, value in given.items())


def merged(
    name: str, calls: Sequence[Given], whole: Profile, where: Where
) -> inspect.BoundArguments:
    """Return the arguments of the one call that several alike become."""
    takes = METHODS[name].takes
    own = {a: takes[a].merge([given[a] for given in calls], whole, where) for a in calls[0]}
    return bound(name, own)


def alone(abilities: Iterable[str]) -> str:
    """Say which of a cohort's abilities lets its runs go on alone; nothing if none does."""
    return next((ABILITIES[a].alone for a in abilities if ABILITIES[a].alone), "")
