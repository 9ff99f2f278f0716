"""What makes the content of a message valid, whoever receives it; `fdrl.message` checks the rest.

Shapes: n rows of a table, A actions or D dimensions of a continuous one, O observation shape,
m grid cells.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fdrl.payload import (
    CODINGS,
    PARTS,
    GaussTable,
    Message,
    Parameters,
    ProbTable,
    ProxyUpdate,
    Transitions,
)
from fdrl.wire import require

Array = NDArray[Any]

MAX_ROUND = 2**53
SIMPLEX_TOLERANCE = 1e-4
"""How far from 1 a row of probabilities may sum before it is refused."""

_VERSION = re.compile(r"[0-9A-Za-z._-]{0,64}")
_ARRAY_NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")
_RECIPE_WORD = re.compile(r"[A-Za-z][0-9A-Za-z._-]{0,31}")


def validate(message: Message) -> None:
    """Raise `BadMessage` for a message that no receiver could use; the content, not the context."""
    require(isinstance(message, Message), f"not a message: {type(message).__name__}")
    _check_int("round", message.round, MAX_ROUND)
    if isinstance(message, ProbTable | GaussTable):
        _validate_table(message)
    elif isinstance(message, Parameters):
        require(message.part in PARTS, f"unknown part {message.part!r}")
        _check_int("steps", message.steps, 2**53)
        _check_score(message.score)
        _check_floats("values", message.values, (None,))
        if message.optimizer is not None:
            _check_floats("optimizer", message.optimizer, (None,))
        _check_next(message)
        if message.wanted is not None:
            _check_cells("wanted", message.wanted)
    elif isinstance(message, Transitions):
        for name, array in message.arrays.items():
            require(bool(_ARRAY_NAME.fullmatch(name)), f"bad array name {name[:40]!r}")
            require(array.dtype.kind in "fiub", f"array {name!r} has dtype {array.dtype}")
            _check_floats(name, array, None)
    else:
        _validate_proxy_update(message)


def _validate_table(table: ProbTable | GaussTable) -> None:
    require(table.coding in CODINGS, f"unknown coding {table.coding!r}")
    require(table.visit_coding in ("uint8", "float32"), f"unknown coding {table.visit_coding!r}")
    _check_version(table.version)
    _check_score(table.score)
    if isinstance(table, GaussTable):
        check_moments(table.moments)
    else:
        check_simplex(table.probs)
    n = len(table.answers)
    if table.cells is not None:
        _check_cells("cells", table.cells, n)
    if table.states is not None:
        _check_states(table.states, n)
    if table.visits is not None:
        _check_counts("visits", table.visits, n)
    if table.values is not None:
        _check_floats("values", table.values, (n,))
    if table.seen is not None:
        _check_cells("seen", table.seen)
    if table.seen_visits is not None:
        require(table.seen is not None, "seen_visits without seen")
        _check_counts("seen_visits", table.seen_visits, len(table.seen))  # type: ignore[arg-type]
    _check_next(table)
    _check_seeds(table)


def _check_seeds(table: ProbTable | GaussTable) -> None:
    seeds, labels = table.seeds, table.seed_labels
    require((seeds is None) == (labels is None), "seeds and seed_labels belong together")
    if seeds is None or labels is None:
        return
    require(seeds.ndim >= 2, f"seeds must be [s, *O], got {list(seeds.shape)}")
    require(seeds.dtype in (np.uint8, np.float32), f"seeds have dtype {seeds.dtype}")
    require(np.isfinite(seeds).all(), "seeds contain NaN or infinity")
    ok = labels.ndim == 2 and len(labels) == len(seeds) and labels.dtype == np.uint8
    require(ok, f"seed_labels must be uint8 [{len(seeds)}, n], got {list(labels.shape)}")


def _check_next(message: ProbTable | GaussTable | Parameters) -> None:
    _check_version(message.next_version)
    require(
        (message.next_cells is None) == (not message.next_version),
        "next_cells and next_version belong together",
    )
    if message.next_cells is not None:
        _check_cells("next_cells", message.next_cells)


def _validate_proxy_update(update: ProxyUpdate) -> None:
    _check_version(update.version)
    for key, value in update.recipe.items():
        require(bool(_RECIPE_WORD.fullmatch(key)), f"bad recipe key {key[:40]!r}")
        if type(value) is str:
            require(bool(_RECIPE_WORD.fullmatch(value)), f"bad recipe value {value[:40]!r}")
        else:
            ok = type(value) is int or (type(value) is float and np.isfinite(value))
            require(ok, f"recipe value {value!r} is not a finite number or word")
    if update.cells is not None:
        _check_cells("cells", update.cells)
    if update.states is not None:
        _check_states(update.states, None)


def check_simplex(probs: Array) -> None:
    """Raise `BadMessage` unless probs [n, A >= 2] has finite, nonnegative rows that sum to 1."""
    require(probs.ndim == 2, f"probs must be [n, A], got {list(probs.shape)}")
    require(probs.shape[1] >= 2, f"probs need at least 2 actions, got {probs.shape[1]}")
    require(probs.dtype.kind == "f", f"probs must be floats, got {probs.dtype}")
    require(np.isfinite(probs).all(), "probs contain NaN or infinity")
    off = np.abs(probs.sum(1, dtype=np.float64) - 1) > SIMPLEX_TOLERANCE
    off |= probs.min(1, initial=1.0) < 0
    require(not off.any(), f"row {off.argmax() if len(off) else 0} of probs is off the simplex")


def check_moments(moments: Array) -> None:
    """Raise `BadMessage` unless moments [n, 2D] are finite, with standard deviations above 0."""
    ok = moments.ndim == 2 and moments.shape[1] >= 2 and moments.shape[1] % 2 == 0
    require(ok, f"moments must be [n, 2D], got {list(moments.shape)}")
    require(moments.dtype.kind == "f", f"moments must be floats, got {moments.dtype}")
    require(np.isfinite(moments).all(), "moments contain NaN or infinity")
    low = moments[:, moments.shape[1] // 2 :].min(1, initial=np.inf) <= 0
    row = int(low.argmax()) if len(low) else 0
    require(not low.any(), f"row {row} of moments has a standard deviation that is not positive")


def _check_int(name: str, value: int, below: int) -> None:
    ok = isinstance(value, int | np.integer) and not isinstance(value, bool) and 0 <= value < below
    require(ok, f"{name} must be a nonnegative integer, got {value!r}")


def _check_score(score: float | None) -> None:
    require(score is None or np.isfinite(score), f"score must be finite, got {score}")


def _check_version(version: str) -> None:
    ok = isinstance(version, str) and _VERSION.fullmatch(version)
    require(bool(ok), f"bad version {version!r:.80}")


def _check_floats(name: str, array: Array, shape: tuple[int | None, ...] | None) -> None:
    if shape is not None:
        ok = array.ndim == len(shape) and all(
            want is None or want == got for want, got in zip(shape, array.shape, strict=True)
        )
        want = ["?" if s is None else s for s in shape]
        require(ok, f"{name} must have shape {want}, got {list(array.shape)}")
        require(array.dtype.kind == "f", f"{name} must be floats, got {array.dtype}")
    require(np.isfinite(array).all(), f"{name} contains NaN or infinity")


def _check_counts(name: str, counts: Array, n: int) -> None:
    require(counts.shape == (n,), f"{name} must have shape [{n}], got {list(counts.shape)}")
    require(counts.dtype.kind in "fiu", f"{name} must be numbers, got {counts.dtype}")
    require(np.isfinite(counts).all(), f"{name} contains NaN or infinity")
    require((counts >= 0).all(), f"{name} contains a negative count")


def _check_states(states: Array, n: int | None) -> None:
    require(states.ndim >= 2, f"states must be [n, *O], got {list(states.shape)}")
    require(n is None or len(states) == n, f"{len(states)} states for {n} rows")
    require(states.dtype.kind == "f", f"states must be floats, got {states.dtype}")
    require(np.isfinite(states).all(), "states contain NaN or infinity")


def _check_cells(name: str, cells: Array, n: int | None = None) -> None:
    require(cells.ndim == 1, f"{name} must be [m], got {list(cells.shape)}")
    require(n is None or len(cells) == n, f"{len(cells)} {name} for {n} rows")
    require(cells.dtype.kind in "iu", f"{name} must be integers, got {cells.dtype}")
    ok = len(cells) == 0 or (cells[0] >= 0 and (cells[1:] > cells[:-1]).all())
    require(ok, f"{name} must be nonnegative and strictly increasing")
