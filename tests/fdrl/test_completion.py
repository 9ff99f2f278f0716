"""When agents complete a goal, to the episode and the step, by hand."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fdrl.budget import Goal
from fdrl.completion import LAST, Completion, known


def watch(goal: Goal | None, returns: list[float], cuts: list[int] = []) -> Completion:  # noqa: B006
    """Feed one agent's episodes, cut into rounds; episode j ends at step 10 * (j + 1)."""
    made = Completion(1, goal)
    edges = [0, *sorted(cuts), len(returns)]
    for a, b in pairwise(edges):
        ends = 10 * (np.arange(a, b) + 1)
        made.add(0, a + 1, np.array(returns[a:b], np.float64), ends)
    return made


def test_the_mean_of_the_window_must_exceed_the_goal() -> None:
    # means of three: -, -, 3, 4 (not above), 5
    made = watch(Goal(mean=4, window=3), [2, 3, 4, 5, 6, 100])
    assert (made.episodes[0], made.steps[0]) == (5, 50)
    assert made.count == 1
    assert made.all_done


def test_a_window_that_is_not_full_completes_nothing() -> None:
    assert watch(Goal(mean=1, window=3), [100, 100]).count == 0


def test_without_a_goal_nothing_is_completed() -> None:
    made = watch(None, [1, 2, 3])
    assert made.count is None
    assert not made.all_done
    assert made.last_means()[0] == 2.0


def test_the_last_hundred_episodes() -> None:
    made = watch(None, [float(v) for v in range(LAST + 50)])
    assert made.last_means()[0] == pytest.approx(50 + (LAST - 1) / 2)
    assert made.total[0] == sum(range(LAST + 50))
    assert np.isnan(Completion(2).last_means()).all()


@given(
    returns=st.lists(st.integers(0, 9).map(float), max_size=40),
    cuts=st.lists(st.integers(0, 40), max_size=4),
    window=st.integers(1, 5),
)
def test_rounds_do_not_matter_and_a_resume_changes_nothing(
    returns: list[float], cuts: list[int], window: int
) -> None:
    goal = Goal(mean=4.5, window=window)
    whole = watch(goal, returns)
    parts = watch(goal, returns, [min(c, len(returns)) for c in cuts])
    other = Completion(1, goal)
    half = len(returns) // 2
    first = watch(goal, returns[:half])
    other.load_state(first.state())
    ends = 10 * (np.arange(half, len(returns)) + 1)
    other.add(0, half + 1, np.array(returns[half:]), ends)
    for made in (parts, other):
        for name, value in whole.state().items():
            np.testing.assert_array_equal(made.state()[name], value)
    means = [sum(returns[j - window : j]) / window for j in range(window, len(returns) + 1)]
    first_above = next((j + window for j, m in enumerate(means) if m > 4.5), None)
    assert known(whole.episodes) == [first_above]
