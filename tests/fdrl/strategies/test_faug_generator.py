"""A conditional generator: its size, its rows, and what it makes, by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fdrl.core.errors import BadMessage
from fdrl.strategies.faug_generator import (
    GeneratorLayout,
    GeneratorTraining,
    augment,
    balanced_rows,
    check_row,
    initial_row,
    label_codes,
    sample_images,
    train,
)

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
    image = sample_images(TINY, row(), np.array([[3.0, 0.0]], np.float32))
    np.testing.assert_allclose(image, [[1 / (1 + np.exp(-3.3))]], rtol=1e-4)


def test_extreme_noise_gives_pixels_in_range():
    image = sample_images(TINY, row(), np.array([[1e4, 1e4], [-1e5, -1e5]], np.float32))
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


# ---- Training a generator: what it is made of, that it learns, and that a seed decides it ----


SMALL = GeneratorTraining(latent=8, hidden=(32,), encoder=16, steps=150, batch=16, lr=1e-2)
LAYOUT = GeneratorLayout(8, (32,), 16)
CODES = label_codes(0, 2, 8)


def seeds():
    """Label 0 is bright above, label 1 below."""
    x = np.zeros((6, 4, 4), np.float32)
    x[:3, :2] = x[3:, 2:] = 1.0
    return x.reshape(6, 16), np.repeat([0, 1], 3)


def trained(seed=1, settings=SMALL):
    return train(LAYOUT, *seeds(), CODES, settings, np.random.default_rng(seed))


def test_it_makes_what_it_was_shown_label_by_label():
    row, loss = trained()
    check_row(LAYOUT, row)
    noise = np.random.default_rng(2).standard_normal((40, 8)).astype(np.float32)
    for label, sign in ((0, 1), (1, -1)):
        made = sample_images(LAYOUT, row, noise + CODES[label]).reshape(-1, 4, 4)
        contrast = sign * (made[:, :2].mean() - made[:, 2:].mean())
        assert contrast > 0.5
    assert np.isfinite(loss)


def test_a_seed_decides_it_to_the_bit():
    few = GeneratorTraining(latent=8, hidden=(32,), encoder=16, steps=3, batch=4)
    one, other = trained(settings=few), trained(settings=few)
    np.testing.assert_array_equal(one[0], other[0])
    assert one[1] == other[1]
    assert (trained(2, few)[0] != one[0]).any()


def test_a_start_changes_nothing_but_by_its_weights():
    layers = LAYOUT.layers(initial_row(LAYOUT, np.random.default_rng(0)))
    assert set(layers[0]) == {"weight", "bias", "scale", "shift", "mean", "variance"}
    assert set(layers[1]) == {"weight", "bias"}
    np.testing.assert_array_equal(layers[0]["variance"], 1)
    assert np.abs(layers[0]["weight"]).max() <= 8**-0.5


def test_rare_labels_are_drawn_as_often_as_others():
    labels = np.array([0] * 97 + [1] * 3)
    drawn = labels[balanced_rows(labels, 2000, np.random.default_rng(0))]
    assert 900 < drawn.sum() < 1100


@pytest.mark.parametrize("pixels", [16, 15])
def test_augmented_seeds_stay_images(pixels):
    x = np.random.default_rng(0).random((5, pixels)).astype(np.float32)
    moved = augment(x, np.random.default_rng(1)).numpy()
    assert moved.shape == x.shape
    assert moved.min() >= 0
    assert moved.max() <= 1
    assert (moved == x).all() == (pixels == 15)  # no square: as it is


def test_no_steps_leave_a_start_that_can_be_run():
    untrained = GeneratorTraining(latent=8, hidden=(32,), encoder=16, steps=0)
    row, loss = trained(settings=untrained)
    check_row(LAYOUT, row)
    assert loss == 0.0
    np.testing.assert_array_equal(row, initial_row(LAYOUT, np.random.default_rng(1)))
