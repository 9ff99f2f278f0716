"""Dealing samples to devices."""

import numpy as np
import pytest
from fdrl.agents import partition
from hypothesis import given, settings
from hypothesis import strategies as st
from messages import fails

from fdrl import FdrlError

LABELS = np.tile(np.arange(10), 100)  # a hundred of each


def counts(indices):
    return partition.histogram(LABELS[indices], 10)


def test_iid_devices_share_nothing_and_repeat():
    dealt = [partition.iid(LABELS, 1, device, 250) for device in range(4)]
    assert sorted(np.concatenate(dealt).tolist()) == list(range(1000))
    np.testing.assert_array_equal(dealt[2], partition.iid(LABELS, 1, 2, 250))
    assert (dealt[0] != partition.iid(LABELS, 2, 0, 250)).any()


def test_thinned_leaves_five_of_three_labels():
    own = counts(partition.thinned(LABELS, 4, 1, 400))
    even = counts(partition.iid(LABELS, 4, 1, 400))
    assert sorted(own)[:3] == [5, 5, 5]
    assert ((own == even) | (own == 5)).all()
    assert (own == even).sum() == 7


def test_scarce_is_two_labels_of_two_and_eight_of_sixty_two():
    labels = np.tile(np.arange(10), 1000)
    own = partition.scarce(labels, 0, 3, 500)
    assert sorted(np.bincount(labels[own]).tolist()) == [2, 2] + [62] * 8
    other = partition.scarce(labels, 0, 4, 500)
    assert not set(own.tolist()) & set(other.tolist())


@settings(max_examples=30)
@given(st.integers(0, 50), st.integers(0, 5), st.floats(0.05, 50.0))
def test_dirichlet_never_repeats_a_sample(seed, device, alpha):
    own = partition.dirichlet(LABELS, seed, device, 300, alpha)
    assert len(set(own.tolist())) == len(own) <= 300
    assert counts(own).max() <= 100


def test_a_large_alpha_is_nearly_even_and_a_small_one_is_not():
    even = counts(partition.dirichlet(LABELS, 0, 0, 500, 1e6))
    skewed = counts(partition.dirichlet(LABELS, 0, 0, 500, 0.05))
    assert even.min() > 30
    assert skewed.min() == 0


@pytest.mark.parametrize("rule", [partition.iid, partition.thinned, partition.scarce])
def test_more_than_there_is_cannot_be_dealt(rule):
    with fails(FdrlError, "agent.samples"):
        rule(LABELS, 0, 5, 600)


def test_all_labels_cannot_be_scarce():
    with pytest.raises(FdrlError, match="scarce_labels"):
        partition.scarce(LABELS, 0, 0, 100, scarce_labels=10)
