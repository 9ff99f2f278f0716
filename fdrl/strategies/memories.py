"""Answers that agents gave while they acted: per grid cell (FRD), or state by state (PD)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fdrl import gauss
from fdrl import proxy as proxies
from fdrl.cohort import Cohort, Experience
from fdrl.errors import FdrlError
from fdrl.message import (
    AnyTable,
    CellRows,
    Expected,
    Parameters,
    ProxyUpdate,
    StateRows,
    Visits,
    check_table,
    parts_of,
    table_of,
)
from fdrl.proxy import GridCells
from fdrl.strategies.distillation import Distillation
from fdrl.strategy import ClientContext

Array = NDArray[Any]


class Cells:
    """FRD's proxy memory: the mean policy at visit time of each visited grid cell."""

    def __init__(self, settings: Distillation, context: ClientContext) -> None:
        self.settings, self.context = settings, context
        grid = context.run.proxy
        if not isinstance(grid, proxies.Grid):
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
            mean = gauss.mean_by(said, where.reshape(-1), found.size)
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


class Raw(Cells):
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
