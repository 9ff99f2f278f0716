"""What an agent asks for and gives away, by hand."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fdrl.strategies.faug import FAug, device_leak
from fdrl.strategies.scarce import pixels, wanted

LABELS = np.repeat([0, 1, 2], [8, 7, 2])  # and none of label 3: the mean is 4.25


def want(labels=LABELS, count=4, **fields):
    return wanted(labels, count, FAug(**fields), np.random.default_rng(0))


def test_scarce_labels_are_filled_up_to_the_mean_of_the_others():
    got = want()  # scarce below 2.125; (8 + 7) / 2 rounded down is 7
    assert np.bincount(got.missing, minlength=4).tolist() == [0, 0, 5, 7]
    assert sorted(got.seeds.tolist()) == [15, 16]
    assert (got.targets, got.decoys) == (1, 0)  # of label 3 there is nothing to send


def test_decoys_hide_what_is_scarce():
    got = want(decoys=2, seeds=3)
    assert np.bincount(LABELS[got.seeds], minlength=4).tolist() == [3, 3, 2, 0]
    assert (got.targets, got.decoys) == (1, 2)
    assert device_leak(got.targets, got.decoys) == 1 / 3


def test_who_lacks_nothing_sends_nothing():
    got = want(np.repeat(np.arange(4), 5), decoys=3)
    assert len(got.seeds) == len(got.missing) == got.targets == got.decoys == 0
    assert device_leak(0, 0) == 0.0


def test_the_split_of_the_paper_sends_fifteen_seeds():
    labels = np.repeat(np.arange(10), [5, 5, 5] + [200] * 7)
    got = want(labels, 10)
    assert len(got.seeds) == 15
    assert np.bincount(got.missing, minlength=10).tolist() == [195] * 3 + [0] * 7


@given(st.lists(st.integers(0, 5), min_size=1, max_size=60), st.integers(0, 6))
def test_seeds_are_the_agents_own_and_no_label_is_overfilled(labels, decoys):
    labels = np.array(labels)
    got = want(labels, 6, decoys=decoys)
    assert len(set(got.seeds.tolist())) == len(got.seeds)
    assert np.bincount(labels[got.seeds], minlength=6).max() <= 5
    full = np.bincount(labels, minlength=6) + np.bincount(got.missing, minlength=6)
    if len(got.missing):
        assert full.min() >= 1
        assert full.max() == max(full.max(), np.bincount(labels).max())


def test_pixels_are_bytes():
    assert pixels(np.array([[-0.1, 0.0, 0.5, 1.0, 1.2]])).tolist() == [[0, 0, 128, 255, 255]]
