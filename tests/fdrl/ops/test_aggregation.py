"""Combining answers: values worked out by hand, and what must always hold."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from fdrl.core.errors import FdrlError
from fdrl.ops import aggregation

# Three agents, two proxies; nobody has weight on the second but the last agent.
PROBS = np.array([[[1.0, 0.0], [0.5, 0.5]], [[0.5, 0.5], [0.2, 0.8]], [[0.0, 1.0], [0.9, 0.1]]])
WEIGHTS = np.array([[1.0, 0.0], [2.0, 0.0], [1.0, 3.0]])


def test_weighted_mean() -> None:
    """(1*1 + 2*.5 + 1*0) / 4 = 1/2; on the second proxy agent 3 stands alone."""
    mean, covered = aggregation.weighted_mean(PROBS, WEIGHTS)
    np.testing.assert_allclose(mean, [[0.5, 0.5], [0.9, 0.1]])
    assert covered.tolist() == [True, True]
    assert mean.dtype == np.float64


def test_log_pool() -> None:
    """Odds are multiplied: (9 : 1)**(3/4) * (1 : 1)**(1/4) = 9**.75 : 1."""
    probs = np.array([[[0.9, 0.1]], [[0.5, 0.5]]])
    pooled, covered = aggregation.log_pool(probs, np.array([[3.0], [1.0]]))
    odds = 9**0.75
    np.testing.assert_allclose(pooled, [[odds / (1 + odds), 1 / (1 + odds)]])
    assert covered.tolist() == [True]


def test_log_pool_of_opposite_answers_is_undecided_and_of_equal_ones_unchanged() -> None:
    """Three agents that are sure make a teacher that is as sure."""
    sure = np.array([[[0.9, 0.1]]] * 3)
    np.testing.assert_allclose(aggregation.log_pool(sure, np.ones((3, 1)))[0], [[0.9, 0.1]])
    opposed = np.array([[[0.9, 0.1]], [[0.1, 0.9]]])
    np.testing.assert_allclose(aggregation.log_pool(opposed, np.ones((2, 1)))[0], [[0.5, 0.5]])


def test_no_agent_has_a_veto_in_the_log_pool() -> None:
    """A zero counts as 1/1000: among nine that say one half it moves the odds by 1000**0.1."""
    probs = np.array([[[0.0, 1.0]]] + [[[0.5, 0.5]]] * 9)
    pooled, _ = aggregation.log_pool(probs, np.ones((10, 1)))
    np.testing.assert_allclose(pooled[0, 1] / pooled[0, 0], 1000**0.1)


def test_log_pool_of_nobody_is_uniform_and_says_so() -> None:
    pooled, covered = aggregation.log_pool(PROBS[:2], WEIGHTS[:2])
    np.testing.assert_allclose(pooled[1], [0.5, 0.5])
    assert covered.tolist() == [True, False]


def test_a_row_that_nobody_answered_is_uniform_and_says_so() -> None:
    mean, covered = aggregation.weighted_mean(PROBS[:2], WEIGHTS[:2])
    np.testing.assert_allclose(mean, [[2 / 3, 1 / 3], [0.5, 0.5]])
    assert covered.tolist() == [True, False]


def test_visit_weights() -> None:
    """(9.9 + .1) : (0 + .1) = 100 : 1, squared 10000 : 1."""
    visits = np.array([[9.9, 0.0], [0.0, 0.0]])
    np.testing.assert_allclose(
        aggregation.visit_weights(visits, 1, 0.1), [[100 / 101, 0.5], [1 / 101, 0.5]]
    )
    np.testing.assert_allclose(aggregation.visit_weights(visits, 2, 0.1)[1, 0], 1 / 10001)
    np.testing.assert_allclose(aggregation.visit_weights(visits, 0, 0.1), np.full((2, 2), 0.5))


def test_without_offset_only_visitors_speak() -> None:
    visits = np.array([[3.0, 0.0], [1.0, 0.0], [0.0, 0.0]])
    weights = aggregation.visit_weights(visits, 1, 0)
    np.testing.assert_allclose(weights, [[0.75, 0.0], [0.25, 0.0], [0.0, 0.0]])
    assert aggregation.weighted_mean(PROBS, weights)[1].tolist() == [True, False]


def test_visit_weights_do_not_overflow() -> None:
    weights = aggregation.visit_weights(np.array([[1e6], [1e3]]), 100, 0.1)
    np.testing.assert_allclose(weights, [[1], [0]], atol=1e-200)


def test_return_weights() -> None:
    """Scores -1, 0, 1 have z-scores -+sqrt(1.5); e**(beta z) with beta = ln 4 / sqrt(1.5)."""
    beta = np.log(4) / np.sqrt(1.5)
    for scores in ([-1.0, 0.0, 1.0], [-101.0, -100.0, -99.0], [-1e300, 0.0, 1e300]):
        np.testing.assert_allclose(
            aggregation.return_weights(scores, beta), np.array([1, 4, 16]) / 21
        )


def test_a_liar_is_capped() -> None:
    """Its z-score is 3 among ten, counted as 2; the others' is -1/3."""
    honest = [0.0] * 9
    weights = aggregation.return_weights([*honest, 1e12], 1.0)
    np.testing.assert_allclose(weights[9] / weights[0], np.exp(2 + 1 / 3))
    np.testing.assert_allclose(weights, aggregation.return_weights([*honest, 1e-12], 1.0))


@pytest.mark.parametrize("scores", [[0.1] * 3, [-500.0] * 7, [0.0, 0.0], [3.0], [np.nan] * 2])
def test_equal_scores_weigh_equally(scores: list[float]) -> None:
    np.testing.assert_array_equal(
        aggregation.return_weights(scores, 4.0), np.full(len(scores), 1 / len(scores))
    )


def test_an_unknown_score_is_average() -> None:
    weights = aggregation.return_weights([1.0, np.nan, -1.0], 1.0)
    np.testing.assert_allclose(weights, np.exp([1, 0, -1]) / np.exp([1, 0, -1]).sum())


def test_confidence() -> None:
    """H(1/4, 3/4) = 0.8112781 bits of at most one."""
    probs = np.array([[[1.0, 0.0], [0.5, 0.5], [0.25, 0.75]]])
    np.testing.assert_allclose(
        aggregation.confidence_weights(probs), [[1, 0, 1 - 0.8112781245]], atol=1e-9
    )


def test_sharpen() -> None:
    """.8**2 : .2**2 = 16 : 1."""
    np.testing.assert_allclose(aggregation.sharpen(np.array([0.8, 0.2]), 2), [16 / 17, 1 / 17])
    np.testing.assert_allclose(aggregation.sharpen(np.array([0.8, 0.2]), 1), [0.8, 0.2])
    np.testing.assert_allclose(aggregation.sharpen(np.array([0.8, 0.2]), 0), [0.5, 0.5])
    np.testing.assert_allclose(aggregation.sharpen(np.array([1e-200, 1e-200]), 5), [0.5, 0.5])


def test_median_ignores_one_liar() -> None:
    """Medians .2, .3, .4 of the coordinates, renormalized."""
    probs = np.array([[[0.2, 0.3, 0.5]], [[0.3, 0.3, 0.4]], [[0.0, 1.0, 0.0]]])
    np.testing.assert_allclose(aggregation.median(probs), [[2 / 9, 3 / 9, 4 / 9]])


def test_agents_sure_of_different_actions_have_the_mean_as_median() -> None:
    np.testing.assert_allclose(aggregation.median(np.eye(3)[:, None]), [[1 / 3] * 3])


def test_trimmed_mean() -> None:
    """Of 0, .4, .5, .6, 1 a fifth at either end goes: .5."""
    first = np.array([0.0, 0.4, 0.5, 0.6, 1.0])
    probs = np.stack([first, 1 - first], axis=1)[:, None]
    np.testing.assert_allclose(aggregation.trimmed_mean(probs, 0.2), [[0.5, 0.5]])
    first = np.array([0.0, 0.4, 0.5, 0.9, 1.0])
    probs = np.stack([first, 1 - first], axis=1)[:, None]
    np.testing.assert_allclose(aggregation.trimmed_mean(probs, 0.2), [[0.6, 0.4]])
    np.testing.assert_allclose(aggregation.trimmed_mean(probs, 0.19), [[0.56, 0.44]])
    with pytest.raises(FdrlError, match=r"0\.5"):
        aggregation.trimmed_mean(probs, 0.5)


def test_trimming_a_tenth_of_ten_or_three_tenths_of_ten() -> None:
    """0.3 * 10 is 3.0000000000000004 or 2.9999999999999996 in floats; three go either way."""
    first = np.array([1.0] * 3 + [0.25] * 7)
    probs = np.stack([first, 1 - first], axis=1)[:, None]
    np.testing.assert_allclose(aggregation.trimmed_mean(probs, 0.3), [[0.25, 0.75]])


def test_geometric_median() -> None:
    """On a line it is the median; in a triangle it is where the sides appear at 120 degrees."""
    first = np.array([0.0, 0.3, 1.0])
    line = np.stack([first, 1 - first], axis=1)[:, None]
    np.testing.assert_allclose(aggregation.geometric_median(line), [[0.3, 0.7]], atol=1e-6)
    np.testing.assert_allclose(
        aggregation.geometric_median(np.eye(3)[:, None]), [[1 / 3] * 3], atol=1e-6
    )
    heavy = aggregation.geometric_median(line, np.array([[5.0], [1.0], [1.0]]))
    np.testing.assert_allclose(heavy, [[0, 1]], atol=1e-6)


def test_geometric_median_minimizes_the_sum_of_distances() -> None:
    rng = np.random.default_rng(3)
    probs = rng.dirichlet([1, 1, 1], (6, 1))
    found = aggregation.geometric_median(probs)

    def cost(x: NDArray[Any]) -> float:
        return float(np.sqrt(((probs - x) ** 2).sum(-1)).sum())

    nearby = [found + d for d in 1e-3 * (rng.dirichlet([1, 1, 1], 200) - 1 / 3)]
    assert all(cost(found) <= cost(x) for x in nearby)


def test_mean_parameters() -> None:
    """(1*1 + 3*5) / 4 = 4 and (2 - 6) / 4 = -1."""
    rows = np.array([[1, 2], [5, -2]], np.float32)
    mean = aggregation.mean_parameters(rows, [1, 3])
    np.testing.assert_allclose(mean, [4, -1])
    assert mean.dtype == np.float64
    for weights in ([0, 0], [1, -1], [1], [1, np.nan]):
        with pytest.raises(FdrlError, match="FedAvg"):
            aggregation.mean_parameters(rows, weights)


def test_mix_pairs() -> None:
    states = np.array([[0.0, 8.0], [4.0, 0.0]], np.float32)
    probs = np.array([[1.0, 0.0], [0.0, 1.0]], np.float32)
    s, p = aggregation.mix_pairs(
        states, probs, np.array([0.25, 1.0]), np.array([0, 1]), np.array([1, 0])
    )
    np.testing.assert_allclose(s, [[3, 2], [4, 0]])
    np.testing.assert_allclose(p, [[0.25, 0.75], [0.0, 1.0]])
    assert s.dtype == p.dtype == np.float32


Combine = Callable[[NDArray[Any], NDArray[Any]], NDArray[Any]]
COMBINE: dict[str, Combine] = {
    "mean": lambda p, w: aggregation.weighted_mean(p, w)[0],
    "log": lambda p, w: aggregation.log_pool(p, w)[0],
    "median": lambda p, w: aggregation.median(p),
    "trimmed": lambda p, w: aggregation.trimmed_mean(p, 0.2),
    "geometric": lambda p, w: aggregation.geometric_median(p, w),
    "sharp": lambda p, w: aggregation.sharpen(aggregation.weighted_mean(p, w)[0], 1.5),
}


@st.composite
def answers(draw: st.DrawFn) -> tuple[NDArray[Any], NDArray[Any]]:
    u, n, a = draw(st.tuples(st.integers(1, 6), st.integers(1, 3), st.integers(2, 4)))
    raw = draw(hnp.arrays(np.float64, (u, n, a), elements=st.floats(0, 1) | st.just(0.0)))
    raw[raw.sum(-1) == 0, 0] = 1
    probs = raw / raw.sum(-1, keepdims=True)
    weights = draw(hnp.arrays(np.float64, (u, n), elements=st.floats(1e-3, 10) | st.just(0.0)))
    return probs, weights


@pytest.mark.parametrize("name", COMBINE)
@given(given_answers=answers())
@settings(max_examples=60, deadline=None)
def test_results_stay_on_the_simplex(
    name: str, given_answers: tuple[NDArray[Any], NDArray[Any]]
) -> None:
    result = COMBINE[name](*given_answers)
    assert (result >= 0).all()
    np.testing.assert_allclose(result.sum(-1), 1, atol=1e-12)


# Weiszfeld may stop at different points of the segment between two equal medians.
@pytest.mark.parametrize("name", ["mean", "log", "median", "trimmed", "sharp"])
@given(given_answers=answers(), random=st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_the_order_of_agents_is_rounding_only(
    name: str, given_answers: tuple[NDArray[Any], NDArray[Any]], random: Any
) -> None:
    probs, weights = given_answers
    order = list(range(len(probs)))
    random.shuffle(order)
    np.testing.assert_allclose(
        COMBINE[name](probs[order], weights[order]), COMBINE[name](probs, weights), atol=1e-9
    )


@pytest.mark.parametrize("name", ["mean", "log", "median", "trimmed", "geometric"])
@given(given_answers=answers(), agents=st.integers(1, 5))
@settings(max_examples=60, deadline=None)
def test_equal_answers_stay_as_they_are(
    name: str, given_answers: tuple[NDArray[Any], NDArray[Any]], agents: int
) -> None:
    one = given_answers[0][0]
    probs = np.stack([one] * agents)
    result = COMBINE[name](probs, np.ones(probs.shape[:2]))
    if name == "log":  # which takes no probability for less than that
        one = np.maximum(one, aggregation.LOG_FLOOR)
        one /= one.sum(-1, keepdims=True)
    np.testing.assert_allclose(result, one, atol=1e-12)
