"""What travels between agents and server, its bytes, and the checks a receiver makes.

    data = encode(ProbTable(round=3, probs=probs, coding="uint8", version="1a2b3c4d"))
    table = check_table(decode(data), round=3, n_actions=2, version="1a2b3c4d", rows=256)

`decode` accepts valid content only; whether a message is the one that was asked for is what the
`check_*` functions say. All of them raise `BadMessage` with the reason.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fdrl.codec import decode, encode
from fdrl.errors import BadMessage
from fdrl.payload import (
    Coding,
    GaussTable,
    Message,
    Parameters,
    Part,
    ProbTable,
    ProxyUpdate,
    Recipe,
    Table,
    Transitions,
    VisitCoding,
    table_of,
)
from fdrl.validity import validate
from fdrl.wire import require

__all__ = [
    "BadMessage", "Coding", "GaussTable", "Message", "Parameters", "Part", "ProbTable",
    "ProxyUpdate", "Recipe", "Table", "Transitions", "VisitCoding", "check_parameters",
    "check_proxy_update", "check_table", "check_transitions", "decode", "encode", "table_of",
    "validate",
]  # fmt: skip

Array = NDArray[Any]

LARGEST = 1e6
"""Beyond it a parameter is a fault of transmission, or meant to do harm."""
NARROWEST = 1e-6
"""Below it a standard deviation is; above `LARGEST` too."""
FARTHEST = 1e9
"""Beyond it the value of a state is."""


def _check_round(message: Message, round: int) -> None:
    require(message.round == round, f"message of round {message.round} in round {round}")


def _check_cells(table: Table, below: int) -> None:
    for name in ("cells", "seen", "next_cells"):
        c = getattr(table, name)
        require(c is None or len(c) == 0 or c[-1] < below, f"{name} outside the grid")


def check_table(
    message: Message,
    *,
    round: int,
    n_actions: int,
    version: str | None = None,
    rows: int | None = None,
    observation_shape: tuple[int, ...] | None = None,
    cells: bool | None = None,
    cells_below: int | None = None,
    visits: bool = False,
    most_rows: int | None = None,
    gaussian: bool = False,
    seeds: bool = False,
    values: bool = False,
) -> ProbTable | GaussTable:
    """Return the message as the table that was asked for, or raise `BadMessage`.

    None means not checked. `observation_shape` asks for raw states of that shape, and without it
    there must be none; `cells` says whether rows must be (or must not be) keyed by grid cells;
    `cells_below` bounds every cell, `most_rows` the number of rows; `seeds` allows seed samples;
    `values` asks for values of the rows' states, and without it there must be none.
    With `gaussian` it must be a `GaussTable` of `n_actions` dimensions, else a `ProbTable` of so
    many actions.
    """
    kind = GaussTable if gaussian else ProbTable
    require(isinstance(message, kind), f"expected {kind.__name__}, got {type(message).__name__}")
    assert isinstance(message, ProbTable | GaussTable)
    _check_round(message, round)
    if version is not None and message.version != version:
        raise BadMessage(f"rows are of proxy set {message.version!r}, not of {version!r}")
    _check_rows(len(message.answers), rows, most_rows)
    _check_width(message, n_actions)
    require(
        cells is None or cells == (message.cells is not None),
        "rows must be keyed by cells" if cells else "rows must not be keyed by cells",
    )
    if cells_below is not None:
        _check_cells(message, cells_below)
    got = None if message.states is None else message.states.shape[1:]
    require(got == observation_shape, f"expected states {observation_shape}, got {got}")
    require(not visits or message.visits is not None, "visit counts are missing")
    require(seeds or message.seeds is None, "seed samples that nobody asked for")
    _check_values(message.values, values)
    return message


def _check_rows(n: int, rows: int | None, most: int | None) -> None:
    require(n > 0, "a table without rows")
    require(rows is None or n == rows, f"expected {rows} rows, got {n}")
    require(most is None or n <= most, f"expected at most {most} rows, got {n}")


def _check_values(values: Array | None, asked: bool) -> None:
    require(asked or values is None, "values that nobody asked for")
    require(not asked or values is not None, "values are missing")
    far = 0.0 if values is None else float(np.abs(values).max(initial=0.0))
    require(far <= FARTHEST, f"a value of {far:g}: no return is that")


def _check_width(table: ProbTable | GaussTable, n_actions: int) -> None:
    width = table.answers.shape[1]
    if isinstance(table, ProbTable):
        require(width == n_actions, f"expected {n_actions} actions, got {width}")
        return
    require(width == 2 * n_actions, f"expected {n_actions} dimensions, got {width // 2}")
    moments = table.moments
    far = float(np.abs(moments).max(initial=0.0))
    require(far <= LARGEST, f"a mean or standard deviation of {far:g}: no policy has that")
    least = float(moments[:, moments.shape[1] // 2 :].min(initial=1.0))
    require(least >= NARROWEST, f"a standard deviation of {least:g}: no policy has that")


def check_parameters(
    message: Message,
    *,
    round: int,
    size: int | None = None,
    part: Part | None = None,
    optimizer: int | None = None,
    announces: bool = False,
) -> Parameters:
    """Return the message as `Parameters` of `size` values (and optimizer state), or raise.

    `announces` says whether the message may announce the next proxy set.
    """
    require(isinstance(message, Parameters), f"expected Parameters, got {type(message).__name__}")
    assert isinstance(message, Parameters)
    _check_round(message, round)
    require(part is None or message.part == part, f"expected part {part!r}, got {message.part!r}")
    n = len(message.values)
    require(size is None or n == size, f"expected {size} parameters, got {n}")
    largest = float(np.abs(message.values).max(initial=0.0))
    require(largest <= LARGEST, f"a parameter of {largest:g}: no network has that")
    q = 0 if message.optimizer is None else len(message.optimizer)
    require(optimizer is None or q == optimizer, f"expected {optimizer} optimizer values, got {q}")
    require(announces or message.next_cells is None, "parameters with a proxy set nobody asked for")
    return message


TRANSITION_NAMES = (
    "observations",
    "actions",
    "rewards",
    "terminated",
    "truncated",
    "next_observations",
)


def check_transitions(
    message: Message,
    *,
    round: int,
    observation_shape: tuple[int, ...],
    n_actions: int,
    copies: int,
    most_steps: int,
    gaussian: bool = False,
) -> Transitions:
    """Return the message as `Transitions` [T, E, ...] of E = `copies`, or raise `BadMessage`.

    At most `most_steps` = T * E steps, with exactly the arrays `TRANSITION_NAMES`. With `gaussian`
    actions are [T, E, n_actions] floats. Of agents that had left a shared world only the m steps
    that they took travel: one more array `alive` [T, E] says which, and the others are [m, ...].
    """
    require(isinstance(message, Transitions), f"expected Transitions, got {type(message).__name__}")
    assert isinstance(message, Transitions)
    _check_round(message, round)
    arrays = {name: a for name, a in message.arrays.items() if name != "alive"}
    got = sorted(arrays)
    require(got == sorted(TRANSITION_NAMES), f"expected arrays {TRANSITION_NAMES}, got {got}")
    actions = arrays["actions"]
    lead = _check_lead(message.arrays.get("alive", actions), copies, most_steps)
    if "alive" in message.arrays:
        lead = (_check_alive(message.arrays["alive"]),)
    require(actions.ndim == len(lead) + gaussian, f"actions of shape {actions.shape}")
    for name, array in arrays.items():
        wide = name in ("observations", "next_observations")
        shape, kind = (*lead, *observation_shape) if wide else lead, _KINDS.get(name, "f")
        if name == "actions" and gaussian:
            shape, kind = (*lead, n_actions), "f"
        require(array.shape == shape, f"{name} of shape {array.shape}, not {shape}")
        require(array.dtype.kind in kind, f"{name} of type {array.dtype}")
    if not gaussian:
        low, high = actions.min(), actions.max()
        require(low >= 0 and high < n_actions, f"actions beyond 0..{n_actions - 1}")
    return message


def _check_lead(array: Array, copies: int, most_steps: int) -> tuple[int, ...]:
    """Return (T, E) of an array [T, E, ...]."""
    lead = array.shape[:2]
    require(len(lead) == 2 and lead[1] == copies and lead[0] > 0, f"actions of shape {lead}")
    require(lead[0] * copies <= most_steps, f"more than {most_steps} steps: {lead}")
    return lead


def _check_alive(alive: Array) -> int:
    """Return how many steps were taken."""
    require(alive.ndim == 2 and alive.dtype.kind == "b", f"alive of type {alive.dtype}")
    require(bool(alive.any()), "transitions of nobody")
    return int(np.count_nonzero(alive))


_KINDS = {"actions": "iu", "terminated": "b", "truncated": "b"}


def check_proxy_update(message: Message, *, round: int | None = None) -> ProxyUpdate:
    """Return the message as `ProxyUpdate`, or raise `BadMessage`."""
    require(isinstance(message, ProxyUpdate), f"expected ProxyUpdate, got {type(message).__name__}")
    assert isinstance(message, ProxyUpdate)
    if round is not None:
        _check_round(message, round)
    return message
