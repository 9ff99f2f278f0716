"""From agents' tables to a teacher: line the rows up, weigh the agents, combine. Pure functions.

Shapes: U agents that answered, N distinct rows, A actions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fdrl import aggregate
from fdrl.message import ProbTable
from fdrl.strategies.distillation import Distillation

Array = NDArray[Any]


@dataclass(frozen=True)
class Sheet:
    """Tables lined up by row: `probs` [U, N, A], `visits` [U, N], `present` [U, N]."""

    probs: Array
    visits: Array
    present: Array
    cells: Array | None = None
    states: Array | None = None


def align(tables: Sequence[ProbTable], answer: str) -> Sheet:
    """Line up tables about grid cells ("cells"), their own states ("raw"), or the proxy set."""
    if answer in ("cells", "labels"):
        return _align_cells(tables)
    if answer == "raw":
        return _all_rows(tables)
    probs = np.stack([t.probs for t in tables]).astype(np.float64)
    present = np.ones(probs.shape[:2])
    visits = [np.ones(t.probs.shape[0]) if t.visits is None else t.visits for t in tables]
    return Sheet(probs, np.stack(visits).astype(np.float64), present)


def _align_cells(tables: Sequence[ProbTable]) -> Sheet:
    """FRD: the union of the agents' visited cells, in the order of their index."""
    keys = [np.asarray(t.cells) for t in tables]
    union = np.unique(np.concatenate(keys))
    shape = (len(tables), union.size)
    probs = np.zeros((*shape, tables[0].probs.shape[1]))
    visits, present = np.zeros(shape), np.zeros(shape)
    for u, (table, own) in enumerate(zip(tables, keys, strict=True)):
        at = np.searchsorted(union, own)
        probs[u, at] = table.probs
        visits[u, at] = 1.0 if table.visits is None else table.visits
        present[u, at] = 1.0
    return Sheet(probs, visits, present, cells=union)


def _all_rows(tables: Sequence[ProbTable]) -> Sheet:
    """PD: nothing is combined. The rows stand one after another, as if one agent had said all."""
    probs = np.concatenate([t.probs for t in tables]).astype(np.float64)[None]
    ones = np.ones(probs.shape[:2])
    states = np.concatenate([np.asarray(t.states) for t in tables])
    return Sheet(probs, ones, ones, states=states)


def agent_weights(sheet: Sheet, scores: Sequence[float | None], settings: Distillation) -> Array:
    """Return each agent's weight at each row [U, N], zero where it said nothing.

    Where all that answered weigh nothing (nobody has been there and `visit_offset` is 0), they
    weigh alike.
    """
    if sheet.states is not None:
        return sheet.present
    weights = sheet.present.copy()
    if settings.visit_power > 0.0:
        weights *= aggregate.visit_weights(
            sheet.visits, settings.visit_power, settings.visit_offset
        )
    if settings.beta != 0.0:
        weights *= aggregate.return_weights(known_scores(scores), settings.beta)[:, None]
    if settings.confidence:
        weights *= aggregate.confidence_weights(sheet.probs)
    return np.where(weights.sum(0) > 0.0, weights, sheet.present)


def known_scores(scores: Sequence[float | None]) -> Array:
    """Return the scores [U], the mean of the known ones standing in for the missing."""
    known = [s for s in scores if s is not None]
    stand_in = float(np.mean(known)) if known else 0.0
    return np.array([stand_in if s is None else s for s in scores], dtype=np.float64)


def combine(sheet: Sheet, weights: Array, settings: Distillation) -> Array:
    """Return the teacher [N, A]."""
    if settings.combine == "log":
        teacher, _ = aggregate.log_pool(sheet.probs, weights)
    elif settings.combine == "mean":
        teacher, _ = aggregate.weighted_mean(sheet.probs, weights)
    else:
        teacher = _robust(sheet, settings)
    return np.asarray(aggregate.sharpen(teacher, settings.sharpen))


def _robust(sheet: Sheet, settings: Distillation) -> Array:
    """Combine without weights; rows are grouped by who answered, since each has its own crowd."""
    functions: dict[str, Callable[[Array], Array]] = {
        "median": aggregate.median,
        "trimmed": lambda p: aggregate.trimmed_mean(p, settings.trim),
        "geometric": aggregate.geometric_median,
    }
    function = functions[settings.combine]
    teacher = np.zeros(sheet.probs.shape[1:])
    crowds, which = np.unique(sheet.present, axis=1, return_inverse=True)
    for c in range(crowds.shape[1]):
        rows = which.reshape(-1) == c
        answered = crowds[:, c] > 0
        teacher[rows] = function(sheet.probs[answered][:, rows])
    return teacher


def leave_one_out(sheet: Sheet, weights: Array, settings: Distillation) -> Array:
    """Return a teacher for each agent [U, N, A] made of the others only.

    Where nobody else answered, the agent's own answer stays: it teaches nothing.
    """
    out = np.empty_like(sheet.probs)
    for u in range(len(out)):
        others = np.arange(len(out)) != u
        rest = Sheet(sheet.probs[others], sheet.visits[others], sheet.present[others])
        alone = (weights[others].sum(0) <= 0.0) | (rest.present.sum(0) == 0)
        teacher = combine(rest, weights[others], settings) if others.any() else sheet.probs[u]
        out[u] = np.where(alone[:, None], sheet.probs[u], teacher)
    return out
