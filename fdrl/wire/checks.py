"""What a receiver checks: whether a message is the one that was asked for.

    data = encode(ProbTable(3, probs, "uint8", version="1a2b3c4d", parts=(Visits(counts),)))
    expected = Expected(3, n_actions=2, version="1a2b3c4d", rows=256, parts=(Visits.asked(),))
    table = check_table(decode(data), expected)

`decode` (`fdrl.wire.codec`) accepts valid content only. All checks raise `BadMessage` with the
reason.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fdrl.core.arrays import Array
from fdrl.core.errors import BadMessage
from fdrl.core.message import (
    AnyTable,
    GaussTable,
    Message,
    Parameters,
    Part,
    ProbTable,
    ProxyUpdate,
    Transitions,
    WithParts,
)
from fdrl.wire.content import Asked, CodedPart, check_near, farthest
from fdrl.wire.safetensors import HEADER_LIMIT, LIMIT

LARGEST = 1e6
"""Beyond it a parameter is a fault of transmission, or meant to do harm."""
NARROWEST = 1e-6
"""Below it a standard deviation is; above `LARGEST` too."""


@dataclass(frozen=True)
class Expected:
    """The table that a receiver asked for, of probabilities or Gaussians; None is not checked.

    Parts that are not among `parts` are refused.
    """

    round: int
    n_actions: int
    """Actions A, or dimensions D of continuous ones."""
    gaussian: bool = False
    version: str | None = None
    """The proxy set that the rows stand for."""
    rows: int | None = None
    most_rows: int | None = None
    parts: tuple[Asked, ...] = ()
    """What must or may come along: ``(Visits.asked(), Score.asked(optional=True))``."""

    def most_bytes(self) -> int:
        """Return the bytes of the longest such table: what is longer need not be decoded."""
        rows = self.rows if self.rows is not None else self.most_rows
        if rows is None:
            return LIMIT
        ranges = 16 * self.n_actions if self.gaussian else 0
        width = 2 * self.n_actions if self.gaussian else self.n_actions
        return most_bytes(4 * rows * width + ranges, self.parts, rows)


def most_bytes(body: int, parts: Sequence[Asked] = (), rows: int = 0) -> int:
    """Return the bytes of a message of so many numbers and parts at the most, at most `LIMIT`."""
    own = [part.most_bytes(rows) for part in parts]
    if any(size is None for size in own):
        return LIMIT
    return min(LIMIT, 8 + HEADER_LIMIT + body + sum(size or 0 for size in own))


def check_table(message: Message, expected: Expected) -> AnyTable:
    """Return the message as the table that was asked for, or raise `BadMessage`."""
    kind = GaussTable if expected.gaussian else ProbTable
    if not isinstance(message, kind):
        raise BadMessage(f"expected {kind.__name__}, got {type(message).__name__}")
    _check_round(message, expected.round)
    version, rows, most = expected.version, expected.rows, expected.most_rows
    if version is not None and message.version != version:
        raise BadMessage(f"rows are of proxy set {message.version!r}, not of {version!r}")
    answers = message.moments if isinstance(message, GaussTable) else message.probs
    n, width = answers.shape
    if n == 0:
        raise BadMessage("a table without rows")
    if rows is not None and n != rows:
        raise BadMessage(f"expected {rows} rows, got {n}")
    if most is not None and n > most:
        raise BadMessage(f"expected at most {most} rows, got {n}")
    if isinstance(message, GaussTable):
        _check_moments(answers, expected.n_actions)
    elif width != expected.n_actions:
        raise BadMessage(f"expected {expected.n_actions} actions, got {width}")
    check_parts(message, expected.parts)
    return message


def _check_moments(moments: Array, dimensions: int) -> None:
    d = moments.shape[1] // 2
    if d != dimensions:
        raise BadMessage(f"expected {dimensions} dimensions, got {d}")
    far = farthest(moments)
    if far > LARGEST:
        raise BadMessage(f"a mean or standard deviation of {far:g}: no policy has that")
    least = float(moments[:, d:].min(initial=1.0))
    if least < NARROWEST:
        raise BadMessage(f"a standard deviation of {least:g}: no policy has that")


def _check_round(message: Message, round: int) -> None:
    if message.round != round:
        raise BadMessage(f"message of round {message.round} in round {round}")


def check_parameters(
    message: Message,
    *,
    round: int,
    size: int | None = None,
    part: Part | None = None,
    parts: Sequence[Asked] = (),
) -> Parameters:
    """Return the message as `Parameters` of `size` values, or raise `BadMessage`.

    `parts` are what must or may come along, as in `Expected`.
    """
    if not isinstance(message, Parameters):
        raise BadMessage(f"expected Parameters, got {type(message).__name__}")
    _check_round(message, round)
    if part is not None and message.part != part:
        raise BadMessage(f"expected part {part!r}, got {message.part!r}")
    n = len(message.values)
    if size is not None and n != size:
        raise BadMessage(f"expected {size} parameters, got {n}")
    largest = farthest(message.values)
    if largest > LARGEST:
        raise BadMessage(f"a parameter of {largest:g}: no network has that")
    check_parts(message, parts)
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

    At most `most_steps` = T * E steps, with exactly the arrays `TRANSITION_NAMES`, and no reward or
    observation beyond `FARTHEST`. With `gaussian`
    actions are [T, E, n_actions] floats. Of agents that had left a shared world only the m steps
    that they took travel: one more array `alive` [T, E] says which, and the others are [m, ...].
    """
    if not isinstance(message, Transitions):
        raise BadMessage(f"expected Transitions, got {type(message).__name__}")
    _check_round(message, round)
    arrays = {name: a for name, a in message.arrays.items() if name != "alive"}
    got = sorted(arrays)
    if got != sorted(TRANSITION_NAMES):
        raise BadMessage(f"expected arrays {TRANSITION_NAMES}, got {got}")
    actions = arrays["actions"]
    lead = _check_lead(message.arrays.get("alive", actions), copies, most_steps)
    if "alive" in message.arrays:
        lead = (_check_alive(message.arrays["alive"]),)
    if actions.ndim != len(lead) + gaussian:
        raise BadMessage(f"actions of shape {actions.shape}")
    for name, array in arrays.items():
        wide = name in ("observations", "next_observations")
        shape, kind = (*lead, *observation_shape) if wide else lead, _KINDS.get(name, "f")
        if name == "actions" and gaussian:
            shape, kind = (*lead, n_actions), "f"
        if array.shape != shape:
            raise BadMessage(f"{name} of shape {array.shape}, not {shape}")
        if array.dtype.kind not in kind:
            raise BadMessage(f"{name} of type {array.dtype}")
    if not gaussian and (actions.min() < 0 or actions.max() >= n_actions):
        raise BadMessage(f"actions beyond 0..{n_actions - 1}")
    check_near("a reward", arrays["rewards"])
    for name in ("observations", "next_observations", *(["actions"] if gaussian else [])):
        check_near(f"one of the {name}", arrays[name])
    return message


def most_transition_bytes(
    steps: int, observation_shape: tuple[int, ...], n_actions: int, gaussian: bool = False
) -> int:
    """Return the bytes of the longest message of `steps` transitions."""
    step = 2 * 4 * math.prod(observation_shape) + (4 * n_actions if gaussian else 8) + 4 + 3
    return most_bytes(steps * step)


def _check_lead(array: Array, copies: int, most_steps: int) -> tuple[int, ...]:
    """Return (T, E) of an array [T, E, ...]."""
    lead = array.shape[:2]
    if len(lead) != 2 or lead[1] != copies or lead[0] == 0:
        raise BadMessage(f"actions of shape {lead}")
    if lead[0] * copies > most_steps:
        raise BadMessage(f"more than {most_steps} steps: {lead}")
    return lead


def _check_alive(alive: Array) -> int:
    """Return how many steps were taken."""
    if alive.ndim != 2 or alive.dtype.kind != "b":
        raise BadMessage(f"alive of type {alive.dtype}")
    if not alive.any():
        raise BadMessage("transitions of nobody")
    return int(np.count_nonzero(alive))


_KINDS = {"actions": "iu", "terminated": "b", "truncated": "b"}


def check_proxy_update(message: Message, *, round: int | None = None) -> ProxyUpdate:
    """Return the message as `ProxyUpdate`, or raise `BadMessage`."""
    if not isinstance(message, ProxyUpdate):
        raise BadMessage(f"expected ProxyUpdate, got {type(message).__name__}")
    if round is not None:
        _check_round(message, round)
    if message.states is not None:
        check_near("a proxy state", message.states)
    return message


def check_parts(message: WithParts, asked: Sequence[Asked]) -> None:
    """Raise `BadMessage` unless a message's parts are those that were asked for, and no others."""
    own = {type(part): part for part in message.parts}
    for one in asked:
        part = own.pop(one.kind, None)
        if isinstance(part, CodedPart):
            part.check(**one.bounds)
        elif not one.optional:
            raise BadMessage(f"{one.kind.name} are missing")
    for part in own.values():
        raise BadMessage(f"{part.name} that nobody asked for")
