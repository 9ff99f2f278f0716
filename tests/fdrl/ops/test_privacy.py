"""The privacy measures, by hand and as properties."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from messages import fails

from fdrl.core.errors import FdrlError
from fdrl.ops import mixup, privacy


def test_the_nearest_raw_sample_counts():
    """Distances 5 and 13."""
    raw = np.array([[3.0, 4.0], [5.0, 12.0]])
    assert privacy.sample_privacy(np.zeros(2), raw) == pytest.approx(np.log(5))


def test_a_raw_upload_has_no_privacy():
    assert privacy.sample_privacy(np.ones(2), np.ones((1, 2))) == -np.inf


def test_mixup_by_hand():
    """lam * a + (1 - lam) * b is lam * |a - b| from b and further from a, if lam < 1/2."""
    raw = np.array([[0.0, 0.0], [3.0, 4.0]])
    mixed = mixup.mix(raw, mixup.mixing_weights(0.1))
    assert privacy.sample_privacy(mixed, raw) == pytest.approx(np.log(0.5))
    assert privacy.mean_privacy(mixed[None], raw[None]) == pytest.approx(np.log(0.5))


@given(st.floats(0.01, 0.48), st.integers(0, 2**32 - 1))
def test_privacy_of_mixup_rises_with_lam(lam, seed):
    raw = np.random.default_rng(seed).random((2, 6))
    found = [
        privacy.sample_privacy(mixup.mix(raw, mixup.mixing_weights(x)), raw)
        for x in (lam, lam + 0.01)
    ]
    assert found[0] < found[1]


def test_nonsense_is_refused():
    with fails(FdrlError, "(2,)", "(3, 3)"):
        privacy.sample_privacy(np.zeros(2), np.zeros((3, 3)))
    with pytest.raises(FdrlError, match="no samples"):
        privacy.mean_privacy(np.zeros((0, 2)), np.zeros((0, 1, 2)))


def test_decoys_hide_the_labels_that_a_device_lacks():
    assert privacy.target_share({1, 2}, set()) == 1.0
    assert privacy.target_share({1, 2}, {3, 4}) == 0.5
    assert privacy.target_share(set(), set()) == 0.0


def test_other_devices_hide_them_too():
    assert privacy.peer_share({1}, [{1, 2}, {3, 4}]) == 0.25
    assert privacy.peer_share(set(), []) == 0.0
