"""Linear dynamics: components decay alone."""

from __future__ import annotations

import numpy as np
import pytest
from messages import fails
from scipy.linalg import expm

from fdrl.theory.modes import decay, general_modes, largest_step, propagate, symmetric_modes
from fdrl.theory.ode import integrate


def test_decay_by_hand() -> None:
    left = decay([1.0, 2.0], 0.5, [0.0, 2.0])
    np.testing.assert_allclose(left, [[1, 1], [np.exp(-1), np.exp(-2)]])
    # 1 - 0.5 * 1 = 0.5 and 1 - 0.5 * 4 = -1 per step
    np.testing.assert_allclose(decay([1.0, 4.0], 0.5, [0, 3], "descent"), [[1, 1], [0.125, -1]])


def test_times_must_make_sense() -> None:
    with pytest.raises(ValueError, match="whole steps"):
        decay([1.0], 0.5, [0.5], "descent")
    with pytest.raises(ValueError, match="not negative"):
        decay([1.0], 0.5, [-1.0])


def test_symmetric_two_by_two_by_hand() -> None:
    # eigenvalues 3 on (1, 1), 1 on (1, -1)
    modes = symmetric_modes([[2.0, 1.0], [1.0, 2.0]])
    np.testing.assert_allclose(modes.rates, [1, 3])
    out = propagate(modes, [2.0, 0.0], 1.0, [1.0])
    np.testing.assert_allclose(out, [[np.exp(-3) + np.exp(-1), np.exp(-3) - np.exp(-1)]])


@pytest.mark.parametrize("bad", [np.ones((2, 3)), np.ones(3), [[1.0, 2.0], [0.0, 1.0]]])
def test_what_is_no_kernel(bad: object) -> None:
    with fails(ValueError, "kernel"):
        symmetric_modes(bad)  # type: ignore[arg-type]


def test_a_rotation_has_complex_rates_and_real_solutions() -> None:
    matrix = np.array([[1.0, -2.0], [2.0, 1.0]])
    out = propagate(general_modes(matrix), np.eye(2), 0.3, [0.0, 1.0, 4.0])
    for t, found in zip((0.0, 1.0, 4.0), out, strict=True):
        np.testing.assert_allclose(found, expm(-0.3 * t * matrix), atol=1e-12)


def test_more_output_axes_ride_along() -> None:
    modes = symmetric_modes([[2.0, 1.0], [1.0, 2.0]])
    start = np.arange(12.0).reshape(2, 3, 2)
    out = propagate(modes, start, 0.1, [0.0, 5.0])
    assert out.shape == (2, 2, 3, 2)
    np.testing.assert_allclose(out[1, :, 2, 1], propagate(modes, start[:, 2, 1], 0.1, [5.0])[0])


def test_largest_steps_by_hand() -> None:
    assert largest_step([1.0, 4.0]) == 0.5
    assert largest_step([0.0, 4.0]) == 0.5
    assert largest_step([0.0]) == np.inf
    assert largest_step([-1.0, 2.0]) == 0
    # |1 - h (1 + 2i)|**2 = 1 - 2h + 5 h**2 < 1 below h = 0.4
    assert largest_step([1 + 2j, 1 - 2j]) == pytest.approx(0.4)


def test_the_integrator_against_the_exponential() -> None:
    out = integrate(lambda x: -x, np.array([1.0]), [0.0, 0.5, 3.0], 0.1)
    np.testing.assert_allclose(out[:, 0], np.exp([0, -0.5, -3]), atol=1e-6)


def test_the_integrator_is_of_fourth_order() -> None:
    errors = [
        abs(float(integrate(lambda x: -x, np.array([1.0]), [1.0], h)[0, 0]) - np.exp(-1))
        for h in (0.2, 0.1)
    ]
    assert errors[0] / errors[1] == pytest.approx(16, rel=0.15)
