"""State values as part of a table: errors of the codings, bytes, and what a receiver refuses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fdrl import wire
from fdrl.message import (
    BadMessage,
    Expected,
    ProbTable,
    Values,
    Visits,
    check_table,
    decode,
    encode,
)
from fdrl.value_coding import code_values, uncode_values

F32 = np.float32
PROBS = np.array([[0.25, 0.75], [0.5, 0.5]], F32)
CODINGS: list[Any] = ["float32", "float16", "uint8"]


def test_one_byte_by_hand() -> None:
    """Of -10..41 a step is 0.2: 0 is 50 steps up, and 41 the last."""
    codes = code_values(np.array([-10, 0, 0.09, 41], F32), "uint8")
    assert codes[8:].tolist() == [0, 50, 50, 255]
    assert np.frombuffer(codes[:8].tobytes(), "<f4").tolist() == [-10, 41]
    np.testing.assert_allclose(uncode_values(codes), [-10, 0, 0, 41], atol=1e-5)


@settings(max_examples=80, deadline=None, derandomize=True)
@given(
    values=arrays(F32, (5,), elements=st.floats(-300, 300, width=32)),
    coding=st.sampled_from(CODINGS),
)
def test_codings_keep_their_promise(values: Any, coding: Any) -> None:
    got = uncode_values(code_values(values, coding)).astype(np.float64)
    off = np.abs(got - values)
    exact = {"float32": 0.0, "float16": 2.0**-11 * np.abs(values) + 1e-7}
    assert (off <= exact.get(coding, float(np.ptp(values)) / 510 + 1e-4)).all()
    if coding == "uint8":
        assert got[values.argmin()] == values.min()
        assert got[values.argmax()] == values.max()


def test_equal_values_and_none_at_all_arrive_exactly() -> None:
    for values in (np.full(3, 7.25, F32), np.zeros(0, F32)):
        np.testing.assert_array_equal(uncode_values(code_values(values, "uint8")), values)


def test_they_cost_a_byte_a_state_and_one_tensor() -> None:
    probs = np.full((256, 2), 0.5, F32)
    bare = ProbTable(1, probs, "uint8", parts=(Visits(np.ones(256)),))
    more = len(encode(bare.with_parts(Values(np.arange(256, dtype=F32))))) - len(encode(bare))
    assert 256 + 8 <= more <= 256 + 8 + 60


def test_a_receiver_says_whether_it_asked() -> None:
    table = decode(encode(ProbTable(1, PROBS, parts=(Values(np.array([1, 2], F32)),))))
    expected = Expected(1, 2, parts=(Values.asked(),))
    np.testing.assert_array_equal(check_table(table, expected).need(Values).values, [1, 2])
    with pytest.raises(BadMessage, match="nobody asked"):
        check_table(table, Expected(1, 2))
    with pytest.raises(BadMessage, match="values are missing"):
        check_table(ProbTable(1, PROBS), expected)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (np.array([1.0, np.nan], F32), "NaN"),
        (np.array([1.0], F32), "shape"),
        (np.array([1, 2]), "floats"),
        (np.array([1e5, 0], F32), "float16"),
    ],
)
def test_what_cannot_be_sent(values: Any, reason: str) -> None:
    with pytest.raises(BadMessage, match=reason):
        encode(ProbTable(1, PROBS, "float16", parts=(Values(values),)))


@pytest.mark.parametrize(
    ("codes", "reason"),
    [
        (np.zeros(7, np.uint8), "range"),
        (np.array([1.0, 0.0], "<f4").view(np.uint8), "no order"),
        (np.array([0.0, np.inf], "<f4").view(np.uint8), "no order"),
        (np.zeros((2, 8), np.uint8), r"must be \[n\]"),
        (np.zeros(9, np.uint8), "shape"),
        (np.zeros(2, F32), "float32"),
    ],
)
def test_what_is_refused(codes: Any, reason: str) -> None:
    data = wire.pack({"p": "1"}, {"p": np.full((2, 1), 128, np.uint8), "b": codes})
    with pytest.raises(BadMessage, match=reason):
        decode(data)


def test_a_value_that_no_return_has_is_refused() -> None:
    table = ProbTable(1, PROBS, parts=(Values(np.array([0, 2e9], F32)),))
    with pytest.raises(BadMessage, match="2e\\+09"):
        check_table(table, Expected(1, 2, parts=(Values.asked(),)))
