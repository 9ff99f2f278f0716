"""Times to completion of which some are not known: by hand, and against scipy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats as scipy_stats
from hypothesis import given, settings
from hypothesis import strategies as st

from fdrl import stats

NEVER = math.nan


def test_a_median_exists_if_more_than_half_got_there() -> None:
    assert stats.censored_bootstrap([1, 2, 3]).value == 2
    assert stats.censored_bootstrap([1, 2, NEVER]).value == 2
    assert math.isnan(stats.censored_bootstrap([1, NEVER, NEVER]).value)
    # the middle lies between 2 and never
    assert math.isnan(stats.censored_bootstrap([1, 2, NEVER, NEVER]).value)


def test_its_interval_is_open_where_a_resample_may_have_no_median() -> None:
    sure = stats.censored_bootstrap([1, 2, 3, 4, 5])
    assert 1 <= sure.low < sure.value < sure.high <= 5
    unsure = stats.censored_bootstrap([1, 2, 3, NEVER, NEVER])
    assert (unsure.value, unsure.high) == (3, math.inf)
    assert 1 <= unsure.low <= 2
    alone = stats.censored_bootstrap([7])
    assert alone.value == 7
    assert math.isnan(alone.low)


def test_without_censoring_it_is_the_bootstrap_of_the_median() -> None:
    times = np.random.default_rng(0).normal(100, 10, 40)
    ours = stats.censored_bootstrap(times)
    theirs = scipy_stats.bootstrap(
        (times,), np.median, method="percentile", random_state=np.random.default_rng(1)
    ).confidence_interval
    assert ours.value == pytest.approx(np.median(times))
    assert ours.low == pytest.approx(theirs.low, abs=1)
    assert ours.high == pytest.approx(theirs.high, abs=1)


def test_who_is_earlier_by_hand() -> None:
    # pairs: 1<2, 1<never, 3>2, 3<never
    assert stats.earlier([1, 3], [2, NEVER]).value == 0.75
    assert stats.earlier([NEVER, NEVER], [NEVER]).value == 0.5
    assert stats.earlier([5, 5], [5, 5]).value == 0.5
    assert stats.earlier([1, 2], [NEVER, NEVER]).value == 1.0


@settings(deadline=None)
@given(
    st.lists(st.integers(0, 9).map(float) | st.just(NEVER), min_size=2, max_size=9),
    st.lists(st.integers(0, 9).map(float) | st.just(NEVER), min_size=2, max_size=9),
)
def test_earlier_is_mann_whitneys_statistic(x: list[float], y: list[float]) -> None:
    late = [[99.0 if math.isnan(t) else t for t in side] for side in (x, y)]
    u = scipy_stats.mannwhitneyu(late[1], late[0]).statistic
    forward = stats.earlier(x, y, draws=50)
    assert forward.value == pytest.approx(u / (len(x) * len(y)))
    assert forward.value + stats.earlier(y, x, draws=50).value == pytest.approx(1.0)


def test_spread_by_hand() -> None:
    # variances 4 and 1
    found = stats.spread_ratio([1, 3, 5], [1, 2, 3])
    assert (found.kind, found.ratio.value) == ("variance", 4.0)
    # of 1..5 the quartiles are 2 and 4; of 1, 3, 5, 7, never 3 and 7
    censored = stats.spread_ratio([1, 3, 5, 7, NEVER], [1, 2, 3, 4, 5])
    assert (censored.kind, censored.ratio.value) == ("interquartile range", 2.0)
    nothing = stats.spread_ratio([1, NEVER, NEVER, NEVER], [1, 2, 3, 4])
    assert nothing.kind == ""
    assert math.isnan(nothing.ratio.value)
    assert stats.spread_ratio([1], [1, 2]).kind == ""
    assert stats.spread_ratio([1, 2], [3, 3]).kind == ""  # nothing to divide by


def test_a_variance_ratio_has_the_intervals_it_should() -> None:
    rng = np.random.default_rng(2)
    same = stats.spread_ratio(rng.normal(0, 1, 50), rng.normal(9, 1, 50), draws=2000)
    assert not same.ratio.excludes(1.0)
    less = stats.spread_ratio(rng.normal(0, 1, 50), rng.normal(0, 3, 50), draws=2000)
    assert less.ratio.high < 0.5
    again = stats.spread_ratio([1, 2, 4], [1, 5, 6])
    assert stats.spread_ratio([1, 2, 4], [1, 5, 6]) == again
