"""Bytes: codings of arrays with their promised errors, malformed messages, and fuzz."""

from __future__ import annotations

import json
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from messages import fails
from numpy.typing import NDArray

from fdrl.core.errors import BadMessage
from fdrl.core.message import (
    Coding,
    GaussTable,
    Message,
    Parameters,
    ProbTable,
    ProxyUpdate,
    Transitions,
)
from fdrl.wire import codec, safetensors
from fdrl.wire.codec import decode, encode
from fdrl.wire.coding import (
    code_cells,
    code_probs,
    code_states,
    code_visits,
    uncode_cells,
    uncode_probs,
    uncode_states,
    uncode_visits,
)
from fdrl.wire.parts import (
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

ERROR: dict[Coding, float] = {"uint8": 1 / 255, "float16": 2**-11, "float32": 1e-6}
F32 = np.float32


@st.composite
def simplex(draw: st.DrawFn, rows: int = 6) -> NDArray[Any]:
    """Rows on the simplex, corners and tiny entries included."""
    shape = draw(st.tuples(st.integers(0, rows), st.integers(2, 7)))
    part = st.floats(0, 1) | st.sampled_from([0.0, 1.0, 1e-12, 1e-300])
    x = draw(hnp.arrays(np.float64, shape, elements=part))
    x[x.sum(1) == 0, 0] = 1
    return np.asarray((x / x.sum(1, keepdims=True)).astype(F32))


@pytest.mark.parametrize("coding", ["uint8", "float16", "float32"])
@given(probs=simplex())
@settings(max_examples=100, deadline=None)
def test_probabilities_arrive_within_the_promised_error(
    coding: Coding, probs: NDArray[Any]
) -> None:
    columns = code_probs(probs, coding)
    assert columns.shape == (len(probs), probs.shape[1] - 1)
    assert columns.dtype == coding
    arrived = uncode_probs(columns)
    assert arrived.dtype == F32
    assert (arrived >= 0).all()
    np.testing.assert_allclose(arrived.sum(1), 1, atol=1e-6)
    np.testing.assert_allclose(arrived, probs, atol=ERROR[coding] + 1e-6)
    np.testing.assert_array_equal(code_probs(arrived, coding), columns)


def test_uint8_is_the_largest_remainder() -> None:
    """255/3 = 85 thrice; 255 * (.5, .3, .2) = 127.5, 76.5, 51: the first half gets the unit."""
    probs = np.array([[1 / 3] * 3, [0.5, 0.3, 0.2], [0, 0, 1], [0.9999, 0.0001, 0]])
    columns = code_probs(probs, "uint8")
    np.testing.assert_array_equal(columns, [[85, 85], [128, 76], [0, 0], [255, 0]])


def test_all_256_probabilities_of_two_actions_are_fixed_points() -> None:
    columns = np.arange(256, dtype=np.uint8)[:, None]
    np.testing.assert_array_equal(code_probs(uncode_probs(columns), "uint8"), columns)


def test_float16_rounding_never_sums_to_more_than_one() -> None:
    rng = np.random.default_rng(0)
    probs = rng.dirichlet([0.3] * 5, 5000)
    probs[:, -1] = 0
    probs /= probs.sum(1, keepdims=True)
    columns = code_probs(probs, "float16")
    assert (columns.sum(1, dtype=np.float64) <= 1).all()
    rounded_up = probs[:, :-1].astype(np.float16).sum(1, dtype=np.float64) > 1
    assert rounded_up.mean() > 0.1  # the case occurs
    np.testing.assert_allclose(uncode_probs(columns), probs, atol=2**-10)


def test_visits_in_one_byte() -> None:
    exact = np.array([0, 0.5, 1, 2, 4, 1024, 2**20], F32)
    np.testing.assert_array_equal(uncode_visits(code_visits(exact)), exact)
    np.testing.assert_array_equal(code_visits(exact[:4]), [0, 1, 13, 25])
    counts = np.arange(1, 100_000, 7)
    arrived = uncode_visits(code_visits(counts))
    assert np.abs(arrived / counts - 1).max() < 2 ** (1 / 24) - 1 + 1e-6
    assert (np.diff(arrived) >= 0).all()
    np.testing.assert_array_equal(code_visits(np.array([1e-9, 1e12])), [1, 255])
    codes = np.arange(256, dtype=np.uint8)
    np.testing.assert_array_equal(code_visits(uncode_visits(codes)), codes)


@given(st.sets(st.integers(0, 2**63 - 1) | st.integers(0, 300), max_size=20))
def test_cells_arrive_exactly(cells: set[int]) -> None:
    sent = np.array(sorted(cells), dtype=np.int64)
    np.testing.assert_array_equal(uncode_cells(code_cells(sent)), sent)


def test_the_largest_cell() -> None:
    for sent in ([2**63 - 1], [0, 2**63 - 1], [2**63 - 2, 2**63 - 1]):
        assert uncode_cells(code_cells(np.array(sent))).tolist() == sent


def test_cells_are_coded_as_gaps() -> None:
    """0, then 127 skipped, then 16383 skipped: one, one and two bytes."""
    data = code_cells(np.array([0, 128, 128 + 16384]))
    assert data.tolist() == [0, 127, 0xFF, 0x7F]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ([0x80], "middle"),
        ([0x80, 0x00], "leading zeros"),
        ([0xFF] * 9 + [1], "63 bits"),
        ([*[0xFF] * 8, 0x7F, 0], "63 bits"),
    ],
)
def test_malformed_cells(data: list[int], reason: str) -> None:
    with pytest.raises(BadMessage, match=reason):
        uncode_cells(np.array(data, dtype=np.uint8))


@given(st.binary(max_size=40))
def test_any_bytes_are_cells_or_refused(data: bytes) -> None:
    raw = np.frombuffer(data, dtype=np.uint8)
    try:
        cells = uncode_cells(raw)
    except BadMessage:
        return
    assert (cells >= 0).all()
    assert (np.diff(cells.astype(object)) > 0).all()
    assert code_cells(cells).tobytes() == data


def raw(header: Any, body: bytes = b"") -> bytes:
    """Lay out a message by hand."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + body


def tensor(dtype: str, shape: Any, begin: Any, end: Any) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


P = {"__metadata__": {"p": "1"}}
W = {"__metadata__": {"w": "1", "a": "a"}}
U = {"__metadata__": {"u": "1"}}
ONE = np.ones(1, "<f4").tobytes()

MALFORMED = [
    (b"", "too short"),
    (b"\x02\0\0\0\0\0\0\0{", "too short"),
    (b"\xff" * 12, "header length"),
    (raw(b"{} "), "unknown kind of message ''"),
    (raw(b"nonsense"), "not JSON"),
    (raw(b"\xff\xfe"), "not JSON"),
    (raw(b"[" * 50_000), "not JSON"),
    (raw(b"{" + b" " * 70_000 + b"}"), "header length"),
    (raw(b"[]"), "not an object"),
    (raw({"__metadata__": 3}), "metadata"),
    (raw({"__metadata__": {"p": 1}}), "strings"),
    (raw(b'{"__metadata__":{"p":"1","p":"2"}}'), "duplicate"),
    (raw(b'{"a":1,"a":2}'), "duplicate"),
    (raw({"__metadata__": {"z": "1"}}), "kind of message 'z'"),
    (raw({"__metadata__": {"p": "one"}, "p": tensor("U8", [1, 1], 0, 1)}, b"1"), "not an integer"),
    (raw({"__metadata__": {"p": "01"}, "p": tensor("U8", [1, 1], 0, 1)}, b"1"), "not an integer"),
    (raw({"__metadata__": {"p": "9" * 5000}}), "no probabilities|not an integer"),
    (raw(P), "no probabilities"),
    (raw({**P, "p": tensor("U8", [1, 1], 0, 1)}), "ends at 1 of 0"),
    (raw({**P, "p": tensor("U8", [1, 1], 0, 1)}, b"12"), "1 trailing"),
    (raw({**P, "p": tensor("U8", [1, 1], 1, 2)}, b"12"), "starts at 1"),
    (raw({**P, "p": tensor("U8", [2, 1], 0, 1)}, b"1"), "instead of 2"),
    (raw({**P, "p": tensor("U8", [1, 1], 0, -1)}), "offsets"),
    (raw({**P, "p": tensor("U8", [1, 1], 0, 1.0)}, b"1"), "offsets"),
    (raw({**P, "p": tensor("U8", [True, 1], 0, 1)}, b"1"), "bad shape"),
    (raw({**P, "p": tensor("U8", [1] * 9, 0, 1)}, b"1"), "bad shape"),
    (raw({**P, "p": tensor("U8", [0, 2**50], 0, 0)}), "bad shape"),
    (raw({**P, "p": tensor("F32", [2**60, 1], 0, 2**62)}), "ends at"),
    (raw({**P, "p": tensor("F8", [1, 1], 0, 1)}, b"1"), "unknown dtype 'F8'"),
    (raw({**P, "p": tensor("I64", [1, 1], 0, 8)}, b"1" * 8), "must not be int64"),
    (raw({**P, "p": {"dtype": "U8", "shape": [1, 1]}}, b"1"), "described by"),
    (raw({**P, "p": 5}), "described by"),
    (raw({**P, "p": tensor("U8", [1], 0, 1)}, b"1"), r"\[n, A-1\]"),
    (raw({**P, "p": tensor("U8", [1, 0], 0, 0)}), r"\[n, A-1\]"),
    (raw({**P, "p": tensor("U8", [1, 2], 0, 2)}, b"\xff\x01"), "sum to more"),
    (raw({**P, "p": tensor("F32", [1, 1], 0, 4)}, np.array(1.01, "<f4").tobytes()), "more than 1"),
    (raw({**P, "p": tensor("F32", [1, 1], 0, 4)}, np.array(-0.1, "<f4").tobytes()), "negative"),
    (raw({**P, "p": tensor("F32", [1, 1], 0, 4)}, np.array(np.nan, "<f4").tobytes()), "NaN"),
    (raw({**P, "p": tensor("F16", [1, 1], 0, 2)}, np.array(np.inf, "<f2").tobytes()), "infinity"),
    (
        raw({**P, "p": tensor("U8", [1, 1], 0, 1), "q": tensor("U8", [1], 1, 2)}, b"12"),
        "unknown field 'q'",
    ),
    (
        raw({**P, "p": tensor("U8", [1, 1], 0, 1), "pv": tensor("U8", [1, 2], 1, 3)}, b"123"),
        "twice",
    ),
    (
        raw({**P, "p": tensor("U8", [1, 1], 0, 1), "c": tensor("U8", [2], 1, 3)}, b"123"),
        "2 cells for 1 rows",
    ),
    (
        raw(
            {"__metadata__": {"p": "1", "d": "x"}, "p": tensor("U8", [1, 1], 0, 1)},
            b"1",
        ),
        "'d' is missing",
    ),
    (
        raw({**P, "p": tensor("U8", [1, 1], 0, 1), "d": tensor("U8", [1], 1, 2)}, b"1\1"),
        "version ''",
    ),
    (
        raw({**P, "p": tensor("U8", [1, 1], 0, 1), "w": tensor("U8", [1], 1, 2)}, b"12"),
        "'s' is missing",
    ),
    (
        raw({**P, "p": tensor("U8", [1, 1], 0, 1), "i": tensor("U8", [1, 1], 1, 2)}, b"12"),
        "'l' is missing",
    ),
    (
        raw({"__metadata__": {"p": "1", "s": "nan"}, "p": tensor("U8", [1, 1], 0, 1)}, b"1"),
        "score",
    ),
    (
        raw({"__metadata__": {"p": "1", "s": "1_0"}, "p": tensor("U8", [1, 1], 0, 1)}, b"1"),
        "score",
    ),
    (raw({"__metadata__": {"w": "1", "a": "x"}, "w": tensor("F32", [1], 0, 4)}, ONE), "known part"),
    (raw(W), "without values"),
    (raw({**W, "w": tensor("F32", [1], 0, 4)}, np.array(np.nan, "<f4").tobytes()), "NaN"),
    (raw({**W, "w": tensor("F64", [1], 0, 8)}, ONE * 2), "must not be float64"),
    (raw({"__metadata__": {"t": "1"}, "x y": tensor("F32", [1], 0, 4)}, ONE), "array name"),
    (raw({"__metadata__": {"t": "1"}, "done": tensor("BOOL", [1], 0, 1)}, b"\x02"), "not boolean"),
    (raw({"__metadata__": {"u": "1", "r": "size"}}), "recipe"),
    (raw({"__metadata__": {"u": "1", "r": "size=1 size=2"}}), "recipe"),
    (raw({"__metadata__": {"u": "1", "r": "size=1e999"}}), "recipe"),
    (raw({"__metadata__": {"u": "1", "r": "size=--1"}}), "recipe"),
    (raw({"__metadata__": {"u": "1", "v": "a b"}}), "version"),
    (raw({**U, "x": tensor("F32", [1], 0, 4)}, ONE), "states"),
]


@pytest.mark.parametrize(("data", "reason"), MALFORMED, ids=range(len(MALFORMED)))
def test_malformed_messages_are_refused_with_the_reason(data: bytes, reason: str) -> None:
    with pytest.raises(BadMessage, match=reason):
        decode(data)


def test_the_hand_made_layout_is_the_right_one() -> None:
    """The faults above are the only reason why those messages are refused."""
    table = decode(raw({**P, "p": tensor("U8", [1, 1], 0, 1)}, b"\x33"))
    assert isinstance(table, ProbTable)
    np.testing.assert_allclose(table.probs, [[0.2, 0.8]], atol=1e-7)
    parameters = decode(raw({**W, "w": tensor("F32", [1], 0, 4)}, ONE))
    assert isinstance(parameters, Parameters)
    assert (parameters.round, parameters.part, parameters.values.tolist()) == (1, "all", [1.0])


def test_too_large_a_message_is_not_read() -> None:
    data = encode(Parameters(1, np.zeros(100, F32)))
    assert isinstance(decode(data, limit=len(data)), Parameters)
    with fails(BadMessage, f"limit of {len(data) - 1}"):
        decode(data, limit=len(data) - 1)


def test_decoded_arrays_are_writable_copies() -> None:
    data = encode(Parameters(1, np.zeros(3, F32)))
    decode(data).values[:] = 1  # type: ignore[union-attr]
    assert decode(data).values.tolist() == [0, 0, 0]  # type: ignore[union-attr]


def test_big_endian_arrays_travel_as_little_endian() -> None:
    message = Transitions(1, {"rewards": np.array([1.5, 2.5], dtype=">f8")})
    arrived = decode(encode(message))
    assert isinstance(arrived, Transitions)
    assert arrived.arrays["rewards"].tolist() == [1.5, 2.5]


VALID: list[Message] = [
    ProbTable(
        12, np.array([[0.2, 0.3, 0.5], [1, 0, 0]], F32), "uint8", version="1a2b3c4d",
        parts=(
            CellRows(np.array([3, 900])), Visits(np.array([0, 9.0])), Score(-1.5),
            Seen(np.array([1, 70000]), np.array([3.0, 1])), NextSet(np.array([5]), "ffffffff"),
            Values(np.array([-40, 7.5], F32)),
        ),
    ),
    ProbTable(
        1, np.array([[0.25, 0.75]], F32), "float16", parts=(StateRows(np.ones((1, 2, 2), F32)),)
    ),
    ProbTable(
        2, np.array([[0.25, 0.75]], F32),
        parts=(SeedSamples(np.ones((2, 3), np.uint8), np.array([[0, 1], [1, 0]], np.uint8)),),
    ),
    GaussTable(
        6, np.array([[0.5, -1, 0.1, 2], [0, 3, 0.1, 2]], F32), "uint8", version="1a2b3c4d",
        parts=(Visits(np.array([0, 9.0])), Values(np.array([2, 2], F32))),
    ),
    Parameters(
        3, np.ones(3, F32), "policy", 99, parts=(Score(2.5), OptimizerState(np.zeros(2, F32)))
    ),
    Parameters(
        3, np.ones(3, F32), parts=(NextSet(np.array([5]), "f"), MissingSeeds(np.array([1, 2])))
    ),
    Transitions(4, {"a": np.ones((2, 2), F32), "done": np.array([True, False])}),
    ProxyUpdate(5, "00000000", {"kind": "mix", "size": 9, "wide": 0.5}, np.array([1, 2])),
]  # fmt: skip


def survives(data: bytes) -> None:
    """Decode to a message that can be sent on, or raise `BadMessage`; nothing else."""
    try:
        message = decode(data)
    except BadMessage:
        return
    again = encode(message)
    assert encode(decode(again)) == again


@given(st.sampled_from(VALID), st.data())
@settings(max_examples=400, deadline=None)
def test_mutated_bytes_are_valid_or_refused(message: Message, data: st.DataObject) -> None:
    mutated = bytearray(encode(message))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(mutated) - 1))
        what = data.draw(st.sampled_from(["set", "drop", "insert", "cut"]))
        if what == "set":
            mutated[at] = data.draw(st.integers(0, 255) | st.sampled_from(list(b'0129",:{}[]-')))
        elif what == "drop" and len(mutated) > 1:
            del mutated[at]
        elif what == "insert":
            mutated[at:at] = data.draw(st.binary(max_size=3))
        else:
            mutated = mutated[: at + 1]
    survives(bytes(mutated))


_JUNK = st.recursive(
    st.none() | st.integers() | st.text(max_size=4) | st.sampled_from(["U8", "F32", "BOOL", "1"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["dtype", "shape", "data_offsets", "p", "w"]), inner)
    ),
    max_leaves=6,
)
_TENSOR = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from([*safetensors.DTYPES, "X"]),
        "shape": st.lists(st.integers(0, 3) | st.integers(0, 2**62), max_size=3),
        "data_offsets": st.just([0, 8]) | st.lists(st.integers(0, 9), min_size=2, max_size=2),
    }
)
_NAMES = st.sampled_from(
    ["p", "pv", "g", "gv", "r", "i", "l", "m", "n", "c", "x", "s", "w", "d", "o", "a"]
)


@given(
    st.sampled_from("pgwtu"),
    st.dictionaries(_NAMES, _TENSOR | _JUNK, max_size=3),
    st.dictionaries(st.sampled_from(["v", "s", "d", "a", "n", "r"]), st.text(max_size=4)),
    st.binary(max_size=10),
)
@settings(max_examples=300, deadline=None)
def test_invented_headers_are_valid_or_refused(
    kind: str, tensors: dict[str, Any], metadata: dict[str, str], body: bytes
) -> None:
    survives(raw({"__metadata__": {kind: "1", **metadata}, **tensors}, body))


@given(st.binary(max_size=64))
def test_any_bytes_are_valid_or_refused(data: bytes) -> None:
    survives(data)


# ---- States on the wire: a byte a pixel for images of bytes, four for all else, nothing lost


PIXELS = np.array([[[0, 255], [3, 7]], [[1, 1], [2, 0]]], np.float32)


def test_images_of_bytes_take_a_byte_a_pixel_and_arrive_as_they_were() -> None:
    update = ProxyUpdate(3, "v", {"kind": "rollout"}, states=PIXELS)
    data = encode(update)
    assert data.endswith(bytes([0, 255, 3, 7, 1, 1, 2, 0]))
    got = decode(data)
    assert isinstance(got, ProxyUpdate)
    assert got.states is not None
    assert got.states.dtype == np.float32
    np.testing.assert_array_equal(got.states, PIXELS)
    floats = encode(ProxyUpdate(3, "v", {"kind": "rollout"}, states=PIXELS + 0.5))
    assert len(floats) - len(data) >= 3 * PIXELS.size - 8  # headers are padded


def test_raw_states_of_a_table_do_too() -> None:
    table = ProbTable(round=1, probs=np.full((2, 2), 0.5), parts=(StateRows(PIXELS),))
    got = decode(encode(table))
    assert isinstance(got, ProbTable)
    np.testing.assert_array_equal(got.need(StateRows).states, PIXELS)


@pytest.mark.parametrize(
    "states",
    [
        PIXELS + 0.5,
        PIXELS - 1,
        PIXELS + 1,
        np.minimum(PIXELS, 1),
        PIXELS.reshape(2, 4),
        np.zeros((0, 2, 2), np.float32),
        np.zeros((2, 2, 2), np.float32),
    ],
    ids=["fractions", "negative", "256", "between 0 and 1", "no image", "none", "black"],
)
def test_everything_else_stays_floats(states: NDArray[Any]) -> None:
    assert code_states(states) is states
    assert uncode_states(states) is states


@given(
    hnp.arrays(np.uint8, hnp.array_shapes(min_dims=3, max_dims=4, max_side=4)),
    st.sampled_from([0.0, 0.25]),
)
def test_nothing_is_lost_and_what_was_decoded_has_the_same_code(
    pixels: NDArray[Any], shift: float
) -> None:
    states = (pixels + np.float32(shift)).astype(np.float32)
    code = code_states(states)
    np.testing.assert_array_equal(uncode_states(code), states)
    assert code_states(uncode_states(code)).tobytes() == code.tobytes()


def test_one_content_has_one_form() -> None:
    def sent(states: NDArray[Any]) -> bytes:
        return safetensors.pack({"u": "1", "v": "v"}, {"x": states})

    with fails(BadMessage, "bytes"):
        decode(sent(PIXELS))
    with fails(BadMessage, "bytes"):
        decode(sent(np.ones((2, 3), np.uint8)))


# ---- Memory: what reading takes depends on a message's size alone, whatever its codings ----


N = 100_000
TABLE = {"p": "1", "v": "a"}
BYTES, ROWS = np.zeros(N, np.uint8), np.zeros((N, 1), np.uint8)
DENSE = {
    "cells": ({"u": "1", "v": "a"}, {"c": BYTES}),
    "cells of 64 bits": (
        {"u": "1", "v": "a"},
        {"c": np.concatenate([np.full(8, 0xFF, np.uint8), [np.uint8(1)], BYTES])},
    ),
    "table": (TABLE, {"p": ROWS}),
    "table of halves": (TABLE, {"p": ROWS.astype(np.float16)}),
    "table and visits": (TABLE, {"pv": np.zeros((N, 2), np.uint8)}),
    "keyed table": (TABLE, {"p": ROWS, "c": BYTES}),
    "values": (TABLE, {"p": ROWS, "b": np.zeros(N + 8, np.uint8)}),
    "seen": (TABLE, {"p": ROWS[:2], "s": BYTES, "w": BYTES}),
    "Gaussians": ({"g": "1"}, {"g": ROWS, "r": np.array([[0], [1], [1]], np.float32)}),
    "pixels": ({"u": "1", "v": "a"}, {"x": np.full((N, 2, 2), 7, np.uint8)}),
    "parameters": ({"w": "1", "a": "a"}, {"w": np.zeros(N, np.float32)}),
    "transitions": ({"t": "1"}, {"rewards": np.zeros(N, np.float32), "done": np.zeros(N, "?")}),
}


@pytest.mark.parametrize("name", DENSE)
def test_reading_takes_at_most_eight_times_the_size(name: str) -> None:
    words, arrays = DENSE[name]
    data = safetensors.pack(words, arrays)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        decode(data)
        peak = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    assert peak <= 8 * len(data) + 2**18


def test_a_header_of_little_but_brackets_is_not_read() -> None:
    text = b'{"a":[' + b"{}," * 20_000 + b"{}]}"
    with pytest.raises(BadMessage):
        decode(len(text).to_bytes(8, "little") + text)


def test_a_checksum_tells_whose_a_message_is() -> None:
    key, data = b"k" * 16, encode(Parameters(1, np.zeros(2, np.float32)))
    sent = codec.sealed(data, key, "agent-0")
    assert len(sent) == len(data) + 16
    assert codec.opened(sent, key, "agent-0") == data
    assert codec.sealed(data, b"", "agent-0") == data == codec.opened(data, b"", "agent-0")
    damaged = bytes([sent[0] ^ 1]) + sent[1:]
    for other in (damaged, data, b"", sent[:-1], codec.sealed(data, b"l" * 16, "agent-0")):
        with pytest.raises(BadMessage):
            codec.opened(other, key, "agent-0")
    with pytest.raises(BadMessage):
        codec.opened(sent, key, "agent-1")
