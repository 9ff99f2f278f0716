"""What agents say about their policies: kinds of answer behind one interface (others: `memories`).

An answer object lives next to one cohort of K agents. It makes each agent's table, and finds the
states that a downloaded table's rows are about.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fdrl import proxy as proxies
from fdrl.cohort import Cohort, Experience, Valued
from fdrl.errors import BadMessage, FdrlError
from fdrl.message import (
    AnyTable,
    Expected,
    NextSet,
    Parameters,
    ProxyUpdate,
    Seen,
    Values,
    Visits,
    check_table,
    parts_of,
    table_of,
)
from fdrl.proxy import ProxySet
from fdrl.strategies.distillation import Distillation
from fdrl.strategies.seen import SeenCells
from fdrl.strategy import ClientContext

Array = NDArray[Any]


class Answers(Protocol):
    """Makes uploads and reads downloads for the agents of one cohort, each on its own."""

    def tables(self, cohort: Cohort, experience: Experience, round: int) -> list[AnyTable | None]:
        """Return each agent's table, None where it has nothing to say."""

    def open(self, agent: int, update: ProxyUpdate) -> None:
        """Let agent k take note of the proxy set."""

    def check(self, agent: int, table: AnyTable, round: int) -> None:
        """Raise `BadMessage` unless a downloaded table is about what agent k knows."""

    def states(self, table: AnyTable) -> Array:
        """Return the states [N, *O] that the rows of a checked table are about."""

    def check_next(self, agent: int, message: AnyTable | Parameters) -> None:
        """Raise `BadMessage` unless agent k can rebuild the proxy set that a message announces."""

    def advance(self, agent: int, message: AnyTable | Parameters) -> None:
        """Let agent k move to the next proxy set, if the message announces one."""

    def state(self) -> dict[str, Array]:
        """Everything needed to resume."""

    def load_state(self, state: Mapping[str, Array]) -> None:
        """Continue from what `state` returned."""


def visited(experience: Experience, agent: int) -> Array:
    """Return agent k's observations of the stretch, without padding."""
    return experience.observations[agent, : int(experience.steps[agent])]


class Current:
    """The current policy on the proxy states, with visits counted by nearest proxy state.

    Every agent has the proxy set that it was told of last; normally that is one and the same.
    """

    def __init__(self, settings: Distillation, context: ClientContext) -> None:
        self.settings, self.context = settings, context
        if isinstance(context.run.proxy, proxies.Grid):
            raise FdrlError(
                "answers by the current policy need a list of proxy states, but a grid lists none "
                "(only visited cells exist): use --proxy visited, or --strategy frd"
            )
        self.refreshes = proxies.refresh_every(context.run.proxy)
        grid = proxies.grid_of(context.run.proxy, context.low, context.high)
        self.seen = SeenCells(len(context.ids), grid) if grid and self.refreshes else None
        self.versions = [""] * len(context.ids)
        self.sets: dict[str, ProxySet] = {}

    def _use(self, agent: int, made: ProxySet) -> None:
        self.versions[agent] = made.version
        self.sets.setdefault(made.version, made)
        self.sets = {v: s for v, s in self.sets.items() if v in self.versions}

    def open(self, agent: int, update: ProxyUpdate) -> None:
        """Rebuild the proxy set from its recipe; `BadMessage` if its hash differs."""
        context = self.context
        made = self.sets.get(update.version) or proxies.from_update(
            update, context.run.proxy, context.low, context.high, context.run.seed
        )
        self._use(agent, made)

    def tables(self, cohort: Cohort, experience: Experience, round: int) -> list[AnyTable | None]:
        """Answer every proxy state with the current policy."""
        due = bool(self.refreshes) and (round - 1) % self.refreshes == 0
        answers = {version: cohort.probs(s.states) for version, s in self.sets.items()}
        values = self._values(cohort)
        rows: list[AnyTable | None] = []
        for k, version in enumerate(self.versions):
            observations = visited(experience, k)
            seen = self._report(k, observations, due)
            if not version:
                rows.append(None)
                continue
            rows.append(
                table_of(
                    answers[version][k],
                    self.context.gaussian,
                    round=round,
                    coding=self.settings.coding,
                    version=version,
                    parts=parts_of(
                        self._visits(self.sets[version], observations),
                        Values(values[version][k]) if values else None,
                        seen,
                    ),
                )
            )
        return rows

    def _values(self, cohort: Cohort) -> dict[str, Array]:
        """Return the agents' values of each proxy set's states, if they are exchanged."""
        if not self.settings.values:
            return {}
        assert isinstance(cohort, Valued)  # `check_cohort` has seen to it
        return {version: cohort.values(s.states) for version, s in self.sets.items()}

    def _visits(self, made: ProxySet, observations: Array) -> Visits | None:
        if self.settings.visit_power == 0.0:
            return None
        low, high = self.context.low, self.context.high
        return Visits(proxies.visit_counts(made.states, observations, low, high))

    def _report(self, agent: int, observations: Array, due: bool) -> Seen | None:
        """Count visited cells; when a refresh is due, say which were visited most."""
        if self.seen is None:
            return None
        self.seen.add(agent, observations)
        return Seen(*self.seen.take(agent, int(self.context.run.proxy.size))) if due else None

    def check(self, agent: int, table: AnyTable, round: int) -> None:
        """Refuse a table about another proxy set, or a next set that this agent cannot rebuild."""
        have = self.versions[agent]
        if not have:
            raise BadMessage("a table came before any proxy set")
        asked = (NextSet.asked(optional=True),)
        expected = Expected(
            round,
            self.context.n_actions,
            self.context.gaussian,
            version=have,
            rows=len(self.sets[have].states),
            parts=(*asked, Values.asked()) if self.settings.values else asked,
        )
        check_table(table, expected)
        self.check_next(agent, table)

    def check_next(self, agent: int, message: AnyTable | Parameters) -> None:
        """Refuse a next set that this agent cannot rebuild."""
        following = message.get(NextSet)
        if following is not None and following.version not in self.sets:
            made = self._made_of(following.cells)
            if made.version != following.version:
                raise BadMessage(f"proxy set {following.version!r} was rebuilt as {made.version!r}")
            self.sets[made.version] = made

    def states(self, table: AnyTable) -> Array:
        """Return the proxy states."""
        return self.sets[table.version].states

    def advance(self, agent: int, message: AnyTable | Parameters) -> None:
        """Switch to the announced set."""
        following = message.get(NextSet)
        if following is not None:
            self._use(agent, self.sets[following.version])

    def _made_of(self, cells: Array | None) -> ProxySet:
        context = self.context
        try:
            return proxies.restore(
                context.run.proxy, context.low, context.high, context.run.seed, cells
            )
        except FdrlError as error:
            raise BadMessage(f"next proxy set: {error}") from None

    def state(self) -> dict[str, Array]:
        """Return each agent's proxy set and the cells it has seen."""
        versions = [v.encode() for v in self.versions]
        state = {
            "version": np.array(
                [list(v.ljust(8, b"\0")) for v in versions], dtype=np.uint8
            ).reshape(-1, 8)
        }
        for version, made in self.sets.items():
            state |= {f"set.{version}.{k}": v for k, v in proxies.saved(made).items()}
        return state | (self.seen.state() if self.seen else {})

    def load_state(self, state: Mapping[str, Array]) -> None:
        """Rebuild the proxy sets and the visited cells."""
        if self.seen is not None:
            self.seen.load_state(state)
        context = self.context
        rows = [bytes(row).rstrip(b"\0").decode() for row in state["version"]]
        self.sets = {}
        for version in {v for v in rows if v}:
            prefix = f"set.{version}."
            kept = {k[len(prefix) :]: v for k, v in state.items() if k.startswith(prefix)}
            self.sets[version] = proxies.load_saved(
                kept, context.run.proxy, context.low, context.high, context.run.seed, version
            )
        self.versions = rows
