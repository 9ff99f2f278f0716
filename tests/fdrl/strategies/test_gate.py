"""Who listens, on agents whose returns are written out."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fdrl.strategies.gate import Gate

RETURNS = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=20)


def test_an_agent_that_falls_below_its_share_stops_listening_until_it_recovers():
    gate = Gate(2, 0.5)
    told = [gate.open([a, b]) for a, b in [(10, -5), (30, -5), (19, -4), (21, -6), (50, -6)]]
    # Agent 0: range 10..30, half way 20. Agent 1: -5..-4 at the third, -6..-4 at the fourth.
    expected = [[1, 1], [1, 1], [0, 1], [1, 0], [1, 0]]
    np.testing.assert_array_equal(told, np.array(expected, bool))


def test_an_agent_without_an_episode_listens():
    gate = Gate(2, 0.9)
    np.testing.assert_array_equal(gate.open([None, 1.0]), [True, True])
    np.testing.assert_array_equal(gate.open([None, 0.0]), [True, False])
    np.testing.assert_array_equal(gate.open([3.0, 2.0]), [True, True])


@given(RETURNS, st.floats(0.01, 0.99))
def test_whoever_is_at_its_best_listens_and_only_its_own_returns_matter(returns, share):
    alone, beside = Gate(1, share), Gate(2, share)
    for i, value in enumerate(returns):
        listens = alone.open([value])[0]
        assert listens == beside.open([value, float(i % 3)])[0]
        if value == max(returns[: i + 1]):
            assert listens


@given(RETURNS, RETURNS)
def test_state_continues(before, after):
    gate, other = Gate(1, 0.7), Gate(1, 0.7)
    for value in before:
        gate.open([value])
    other.load_state(gate.state())
    for value in after:
        assert gate.open([value]) == other.open([value])
