"""Statistics: known cases by hand, scipy.stats as the oracle, invariants as properties."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from messages import fails

from fdrl import stats

FINITE = st.floats(-1e3, 1e3)
RUNS = arrays(np.float64, st.integers(1, 12), elements=FINITE)
TABLES = arrays(np.float64, st.tuples(st.integers(1, 8), st.integers(1, 3)), elements=FINITE)


def draw(*shape: int) -> np.ndarray:
    return np.random.default_rng(3).normal(size=shape)


# Aggregates


def test_iqm_by_hand() -> None:
    # eight scores: two are cut at each end
    assert stats.iqm([100, 1, 2, 3, 4, 5, 6, -100]) == 3.5
    # five: one at each end; three: none, so their mean
    assert stats.iqm([9, 1, 2, 3, -9]) == 2
    assert stats.iqm([0, 0, 9]) == 3


@given(TABLES)
def test_iqm_is_scipys_trimmed_mean(table: np.ndarray) -> None:
    assert stats.iqm(table) == pytest.approx(scipy.stats.trim_mean(table, 0.25, axis=None))


@given(TABLES)
def test_aggregates_lie_inside_the_scores(table: np.ndarray) -> None:
    for statistic in (stats.iqm, stats.mean, stats.median):
        value = float(statistic(table))
        assert table.min() - 1e-9 <= value <= table.max() + 1e-9
        assert float(statistic(2 * table + 5)) == pytest.approx(2 * value + 5)


def test_aggregates_keep_leading_axes() -> None:
    table = draw(4, 6, 3)
    for statistic in (stats.iqm, stats.mean, stats.median, stats.std, stats.optimality_gap):
        single = [float(statistic(one)) for one in table]
        assert statistic(table) == pytest.approx(single)


def test_optimality_gap_ignores_what_exceeds_the_target() -> None:
    # misses: 1, 0.5, 0, 0
    assert stats.optimality_gap([0.0, 0.5, 1.0, 7.0]) == 0.375
    assert stats.optimality_gap([400, 600], target=500) == 50


def test_std_is_within_tasks() -> None:
    table = np.array([[0.0, 10.0], [2.0, 10.0]])
    assert stats.std(table) == pytest.approx((math.sqrt(2) + 0) / 2)
    assert math.isnan(stats.std([3.0]))


@pytest.mark.parametrize("scores", [[], [[]], 3.0])
def test_scores_without_a_run_are_refused(scores: object) -> None:
    with fails(ValueError, "scores"):
        stats.mean(scores)


# Intervals


@pytest.mark.parametrize(
    ("statistic", "oracle"),
    [
        (stats.mean, np.mean),
        (stats.iqm, lambda x, axis: scipy.stats.trim_mean(x, 0.25, axis=axis)),
    ],
)
def test_bootstrap_agrees_with_scipy(statistic: stats.Statistic, oracle: object) -> None:
    scores = draw(20)
    ours = stats.bootstrap(scores, statistic)
    theirs = scipy.stats.bootstrap(
        (scores,), oracle, method="percentile", n_resamples=10_000, rng=1
    ).confidence_interval
    assert ours.low == pytest.approx(theirs.low, abs=0.03)
    assert ours.high == pytest.approx(theirs.high, abs=0.03)
    assert ours.value == pytest.approx(oracle(scores, axis=0))


def test_resampling_stays_within_tasks() -> None:
    # Without strata, a draw could take more runs of the second task, and its mean would vary.
    table = np.array([[0.0, 100.0], [0.0, 100.0], [0.0, 100.0]])
    assert stats.bootstrap(table, stats.mean) == (50, 50, 50)


def test_tasks_are_resampled_independently() -> None:
    # Opposite tasks would cancel if both took the same runs.
    column = np.arange(6.0)
    found = stats.bootstrap(np.stack([column, -column], axis=1), stats.mean)
    assert found.low < -0.5 < 0.5 < found.high


def test_the_same_seed_gives_the_same_interval_and_chunks_change_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scores = draw(9, 2)
    whole = stats.bootstrap(scores, draws=500)
    assert stats.bootstrap(scores, draws=500) == whole
    assert stats.bootstrap(scores, draws=500, seed=1) != whole
    monkeypatch.setattr("fdrl.stats.intervals._CHUNK", 18 * 7)
    assert stats.bootstrap(scores, draws=500) == whole


def test_one_run_has_no_interval() -> None:
    found = [
        stats.bootstrap([3.0]),
        stats.paired_difference([5.0], [2.0]),
        stats.probability_of_improvement([5.0], [2.0, 1.0]),
    ]
    assert [f.value for f in found] == [3, 3, 1]
    assert all(math.isnan(f.low) and math.isnan(f.high) for f in found)
    assert not any(f.excludes() for f in found)
    for band in (stats.curve_band([[1.0, 2.0]]), stats.performance_profile([1.0], [0.0, 2.0])):
        assert np.isnan(band.low).all()
        assert np.isnan(band.high).all()


@given(TABLES)
def test_bounds_enclose_only_possible_values(table: np.ndarray) -> None:
    found = stats.bootstrap(table, stats.mean, draws=50)
    if len(table) == 1:
        assert math.isnan(found.low)
    else:
        assert table.min() - 1e-9 <= found.low <= found.high <= table.max() + 1e-9


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    samples = np.random.default_rng(0).normal(size=(200, 30))
    hits = 0
    for n, sample in enumerate(samples):
        found = stats.bootstrap(sample, stats.mean, draws=500, seed=n)
        hits += found.low <= 0 <= found.high
    assert 0.88 <= hits / 200 <= 0.99


def test_pairs_cancel_what_a_seed_does_to_both() -> None:
    seeds = 100 * draw(10)
    found = stats.paired_difference(seeds + 1, seeds)
    assert found == pytest.approx((1, 1, 1))
    assert found.excludes()
    assert not stats.Interval(0.0, -1.0, 1.0).excludes()
    assert stats.paired_difference(seeds + 1, seeds, stats.iqm) == pytest.approx((1, 1, 1))


def test_paired_mean_agrees_with_scipy() -> None:
    a, b = draw(2, 25)
    theirs = scipy.stats.bootstrap(
        (a - b,), np.mean, method="percentile", n_resamples=10_000, rng=1
    ).confidence_interval
    assert stats.paired_difference(a, b)[1:] == pytest.approx(tuple(theirs), abs=0.03)


def test_unequal_pairs_are_refused() -> None:
    with pytest.raises(ValueError, match="equal shapes"):
        stats.paired_difference([1.0, 2.0], [1.0])


@pytest.mark.parametrize("count", [3, 8, 12])
def test_sign_flips_are_scipys_permutation_test(count: int) -> None:
    a, b = draw(2, count)
    theirs = scipy.stats.permutation_test(
        (a + 0.5, b),
        lambda x, y, axis=-1: np.mean(x - y, axis=axis),
        permutation_type="samples",
        n_resamples=10_000,
        vectorized=True,
    )
    assert stats.sign_flip(a + 0.5, b) == pytest.approx(theirs.pvalue)


def test_sign_flips_by_hand() -> None:
    # six pairs that agree: two of the 64 assignments are as far from 0
    assert stats.sign_flip([1, 2, 3, 4, 5, 6], [0] * 6) == 2 / 64
    assert stats.sign_flip([1, 1], [1, 1]) == 1
    assert math.isnan(stats.sign_flip([], []))
    # sampled: never 0, and close to the exact value of a smaller case
    assert 0 < stats.sign_flip(np.ones(30), np.zeros(30)) < 1e-3
    a = draw(13)
    exact = scipy.stats.ttest_1samp(a, 0).pvalue
    assert stats.sign_flip(a, np.zeros(13)) == pytest.approx(exact, abs=0.05)


@pytest.mark.parametrize("count", [6, 13])
def test_sign_flips_of_unknown_numbers_are_unknown(count: int) -> None:
    a = np.arange(5.0, 5.0 + count)
    for unknown in (math.nan, math.inf):
        a[1] = unknown
        assert math.isnan(stats.sign_flip(a, np.ones(count)))
        assert math.isnan(stats.sign_flip(np.ones(count), a))


def test_sign_flips_need_pairs() -> None:
    for a, b in (([1.0, 2.0], [1.0]), (np.ones(6), 1.0), (np.ones((6, 1)), np.ones(6))):
        with pytest.raises(ValueError, match="equal shapes"):
            stats.sign_flip(a, b)
    for table in (np.ones((6, 2)), 1.0):
        with fails(ValueError, "[runs]"):
            stats.sign_flip(table, table)


# Probability of improvement


def test_an_unknown_run_is_no_loss() -> None:
    for x, y in (([5.0, math.nan], [1.0, 2.0]), ([5.0, 6.0], [math.nan, 2.0])):
        assert all(math.isnan(v) for v in stats.probability_of_improvement(x, y))
    tasks = stats.probability_of_improvement([[5.0, 6.0], [math.nan]], [[1.0, 2.0], [1.0]])
    assert all(math.isnan(v) for v in tasks)


def test_tasks_of_both_sides_must_be_the_same() -> None:
    with fails(ValueError, "tasks", "2 and 1"):
        stats.probability_of_improvement([[1.0], [2.0]], [[1.0]])
    with fails(ValueError, "scores"):
        stats.probability_of_improvement(np.ones((2, 3, 4)), np.ones((2, 3, 4)))


@given(RUNS, RUNS)
def test_probability_of_improvement_is_mann_whitney(x: np.ndarray, y: np.ndarray) -> None:
    found = stats.probability_of_improvement(x, y, draws=20).value
    oracle = scipy.stats.mannwhitneyu(x, y, method="asymptotic").statistic / (len(x) * len(y))
    assert found == pytest.approx(oracle)
    assert stats.probability_of_improvement(y, x, draws=20).value == pytest.approx(1 - found)


def test_ties_count_half() -> None:
    # of four pairs: 2>1, 2=2, 1=1, 1<2
    assert stats.probability_of_improvement([2, 1], [1, 2]).value == 0.5
    assert stats.probability_of_improvement([2, 2], [1, 2]).value == 0.75


def test_probability_of_improvement_averages_tasks_with_their_own_runs() -> None:
    found = stats.probability_of_improvement([[5.0, 6.0], [1.0, 1.0]], [[1.0], [1.0, 1.0]])
    assert found.value == 0.75
    table = np.array([[5.0, 1.0], [6.0, 1.0]])
    same = stats.probability_of_improvement(table, np.array([[1.0, 1.0], [1.0, 1.0]]))
    assert same == (0.75, 0.75, 0.75)


def test_probability_of_improvement_resamples_runs() -> None:
    x, y = draw(2, 15)
    found = stats.probability_of_improvement(x, y)
    theirs = scipy.stats.bootstrap(
        (x, y),
        lambda a, b, axis=-1: (a[..., :, None] > b[..., None, :]).mean((-1, -2)),
        method="percentile",
        n_resamples=5_000,
        rng=1,
    ).confidence_interval
    assert found[1:] == pytest.approx(tuple(theirs), abs=0.03)


# Curves


def test_performance_profile_by_hand() -> None:
    band = stats.performance_profile([[1.0, 5.0], [3.0, 5.0]], [0, 1, 4, 5])
    # strictly above: all; 3,5,5; 5,5; none
    assert band.value.tolist() == [1, 0.75, 0.5, 0]
    assert band.low[1] < 0.75 < band.high[1]
    assert (band.low[2], band.high[2]) == (0.5, 0.5)


@given(TABLES)
def test_performance_profile_falls_from_one_to_zero(table: np.ndarray) -> None:
    at = np.linspace(table.min() - 1, table.max() + 1, 7)
    band = stats.performance_profile(table, at, draws=20)
    assert band.value[0] == 1
    assert band.value[-1] == 0
    assert (np.diff(band.value) <= 0).all()


def test_curve_band_is_over_runs() -> None:
    # Both runs change over time but agree with each other: no band.
    agree = stats.curve_band([[1.0, 9.0], [1.0, 9.0]])
    assert (agree.low == agree.value).all()
    differ = stats.curve_band([[0.0, 0.0], [10.0, 0.0]])
    assert (differ.low[0], differ.value[0], differ.high[0]) == (0, 5, 10)
    assert differ.high[1] == 0


def test_curve_band_of_partly_known_runs() -> None:
    nan = math.nan
    band = stats.curve_band([[nan, 1.0, 2.0], [nan, nan, 4.0]])
    assert math.isnan(band.value[0])
    assert band.value[1:].tolist() == [1, 3]
    assert np.isnan(band.low[:2]).all()
    assert (band.low[2], band.high[2]) == (2, 4)


def test_area_by_hand() -> None:
    # trapezoids 1*1 and 2*3 over a span of 3
    assert stats.area([0, 1, 3], [0, 2, 4]) == pytest.approx(7 / 3)
    assert stats.area([0, 1, 3], [math.nan, 2, 4]) == 3
    assert stats.area([5], [2]) == 2
    assert math.isnan(stats.area([1, 2], [math.nan, math.nan]))
    assert stats.area([0, 1], [[1, 1], [0, 4]]).tolist() == [1, 2]


@given(arrays(np.float64, 6, elements=FINITE))
def test_area_is_scipys_trapezoid(values: np.ndarray) -> None:
    steps = np.array([0, 1, 4, 5, 9, 12])
    assert stats.area(steps, values) == pytest.approx(
        scipy.integrate.trapezoid(values, steps) / 12, abs=1e-9
    )


# Thresholds


def test_first_reach() -> None:
    values = [[1, 5, 2, 6], [0, 0, 0, 0], [math.nan, math.nan, 7, 1]]
    found = stats.first_reach([10, 20, 30, 40], values, 5)
    assert found[[0, 2]].tolist() == [20, 30]
    assert math.isnan(found[1])
    # every run may have an axis of its own: bytes
    own = stats.first_reach([[1, 2], [3, 4]], [[0, 9], [9, 9]], 5)
    assert own.tolist() == [2, 3]


def test_a_median_needs_more_than_half() -> None:
    nan = math.nan
    assert stats.reached([10, 20, 30]) == (3, 3, 20, 15, 25)
    two = stats.reached([10, nan, 30])
    assert two[:3] == (2, 3, 30)
    assert math.isnan(two.high)
    half = stats.reached([10, nan, 30, nan])
    assert half[:2] == (2, 4)
    assert math.isnan(half.median)
    three = stats.reached([10, nan, 30, 20])
    assert three[:3] == (3, 4, 25)
    none = stats.reached([])
    assert none[:2] == (0, 0)
    assert math.isnan(none.median)


@given(RUNS, st.sampled_from([0, 0.25, 0.5, 0.75, 1]))
def test_uncensored_quantiles_are_numpys(values: np.ndarray, q: float) -> None:
    assert stats.censored_quantile(values, q) == pytest.approx(np.quantile(values, q))


@pytest.mark.parametrize(("k", "n"), [(0, 5), (3, 10), (10, 10), (49, 50)])
def test_wilson_agrees_with_scipy(k: int, n: int) -> None:
    found = stats.proportion(k, n)
    theirs = scipy.stats.binomtest(k, n).proportion_ci(method="wilson")
    assert found == pytest.approx((k / n, theirs.low, theirs.high))


def test_no_trials_say_nothing() -> None:
    assert all(math.isnan(v) for v in stats.proportion(0, 0))
    with pytest.raises(ValueError, match="3 of 2"):
        stats.proportion(3, 2)
