"""What travels: content checks, context checks, bytes, and safetensors as the oracle."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from messages import fails

from fdrl.errors import BadMessage
from fdrl.message import (
    Message,
    Parameters,
    ProbTable,
    ProxyUpdate,
    Transitions,
    check_parameters,
    check_proxy_update,
    check_table,
    check_transitions,
    decode,
    encode,
    validate,
)

F32 = np.float32
ROWS = np.array([[0.25, 0.75], [1.0, 0.0], [0.5, 0.5]], dtype=F32)
CELLS = np.array([3, 4, 2**40])
STATES = np.arange(6, dtype=F32).reshape(3, 2)
TABLE = ProbTable(7, ROWS, version="1a2b3c4d")
LABELS = np.array([[3, 7], [7, 3]], np.uint8)
PARAMETERS = Parameters(2, np.array([1.5, -2], F32), part="policy", steps=256, score=-3.25)
TRANSITIONS = Transitions(
    1,
    {
        "observations": np.ones((4, 2, 3), F32),
        "actions": np.array([[0, 1]]),
        "rewards": np.array([0.1, -1e300]),
        "terminated": np.array([True, False]),
    },
)
UPDATE = ProxyUpdate(0, "00ff00ff", {"kind": "mix", "size": 256, "wide": 0.5}, CELLS, STATES)
MESSAGES: list[Message] = [
    TABLE,
    replace(TABLE, coding="uint8", visits=np.array([0, 1, 64], F32), score=12.5),
    replace(TABLE, coding="float16", visits=np.array([0, 1, 64], F32)),
    replace(TABLE, visits=np.array([0, 1, 1234567], F32), visit_coding="float32"),
    replace(TABLE, version="", cells=CELLS, visits=np.array([1, 2, 4], F32)),
    replace(TABLE, version="", states=STATES),
    replace(TABLE, seen=CELLS, seen_visits=np.array([8, 4, 2], F32)),
    replace(TABLE, next_cells=CELLS, next_version="00000000"),
    replace(TABLE, next_cells=np.zeros(0, np.int64), next_version="00000000"),
    replace(TABLE, seeds=np.arange(4, dtype=np.uint8).reshape(2, 2), seed_labels=LABELS),
    replace(TABLE, seeds=np.full((2, 1, 3), 0.25, F32), seed_labels=LABELS),
    ProbTable(0, np.zeros((0, 3), F32), coding="uint8", cells=np.zeros(0, np.int64)),
    PARAMETERS,
    Parameters(2, np.zeros(0, F32), part="all"),
    Parameters(2, np.ones(2, F32), part="optimizer", optimizer=np.full(5, 1e-30, F32)),
    replace(PARAMETERS, wanted=np.array([0, 9])),
    replace(PARAMETERS, next_cells=CELLS, next_version="00000000"),
    TRANSITIONS,
    Transitions(0),
    UPDATE,
    ProxyUpdate(3, ""),
]


def same(a: Any, b: Any) -> bool:
    """Compare values, arrays by dtype, shape and content."""
    if isinstance(a, np.ndarray):
        return bool(a.dtype == b.dtype and a.shape == b.shape and (a == b).all())
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    return bool(a == b and type(a) is type(b))


@pytest.mark.parametrize("message", MESSAGES)
def test_arrives_as_it_was_sent(message: Message) -> None:
    data = encode(message)
    arrived = decode(data)
    assert type(arrived) is type(message)
    for f in fields(message):
        sent, got = getattr(message, f.name), getattr(arrived, f.name)
        if f.name == "probs":  # 0.25 is not a multiple of 1/255
            np.testing.assert_allclose(got, sent, atol=1 / 255)
        else:
            assert same(sent, got), f.name
    assert encode(arrived) == data


@pytest.mark.parametrize("message", MESSAGES)
def test_safetensors_opens_it(message: Message) -> None:
    tensors = safetensors.numpy.load(encode(message))
    if isinstance(message, Parameters):
        np.testing.assert_array_equal(tensors["w"], message.values)
    elif isinstance(message, Transitions):
        assert same(dict(sorted(tensors.items())), dict(sorted(message.arrays.items())))
    elif isinstance(message, ProbTable) and message.coding == "float32":
        np.testing.assert_array_equal(tensors["p"], message.probs[:, :1])
    elif isinstance(message, ProbTable):
        n, a = message.probs.shape
        both = message.coding == "uint8" and message.visits is not None
        assert tensors["pv" if both else "p"].shape == (n, a if both else a - 1)
    else:
        assert sorted(tensors) == (["c", "x"] if message is UPDATE else [])


def test_a_default_uplink_costs_512_bytes_and_little_more() -> None:
    probs = np.full((256, 2), 0.5, F32)
    table = ProbTable(
        99999, probs, "uint8", version="1a2b3c4d", visits=np.ones(256, F32), score=-1.23456e-10
    )
    assert 512 < len(encode(table)) < 512 + 140
    # Actions that follow from the others do not travel.
    assert len(encode(replace(table, visits=None))) < 256 + 140


def test_a_table_states_its_bytes_in_columns() -> None:
    """Three actions in uint8: 128/255 and 64/255 travel, 63/255 is what is left."""
    probs = np.array([[128, 64, 63]], F32) / 255
    data = encode(ProbTable(0, probs, "uint8", visits=np.array([1.0], F32)))
    assert data[-3:] == bytes([128, 64, 13])
    np.testing.assert_array_equal(decode(data).probs, probs)  # type: ignore[union-attr]


def test_parameters_are_four_bytes_each() -> None:
    small, large = (encode(Parameters(1, np.zeros(n, F32))) for n in (10, 20))
    assert len(large) - len(small) == 40


def test_scores_keep_six_digits() -> None:
    arrived = decode(encode(replace(TABLE, score=1234.56789)))
    assert arrived.score == 1234.57  # type: ignore[union-attr]


def bad_tables() -> list[tuple[ProbTable, str]]:
    def rows(*values: float) -> ProbTable:
        return replace(TABLE, probs=np.array([values]))

    def visits(*values: float) -> ProbTable:
        return replace(TABLE, visits=np.array(values))

    def cells(*values: int) -> ProbTable:
        return replace(TABLE, cells=np.array(values))

    return [
        (rows(0.5, 0.6), "off the simplex"),
        (rows(-0.1, 1.1), "off the simplex"),
        (rows(np.nan, 1.0), "NaN"),
        (rows(np.inf, 1.0), "infinity"),
        (rows(1.0), "at least 2 actions"),
        (replace(TABLE, probs=np.ones((3, 2), np.int64)), "floats"),
        (replace(TABLE, probs=np.ones(3)), r"\[n, A\]"),
        (visits(1, 2), r"\[3\]"),
        (visits(1, 2, -1), "negative"),
        (visits(1, 2, np.nan), "NaN"),
        (cells(1, 2), "2 cells for 3 rows"),
        (cells(1, 3, 3), "increasing"),
        (cells(-1, 3, 4), "increasing"),
        (replace(TABLE, states=np.ones((2, 2))), "2 states for 3 rows"),
        (replace(TABLE, states=np.full((3, 2), np.nan)), "NaN"),
        (replace(TABLE, states=np.full((3, 2), 1e300)), "float32"),
        (replace(TABLE, seen=np.array([5, 4])), "increasing"),
        (replace(TABLE, seen_visits=np.ones(2)), "without seen"),
        (replace(TABLE, seen=np.array([5]), seen_visits=np.ones(2)), r"\[1\]"),
        (replace(TABLE, next_cells=CELLS), "belong together"),
        (replace(TABLE, next_version="1"), "belong together"),
        (replace(TABLE, version='a"b'), "version"),
        (replace(TABLE, score=np.inf), "score"),
        (replace(TABLE, round=-1), "round"),
        (replace(TABLE, coding="bfloat16"), "bfloat16"),  # type: ignore[arg-type]
        (replace(TABLE, visit_coding="float16"), "float16"),  # type: ignore[arg-type]
    ]


@pytest.mark.parametrize(("table", "reason"), bad_tables())
def test_a_bad_table_is_not_sent(table: ProbTable, reason: str) -> None:
    with pytest.raises(BadMessage, match=reason):
        encode(table)


def test_simplex_errors_name_the_row() -> None:
    probs = np.array([[0.5, 0.5], [0.5, 0.5], [0.6, 0.5]])
    with pytest.raises(BadMessage, match="row 2 "):
        validate(replace(TABLE, probs=probs))


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (replace(PARAMETERS, values=np.array([np.nan])), "NaN"),
        (replace(PARAMETERS, values=np.array([1e39])), "float32"),
        (replace(PARAMETERS, values=np.ones((2, 2))), "shape"),
        (replace(PARAMETERS, values=np.ones(2, np.int64)), "floats"),
        (replace(PARAMETERS, part="value"), "part"),  # type: ignore[arg-type]
        (replace(PARAMETERS, steps=-1), "steps"),
        (replace(PARAMETERS, optimizer=np.array([np.inf])), "infinity"),
        (replace(PARAMETERS, wanted=np.array([1, 0])), "wanted"),
        (replace(PARAMETERS, next_version="0"), "belong together"),
        (replace(TABLE, seeds=np.zeros((2, 2), F32)), "belong together"),
        (replace(TABLE, seeds=np.zeros((3, 2), F32), seed_labels=LABELS), "seed_labels must be"),
        (replace(TABLE, seeds=np.zeros((2, 2)), seed_labels=LABELS), "seeds.*float64"),
        (replace(TABLE, seeds=np.zeros(2, F32), seed_labels=LABELS), r"seeds.*\[s"),
        (replace(TABLE, seeds=np.full((2, 2), np.nan, F32), seed_labels=LABELS), "NaN"),
        (Transitions(0, {"Rewards!": np.ones(1)}), "name"),
        (Transitions(0, {"rewards": np.array([np.nan])}), "NaN"),
        (Transitions(0, {"rewards": np.array(["a"])}), "dtype"),
        (Transitions(0, {"rewards": np.ones(1, np.complex64)}), "dtype"),
        (Transitions(0, {"rewards": np.ones(1, np.longdouble)}), "does not travel"),
        (replace(UPDATE, recipe={"kind": "two words"}), "recipe"),
        (replace(UPDATE, recipe={"size": True}), "recipe"),
        (replace(UPDATE, recipe={"size": float("nan")}), "recipe"),
        (replace(UPDATE, recipe={"1": 2}), "recipe"),
        ("hello", "str"),
    ],
)
def test_other_bad_messages_are_not_sent(message: Any, reason: str) -> None:
    with pytest.raises(BadMessage, match=reason):
        encode(message)


def test_seed_samples_that_nobody_asked_for_are_refused() -> None:
    table = replace(TABLE, seeds=np.zeros((2, 2), F32), seed_labels=LABELS)
    assert check_table(table, round=7, n_actions=2, seeds=True) is table
    with fails(BadMessage, "seed samples"):
        check_table(table, round=7, n_actions=2)


def test_check_table_returns_what_was_asked_for() -> None:
    table = replace(TABLE, visits=np.ones(3, F32))
    assert check_table(table, round=7, n_actions=2) is table
    assert (
        check_table(
            table, round=7, n_actions=2, version="1a2b3c4d", rows=3, cells=False, visits=True
        )
        is table
    )
    keyed = replace(TABLE, cells=CELLS, states=STATES)
    assert check_table(
        keyed, round=7, n_actions=2, cells=True, cells_below=2**40 + 1, observation_shape=(2,)
    )


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        ({"round": 8}, "round 7.*round 8"),
        ({"n_actions": 3}, "3 actions.*2"),
        ({"version": "ffffffff"}, "'1a2b3c4d', not of 'ffffffff'"),
        ({"rows": 4}, "4 rows.*3"),
        ({"cells": False}, "keyed"),
        ({"cells_below": 2**40}, "cells"),
        ({"observation_shape": (2,)}, r"expected states \(2,\)"),
        ({"visits": True}, "missing"),
    ],
)
def test_check_table_refuses_with_a_reason(asked: dict[str, Any], reason: str) -> None:
    table = replace(TABLE, cells=CELLS)
    with pytest.raises(BadMessage, match=reason):
        check_table(table, **{"round": 7, "n_actions": 2, **asked})


SIZES: dict[str, Any] = {
    "observation_shape": (3,),
    "n_actions": 2,
    "copies": 1,
    "most_steps": 9,
}


def test_the_other_checks() -> None:
    assert check_parameters(PARAMETERS, round=2, size=2, part="policy", optimizer=0) is PARAMETERS
    assert check_proxy_update(UPDATE, round=0) is UPDATE
    refused: list[tuple[Callable[[], object], str]] = [
        (lambda: check_table(PARAMETERS, round=2, n_actions=2), "expected ProbTable"),
        (lambda: check_parameters(TABLE, round=7), "expected Parameters"),
        (lambda: check_parameters(PARAMETERS, round=3), "round 2 in round 3"),
        (lambda: check_parameters(PARAMETERS, round=2, size=3), "expected 3 parameters, got 2"),
        (lambda: check_parameters(PARAMETERS, round=2, part="all"), "'all', got 'policy'"),
        (lambda: check_parameters(PARAMETERS, round=2, optimizer=4), "expected 4 optimizer"),
        (
            lambda: check_parameters(
                replace(PARAMETERS, next_cells=CELLS, next_version="0"), round=2
            ),
            "nobody asked for",
        ),
        (lambda: check_transitions(TABLE, round=7, **SIZES), "expected Transitions"),
        (lambda: check_transitions(TRANSITIONS, round=1, **SIZES), "expected arrays"),
        (
            lambda: check_parameters(replace(PARAMETERS, values=np.array([1e9], F32)), round=2),
            "no network",
        ),
        (lambda: check_proxy_update(TABLE), "expected ProxyUpdate"),
        (lambda: check_proxy_update(UPDATE, round=1), "round 0 in round 1"),
    ]
    for check, reason in refused:
        with pytest.raises(BadMessage, match=reason):
            check()
