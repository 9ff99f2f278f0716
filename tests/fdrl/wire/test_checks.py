"""What travels: content checks, context checks, bytes, and safetensors as the oracle."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
import pytest
import safetensors.numpy

from fdrl.core.errors import BadMessage
from fdrl.core.message import Message, Parameters, ProbTable, ProxyUpdate, Transitions
from fdrl.wire import codec
from fdrl.wire import safetensors as safetensors_layout
from fdrl.wire.checks import (
    Expected,
    check_parameters,
    check_proxy_update,
    check_table,
    check_transitions,
)
from fdrl.wire.codec import decode, encode, validate
from fdrl.wire.content import CodedPart, Fields
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

F32 = np.float32
ROWS = np.array([[0.25, 0.75], [1.0, 0.0], [0.5, 0.5]], dtype=F32)
CELLS = np.array([3, 4, 2**40])
STATES = np.arange(6, dtype=F32).reshape(3, 2)
TABLE = ProbTable(7, ROWS, version="1a2b3c4d")
LABELS = np.array([[3, 7], [7, 3]], np.uint8)
PARAMETERS = Parameters(2, np.array([1.5, -2], F32), "policy", 256, parts=(Score(-3.25),))
NEXT = NextSet(CELLS, "00000000")
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
    replace(TABLE, coding="uint8", parts=(Visits(np.array([0, 1, 64], F32)), Score(12.5))),
    replace(TABLE, coding="float16", parts=(Visits(np.array([0, 1, 64], F32)),)),
    TABLE.with_parts(Visits(np.array([0, 1, 1234567], F32), "float32")),
    replace(TABLE, version="", parts=(Visits(np.array([1, 2, 4], F32)), CellRows(CELLS))),
    replace(TABLE, version="", parts=(StateRows(STATES),)),
    TABLE.with_parts(Values(np.array([1.5, -2, 0], F32)), Seen(CELLS)),
    TABLE.with_parts(Seen(CELLS, np.array([8, 4, 2], F32))),
    TABLE.with_parts(NEXT),
    TABLE.with_parts(NextSet(np.zeros(0, np.int64), "00000000")),
    TABLE.with_parts(SeedSamples(np.arange(4, dtype=np.uint8).reshape(2, 2), LABELS)),
    TABLE.with_parts(SeedSamples(np.full((2, 1, 3), 0.25, F32), LABELS)),
    ProbTable(0, np.zeros((0, 3), F32), "uint8", parts=(CellRows(np.zeros(0, np.int64)),)),
    PARAMETERS,
    Parameters(2, np.zeros(0, F32), part="all"),
    Parameters(2, np.ones(2, F32), "optimizer", parts=(OptimizerState(np.full(5, 1e-30, F32)),)),
    PARAMETERS.with_parts(MissingSeeds(np.array([0, 9]))),
    PARAMETERS.with_parts(NEXT),
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
    if isinstance(a, tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if is_dataclass(a):
        return type(a) is type(b) and all(
            same(getattr(a, f.name), getattr(b, f.name)) for f in fields(a)
        )
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
        both = message.coding == "uint8" and message.get(Visits) is not None
        assert tensors["pv" if both else "p"].shape == (n, a if both else a - 1)
    else:
        assert sorted(tensors) == (["c", "x"] if message is UPDATE else [])


def test_a_default_uplink_costs_512_bytes_and_little_more() -> None:
    probs = np.full((256, 2), 0.5, F32)
    table = ProbTable(
        99999, probs, "uint8", version="1a2b3c4d",
        parts=(Visits(np.ones(256, F32)), Score(-1.23456e-10)),
    )  # fmt: skip
    assert 512 < len(encode(table)) < 512 + 140
    # Actions that follow from the others do not travel.
    assert len(encode(table.without(Visits))) < 256 + 140


def test_a_table_states_its_bytes_in_columns() -> None:
    """Three actions in uint8: 128/255 and 64/255 travel, 63/255 is what is left."""
    probs = np.array([[128, 64, 63]], F32) / 255
    data = encode(ProbTable(0, probs, "uint8", parts=(Visits(np.array([1.0], F32)),)))
    assert data[-3:] == bytes([128, 64, 13])
    np.testing.assert_array_equal(decode(data).probs, probs)  # type: ignore[union-attr]


def test_parameters_are_four_bytes_each() -> None:
    small, large = (encode(Parameters(1, np.zeros(n, F32))) for n in (10, 20))
    assert len(large) - len(small) == 40


def test_scores_keep_six_digits() -> None:
    arrived = decode(encode(TABLE.with_parts(Score(1234.56789))))
    assert isinstance(arrived, ProbTable)
    assert arrived.need(Score).value == 1234.57


def bad_tables() -> list[tuple[ProbTable, str]]:
    def rows(*values: float) -> ProbTable:
        return replace(TABLE, probs=np.array([values]))

    def visits(*values: float) -> ProbTable:
        return TABLE.with_parts(Visits(np.array(values)))

    def cells(*values: int) -> ProbTable:
        return TABLE.with_parts(CellRows(np.array(values)))

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
        (TABLE.with_parts(StateRows(np.ones((2, 2)))), "2 states for 3 rows"),
        (TABLE.with_parts(StateRows(np.full((3, 2), np.nan))), "NaN"),
        (TABLE.with_parts(StateRows(np.full((3, 2), 1e300))), "float32"),
        (TABLE.with_parts(Seen(np.array([5, 4]))), "increasing"),
        (TABLE.with_parts(Seen(np.array([5]), np.ones(2))), r"\[1\]"),
        (TABLE.with_parts(Seen(np.array([5]), np.ones(1), "int8")), "int8"),  # type: ignore[arg-type]
        (TABLE.with_parts(NextSet(CELLS, "")), "version ''"),
        (TABLE.with_parts(NextSet(CELLS, "a b")), "version"),
        (replace(TABLE, version='a"b'), "version"),
        (TABLE.with_parts(Score(np.inf)), "score"),
        (replace(TABLE, parts=(Score(1.0), Score(1.0))), "scores twice"),
        (TABLE.with_parts(OptimizerState(np.ones(3))), "ProbTable cannot carry OptimizerState"),
        (replace(TABLE, parts=("score",)), "cannot carry str"),  # type: ignore[arg-type]
        (replace(TABLE, round=-1), "round"),
        (replace(TABLE, coding="bfloat16"), "bfloat16"),  # type: ignore[arg-type]
        (TABLE.with_parts(Visits(np.ones(3), "float16")), "float16"),  # type: ignore[arg-type]
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
        (PARAMETERS.with_parts(OptimizerState(np.array([np.inf]))), "infinity"),
        (PARAMETERS.with_parts(MissingSeeds(np.array([1, 0]))), "wanted must be"),
        (PARAMETERS.with_parts(NextSet(CELLS, "")), "version ''"),
        (PARAMETERS.with_parts(Visits(np.ones(2))), "Parameters cannot carry Visits"),
        (TABLE.with_parts(SeedSamples(np.zeros((3, 2), F32), LABELS)), "seed_labels must be"),
        (TABLE.with_parts(SeedSamples(np.zeros((2, 2)), LABELS)), "seeds have dtype float64"),
        (TABLE.with_parts(SeedSamples(np.zeros(2, F32), LABELS)), r"seeds must be \[s"),
        (TABLE.with_parts(SeedSamples(np.full((2, 2), np.nan, F32), LABELS)), "NaN"),
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


def test_parts_are_got_replaced_and_left_out() -> None:
    table = replace(TABLE, parts=(Score(1.0), CellRows(CELLS)))
    assert table.need(Score).value == 1.0
    assert table.get(Visits) is None
    with pytest.raises(BadMessage, match="visit counts are missing"):
        table.need(Visits)
    other = table.with_parts(Score(2.0), Visits(np.array([7, 8, 9])))
    assert other.need(Score).value == 2.0
    assert other.without(Score, Visits).parts == table.without(Score).parts
    assert len(table.parts) == 2


def test_rows_are_taken_with_what_belongs_to_them() -> None:
    own = (
        CellRows(CELLS), StateRows(STATES), Visits(np.array([7, 8, 9]), "float32"),
        Values(np.array([1.0, 2, 3])), Score(5.0), Seen(np.array([4, 6])),
    )  # fmt: skip
    for rows in (np.array([0, 2]), np.array([True, False, True])):
        taken = replace(TABLE, parts=own).take(rows)
        np.testing.assert_array_equal(taken.probs, ROWS[[0, 2]])
        np.testing.assert_array_equal(taken.need(CellRows).cells, CELLS[[0, 2]])
        np.testing.assert_array_equal(taken.need(StateRows).states, STATES[[0, 2]])
        assert taken.need(Visits).counts.tolist() == [7, 9]
        assert taken.need(Visits).coding == "float32"
        assert taken.need(Values).values.tolist() == [1, 3]
        assert taken.get(Score) is own[4]
        assert taken.get(Seen) is own[5]


def test_the_order_of_parts_makes_no_difference_on_the_wire() -> None:
    own = (Score(5.0), Visits(np.array([7, 8, 9])), CellRows(CELLS), NEXT)
    assert encode(replace(TABLE, parts=own)) == encode(replace(TABLE, parts=own[::-1]))


def test_check_table_returns_what_was_asked_for() -> None:
    table = TABLE.with_parts(Visits(np.ones(3, F32)))
    assert check_table(TABLE, Expected(7, 2)) is TABLE
    asked = (Visits.asked(), Score.asked(optional=True))
    assert check_table(table, Expected(7, 2, version="1a2b3c4d", rows=3, parts=asked)) is table
    keyed = TABLE.with_parts(CellRows(CELLS), StateRows(STATES))
    asked = (CellRows.asked(below=2**40 + 1), StateRows.asked(shape=(2,)))
    assert check_table(keyed, Expected(7, 2, parts=asked)) is keyed


@pytest.mark.parametrize(
    ("expected", "reason"),
    [
        ({"round": 8}, "round 7.*round 8"),
        ({"n_actions": 3}, "3 actions.*2"),
        ({"version": "ffffffff"}, "'1a2b3c4d', not of 'ffffffff'"),
        ({"rows": 4}, "expected 4 rows, got 3"),
        ({"most_rows": 2}, "at most 2 rows, got 3"),
        ({"parts": ()}, "rows keyed by cells that nobody asked for"),
        ({"parts": (CellRows.asked(below=2**40),)}, "cells outside the grid"),
        ({"parts": (CellRows.asked(), StateRows.asked(shape=(2,)))}, "states are missing"),
        ({"parts": (CellRows.asked(), Visits.asked())}, "visit counts are missing"),
    ],
)
def test_check_table_refuses_with_a_reason(expected: dict[str, Any], reason: str) -> None:
    table = TABLE.with_parts(CellRows(CELLS))
    every: dict[str, Any] = {"round": 7, "n_actions": 2, "parts": (CellRows.asked(),)}
    check_table(table, Expected(**every))
    with pytest.raises(BadMessage, match=reason):
        check_table(table, Expected(**(every | expected)))


PIXELS = SeedSamples(np.zeros((2, 2, 1), np.uint8), LABELS)


@pytest.mark.parametrize(
    ("part", "asked", "reason"),
    [
        (Visits(np.array([1.0, 2, 9])), Visits.asked(most=8), "claims 12 visits"),
        (StateRows(STATES), StateRows.asked(shape=(3,)), r"expected states \(3,\), got \(2,\)"),
        (Values(np.array([0, 2e9, 0])), Values.asked(), "2e\\+09"),
        (Seen(CELLS), Seen.asked(below=9), "outside the grid"),
        (Seen(CELLS), Seen.asked(most=2), "3 visited cells, more than 2"),
        (Seen(CELLS, np.full(3, 9.0)), Seen.asked(most_visits=20), "claims 27 visits to cells"),
        (NEXT, NextSet.asked(below=9), "outside the grid"),
        (PIXELS, SeedSamples.asked(shape=(2, 2)), r"seeds of \(2, 1\), not \(2, 2\)"),
        (PIXELS, SeedSamples.asked(most=1), "more than 1 seeds"),
        (PIXELS, SeedSamples.asked(mixed=1), "1 labels each"),
        (PIXELS, SeedSamples.asked(below=7), "labels beyond 6"),
    ],
    ids=lambda x: type(x).__name__,
)
def test_parts_are_bounded_by_what_was_asked_for(part: Any, asked: Any, reason: str) -> None:
    table = TABLE.with_parts(part)
    free = type(part).asked
    if not isinstance(part, Values):  # their bound is always there
        check_table(table, Expected(7, 2, parts=(free(optional=True),)))
    check_table(TABLE, Expected(7, 2, parts=(free(optional=True),)))
    with pytest.raises(BadMessage, match="missing"):
        check_table(TABLE, Expected(7, 2, parts=(asked,)))
    with pytest.raises(BadMessage, match="nobody asked for"):
        check_table(table, Expected(7, 2))
    with pytest.raises(BadMessage, match=reason):
        check_table(table, Expected(7, 2, parts=(asked,)))


def test_a_new_part_is_one_class_and_its_registration(monkeypatch: pytest.MonkeyPatch) -> None:
    @dataclass(frozen=True, eq=False)
    class Mood(CodedPart):
        name: ClassVar[str] = "moods"
        words: ClassVar[str] = "q"

        mood: str

        def validate(self, rows: int) -> None:
            if not self.mood.isalpha():
                raise BadMessage(f"a mood of {self.mood!r}")

        def encode(self, fields: Fields) -> None:
            fields.metadata["q"] = self.mood

        @classmethod
        def decode(cls, fields: Fields) -> Self:
            return cls(fields.metadata.pop("q"))

    calm = TABLE.with_parts(Mood("calm"), Score(1.0))
    with pytest.raises(BadMessage, match="cannot carry Mood"):
        encode(calm)
    monkeypatch.setattr(codec, "TABLE_PARTS", (*TABLE_PARTS, Mood))
    arrived = decode(encode(calm))
    assert check_table(arrived, Expected(7, 2, parts=(Score.asked(), Mood.asked())))
    assert isinstance(arrived, ProbTable)
    assert arrived.need(Mood).mood == "calm"
    with pytest.raises(BadMessage, match="a mood of '1'"):
        encode(TABLE.with_parts(Mood("1")))


@pytest.mark.parametrize("kinds", [TABLE_PARTS, PARAMETERS_PARTS])
def test_no_two_parts_write_under_the_same_letter(kinds: tuple[type[CodedPart], ...]) -> None:
    words, tensors = ("".join(getattr(k, of) for k in kinds) for of in ("words", "tensors"))
    taken = ("pgv", "pgr") if kinds is TABLE_PARTS else ("wan", "w")
    for letters in (words + taken[0], tensors + taken[1]):
        assert len(set(letters)) == len(letters)


SIZES: dict[str, Any] = {
    "observation_shape": (3,),
    "n_actions": 2,
    "copies": 1,
    "most_steps": 9,
}


def test_the_other_checks() -> None:
    score = Score.asked()
    asked: dict[str, Any] = {"round": 2, "parts": (score,)}
    assert check_parameters(PARAMETERS, **asked, size=2, part="policy") is PARAMETERS
    assert check_proxy_update(UPDATE, round=0) is UPDATE
    refused: list[tuple[Callable[[], object], str]] = [
        (lambda: check_table(PARAMETERS, Expected(2, 2)), "expected ProbTable"),
        (lambda: check_parameters(TABLE, round=7), "expected Parameters"),
        (lambda: check_parameters(PARAMETERS, round=3), "round 2 in round 3"),
        (lambda: check_parameters(PARAMETERS, **asked, size=3), "expected 3 parameters, got 2"),
        (lambda: check_parameters(PARAMETERS, **asked, part="all"), "'all', got 'policy'"),
        (
            lambda: check_parameters(PARAMETERS, round=2, parts=(OptimizerState.asked(), score)),
            "optimizer values are missing",
        ),
        (
            lambda: check_parameters(
                PARAMETERS.with_parts(OptimizerState(np.ones(2))),
                round=2,
                parts=(OptimizerState.asked(size=4), score),
            ),
            "expected 4 optimizer values, got 2",
        ),
        (
            lambda: check_parameters(PARAMETERS.with_parts(NEXT), **asked),
            "next proxy sets that nobody asked for",
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


# ---- What no honest agent sends is refused before it is used ----


def optimizer(means: Any, squares: Any, count: float = 3.0) -> Parameters:
    values = np.concatenate([means, squares, [count]]).astype(F32)
    return Parameters(1, np.zeros(2, F32), parts=(OptimizerState(values),))


@pytest.mark.parametrize(
    ("means", "squares", "fine"),
    [
        ([0.5, -0.5], [0.25, 0.25], True),
        ([0.0, 0.0], [0.0, 0.0], True),
        ([1e9, -1e9], [1e18, 1e18], True),
        ([-1e30, -1e30], [-1e30, -1e30], False),
        ([0.0, 0.0], [0.0, -1e-3], False),
        ([1e6, 0.0], [0.0, 0.0], False),  # a step of 1e6 / epsilon
        ([9.0, 0.0], [1.0, 1.0], False),  # no gradients have such means: 8 at the most
        ([0.0, 0.0], [1e19, 0.0], False),
    ],
)
def test_optimizer_moments_are_those_of_gradients(means: Any, squares: Any, fine: bool) -> None:
    asked = OptimizerState.asked(size=5, squares=(2, 4))
    message = decode(encode(optimizer(means, squares)))
    if fine:
        check_parameters(message, round=1, parts=[asked])
    else:
        with pytest.raises(BadMessage):
            check_parameters(message, round=1, parts=[asked])


def test_moments_of_any_gradients_fit_those_of_their_squares() -> None:
    """The bound is Cauchy and Schwarz's: m / (1 - b1) is at most 2.3 roots of v / (1 - b2)."""
    rng = np.random.default_rng(0)
    for scale in (1e-20, 1.0, 1e6):
        m = v = np.zeros(100)
        for g in scale * rng.standard_normal((200, 100)) * (rng.random((200, 100)) < 0.1):
            m, v = 0.9 * m + g, 0.999 * v + g * g
            part = OptimizerState(np.concatenate([m, v, [1.0]]).astype(F32))
            part.check(size=201, squares=(100, 200))


def test_claims_are_at_most_what_was_done_but_for_rounding() -> None:
    honest = np.array([5, 11, 0, 48], F32)
    asked = Expected(1, 2, parts=(Visits.asked(most=64),))
    for coding in ("uint8", "float32"):
        table = ProbTable(1, np.full((4, 2), 0.5, F32), parts=(Visits(honest, coding),))
        check_table(decode(encode(table)), asked)
        more = table.with_parts(Visits(honest * F32(1.05), coding))
        with pytest.raises(BadMessage):
            check_table(decode(encode(more)), asked)


@pytest.mark.parametrize(
    ("part", "asked"),
    [
        (Score(1e16), Score.asked()),
        (Values(np.full(2, 2e9, F32)), Values.asked()),
        (StateRows(np.full((2, 1), -2e9, F32)), StateRows.asked(shape=(1,))),
        (SeedSamples(np.full((1, 2), 2e3, F32), np.zeros((1, 1), np.uint8)), SeedSamples.asked()),
        (NextSet(np.arange(9), "a"), NextSet.asked(most=8)),
    ],
    ids=lambda x: type(x).__name__ if isinstance(x, CodedPart) else "",
)
def test_extremes_of_every_part_are_refused(part: Any, asked: Any) -> None:
    table = ProbTable(1, np.full((2, 2), 0.5, F32), parts=(part,))
    with pytest.raises(BadMessage):
        check_table(decode(encode(table)), Expected(1, 2, parts=(asked,)))


def test_proxy_states_are_no_farther_than_any_state() -> None:
    for far, fine in ((1e9, True), (2e9, False)):
        update = decode(encode(ProxyUpdate(0, "ab", {}, states=np.full((2, 1), far, F32))))
        if fine:
            check_proxy_update(update, round=0)
        else:
            with pytest.raises(BadMessage):
                check_proxy_update(update, round=0)


def test_what_can_be_asked_for_bounds_the_bytes_of_a_message() -> None:
    parts = (Visits.asked(most=9), Values.asked(), StateRows.asked(shape=(3,)))
    expected = Expected(1, 2, rows=100, parts=parts)
    table = ProbTable(
        1,
        np.full((100, 2), 0.5, F32),
        parts=(
            Visits(np.zeros(100, F32), "float32"),
            Values(np.zeros(100, F32)),
            StateRows(np.zeros((100, 3), F32)),
        ),
    )
    longest = expected.most_bytes()
    assert len(encode(table)) <= longest < 100_000
    with pytest.raises(BadMessage):
        decode(bytes(longest + 1), longest)
    assert Expected(1, 2, parts=parts).most_bytes() == safetensors_layout.LIMIT  # rows are open
