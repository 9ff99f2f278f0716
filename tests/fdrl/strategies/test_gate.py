"""Who takes part, on agents whose returns are written out."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fdrl.strategies.gate import PATIENCE, Gate

RETURNS = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=20)


def feed(gate, means, errors=0.0):
    means = np.array(means, float)
    return gate.open(means, np.broadcast_to(np.array(errors, float), means.shape)).tolist()


def test_an_agent_that_falls_below_its_share_sits_out_until_it_has_recovered():
    gate = Gate(2, 0.5)
    told = [feed(gate, pair) for pair in [(10, -5), (30, -5), (19, -4), (21, -6), (50, -6)]]
    # Agent 0: range 10..30, half way 20. Agent 1: -5..-4 at the third, -6..-4 at the fourth.
    expected = [[1, 1], [1, 1], [0, 1], [1, 0], [1, 0]]
    np.testing.assert_array_equal(told, np.array(expected, bool))


def test_an_agent_without_a_full_window_takes_part():
    gate = Gate(2, 0.9)
    assert feed(gate, [np.nan, 1.0]) == [True, True]
    assert feed(gate, [np.nan, 0.0]) == [True, False]
    assert feed(gate, [3.0, 2.0]) == [True, True]


def test_a_fall_that_could_be_chance_does_not_count():
    # The difference of 0 and 10 has a standard error of 5 where both means have 3 and 4.
    for second, takes_part in ((4.0, True), (3.9, False)):
        gate = Gate(1, 0.5)
        feed(gate, [-1.0])
        feed(gate, [10.0], 3.0)
        assert feed(gate, [0.0], second) == [takes_part]


def test_an_agent_that_does_not_recover_alone_comes_back_with_a_new_record():
    gate = Gate(1, 0.5)
    feed(gate, [0.0])
    feed(gate, [100.0])
    told = [feed(gate, [10.0])[0] for _ in range(PATIENCE + 2)]
    assert told == [False] * PATIENCE + [True, True]
    assert feed(gate, [4.0]) == [False]  # of the new range 0..10


@given(RETURNS, st.floats(0.01, 0.99))
def test_whoever_is_at_its_best_takes_part_and_only_its_own_returns_matter(returns, share):
    alone, beside = Gate(1, share), Gate(2, share)
    for i, value in enumerate(returns):
        takes_part = feed(alone, [value])[0]
        assert takes_part == feed(beside, [value, float(i % 3)])[0]
        if value == max(returns[: i + 1]):
            assert takes_part


@given(RETURNS, RETURNS)
def test_state_continues(before, after):
    gate, other = Gate(1, 0.7), Gate(1, 0.7)
    for value in before:
        feed(gate, [value], 1.0)
    other.load_state(gate.state())
    for value in after:
        assert feed(gate, [value]) == feed(other, [value])
