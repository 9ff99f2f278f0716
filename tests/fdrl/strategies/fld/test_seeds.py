"""Choosing, mixing and using seed samples, by hand on one-pixel images."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from messages import fails

from fdrl.core.errors import FdrlError
from fdrl.ops.mixup import agreed_labels
from fdrl.strategies.fld.seeds import Seeds, check_settings, choose, conversion_targets, usable

IMAGES = np.arange(6, dtype=np.float32)[:, None] / 10
LABELS = np.array([0, 0, 1, 1, 2, 2])
NOBODY = np.zeros((0, 2), np.int64)


def rng(seed=0):
    return np.random.default_rng(seed)


def test_raw_seeds_are_samples_with_their_labels():
    got = choose(IMAGES, LABELS, Seeds(count=4), "none", NOBODY, 0, rng())
    assert got.samples.shape == (4, 1)
    at = np.rint(10 * got.samples[:, 0]).astype(int)
    assert len({*at.tolist()}) == 4
    np.testing.assert_array_equal(got.labels[:, 0], LABELS[at])
    np.testing.assert_array_equal(got.raw[:, 0], got.samples)


def test_mixtures_by_hand():
    """Device 1 swaps the labels that device 0 mixes, and both use a sample of each."""
    images, labels = np.array([[0.2], [0.6]]), np.array([0, 1])
    seeds = Seeds(count=1, lam=0.25)
    agreed = np.array([[0, 1]])
    first = choose(images, labels, seeds, "up", agreed, 0, rng())
    other = choose(images, labels, seeds, "up", agreed, 1, rng())
    np.testing.assert_allclose(first.samples, [[0.25 * 0.2 + 0.75 * 0.6]], rtol=1e-6)
    np.testing.assert_allclose(other.samples, [[0.25 * 0.6 + 0.75 * 0.2]], rtol=1e-6)
    np.testing.assert_array_equal(first.labels, [[0, 1]])
    np.testing.assert_array_equal(other.labels, [[1, 0]])
    np.testing.assert_allclose(other.raw[0, :, 0], [0.6, 0.2], rtol=1e-6)


def test_a_sample_is_used_again_only_when_its_label_is_used_up():
    agreed = np.array([[0, 1]] * 4)
    got = choose(IMAGES, LABELS, Seeds(count=4), "up", agreed, 0, rng())
    used = np.rint(10 * got.raw[:, 0, 0]).astype(int)
    assert sorted(used.tolist()) == [0, 0, 1, 1]
    assert {*used[:2].tolist()} == {0, 1}


def test_mixtures_of_labels_that_a_device_lacks_are_left_out():
    agreed = np.array([[0, 3], [0, 1]])
    got = choose(IMAGES, LABELS, Seeds(count=2), "up", agreed, 0, rng())
    np.testing.assert_array_equal(got.labels, [[0, 1]])
    with fails(FdrlError, "agent 4", "3 labels"):
        choose(IMAGES, LABELS, Seeds(count=1), "up", agreed[:1], 4, rng())


def test_raw_uploads_are_one_hot():
    got = usable({3: (IMAGES[:1], [[2]]), 1: (IMAGES[1:2], [[0]])}, Seeds(), "none", 3, rng())
    np.testing.assert_allclose(got.samples, [[0.1], [0.0]])
    np.testing.assert_array_equal(got.labels, [[1, 0, 0], [0, 0, 1]])


def test_mixed_uploads_have_soft_labels():
    got = usable({0: (IMAGES[:1], [[2, 0]])}, Seeds(lam=0.1), "up", 3, rng())
    np.testing.assert_allclose(got.labels, [[0.9, 0, 0.1]], rtol=1e-6)


def test_inverse_mixup_at_the_server_by_hand():
    """Equal raw samples on both devices come back: 0.2 of label 0, 0.6 of label 1."""
    uploads = {0: (np.array([[0.5]]), [[0, 1]]), 1: (np.array([[0.3]]), [[1, 0]])}
    got = usable(uploads, Seeds(lam=0.25), "inverse", 2, rng())
    np.testing.assert_allclose(got.samples, [[0.2], [0.6]], rtol=1e-6)
    np.testing.assert_array_equal(got.labels, np.eye(2))
    np.testing.assert_array_equal(got.groups, [[0, 1], [0, 1]])


def test_mixtures_without_a_counterpart_are_of_no_use():
    got = usable({0: (IMAGES[:1], [[0, 1]])}, Seeds(), "inverse", 3, rng())
    assert got.samples.shape == (0, 1)
    assert got.labels.shape == (0, 3)


@given(st.integers(2, 4), st.integers(4, 6), st.integers(1, 5), st.integers(0, 2**32 - 1))
def test_inversely_mixed_samples_carry_their_label(mixed, devices, count, seed):
    """An image that shows its label in one pixel still does after mixing and unmixing."""
    labels = np.arange(4).repeat(5)
    images = np.eye(4, dtype=np.float32)[labels]
    seeds = Seeds(count=count, labels=mixed, lam=0.1)
    agreed = agreed_labels(4, mixed, count, rng(seed))
    uploads = {}
    for d in range(devices):
        chosen = choose(images, labels, seeds, "up", agreed, d, rng(seed + d))
        uploads[d] = (chosen.samples, chosen.labels)
    got = usable(uploads, seeds, "inverse", 4, rng(seed))
    assert len(got.samples)
    np.testing.assert_allclose(got.samples, got.labels, atol=1e-5)


def test_conversion_targets_by_hand():
    table = np.array([[0.8, 0.2], [0.4, 0.6]])
    got = conversion_targets(np.array([[1.0, 0], [0.5, 0.5]]), table, [True, False], 0.25)
    np.testing.assert_allclose(got[0], [(1 + 0.25 * 0.8) / 1.25, 0.25 * 0.2 / 1.25], rtol=1e-6)
    np.testing.assert_allclose(got[1], [(0.5 + 0.25 * 0.4) / 1.25, (0.5 + 0.25 * 0.6) / 1.25])


@pytest.mark.parametrize(
    ("change", "mix", "reason"),
    [
        ({"count": 0}, "none", r"without seed samples.*strategy\.seeds\.count"),
        ({"lam": 0.5}, "inverse", "away from 0.5"),
        ({"lam": 1.0}, "up", "between 0 and 1"),
        ({"labels": 11}, "up", "11 labels.*10"),
        ({"labels": 6}, "inverse", "agents.*5"),
    ],
)
def test_settings_that_no_server_could_use_are_refused(change, mix, reason):
    with pytest.raises(FdrlError, match=reason):
        check_settings(Seeds(**change), mix, 10, 5)


def test_even_mixtures_are_fine_where_nobody_inverts_them():
    check_settings(Seeds(lam=0.5), "up", 10, 5)
    check_settings(Seeds(), "none", 10, 1)
