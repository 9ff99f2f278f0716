"""From agents' tables to a teacher: line the rows up, weigh the agents, combine. Pure functions.

Shapes: U agents that answered, N distinct rows, A actions, W numbers in an answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from fdrl.core.arrays import Array
from fdrl.core.message import AnyTable, Coding, GaussTable, Parameters
from fdrl.ops import aggregation
from fdrl.ops.gaussian import mixture, product, sharpen
from fdrl.strategies.distillation.settings import Distillation
from fdrl.strategies.returns import known_scores
from fdrl.wire.checks import LARGEST, NARROWEST
from fdrl.wire.parts import CellRows, Score, StateRows, Values, Visits

Tables = Sequence[AnyTable]
HALF = float(np.finfo(np.float16).max)


@dataclass(frozen=True)
class AlignedAnswers:
    """Tables lined up by row: `answers` [U, N, W], `visits` [U, N], `present` [U, N].

    W is A probabilities or, for `gaussian` answers, 2D means and standard deviations.
    """

    answers: Array
    visits: Array
    present: Array
    cells: Array | None = None
    states: Array | None = None
    gaussian: bool = False


def align(tables: Tables, answer: str) -> AlignedAnswers:
    """Line up tables about grid cells ("cells"), their own states ("raw"), or the proxy set."""
    gaussian = isinstance(tables[0], GaussTable)
    if answer in ("cells", "labels"):
        return replace(_align_cells(tables), gaussian=gaussian)
    if answer == "raw":
        return replace(_all_rows(tables), gaussian=gaussian)
    answers = np.stack([t.answers for t in tables]).astype(np.float64)
    present = np.ones(answers.shape[:2])
    visits = np.stack([_visits(t) for t in tables]).astype(np.float64)
    return AlignedAnswers(answers, visits, present, gaussian=gaussian)


def _visits(table: AnyTable) -> Array:
    """Return the visits [n] behind a table's rows; one each, if it does not say."""
    visits = table.get(Visits)
    return np.ones(len(table.answers)) if visits is None else visits.counts


def _align_cells(tables: Tables) -> AlignedAnswers:
    """FRD: the union of the agents' visited cells, in the order of their index."""
    keys = [t.need(CellRows).cells for t in tables]
    union = np.unique(np.concatenate(keys))
    shape = (len(tables), union.size)
    answers = np.zeros((*shape, tables[0].answers.shape[1]))
    visits, present = np.zeros(shape), np.zeros(shape)
    for u, (table, own) in enumerate(zip(tables, keys, strict=True)):
        at = np.searchsorted(union, own)
        answers[u, at] = table.answers
        visits[u, at] = _visits(table)
        present[u, at] = 1.0
    return AlignedAnswers(answers, visits, present, cells=union)


def _all_rows(tables: Tables) -> AlignedAnswers:
    """PD: nothing is combined. The rows stand one after another, as if one agent had said all."""
    answers = np.concatenate([t.answers for t in tables]).astype(np.float64)[None]
    ones = np.ones(answers.shape[:2])
    states = np.concatenate([t.need(StateRows).states for t in tables])
    return AlignedAnswers(answers, ones, ones, states=states)


def agent_weights(
    sheet: AlignedAnswers, scores: Sequence[float | None], settings: Distillation
) -> Array:
    """Return each agent's weight at each row [U, N], zero where it said nothing.

    Where all that answered weigh nothing (nobody has been there and `visit_offset` is 0), they
    weigh alike.
    """
    if sheet.states is not None:
        return sheet.present
    weights = sheet.present.copy()
    if settings.visit_power > 0.0:
        weights *= aggregation.visit_weights(
            sheet.visits, settings.visit_power, settings.visit_offset
        )
    if settings.beta != 0.0:
        weights *= aggregation.return_weights(known_scores(scores), settings.beta)[:, None]
    if settings.confidence:
        weights *= aggregation.confidence_weights(sheet.answers)
    return np.where(weights.sum(0) > 0.0, weights, sheet.present)


def scores_of(messages: Sequence[AnyTable | Parameters]) -> list[float | None]:
    """Return the recent return [U] of each message's agent, None where it is not told."""
    return [None if (score := m.get(Score)) is None else score.value for m in messages]


def combine(sheet: AlignedAnswers, weights: Array, settings: Distillation) -> Array:
    """Return the teacher [N, W]."""
    if sheet.gaussian:
        pool = product if settings.gaussians == "product" else mixture
        made = sharpen(pool(sheet.answers, weights), settings.sharpen)
        return sendable(made, settings.coding)
    if settings.combine == "log":
        teacher, _ = aggregation.log_pool(sheet.answers, weights)
    elif settings.combine == "mean":
        teacher, _ = aggregation.weighted_mean(sheet.answers, weights)
    else:
        teacher = _robust(sheet, settings)
    return np.asarray(aggregation.sharpen(teacher, settings.sharpen))


def sendable(moments: Array, coding: Coding) -> Array:
    """Return Gaussians [N, 2D] no farther than what agents take, and what their coding holds.

    A combination of answers may be more certain, or spread wider, than any of them.
    """
    d, far = moments.shape[1] // 2, HALF if coding == "float16" else LARGEST
    deviations = np.clip(moments[:, d:], 1.001 * NARROWEST, far)
    return np.concatenate([np.clip(moments[:, :d], -far, far), deviations], axis=1)


def combine_values(tables: Tables, weights: Array) -> Array:
    """Return the mean of the agents' values [N], weighted like their answers [U, N]."""
    said = np.stack([t.need(Values).values.astype(np.float64) for t in tables])
    return np.asarray((weights * said).sum(0) / weights.sum(0))


def _robust(sheet: AlignedAnswers, settings: Distillation) -> Array:
    """Combine without weights; rows are grouped by who answered, since each has its own crowd."""
    functions: dict[str, Callable[[Array], Array]] = {
        "median": aggregation.median,
        "trimmed": lambda p: aggregation.trimmed_mean(p, settings.trim),
        "geometric": aggregation.geometric_median,
    }
    function = functions[settings.combine]
    teacher = np.zeros(sheet.answers.shape[1:])
    crowds, which = np.unique(sheet.present, axis=1, return_inverse=True)
    for c in range(crowds.shape[1]):
        rows = which.reshape(-1) == c
        answered = crowds[:, c] > 0
        teacher[rows] = function(sheet.answers[answered][:, rows])
    return teacher


def leave_one_out(sheet: AlignedAnswers, weights: Array, settings: Distillation) -> Array:
    """Return a teacher for each agent [U, N, W] made of the others only.

    Where nobody else answered, the agent's own answer stays: it teaches nothing.
    """
    out = np.empty_like(sheet.answers)
    for u in range(len(out)):
        others = np.arange(len(out)) != u
        rest = replace(
            sheet,
            answers=sheet.answers[others],
            visits=sheet.visits[others],
            present=sheet.present[others],
        )
        alone = (weights[others].sum(0) <= 0.0) | (rest.present.sum(0) == 0)
        teacher = combine(rest, weights[others], settings) if others.any() else sheet.answers[u]
        out[u] = np.where(alone[:, None], sheet.answers[u], teacher)
    return out
