"""Mixup and its inverse, by hand on two labels, and as properties on any number."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from messages import fails

from fdrl.core.errors import FdrlError
from fdrl.ops import mixup


def two(lam):
    return mixup.mixing_weights(lam)


def test_two_samples_by_hand():
    got = mixup.mix(np.array([[1.0, 0.0], [0.0, 10.0]]), two(0.1))
    np.testing.assert_allclose(got, [0.1, 9.0])


def test_soft_labels_by_hand():
    got = mixup.soft_labels(np.array([[2, 0], [0, 1]]), two(0.1), 3)
    np.testing.assert_allclose(got, [[0.9, 0, 0.1], [0.1, 0.9, 0]])


@pytest.mark.parametrize("lam", [0.1, 0.3, 0.4, 0.499])
def test_inversely_mixed_labels_are_one_hot(lam):
    mixed = mixup.soft_labels(np.array([[3, 7], [7, 3]]), two(lam), 10)
    got = mixup.unmix(mixed, two(lam))
    np.testing.assert_allclose(got, np.eye(10)[[3, 7]], rtol=0, atol=1e-12)


@pytest.mark.parametrize("lam", [0.1, 0.3, 0.4, 0.499, 0.9])
def test_the_published_ratios(lam):
    i, j = lam / (2 * lam - 1), (lam - 1) / (2 * lam - 1)
    np.testing.assert_allclose(mixup.inverse_ratios(two(lam)), [[i, 1 - i], [j, 1 - j]], rtol=1e-12)


def test_two_devices_by_hand():
    """lam = 0.25: lamhat is -1/2 for label i, 3/2 for label j."""
    x_i, x_j, y_j, y_i = 8.0, 4.0, 0.0, 16.0
    first = mixup.mix(np.array([[x_i], [x_j]]), two(0.25))
    other = mixup.mix(np.array([[y_j], [y_i]]), two(0.25))
    assert first == 5.0
    assert other == 12.0
    got = mixup.unmix(np.stack([first, other]), two(0.25))
    np.testing.assert_allclose(got, [[-2.5 + 18.0], [7.5 - 6.0]])


def test_evenly_mixed_samples_cannot_be_told_apart():
    with fails(FdrlError, "lam = 0.5", "2 labels"):
        mixup.inverse_ratios(two(0.5))
    with pytest.raises(FdrlError, match=r"away from 0\.25"):
        mixup.unmix(np.zeros((4, 1)), mixup.mixing_weights(0.25, 4))


@pytest.mark.parametrize("lam", [0.0, 1.0, -0.2, float("nan")])
def test_lam_must_hide_something(lam):
    with pytest.raises(FdrlError, match="between 0 and 1"):
        two(lam)


def test_one_label_is_no_mixture():
    with pytest.raises(FdrlError, match="at least 2"):
        mixup.mixing_weights(0.1, 1)


def test_three_devices_by_hand():
    """Device d has the first weight at label d: the rows of M are shifts of the weights."""
    weights = np.array([0.5, 0.3, 0.2])
    expected = [[0.5, 0.3, 0.2], [0.2, 0.5, 0.3], [0.3, 0.2, 0.5]]
    np.testing.assert_allclose(mixup.mixing_matrix(weights), expected)
    np.testing.assert_allclose(mixup.inverse_ratios(weights) @ expected, np.eye(3), atol=1e-15)


@given(
    st.integers(2, 8),
    st.lists(st.floats(0.01, 1.0), min_size=8, max_size=8),
    st.integers(0, 2**32 - 1),
)
def test_any_number_of_labels_comes_back_one_hot(labels, raw, seed):
    weights = np.array(raw[:labels]) / sum(raw[:labels])
    if np.abs(np.fft.fft(weights)).min() < 1e-2:
        return
    order = np.random.default_rng(seed).permutation(10)[:labels]
    rows = np.stack([mixup.shifted(order, d) for d in range(labels)])
    got = mixup.unmix(mixup.soft_labels(rows, weights, 10), weights)
    np.testing.assert_allclose(got, np.eye(10)[order], rtol=0, atol=1e-12)


@given(st.floats(0.01, 0.49), st.integers(0, 2**32 - 1))
def test_equal_samples_of_a_label_come_back(lam, seed):
    """If both devices have the same two samples, the server recovers exactly these."""
    x = np.random.default_rng(seed).random((2, 3, 2))
    mixtures = np.stack([mixup.mix(x, two(lam)), mixup.mix(x[::-1], two(lam))])
    np.testing.assert_allclose(mixup.unmix(mixtures, two(lam)), x, atol=1e-10)


def test_matching_by_hand():
    """Uploads 0 and 2 swap labels on two devices; 1 has no counterpart, 3 only on its device."""
    labels = np.array([[4, 1], [1, 2], [1, 4], [2, 1]])
    groups, of = mixup.match(labels, [0, 1, 1, 1], np.random.default_rng(0), 100)
    np.testing.assert_array_equal(groups, [[2, 0]])
    np.testing.assert_array_equal(of, [[1, 4]])


def test_matching_three_labels_needs_three_devices():
    labels = np.array([mixup.shifted([5, 6, 7], d) for d in range(3)])
    groups, of = mixup.match(labels, [0, 1, 2], np.random.default_rng(0), 100)
    np.testing.assert_array_equal(groups, [[0, 1, 2]])
    np.testing.assert_array_equal(of, [[5, 6, 7]])
    assert len(mixup.match(labels, [0, 1, 0], np.random.default_rng(0), 100)[0]) == 0


@given(st.integers(2, 4), st.integers(2, 8), st.integers(1, 6), st.integers(0, 2**32 - 1))
def test_matched_groups_give_one_hot_labels(mixed, devices, count, seed):
    rng = np.random.default_rng(seed)
    agreed = mixup.agreed_labels(10, mixed, count, rng)
    labels = np.concatenate([mixup.shifted(agreed, d) for d in range(devices)])
    who = np.arange(devices).repeat(count)
    groups, of = mixup.match(labels, who, rng, 50)
    weights = mixup.mixing_weights(0.1 if mixed != 10 else 0.2, mixed)
    soft = mixup.soft_labels(labels, weights, 10)
    assert (devices >= mixed) == (len(groups) > 0)
    assert len(groups) <= max(1, 50 // mixed)
    for group, names in zip(groups, of, strict=True):
        assert len({*who[group].tolist()}) == mixed
        np.testing.assert_allclose(
            mixup.unmix(soft[group], weights), np.eye(10)[names], rtol=0, atol=1e-12
        )


def test_agreed_labels_are_balanced():
    rows = mixup.agreed_labels(10, 2, 10, np.random.default_rng(1))
    assert (np.bincount(rows.ravel()) == 2).all()
    with fails(FdrlError, "11 of 10"):
        mixup.agreed_labels(10, 11, 1, np.random.default_rng(1))


def test_matching_needs_a_device_for_each_upload():
    with fails(FdrlError, "(3, 2)", "(2,)"):
        mixup.match(np.zeros((3, 2)), [0, 1], np.random.default_rng(0), 4)
