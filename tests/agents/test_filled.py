"""Samples beside an agent's own: kept, saved, and trained on."""

import numpy as np
from fdrl.agents import filled
from fdrl.agents.classifier import Classifier, make
from tiny_cohorts import context


def extra(*counts, width=2):
    rng = np.random.default_rng(0)
    return [(rng.random((n, width)).astype(np.float32), np.full(n, 3)) for n in counts]


def test_saving_loses_nothing():
    kept = filled.quantized(extra(2, 0, 3))
    state = filled.pack(kept)
    assert state["extra/images"].shape == (3, 3, 2)
    assert state["extra/counts"].tolist() == [2, 0, 3]
    for (x, y), (x2, y2) in zip(kept, filled.unpack(state), strict=True):
        np.testing.assert_array_equal(x, x2)
        np.testing.assert_array_equal(y, y2)
    assert filled.unpack({}) is None


def test_joining_puts_them_behind():
    own = [(np.zeros((1, 1), np.float32), np.array([0]))]
    ((x, y),) = filled.joined(own, [(np.array([[51]], np.uint8), np.array([7]))])
    np.testing.assert_allclose(x, [[0], [0.2]])
    assert y.tolist() == [0, 7]


def test_agents_own_what_they_are_given_until_it_is_replaced():
    cohort = make(Classifier(samples=20), context(2, "fdrl/Digits-v0"))
    before = cohort.histogram()
    assert "extra/counts" not in cohort.state()
    cohort.extend(extra(4, 0, width=64))
    assert (cohort.histogram() - before).tolist() == [[0, 0, 0, 4] + [0] * 6, [0] * 10]
    state = cohort.state()
    cohort.extend(extra(0, 1, width=64))
    assert (cohort.histogram() - before).sum(1).tolist() == [0, 1]
    cohort.load_state(state)
    assert (cohort.histogram() - before).sum(1).tolist() == [4, 0]
