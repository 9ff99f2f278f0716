"""Dithered quantization: codes by hand, errors by their law."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fdrl.mac.quantize import dithered, indices, to_simplex, values


def test_two_bits_by_hand():
    # Levels 0, 1/3, 2/3, 1. 0.5 lies at 1.5 steps: a dither below a half rounds it down.
    x, u = np.full(2, 0.5), np.array([0.25, 0.75])
    codes = indices(x, 0.0, 1.0, 2, u)
    np.testing.assert_array_equal(codes, [1, 2])
    np.testing.assert_allclose(values(codes, 0.0, 1.0, 2, u), [1.25 / 3, 1.75 / 3])


def test_the_mean_over_dithers_is_the_value_itself_and_the_variance_a_twelfth_step():
    u = (np.arange(20_000) + 0.5) / 20_000
    for x in (0.0, 0.1, 0.37, 1.0):
        arrived = dithered(np.full_like(u, x), 0.0, 1.0, 3, u)
        assert arrived.mean() == pytest.approx(x, abs=1e-4)
        assert arrived.var() == pytest.approx((1 / 7) ** 2 / 12, rel=1e-3)


@given(
    arrays(np.float64, 9, elements=st.floats(-1, 1)),
    arrays(np.float64, 9, elements=st.floats(0, 0.999)),
    st.integers(1, 12),
)
def test_codes_fit_their_bits_and_errors_half_a_step(x, u, bits):
    codes = indices(x, -1.0, 1.0, bits, u)
    assert codes.min() >= 0
    assert codes.max() < 2**bits
    step = 2.0 / (2**bits - 1)
    assert np.abs(dithered(x, -1.0, 1.0, bits, u) - x).max() <= step / 2 + 1e-9


def test_a_range_of_no_width_stays_what_it_is():
    np.testing.assert_array_equal(dithered(np.zeros(3), 0.0, 0.0, 4, np.full(3, 0.3)), np.zeros(3))


def test_rows_come_back_to_the_simplex_by_hand():
    np.testing.assert_allclose(to_simplex(np.array([[0.25, 0.5]])), [[0.25, 0.5, 0.25]])
    np.testing.assert_allclose(to_simplex(np.array([[-0.5, 0.5]])), [[0.0, 1 / 3, 2 / 3]])
    np.testing.assert_allclose(to_simplex(np.array([[1.0, 1.0]])), [[0.5, 0.5, 0.0]])


@given(arrays(np.float64, (4, 3), elements=st.floats(-3, 3)))
def test_whatever_arrives_is_a_distribution(x):
    p = to_simplex(x)
    assert p.min() >= 0.0
    np.testing.assert_allclose(p.sum(1), 1.0, atol=1e-5)
