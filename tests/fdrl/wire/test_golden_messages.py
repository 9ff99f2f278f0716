"""The bytes of every kind of message, as they were when their format was laid down.

``golden_messages.json`` holds messages as data: what each was made of (``given``), its bytes in
hex, and which fields arrive otherwise than they were given, because they are rounded on the way
(``decoded``). It is not to be written anew: agents and servers of other versions, and run folders
that were made with them, hold these bytes. Fields of parts stand beside those of their message,
under the names that they have in `IN_PARTS`.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fdrl.core.errors import BadMessage
from fdrl.core.message import (
    GaussTable,
    Message,
    MessagePart,
    Parameters,
    ProbTable,
    ProxyUpdate,
    Transitions,
)
from fdrl.wire.codec import decode, encode
from fdrl.wire.parts import (
    PARAMETERS_PARTS,
    TABLE_PARTS,
    CellRows,
    MissingSeeds,
    NextSet,
    OptimizerState,
    Score,
    SeedSamples,
    Seen,
    StateRows,
    Values,
    Visits,
)

TESTS = next(p for p in Path(__file__).parents if p.name == "tests")
GOLDEN = json.loads((TESTS / "support" / "golden_messages.json").read_text())
NAMES = sorted(GOLDEN["messages"])
KINDS: dict[str, Any] = {
    kind.__name__: kind for kind in (ProbTable, GaussTable, Parameters, Transitions, ProxyUpdate)
}
IN_PARTS: dict[type[MessagePart], dict[str, str]] = {
    Visits: {"counts": "visits", "coding": "visit_coding"},
    Score: {"value": "score"},
    CellRows: {"cells": "cells"},
    StateRows: {"states": "states"},
    Values: {"values": "values"},
    Seen: {"cells": "seen", "visits": "seen_visits", "coding": "visit_coding"},
    NextSet: {"cells": "next_cells", "version": "next_version"},
    SeedSamples: {"samples": "seeds", "labels": "seed_labels"},
    OptimizerState: {"values": "optimizer"},
    MissingSeeds: {"agents": "wanted"},
}
"""Golden names of the fields of each part; the first of them says whether there is that part."""


def _read(value: Any) -> Any:
    """Return arrays for the names of arrays: ``"@float32-4-3"``."""
    if isinstance(value, dict):
        return {key: _read(each) for key, each in value.items()}
    if not (isinstance(value, str) and value.startswith("@")):
        return value
    entry = GOLDEN["arrays"][value[1:]]
    return np.array(entry["flat"], entry["dtype"]).reshape(entry["shape"])


def build(kind: str, given: dict[str, Any]) -> Message:
    """Return a message made of fields by name."""
    own = {name: given[name] for name in own_fields(kind) if name in given}
    rest = {name: value for name, value in given.items() if name not in own}
    parts = tuple(
        part(**{field: rest[name] for field, name in names.items() if name in rest})
        for part, names in IN_PARTS.items()
        if next(iter(names.values())) in rest
    )
    message: Message = KINDS[kind](**own, **({"parts": parts} if parts else {}))
    return message


def own_fields(kind: str) -> dict[str, Field[Any]]:
    """Return the fields of a kind of message by name, but for its parts."""
    return {field.name: field for field in fields(KINDS[kind]) if field.name != "parts"}


def content(message: Message) -> dict[str, Any]:
    """Return the fields of a message by name, but for those that are as if nothing were said."""
    found = {n: getattr(message, n) for n, f in own_fields(type(message).__name__).items()
             if _said(f, getattr(message, n))}  # fmt: skip
    for part in getattr(message, "parts", ()):
        for field in fields(part):
            if _said(field, getattr(part, field.name)):
                found[IN_PARTS[type(part)][field.name]] = getattr(part, field.name)
    return found


def _said(field: Field[Any], value: Any) -> bool:
    default = field.default if field.default_factory is MISSING else field.default_factory()
    return isinstance(value, np.ndarray) or (value is not None and value != default)


def assert_same(found: Any, expected: Any, where: str) -> None:
    """Compare to the bit: types, shapes, values, and which names there are."""
    if isinstance(expected, dict):
        assert set(found) == set(expected), where
        for key in expected:
            assert_same(found[key], expected[key], f"{where}.{key}")
    elif isinstance(expected, np.ndarray):
        assert (found.dtype, found.shape) == (expected.dtype, expected.shape), where
        assert found.tobytes() == expected.tobytes(), where
    else:
        assert (type(found), found) == (type(expected), expected), where


def golden(name: str) -> tuple[Any, bytes]:
    entry = GOLDEN["messages"][name]
    return entry, bytes.fromhex(entry["hex"])


@pytest.mark.parametrize("name", NAMES)
def test_what_is_sent_has_the_golden_bytes(name: str) -> None:
    entry, data = golden(name)
    assert encode(build(entry["kind"], _read(entry["given"]))) == data


@pytest.mark.parametrize("name", NAMES)
def test_golden_bytes_say_what_they_said(name: str) -> None:
    entry, data = golden(name)
    message = decode(data)
    assert type(message).__name__ == entry["kind"]
    expected = entry["given"] | entry.get("decoded", {})
    if not {"visits", "seen_visits"} & expected.keys():
        expected.pop("visit_coding", None)  # of no visits nothing travels
    assert_same(content(message), _read(expected), name)
    assert encode(message) == data


@pytest.mark.parametrize("name", NAMES)
def test_golden_bytes_with_one_missing_are_refused(name: str) -> None:
    _, data = golden(name)
    for damaged in (data[:-1], data[1:], data + b"\0"):
        with pytest.raises(BadMessage):
            decode(damaged)


def test_golden_messages_are_of_every_kind_and_have_every_field() -> None:
    used: Counter[str] = Counter()
    for entry in GOLDEN["messages"].values():
        used.update(f"{entry['kind']}.{name}" for name in entry["given"])
    every = {f"{kind}.{name}" for kind in KINDS for name in own_fields(kind)}
    carried = {"ProbTable": TABLE_PARTS, "GaussTable": TABLE_PARTS, "Parameters": PARAMETERS_PARTS}
    for kind, parts in carried.items():
        every |= {f"{kind}.{name}" for part in parts for name in IN_PARTS[part].values()}
    assert {*used} == every
