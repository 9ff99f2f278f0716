"""Power control by hand, and the constraint as a property."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fdrl.mac.inversion import common_scale, over_the_air, transmitters


def test_who_is_in_a_deep_fade_stays_silent():
    assert transmitters(np.array([0.05, 0.1, 2.0]), 0.1).tolist() == [False, True, True]


def test_the_weakest_decides_the_scale_by_hand():
    # Energies 4 and 9 at gains 1 and 9 cost a^2 * 4 and a^2 * 1: 16 allow a = 2.
    assert common_scale(np.array([4.0, 9.0]), np.array([1.0, 9.0]), 16.0) == 2.0
    assert common_scale(np.zeros(2), np.ones(2), 16.0) == 1.0


def test_the_sum_arrives_with_its_noise_divided_by_the_scale():
    found = over_the_air(np.array([[1.0, 2.0], [3.0, -1.0]]), 2.0, np.array([0.5, -1.0]))
    np.testing.assert_allclose(found, [4.25, 0.5])


@given(
    arrays(np.float64, (5, 3), elements=st.floats(-50, 50)),
    arrays(np.float64, 5, elements=st.floats(0.01, 20)),
    st.floats(0.1, 1e4),
)
def test_nobody_sends_with_more_energy_than_allowed(x, gains, budget):
    scale = common_scale((x**2).sum(1), gains, budget)
    spent = scale**2 * (x**2).sum(1) / gains
    if np.abs(x).max() > 1e-90:
        assert spent.max() == pytest.approx(budget, rel=1e-9)
    assert (spent <= budget * (1 + 1e-9)).all()
