"""Grids, nearest proxies and visit counts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from messages import fails
from numpy.typing import NDArray

from fdrl.core.errors import FdrlError
from fdrl.proxies.grid import GridCells, check_box, most_visited, nearest, visit_counts

LOW, HIGH = np.array([-1.0, 0.0], np.float32), np.array([1.0, 9.0], np.float32)


def test_cells_are_digits_in_base_bins() -> None:
    """Thirds: of [-1, 1] at -1/3 and 1/3, of [0, 9] at 3 and 6; the first component leads."""
    grid = GridCells(3, LOW, HIGH)
    observations = np.array([[-0.9, 1], [0, 1], [0, 4], [0.9, 8], [-1, 3], [1, 9]])
    assert grid.assign(observations).tolist() == [0, 3, 4, 8, 1, 8]
    assert grid.count == 9


def test_edge_cells_reach_to_infinity() -> None:
    grid = GridCells(3, LOW, HIGH)
    observations = np.array([[-np.inf, -1e30], [1e30, np.inf], [-5, 100]])
    assert grid.assign(observations).tolist() == [0, 8, 2]


def test_centers() -> None:
    grid = GridCells(3, LOW, HIGH)
    centers = grid.centers(np.array([0, 4, 8]))
    np.testing.assert_allclose(centers, [[-2 / 3, 1.5], [0, 4.5], [2 / 3, 7.5]], rtol=1e-6)
    assert centers.dtype == np.float32
    with fails(FdrlError, "cell 9", "0..8"):
        grid.centers(np.array([9]))


def test_not_a_number_is_in_no_cell() -> None:
    with pytest.raises(FdrlError, match="NaN"):
        GridCells(3, LOW, HIGH).assign(np.array([[0, np.nan]]))


@given(
    st.integers(1, 60),
    hnp.arrays(np.float32, 3, elements=st.floats(-100, 100, width=32)),
    hnp.arrays(np.float32, 3, elements=st.floats(0.5, 100, width=32)),
    st.lists(st.integers(0, 2**40), max_size=20),
)
@settings(max_examples=60, deadline=None)
def test_a_center_lies_in_its_cell(
    bins: int, low: NDArray[Any], width: NDArray[Any], numbers: list[int]
) -> None:
    grid = GridCells(bins, low, low + width)
    cells = np.array(numbers, dtype=np.int64) % grid.count
    np.testing.assert_array_equal(grid.assign(grid.centers(cells)), cells)


def test_observations_of_any_shape() -> None:
    low = np.zeros((2, 2))
    grid = GridCells(2, low, low + 1)
    assert grid.assign(np.zeros((0, 2, 2))).tolist() == []
    assert grid.centers(np.array([5])).tolist() == [[[0.25, 0.75], [0.25, 0.75]]]
    assert grid.assign(np.array([[[0.1, 0.9], [0.2, 0.7]]])).tolist() == [5]


def test_too_many_cells_to_number() -> None:
    """2**63 cells are one too many, 2**62 are fine."""
    assert GridCells(2, np.zeros(62), np.ones(62)).count == 2**62
    GridCells(40, np.zeros(11), np.ones(11))
    message = r"40 bins in each of 12 observation components .* at most 38 bins, or 'sobol'"
    with pytest.raises(FdrlError, match=message):
        GridCells(40, np.zeros(12), np.ones(12))
    GridCells(38, np.zeros(12), np.ones(12))
    with fails(FdrlError, 63):
        GridCells(2, np.zeros(63), np.ones(63))


def test_the_last_cell_of_a_large_grid() -> None:
    grid = GridCells(38, np.zeros(12), np.ones(12))
    assert grid.assign(np.ones((1, 12))).tolist() == [grid.count - 1]


@pytest.mark.parametrize("high", [np.inf, np.nan, 0.0])
def test_a_box_must_be_finite(high: float) -> None:
    with pytest.raises(FdrlError, match=r"component 1 is \[0, "):
        GridCells(3, np.zeros(2), np.array([1, high]))
    with pytest.raises(FdrlError, match="shape"):
        GridCells(3, np.zeros(2), np.ones(3))


def test_most_visited() -> None:
    """Cells 7 and 3 tie for the second place: the lower one goes first."""
    counts = {9: 5.0, 7: 2.0, 3: 2.0, 1: 1.0, 4: 0.0}
    cells, visits = most_visited(counts, 2)
    assert (cells.tolist(), visits.tolist()) == ([3, 9], [2, 5])
    arrays = (np.array([7, 9, 3, 9, 1, 4]), np.array([2, 4, 2, 1, 1, 0]))
    cells, visits = most_visited(arrays, 10)
    assert (cells.tolist(), visits.tolist()) == ([1, 3, 7, 9], [1, 2, 2, 5])
    assert most_visited({}, 3)[0].tolist() == []


def test_nearest_is_in_units_of_the_box() -> None:
    """The point is 0.5 and 0.25 box widths from the states, though 1 and 2.25 in raw units."""
    states = np.array([[-0.5, 0.0], [0.5, 2.25]])
    assert nearest(states, np.array([[0.5, 0.0]]), LOW, HIGH).tolist() == [1]


def test_unbounded_components_count_in_raw_units() -> None:
    states = np.array([[0.0, 0.0], [3.0, 0.0]])
    low, high = np.array([-np.inf, 0]), np.array([np.inf, 1])
    assert nearest(states, np.array([[1.4, 9], [1.6, 9]]), low, high).tolist() == [0, 1]


@pytest.mark.parametrize("n", [1, 5, 300])
def test_nearest_against_all_distances(n: int) -> None:
    rng = np.random.default_rng(n)
    states, observations = rng.uniform(LOW, HIGH, (n, 2)), rng.uniform(LOW - 2, HIGH + 2, (999, 2))
    width = HIGH - LOW
    distances = ((observations[:, None] - states) / width).__pow__(2).sum(-1)
    found = nearest(states, observations, LOW, HIGH)
    best = distances[np.arange(999), found]
    np.testing.assert_allclose(best, distances.min(1), atol=1e-6)


def test_visit_counts() -> None:
    states = np.array([[-0.9, 1], [0, 4], [0.9, 8]])
    observations = np.array([[-1, 0], [0.1, 4], [0, 5], [-0.8, 2], [0, 4]])
    counts = visit_counts(states, observations, LOW, HIGH)
    assert counts.tolist() == [2, 3, 0]
    assert counts.dtype == np.float32
    assert visit_counts(states, observations[:0], LOW, HIGH).tolist() == [0, 0, 0]
    with pytest.raises(FdrlError, match="none"):
        visit_counts(states[:0], observations, LOW, HIGH)


def test_a_box_that_is_none_says_what_to_write_on_the_command_line() -> None:
    with fails(FdrlError, "component 1", "--proxy file --proxy.path STATES.npy"):
        check_box(np.array([0.0, 1.0]), np.array([1.0, 1.0]))
