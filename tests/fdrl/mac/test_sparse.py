"""Top-k and error accumulation: nothing is lost for good."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fdrl.mac.memory import Memory
from fdrl.mac.sparse import common, largest, leftover


def test_the_largest_magnitudes_by_hand():
    np.testing.assert_array_equal(largest(np.array([1.0, -3.0, 2.0, 3.0]), 2), [1, 3])
    np.testing.assert_array_equal(largest(np.array([1.0, -1.0]), 5), [0, 1])


def test_a_common_choice_is_sorted_without_repeats_and_the_same_for_all():
    a, b = (common(100, 30, np.random.default_rng(4)) for _ in range(2))
    np.testing.assert_array_equal(a, b)
    assert len(np.unique(a)) == 30
    np.testing.assert_array_equal(a, np.sort(a))
    np.testing.assert_array_equal(common(3, 9, np.random.default_rng(0)), [0, 1, 2])


@given(arrays(np.float64, 12, elements=st.floats(-9, 9)), st.integers(0, 12))
def test_what_is_sent_and_what_is_owed_are_the_change(change, count):
    at = largest(change, count)
    rest = leftover(change, at, change[at])
    whole = rest.copy()
    whole[at] += change[at]
    np.testing.assert_allclose(whole, change)
    assert np.count_nonzero(rest[at]) == 0


def test_what_was_left_over_counts_once_an_average_was_loaded():
    memory = Memory()
    memory.loaded("a", np.array([1.0, 1.0]))
    np.testing.assert_allclose(memory.change("a", np.array([3.0, 1.5])), [2.0, 0.5])
    memory.keep("a", np.array([0.0, 0.5]))
    # No average came: the agent's own parameters still contain the half.
    np.testing.assert_allclose(memory.change("a", np.array([3.0, 1.5])), [2.0, 0.5])
    memory.keep("a", np.array([0.0, 0.5]))
    memory.loaded("a", np.array([2.0, 2.0]))
    np.testing.assert_allclose(memory.change("a", np.array([2.0, 2.0])), [0.0, 0.5])


def test_a_memory_is_restored_from_its_state():
    one, two = Memory(), Memory()
    one.loaded("a", np.array([1.0]))
    one.keep("a", np.array([0.25]))
    two.loaded("b", np.array([5.0]))
    two.load_state(one.state())
    assert {k: v.tolist() for k, v in two.state().items()} == {
        "known.a": [1.0], "pending.a": [0.25],
    }  # fmt: skip
