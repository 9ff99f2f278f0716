"""Who answers and who listens, on agents whose returns are written out."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fdrl.strategies.returns import GRACE, PATIENCE, ReturnGate

RETURNS = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=20)


def feed(gate, means, errors=0.0, fresh=None):
    """Return (answers, listens) of all agents; new episodes are like the recent ones by default."""
    means = np.array(means, float)
    new = means if fresh is None else np.array(fresh, float)
    speaks, listens = gate.pass_by(means, np.broadcast_to(np.array(errors), means.shape), new)
    return speaks.tolist(), listens.tolist()


def test_an_agent_that_falls_below_its_share_is_silent_until_it_has_recovered():
    gate = ReturnGate(2, 0.5)
    told = [feed(gate, pair) for pair in [(10, -5), (30, -5), (19, -4), (21, -6), (50, -6)]]
    # Agent 0: range 10..30, half way 20. Agent 1: -5..-4 at the third, -6..-4 at the fourth.
    expected = [[1, 1], [1, 1], [0, 1], [1, 0], [1, 0]]
    np.testing.assert_array_equal([speaks for speaks, _ in told], np.array(expected, bool))
    assert all(all(listens) for _, listens in told)


def test_an_agent_that_stays_down_stops_listening_and_comes_back_when_it_has_recovered():
    gate = ReturnGate(1, 0.5)
    feed(gate, [0.0])
    feed(gate, [100.0])
    listens = [feed(gate, [40.0])[1][0] for _ in range(GRACE + 3)]
    assert listens == [True] * GRACE + [False] * 3
    assert feed(gate, [49.0]) == ([False], [False])
    assert feed(gate, [50.0]) == ([True], [True])


def test_an_agent_is_not_judged_by_old_episodes():
    gate = ReturnGate(1, 0.5)
    feed(gate, [0.0])
    feed(gate, [100.0])
    nothing, good = [np.nan], [99.0]
    for fresh in [nothing] * (GRACE + 5) + [good]:
        assert feed(gate, [40.0], fresh=fresh) == ([False], [True])
    assert feed(gate, [40.0], fresh=[30.0]) == ([False], [False])
    assert feed(gate, [40.0], fresh=nothing) == ([False], [False])  # alone until it is back


def test_an_agent_without_a_full_window_takes_part():
    gate = ReturnGate(2, 0.9)
    assert feed(gate, [np.nan, 1.0])[0] == [True, True]
    assert feed(gate, [np.nan, 0.0])[0] == [True, False]
    assert feed(gate, [3.0, 2.0])[0] == [True, True]


def test_a_fall_that_could_be_chance_does_not_count():
    # Means of 0 and 10 with standard errors of 3 and 4: two errors of the difference are 10.
    for second, speaks in ((4.0, True), (3.9, False)):
        gate = ReturnGate(1, 0.5)
        feed(gate, [-1.0])
        feed(gate, [10.0], 3.0)
        assert feed(gate, [0.0], second)[0] == [speaks]


def test_an_agent_that_does_not_recover_alone_comes_back_with_a_new_record():
    gate = ReturnGate(1, 0.5)
    feed(gate, [0.0])
    feed(gate, [100.0])
    listens = [feed(gate, [10.0])[1][0] for _ in range(GRACE + PATIENCE + 2)]
    assert listens == [True] * GRACE + [False] * PATIENCE + [True, True]
    assert feed(gate, [4.0])[0] == [False]  # of the new range 0..10


@given(RETURNS, st.floats(0.01, 0.99))
def test_whoever_is_at_its_best_takes_part_and_only_its_own_returns_matter(returns, share):
    alone, beside = ReturnGate(1, share), ReturnGate(2, share)
    for i, value in enumerate(returns):
        speaks, listens = feed(alone, [value])
        both = feed(beside, [value, float(i % 3)])
        assert (speaks[0], listens[0]) == (both[0][0], both[1][0])
        if value == max(returns[: i + 1]):
            assert speaks[0]
            assert listens[0]


@given(RETURNS, RETURNS)
def test_state_continues(before, after):
    gate, other = ReturnGate(1, 0.7), ReturnGate(1, 0.7)
    for value in before:
        feed(gate, [value], 1.0)
    other.load_state(gate.state())
    for value in after:
        assert feed(gate, [value]) == feed(other, [value])
