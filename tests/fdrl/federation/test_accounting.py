"""Adding up a run, by hand."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fdrl.channels.settings import FadingChannel, IdealChannel
from fdrl.config.budget import Goal
from fdrl.core.transport import Delivery
from fdrl.federation.accounting import LAST, GoalTracker, RunTotals, SimulatedClock, known
from fdrl.federation.client import LocalReport


def report(returns, lengths, steps, **metrics):
    return LocalReport(
        [np.array(r, np.float64) for r in returns],
        [np.array(n, np.int64) for n in lengths],
        np.array(steps),
        {k: np.array(v) for k, v in metrics.items()},
    )


def reports(found):
    return {"a": (found, 0), "b": (found, 1)}


def test_area_weighs_episodes_by_their_steps_and_agents_alike():
    tally = RunTotals(["a", "b"])
    found = report([[10.0, 40.0], [-5.0]], [[10, 30], [50]], [60, 60])
    tally.add_round(reports(found), True, {"learn": 1.0, "exchange": 1.0})
    # a: (10 * 10 + 40 * 30) / 40 = 32.5, b: -5
    assert tally.auc() == pytest.approx((32.5 - 5.0) / 2)
    record = tally.record(1, [], {})
    assert record.returns == [25.0, -5.0]
    assert record.env_steps == [60, 60]
    assert record.steps_per_second == 60.0


def test_area_does_not_depend_on_how_rounds_are_cut():
    one, two = RunTotals(["a", "b"]), RunTotals(["a", "b"])
    whole = report([[1.0, 2.0, 9.0], [3.0]], [[1, 2, 9], [3]], [12, 12])
    one.add_round(reports(whole), True, {})
    for part in (
        report([[1.0], []], [[1], []], [4, 4]),
        report([[2.0, 9.0], [3.0]], [[2, 9], [3]], [8, 8]),
    ):
        two.add_round(reports(part), True, {})
    assert one.auc() == two.auc()
    assert one.steps.tolist() == two.steps.tolist()


def test_nothing_is_known_before_the_first_episode():
    tally = RunTotals(["a", "b"])
    tally.add_round(reports(report([[], []], [[], []], [5, 5])), False, {})
    assert np.isnan(tally.auc())
    assert tally.record(1, [], {}).return_mean is None


def test_bytes_are_counted_by_agent_and_direction_and_survive_a_resume():
    tally = RunTotals(["a", "b"])
    tally.count("up", "a", 100)
    tally.count("down", "b", 50)
    tally.add_round(reports(report([[], []], [[], []], [5, 5])), True, {})
    other = RunTotals(["a", "b"])
    other.load_state(tally.state())
    other.add_round(reports(report([[], []], [[], []], [5, 5])), True, {})
    record = other.record(2, [("a", "lost")], {"x": float("nan"), "y": 2.0})
    assert (record.bytes_up, record.bytes_down) == (50.0, 25.0)
    assert record.env_steps == [10, 10]
    assert other.exchanges == 2
    assert record.metrics == {"comm/rejected": 1.0, "y": 2.0}


def test_metrics_are_means_over_agents_and_gradient_steps_add_up():
    tally = RunTotals(["a", "b"])
    found = report([[], []], [[], []], [5, 5], **{"distill/gradient_steps": [4.0, 2.0]})
    for _ in range(2):
        tally.add_round(reports(found), True, {})
    assert tally.record(2, [], {}).metrics["distill/gradient_steps"] == 3.0
    assert tally.gradient_steps.tolist() == [8.0, 4.0]


# ---- When agents complete a goal, to the episode and the step, by hand ----


def watch(goal: Goal | None, returns: list[float], cuts: list[int] = []) -> GoalTracker:  # noqa: B006
    """Feed one agent's episodes, cut into rounds; episode j ends at step 10 * (j + 1)."""
    made = GoalTracker(1, goal)
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
    assert np.isnan(GoalTracker(2).last_means()).all()


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
    other = GoalTracker(1, goal)
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


# ---- Simulated time of rounds, added up by hand ----


def report_clock(steps, gradients=None):
    metrics = {} if gradients is None else {"distill/gradient_steps": np.array(gradients)}
    return LocalReport([], [], np.array(steps), metrics)


def test_transmissions_follow_each_other_and_each_waits_for_its_slowest_agent():
    clock = SimulatedClock(IdealChannel())
    clock.add("up", [[Delivery(b"x", 0.25), Delivery(None, 0.5)]])
    clock.add("down", [[Delivery(b"y", 0.125), Delivery(b"y", 0.25)], [Delivery(b"z", 1.0)]])
    clock.add("up", [[]])
    assert clock.seconds == 0.5 + 0.25 + 1.0
    assert clock.lost == {"up": 1, "down": 0}


def test_computing_lasts_as_long_as_the_slowest_agent():
    clock = SimulatedClock(FadingChannel(step_seconds=0.5, gradient_seconds=2.0))
    clock.work([report_clock([4, 8]), report_clock([6], [3])])
    assert clock.seconds == 8 * 0.5 + 3 * 2.0


def test_an_ideal_channel_has_no_computing_time():
    clock = SimulatedClock(IdealChannel())
    clock.work([report_clock([4, 8], [1, 1])])
    assert clock.seconds == 0.0


def test_the_servers_gradient_steps_last_as_long_as_the_agents_or_as_said():
    clock = SimulatedClock(FadingChannel(gradient_seconds=2.0))
    clock.serve({"convert/gradient_steps": 3.0, "train/loss": 9.0})
    assert clock.seconds == 6.0
    clock = SimulatedClock(FadingChannel(gradient_seconds=2.0, server_gradient_seconds=0.5))
    clock.serve({"convert/gradient_steps": 3.0})
    clock.serve({})
    assert clock.seconds == 1.5


def test_a_clock_goes_on_from_its_state():
    clock, other = SimulatedClock(IdealChannel()), SimulatedClock(IdealChannel())
    clock.add("down", [[Delivery(None, 0.1), Delivery(None, 0.3)]])
    other.load_state(clock.state())
    assert (other.seconds, other.lost) == (clock.seconds, {"up": 0, "down": 2})
    assert other.seconds == pytest.approx(0.3)
