"""Tables as vectors whose sum is worth receiving, and back. Pure functions.

A weighted mean of probabilities is sum w p / sum w: agents send w (p - 1/A), and w where the server
cannot know it. A logarithmic pool is the same of log-ratios, log p_a - log p_A.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fdrl.aggregate import LOG_FLOOR
from fdrl.channel_settings import MacAnalog
from fdrl.errors import FdrlError
from fdrl.mac.quantize import to_simplex
from fdrl.message import CellRows, ProbTable, Visits
from fdrl.registry import STRATEGIES, by_default, load_object

if TYPE_CHECKING:
    from fdrl.config import Exchange, Run

Array = NDArray[Any]
AUDIBLE = 0.5
"""Weight, in agents, below which a label is taken for one that nobody answered [choice]."""


@dataclass(frozen=True)
class Laid:
    """`vectors` [U, n (A-1) + (n)] of n rows; `keyed`: rows are labels; `weighed`: weights, too."""

    vectors: Array
    rows: int
    actions: int
    weighed: bool
    keyed: bool


@dataclass(frozen=True)
class Summed:
    """The sum [d] of such vectors as it was received."""

    total: Array
    laid: Laid


@dataclass(frozen=True)
class Mean:
    """Probabilities [n, A] of the rows that were heard, and their labels [n] if they are keyed."""

    probs: NDArray[np.float32]
    cells: NDArray[np.int64] | None


def check_strategy(run: Run) -> None:
    """Raise `FdrlError` for a strategy whose messages a multiple-access uplink cannot carry.

    In the air they add up, so that a server that does more than average would learn nothing.
    """
    if run.strategy.shares_moments:
        raise FdrlError(
            "config: a multiple-access uplink carries parameters alone, not the optimizer's "
            "moments: use keep or reset (at strategy.optimizer)"
        )
    why = run.strategy.why_no_mean() if isinstance(run.channel, MacAnalog) else ""
    if why:
        raise FdrlError(
            f"config: strategy {run.strategy_name!r} cannot add up in the air: {why}; use "
            f"{averaging()}, or channel mac-digital (at channel.type)"
        )


def averaging(sends: str = "") -> str:
    """Name well-known strategies that send something (or just that) and take its mean, for hints.

    Well-known are the default one and the baselines.
    """
    found = []
    for spec in by_default(s for s in STRATEGIES if s.default or s.baseline):
        settings: Exchange = load_object(spec.settings)()
        if settings.sends in ({sends} if sends else {"answers", "parameters"}):
            found += [] if settings.why_no_mean() else [spec.name]
    return " or ".join(found)


def weigh(table: ProbTable, settings: Any) -> NDArray[np.float64]:
    """Return an agent's weight at each of its rows [n]: (visits + offset)**power, as `fd` has it.

    The normalization over agents cancels in the mean.
    """
    w = np.ones(len(table.probs))
    visits = table.get(Visits)
    if settings.visit_power > 0.0 and visits is not None:
        counts = np.asarray(visits.counts, np.float64)
        w = (counts + settings.visit_offset) ** settings.visit_power
    if settings.confidence:
        p = np.asarray(table.probs, np.float64)
        entropy = -(p * np.log(np.maximum(p, 1e-300))).sum(1)
        w = w * np.clip(1.0 - entropy / np.log(p.shape[1]), 0.0, 1.0)
    return w


def lay(tables: Sequence[ProbTable], settings: Any) -> Laid:
    """Return every agent's vector. Tables by label have a place for each of the A labels."""
    actions = tables[0].probs.shape[1]
    keyed = settings.answer == "labels"
    rows = actions if keyed else len(tables[0].probs)
    weighed = keyed or settings.visit_power > 0.0 or settings.confidence
    vectors = []
    for table in tables:
        at = table.need(CellRows).cells if keyed else np.arange(rows)
        w, said = np.zeros(rows), np.zeros((rows, actions - 1))
        w[at] = weigh(table, settings)
        said[at] = w[at, None] * _centered(table.probs, settings.combine)
        vectors.append(np.concatenate([said.ravel(), w if weighed else w[:0]]))
    return Laid(np.stack(vectors), rows, actions, weighed, keyed)


def _centered(probs: Array, combine: str) -> NDArray[np.float64]:
    p = np.asarray(probs, np.float64)
    if combine == "log":
        logs = np.log(np.maximum(p, LOG_FLOOR))
        return np.asarray(logs[:, :-1] - logs[:, -1:])
    return np.asarray(p[:, :-1] - 1.0 / p.shape[1])


def unlay(summed: Summed, agents: int, settings: Any) -> Mean | None:
    """Return the mean that a received sum stands for; None if no row can be told from noise.

    A row whose weight is lost in noise, where rows cannot be left out, says nothing: uniform.
    """
    laid = summed.laid
    size = laid.rows * (laid.actions - 1)
    said = summed.total[:size].reshape(laid.rows, laid.actions - 1)
    weight = summed.total[size:] if laid.weighed else np.full(laid.rows, float(agents))
    known = weight >= AUDIBLE if laid.keyed else weight > 0.0
    y = np.where(known[:, None], said / np.where(known, weight, 1.0)[:, None], 0.0)
    if settings.combine == "log":
        most = -np.log(LOG_FLOOR)
        z = np.concatenate([np.clip(y, -most, most), np.zeros((laid.rows, 1))], axis=1)
        e = np.exp(z - z.max(1, keepdims=True))
        probs = (e / e.sum(1, keepdims=True)).astype(np.float32)
    else:
        probs = to_simplex(y + 1.0 / laid.actions)
    if not laid.keyed:
        return Mean(probs, None)
    return Mean(probs[known], np.flatnonzero(known)) if known.any() else None
