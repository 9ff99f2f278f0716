"""A conditional generator: its size, its rows, and what it makes, by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fdrl.errors import BadMessage
from fdrl.generator import GeneratorLayout, check_row, generate, label_codes

TINY = GeneratorLayout(2, (2,), 1)


def row(variance=(4.0, 1.0)):
    parts = [
        [1, 0, 0, 1],  # weights [2, 2]
        [0, -1],  # biases
        [2, 1],  # scale
        [1, 0],  # shift
        [1, 0],  # mean
        variance,
        [1, 1],  # weights [2, 1]
        [0.5],  # bias
    ]
    return np.concatenate(parts).astype(np.float32)


def test_the_generator_of_the_paper_has_1493520_values():
    assert GeneratorLayout(100, (256, 512, 1024), 784).size == 1_493_520


@given(
    latent=st.integers(1, 9),
    hidden=st.lists(st.integers(1, 9), max_size=3).map(tuple),
    pixels=st.integers(1, 9),
)
def test_layers_cover_a_row_exactly_once(latent, hidden, pixels):
    layout = GeneratorLayout(latent, hidden, pixels)
    numbers = np.arange(layout.size)
    found = [part.ravel() for layer in layout.layers(numbers) for part in layer.values()]
    np.testing.assert_array_equal(np.concatenate(found), numbers)


def test_an_image_is_worked_out_by_hand():
    # leaky: (3, -1) -> (3, -0.2); normalized: ((3 - 1) / 2 * 2 + 1, -0.2) = (3, -0.2)
    image = generate(TINY, row(), np.array([[3.0, 0.0]], np.float32))
    np.testing.assert_allclose(image, [[1 / (1 + np.exp(-3.3))]], rtol=1e-4)


def test_extreme_noise_gives_pixels_in_range():
    image = generate(TINY, row(), np.array([[1e4, 1e4], [-1e5, -1e5]], np.float32))
    np.testing.assert_array_equal(image, [[1.0], [0.0]])


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (row()[:-1], "expected 17 values"),
        (row().astype(np.float64), "float64, not float32"),
        (row(variance=(4.0, -1.0)), "negative variance"),
        (row() * np.float32(1e7), "no network has that"),
    ],
)
def test_rows_that_cannot_be_run_are_refused(bad, reason):
    with pytest.raises(BadMessage, match=reason):
        check_row(TINY, bad)


def test_codes_are_agreed_through_the_seed_and_lie_apart():
    codes = label_codes(3, 10, 100)
    np.testing.assert_array_equal(codes, label_codes(3, 10, 100))
    assert (label_codes(4, 10, 100) != codes).all()
    apart = np.linalg.norm(codes[:, None] - codes[None], axis=2)[~np.eye(10, dtype=bool)]
    assert apart.min() > 20  # noise of 100 values has a radius of 10
