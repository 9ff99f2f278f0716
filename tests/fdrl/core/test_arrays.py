"""Arrays of several agents put together."""

from __future__ import annotations

import numpy as np

from fdrl.core.arrays import stack_padded


def test_shorter_arrays_get_zeros_behind_on_every_axis_but_the_first() -> None:
    short, wide = np.ones((2, 1, 3), np.uint8), np.full((1, 2, 2), 7, np.uint8)
    found = stack_padded([short, wide])
    expected = [[[1, 1, 1], [0, 0, 0]]] * 2 + [[[7, 7, 0], [7, 7, 0]]]
    np.testing.assert_array_equal(found, expected)
    assert found.dtype == np.uint8


def test_arrays_of_one_shape_are_put_one_after_another() -> None:
    rows = [np.arange(3.0)[None], np.arange(3.0, 6.0)[None]]
    np.testing.assert_array_equal(stack_padded(rows), np.arange(6.0).reshape(2, 3))
