"""What agents upload: answers about proxy states, grid cells, raw states or labels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fdrl.core.arrays import Array
from fdrl.core.cohort import Cohort, Experience, Labeled, Valued
from fdrl.core.errors import BadMessage, FdrlError
from fdrl.core.message import AnyTable, Parameters, ProbTable, ProxyUpdate, parts_of, table_of
from fdrl.core.registry import labeled_example
from fdrl.core.strategy import ClientContext
from fdrl.ops import gaussian
from fdrl.proxies.grid import GridCells, visit_counts
from fdrl.proxies.sets import (
    ProxySet,
    from_update,
    grid_of,
    load_saved,
    refresh_every,
    restore,
    saved,
)
from fdrl.proxies.settings import Grid
from fdrl.strategies.distillation.settings import Distillation
from fdrl.wire.checks import Expected, check_table
from fdrl.wire.parts import CellRows, NextSet, Seen, StateRows, Values, Visits

# ---- What agents say about their policies: kinds of answer behind one interface
#
# An answer object lives next to one cohort of K agents. It makes each agent's table, and finds the
# states that a downloaded table's rows are about.


class AnswerKind(Protocol):
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
    """Return agent k's observations of the round, without padding."""
    return experience.observations[agent, : int(experience.steps[agent])]


class Current:
    """The current policy on the proxy states, with visits counted by nearest proxy state.

    Every agent has the proxy set that it was told of last; normally that is one and the same.
    """

    def __init__(self, settings: Distillation, context: ClientContext) -> None:
        self.settings, self.context = settings, context
        if isinstance(context.run.proxy, Grid):
            raise FdrlError(
                "answers by the current policy need a list of proxy states, but a grid lists none "
                "(only visited cells exist): use --proxy visited, or --strategy frd"
            )
        self.refreshes = refresh_every(context.run.proxy)
        grid = grid_of(context.run.proxy, context.low, context.high)
        self.seen = VisitCounts(len(context.ids), grid) if grid and self.refreshes else None
        self.versions = [""] * len(context.ids)
        self.sets: dict[str, ProxySet] = {}

    def _use(self, agent: int, made: ProxySet) -> None:
        self.versions[agent] = made.version
        self.sets.setdefault(made.version, made)
        self.sets = {v: s for v, s in self.sets.items() if v in self.versions}

    def open(self, agent: int, update: ProxyUpdate) -> None:
        """Rebuild the proxy set from its recipe; `BadMessage` if its hash differs."""
        context = self.context
        made = self.sets.get(update.version) or from_update(
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
        return Visits(visit_counts(made.states, observations, low, high))

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
            return restore(context.run.proxy, context.low, context.high, context.run.seed, cells)
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
            state |= {f"set.{version}.{k}": v for k, v in saved(made).items()}
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
            self.sets[version] = load_saved(
                kept, context.run.proxy, context.low, context.high, context.run.seed, version
            )
        self.versions = rows


# ---- Answers that agents gave while they acted: per grid cell (FRD), or state by state (PD)


class CellMeans:
    """FRD's proxy memory: the mean policy at visit time of each visited grid cell."""

    def __init__(self, settings: Distillation, context: ClientContext) -> None:
        self.settings, self.context = settings, context
        grid = context.run.proxy
        if not isinstance(grid, Grid):
            raise FdrlError(
                "answers averaged per cell need a grid: use --proxy grid, "
                "or --strategy fd for a list of proxy states"
            )
        self.cells = GridCells(grid.bins, context.low, context.high)

    def open(self, agent: int, update: ProxyUpdate) -> None:
        """Nothing to note: the grid is in the config."""

    def check(self, agent: int, table: AnyTable, round: int) -> None:
        """Refuse a table that is not keyed by cells of this grid."""
        c, asked = self.context, CellRows.asked(below=self.cells.count)
        check_table(table, Expected(round, c.n_actions, c.gaussian, parts=(asked,)))

    def tables(self, cohort: Cohort, experience: Experience, round: int) -> list[AnyTable | None]:
        """Average the policy over the visits to each cell."""
        if experience.observations.shape[1] < int(experience.steps.max(initial=0)):
            raise FdrlError(
                f"strategy {self.context.run.strategy_name!r} sends what agents have visited, but "
                f"agent {self.context.run.agent_name!r} keeps no states: use fd or fedavg"
            )
        return [self._table(experience, k, round) for k in range(len(self.context.ids))]

    def _table(self, experience: Experience, agent: int, round: int) -> AnyTable | None:
        steps = int(experience.steps[agent])
        if not steps:
            return None
        index = self.cells.assign(experience.observations[agent, :steps])
        found, where, times = np.unique(index, return_inverse=True, return_counts=True)
        said = experience.probs[agent, :steps]
        if self.context.gaussian:
            mean = gaussian.mean_by(said, where.reshape(-1), found.size)
        else:
            total = np.zeros((found.size, said.shape[-1]))
            np.add.at(total, where.reshape(-1), said)
            mean = total / times[:, None]
        return table_of(
            mean.astype(np.float32),
            self.context.gaussian,
            round=round,
            coding=self.settings.coding,
            parts=parts_of(
                CellRows(found),
                Visits(times.astype(np.float32)) if self.settings.visit_power else None,
            ),
        )

    def states(self, table: AnyTable) -> Array:
        """Return the centers of the table's cells."""
        return self.cells.centers(table.need(CellRows).cells)

    def check_next(self, agent: int, message: AnyTable | Parameters) -> None:
        """The grid never changes."""

    def advance(self, agent: int, message: AnyTable | Parameters) -> None:
        """The grid never changes."""

    def state(self) -> dict[str, Array]:
        """Nothing to keep: the memory is forgotten after every exchange."""
        return {}

    def load_state(self, state: Mapping[str, Array]) -> None:
        """Nothing to restore."""


class VisitedStates(CellMeans):
    """Policy distillation: every visited state with the policy there."""

    def __init__(self, settings: Distillation, context: ClientContext) -> None:
        self.settings, self.context = settings, context

    def _table(self, experience: Experience, agent: int, round: int) -> AnyTable | None:
        steps = int(experience.steps[agent])
        if not steps:
            return None
        return table_of(
            experience.probs[agent, :steps],
            self.context.gaussian,
            round=round,
            coding=self.settings.coding,
            parts=(StateRows(experience.observations[agent, :steps]),),
        )

    def states(self, table: AnyTable) -> Array:
        """Return the states that the table carries."""
        return table.need(StateRows).states

    def check(self, agent: int, table: AnyTable, round: int) -> None:
        """Refuse a table without states of our shape."""
        c, asked = self.context, StateRows.asked(shape=self.context.low.shape)
        check_table(table, Expected(round, c.n_actions, c.gaussian, parts=(asked,)))


# ---- Federated distillation for classification: mean answers per label, gathered while training
#
# FD (Jeong et al. 2018, arXiv 1811.11479, algorithm 1): an agent uploads, for each label it owns,
# the mean of what it answered to samples of that label during local training. What comes back
# guides the next local training, label by label; nothing is distilled in between.


class LabelMeans:
    """Answers by label for the agents of one cohort, which must own labeled samples."""

    def __init__(self, settings: Distillation, context: ClientContext) -> None:
        self.settings, self.context = settings, context

    def open(self, agent: int, update: ProxyUpdate) -> None:
        """Nothing to note: there are no proxies."""

    def check(self, agent: int, table: AnyTable, round: int) -> None:
        """Refuse a table that is not keyed by labels."""
        length = self.context.n_actions
        check_table(table, Expected(round, length, parts=(CellRows.asked(below=length),)))

    def tables(self, cohort: Cohort, experience: Experience, round: int) -> list[AnyTable | None]:
        """Return the mean answers of the labels that each agent has trained on."""
        if experience.labels is None:
            raise FdrlError(
                'strategy.answer = "labels" needs agents with labeled samples: use '
                f"{labeled_example()}, or another answer"
            )
        probs, counts = experience.labels.probs, experience.labels.counts
        return [self._table(p, n, round) for p, n in zip(probs, counts, strict=True)]

    def _table(self, probs: Array, counts: Array, round: int) -> ProbTable | None:
        cells = np.flatnonzero(counts > 0)
        if not len(cells):
            return None
        return ProbTable(
            round=round,
            probs=probs[cells],
            coding=self.settings.coding,
            parts=parts_of(
                CellRows(cells),
                Visits(counts[cells].astype(np.float32)) if self.settings.visit_power else None,
            ),
        )

    def teach(self, cohort: Cohort, tables: Mapping[str, AnyTable]) -> dict[str, Array]:
        """Hand every agent that was sent a table its teacher; the others keep theirs."""
        assert isinstance(cohort, Labeled)
        k, length = len(self.context.ids), self.context.n_actions
        targets = np.full((k, length, length), 1.0 / length, np.float32)
        weights = np.zeros((k, length), np.float32)
        for row, name in enumerate(self.context.ids):
            if name in tables:
                table = tables[name]
                cells = table.need(CellRows).cells
                targets[row, cells], weights[row, cells] = table.answers, 1.0
        own = self.settings.label_weight
        cohort.teach(targets, weights, 1.0 if own is None else own)
        return {"distill/labels_taught": weights.sum(1).astype(np.float64)}

    def states(self, table: AnyTable) -> Array:
        """Raise: a label is no state."""
        raise TypeError("rows about labels have no states")

    def check_next(self, agent: int, message: AnyTable | Parameters) -> None:
        """There is no next set."""

    def advance(self, agent: int, message: AnyTable | Parameters) -> None:
        """There is no next set."""

    def state(self) -> dict[str, Array]:
        """Nothing to keep: the teacher is the cohort's."""
        return {}

    def load_state(self, state: Mapping[str, Array]) -> None:
        """Nothing to restore."""


# ---- Which grid cells each agent has visited lately: what refreshed proxy sets are chosen from


class VisitCounts:
    """Visits of each of K agents by cell, since that agent's counts were last taken."""

    def __init__(self, agents: int, cells: GridCells) -> None:
        self.cells = cells
        self._visits: list[list[NDArray[np.int64]]] = [[] for _ in range(agents)]

    def add(self, agent: int, observations: Array) -> None:
        """Note the cells of observations [B, *O] of agent k."""
        if len(observations):
            self._visits[agent].append(self.cells.assign(observations))

    def take(self, agent: int, limit: int) -> tuple[Array, Array]:
        """Return the `limit` most visited cells [m] by index, with counts [m], and forget all."""
        found, times = self._counts(agent)
        self._visits[agent] = []
        best = np.sort(np.lexsort((found, -times))[:limit])
        return found[best], times[best].astype(np.float32)

    def _counts(self, agent: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        visits = np.concatenate([np.empty(0, np.int64), *self._visits[agent]])
        return np.unique(visits, return_counts=True)

    def state(self) -> dict[str, Array]:
        """Return all counts: rows of (agent, cell) and how often."""
        counts = [self._counts(k) for k in range(len(self._visits))]
        owners = [np.full(len(found), k) for k, (found, _) in enumerate(counts)]
        cells = np.concatenate([found for found, _ in counts])
        return {
            "seen": np.stack([np.concatenate(owners), cells], axis=1).astype(np.int64),
            "seen_visits": np.concatenate([times for _, times in counts]).astype(np.int64),
        }

    def load_state(self, state: Mapping[str, Array]) -> None:
        """Continue from what `state` returned."""
        owners, cells = state["seen"].T
        for k in range(len(self._visits)):
            own = owners == k
            self._visits[k] = [np.repeat(cells[own], state["seen_visits"][own])]
