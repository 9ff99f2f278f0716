"""Federated distillation for classification: mean answers per label, gathered while training.

FD (Jeong et al. 2018, arXiv 1811.11479, algorithm 1): an agent uploads, for each label it owns, the
mean of what it answered to samples of that label during local training. What comes back pulls the
next stretch of local training, label by label; nothing is distilled in between.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fdrl.cohort import Cohort, Experience, Labeled
from fdrl.errors import FdrlError
from fdrl.message import (
    AnyTable,
    CellRows,
    Expected,
    Parameters,
    ProbTable,
    ProxyUpdate,
    Visits,
    check_table,
    parts_of,
)
from fdrl.registry import labeled_example
from fdrl.strategies.distillation import Distillation
from fdrl.strategy import ClientContext

Array = NDArray[Any]


class Labels:
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
