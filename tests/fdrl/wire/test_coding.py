"""Gaussian answers as messages: errors of the codings, bytes, and what a receiver refuses."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from messages import fails

from fdrl.core.errors import BadMessage
from fdrl.core.message import GaussTable, ProbTable
from fdrl.wire import safetensors
from fdrl.wire.checks import Expected, check_table
from fdrl.wire.codec import decode, encode
from fdrl.wire.coding import code_values, uncode_values
from fdrl.wire.parts import CellRows, Score, Seen, StateRows, Values, Visits

F32 = np.float32
CODINGS: list[Any] = ["float32", "float16", "uint8"]
WIDE = np.array([[0.5, -1, 1.0, 2.0], [0.25, 3, 0.5, 4.0], [-2, 1, 2.0, 1.0]], F32)
"""Two dimensions, standard deviations of their own in every row."""
SAME = np.array([[0.5, -1, 1.0, 2.0], [0.25, 3, 1.0, 2.0]], F32)


def arrived(table: GaussTable) -> GaussTable:
    message = decode(encode(table))
    assert isinstance(message, GaussTable)
    return message


@pytest.mark.parametrize("moments", [WIDE, SAME, WIDE[:1]])
def test_float32_is_exact(moments: Any) -> None:
    np.testing.assert_array_equal(arrived(GaussTable(3, moments)).moments, moments)


@settings(max_examples=80, deadline=None, derandomize=True)
@given(
    means=arrays(F32, (6, 2), elements=st.floats(-50, 50, width=32)),
    logs=arrays(F32, (6, 2), elements=st.floats(-3, 3, width=32)),
    coding=st.sampled_from(CODINGS),
    common=st.booleans(),
)
def test_codings_keep_their_promise(means: Any, logs: Any, coding: Any, common: bool) -> None:
    std = np.exp(np.repeat(logs[:1], 6, axis=0) if common else logs)
    table = GaussTable(1, np.concatenate([means, std], axis=1), coding)
    got = arrived(table).moments
    off = np.abs(got.astype(np.float64) - table.moments)
    if coding == "uint8":
        span = np.ptp(means.astype(np.float64), axis=0)
        assert (off[:, :2] <= span / 510 + 1e-5).all()
        ratio = np.ptp(np.log(std.astype(np.float64)), axis=0)
        apart = np.abs(np.log(got[:, 2:].astype(np.float64)) - np.log(std.astype(np.float64)))
        assert (apart <= ratio / 510 + 1e-5).all()
    else:
        step = 2.0**-11 if coding == "float16" else 0.0
        assert (off <= step * np.abs(table.moments) + (1e-7 if step else 0)).all()
    if common:
        np.testing.assert_array_equal(got[:, 2:], std)
    assert (got[:, 2:] > 0).all()


def test_the_ends_of_a_range_are_exact() -> None:
    got = arrived(GaussTable(1, WIDE, "uint8")).moments
    for column in range(4):
        at = [WIDE[:, column].argmin(), WIDE[:, column].argmax()]
        np.testing.assert_array_equal(got[at, column], WIDE[at, column])


def test_a_default_uplink_costs_a_byte_a_mean_and_one_of_visits() -> None:
    """256 states, one dimension: 256 means, 256 visits, 3 ranges of 4 bytes, and a header."""
    moments = np.column_stack([np.linspace(-2, 2, 256), np.full(256, 0.7)]).astype(F32)
    visits = Visits(np.ones(256, F32))
    table = GaussTable(9, moments, "uint8", version="1a2b3c4d", parts=(visits,))
    size = len(encode(table))
    assert 512 + 12 < size < 512 + 12 + 200
    full = replace(table, coding="float32", parts=())
    assert 4 * 256 + 4 < len(encode(full)) < 4 * 256 + 4 + 200


def test_extras_travel_along() -> None:
    own = (
        CellRows(np.array([1, 7, 9])), Visits(np.array([0, 2.0, 4])), Score(-3.5),
        Seen(np.array([4]), np.array([8.0])),
    )  # fmt: skip
    table = GaussTable(5, WIDE, "uint8", parts=own)
    got = arrived(table)
    assert got.need(CellRows).cells.tolist() == [1, 7, 9]
    assert got.need(Seen).cells.tolist() == [4]
    assert got.need(Visits).counts.tolist() == [0, 2, 4]
    assert (got.need(Score).value, got.round, got.coding) == (-3.5, 5, "uint8")
    raw = replace(table, coding="float16", parts=(StateRows(np.ones((3, 2), F32)), *own[1:]))
    assert arrived(raw).need(StateRows).states.tolist() == [[1, 1]] * 3


@pytest.mark.parametrize("coding", CODINGS)
def test_no_rows_travel_too(coding: Any) -> None:
    table = GaussTable(0, np.zeros((0, 4), F32), coding, parts=(CellRows(np.zeros(0, np.int64)),))
    assert arrived(table).moments.shape == (0, 4)


@pytest.mark.parametrize(
    ("moments", "reason"),
    [
        (np.array([[0.0, 0.0]], F32), "row 0"),
        (np.array([[0, 1.0], [0, -1.0]], F32), "row 1"),
        (np.array([[np.nan, 1.0]], F32), "NaN"),
        (np.array([[0.0, np.inf]], F32), "infinity"),
        (np.ones((2, 3), F32), r"\[n, 2D\]"),
        (np.ones(4, F32), r"\[n, 2D\]"),
        (np.ones((2, 2), np.int64), "floats"),
    ],
)
def test_what_cannot_be_sent(moments: Any, reason: str) -> None:
    with pytest.raises(BadMessage, match=reason):
        encode(GaussTable(1, moments))


def test_what_float16_cannot_hold() -> None:
    with fails(BadMessage, "float16"):
        encode(GaussTable(1, np.array([[1e5, 1.0], [0, 2.0]], F32), "float16"))
    with fails(BadMessage, 0, "float16"):
        encode(GaussTable(1, np.array([[1, 1e-9], [0, 2.0]], F32), "float16"))


def made(codes: Any, ranges: Any = None, name: str = "g") -> bytes:
    tensors = {name: codes} | ({} if ranges is None else {"r": np.array(ranges, F32)})
    return safetensors.pack({"g": "1"}, tensors)


U8 = np.zeros((2, 1), np.uint8)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (made(U8), "0 ranges.*uint8"),
        (made(np.zeros((2, 2), F32), [[1], [1], [1]]), "3 ranges.*float32"),
        (made(U8, [[1], [0], [1]]), "range"),
        (made(U8, [[0], [1], [0]]), "deviation"),
        (made(U8, [[0], [1], [np.nan]]), "ranges.*NaN"),
        (made(U8, [[0, 0], [1, 1], [1, 1]]), "ranges"),
        (made(np.zeros((2, 2), np.uint8), [[0], [1], [0], [1]]), "deviation"),
        (made(np.zeros((2, 3), F32)), "3 numbers"),
        (made(np.full((2, 2), np.nan, F32)), "answers.*NaN"),
        (made(np.ones((2, 0), F32)), "0 numbers"),
        (made(np.ones(2, F32)), "answers"),
        (made(U8, [0, 1, 1]), "ranges"),
        (safetensors.pack({"g": "1"}, {}), "Gaussians"),
        (safetensors.pack({"g": "1"}, {"p": np.ones((1, 1), F32)}), "no Gaussians"),
    ],
)
def test_what_is_not_believed(data: bytes, reason: str) -> None:
    with pytest.raises(BadMessage, match=reason):
        decode(data)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(at=st.integers(0, 10_000), byte=st.integers(0, 255), coding=st.sampled_from(CODINGS))
def test_a_broken_byte_gives_a_valid_table_or_a_reason(at: int, byte: int, coding: Any) -> None:
    data = bytearray(encode(GaussTable(1, WIDE, coding, parts=(Visits(np.ones(3, F32)),))))
    data[at % len(data)] = byte
    for cut in (bytes(data), bytes(data[: at % len(data)])):
        try:
            message = decode(cut)
        except BadMessage:
            continue
        if isinstance(message, GaussTable):
            assert np.isfinite(message.moments).all()
            assert (message.moments[:, message.moments.shape[1] // 2 :] > 0).all()


@pytest.mark.parametrize(
    ("table", "reason"),
    [
        (ProbTable(1, np.full((2, 2), 0.5, F32)), "GaussTable.*ProbTable"),
        (GaussTable(2, SAME), "round 2.*round 1"),
        (GaussTable(1, SAME[:, [0, 2]]), "2 dimensions.*1"),
        (GaussTable(1, SAME * F32(1e7)), "no policy has that"),
        (GaussTable(1, SAME * F32(1e-7)), "1e-07"),
        (GaussTable(1, SAME[:1]), "2 rows.*1"),
    ],
)
def test_what_was_not_asked_for(table: Any, reason: str) -> None:
    with pytest.raises(BadMessage, match=reason):
        check_table(table, Expected(1, 2, gaussian=True, rows=2))


def test_a_learner_of_discrete_actions_refuses_gaussians() -> None:
    with pytest.raises(BadMessage, match="expected ProbTable, got GaussTable"):
        check_table(GaussTable(1, SAME), Expected(1, 4))
    table = GaussTable(1, SAME)
    assert check_table(table, Expected(1, 2, gaussian=True)) is table


# ---- State values as part of a table: errors of the codings, bytes, and what a receiver refuses


PROBS = np.array([[0.25, 0.75], [0.5, 0.5]], F32)


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
def test_codings_keep_their_promise_value_coding(values: Any, coding: Any) -> None:
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
def test_what_cannot_be_sent_value_coding(values: Any, reason: str) -> None:
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
    data = safetensors.pack({"p": "1"}, {"p": np.full((2, 1), 128, np.uint8), "b": codes})
    with pytest.raises(BadMessage, match=reason):
        decode(data)


def test_a_value_that_no_return_has_is_refused() -> None:
    table = ProbTable(1, PROBS, parts=(Values(np.array([0, 2e9], F32)),))
    with pytest.raises(BadMessage, match="2e\\+09"):
        check_table(table, Expected(1, 2, parts=(Values.asked(),)))
