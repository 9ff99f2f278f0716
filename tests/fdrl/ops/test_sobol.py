"""Sobol's sequence against scipy's."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import qmc  # type: ignore[import-untyped]

from fdrl.core.errors import FdrlError
from fdrl.ops.sobol import MAX_DIMENSIONS, sobol


@pytest.mark.parametrize("dimensions", [1, 2, 4, 32, MAX_DIMENSIONS])
def test_scipy_agrees(dimensions: int) -> None:
    expected = qmc.Sobol(dimensions, scramble=False).random(1024)
    np.testing.assert_array_equal(sobol(1024, dimensions), expected)


def test_the_first_points() -> None:
    """By hand: in one dimension 0, 1/2, 3/4, 1/4, in Gray-code order."""
    assert sobol(4, 1).ravel().tolist() == [0, 0.5, 0.75, 0.25]
    assert sobol(0, 3).shape == (0, 3)
    assert sobol(1, 3).tolist() == [[0, 0, 0]]


def test_a_digital_shift_keeps_the_balance() -> None:
    """Each sixteenth of every component holds 256 / 16 points, shifted or not."""
    shift = np.array([2**32 - 1, 123456789, 1])
    points = sobol(256, 3, shift)
    assert ((points >= 0) & (points < 1)).all()
    for column in points.T:
        counts, _ = np.histogram(column, bins=16, range=(0, 1))
        np.testing.assert_array_equal(counts, np.full(16, 16))
    assert points[0].tolist() == (shift / 2**32).tolist()


@pytest.mark.parametrize("dimensions", [0, MAX_DIMENSIONS + 1])
def test_too_many_dimensions(dimensions: int) -> None:
    with pytest.raises(FdrlError, match="uniform"):
        sobol(4, dimensions)
