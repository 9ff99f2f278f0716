"""Training a generator: what it is made of, that it learns, and that a seed decides it."""

import numpy as np
import pytest

from fdrl.generator import GeneratorLayout, check_row, generate, label_codes
from fdrl.generator_training import GeneratorTraining, _balanced, augment, initial_row, train

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
        made = generate(LAYOUT, row, noise + CODES[label]).reshape(-1, 4, 4)
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
    drawn = labels[_balanced(labels, 2000, np.random.default_rng(0))]
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
