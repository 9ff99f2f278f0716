"""Classifiers: what they learn from, and what they say about it."""

import numpy as np
import pytest
from fdrl.agents import classifier
from fdrl.agents.classifier import Classifier, make
from messages import fails
from tiny_cohorts import context

from fdrl import FdrlError

DIGITS = "fdrl/Digits-v0"


def classifiers(agents=2, **fields):
    return make(Classifier(**fields), context(agents, DIGITS))


def test_a_step_is_a_sample_and_leftovers_make_a_smaller_minibatch():
    cohort = classifiers(batch_size=8, local_steps=2, curve_samples=50)
    assert cohort.iteration_steps == 16
    got = cohort.learn(np.array([20, 0]))
    assert got.steps.tolist() == [20, 0]
    assert got.labels.counts.sum(1).tolist() == [20, 0]
    assert [len(r) for r in got.returns] == [1, 0]
    assert cohort.parameters("optimizer")[:, -1].tolist() == [3, 0]  # 8 + 8 + 4


def test_answers_by_label_are_those_before_each_step():
    cohort = classifiers(1, batch_size=32, local_steps=1, samples=40, learning_rate=0.0)
    got = cohort.learn(np.array([320]))
    (x, y), counts = cohort.samples()[0], got.labels.counts[0]
    answers = cohort.probs(x)[0]
    for label in range(10):
        if not counts[label]:
            np.testing.assert_allclose(got.labels.probs[0, label], 0.1)
        # samples are drawn with replacement: the mean lies among the label's answers
        else:
            low, high = answers[y == label].min(0), answers[y == label].max(0)
            assert (got.labels.probs[0, label] >= low - 1e-5).all()
            assert (got.labels.probs[0, label] <= high + 1e-5).all()


def test_a_teacher_is_a_second_cross_entropy():
    """One SGD step: the slope at the logits is (1 + g) p - hot - g t, averaged over the batch."""
    free, taught = (
        classifiers(1, batch_size=16, local_steps=1, hidden=(), learning_rate=1.0) for _ in range(2)
    )
    start = free.parameters("policy")[0].astype(np.float64)
    teacher = np.random.default_rng(0).dirichlet(np.ones(10), 10)[None]
    taught.teach(teacher, np.ones((1, 10)), 0.5)
    for cohort in (free, taught):
        cohort.learn(np.array([16]))
    x, y = free.samples()[0]
    picked = classifiers(1)._shuffle_rngs[0].integers(len(y), size=16)
    x, y = x[picked].astype(np.float64), y[picked]
    logits = x @ start[:640].reshape(64, 10) + start[640:]
    p = np.exp(logits - logits.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    own = (p - np.eye(10)[y]) / 16
    both = own + 0.5 * (p - teacher[0, y]) / 16
    for cohort, slope in ((free, own), (taught, both)):
        step = np.concatenate([(x.T @ slope).ravel(), slope.sum(0)])
        np.testing.assert_allclose(cohort.parameters("policy")[0], start - step, atol=2e-6)


def test_accuracy_counts_every_test_image_once():
    cohort = classifiers(2, samples=200, learning_rate=0.3)
    cohort.learn(np.array([6400, 6400]))
    parts = cohort.evaluate(7, 1)
    x, y = cohort._test
    right = cohort.probs(x).argmax(2) == y
    sizes = [len(p) for p in np.array_split(y, 7)]
    np.testing.assert_allclose(parts @ sizes / 360, right.mean(1))
    assert right.mean() > 0.6
    sampled = cohort.evaluate(1, 1, greedy=False)[:, 0]
    expected = [p[np.arange(360), y].mean() for p in cohort.probs(x)]
    np.testing.assert_allclose(sampled, expected, rtol=1e-5)


def test_convolutions_learn_too():
    cohort = classifiers(1, network="small", samples=300, learning_rate=0.1)
    cohort.learn(np.array([6400]))
    assert cohort.evaluate(1, 1)[0, 0] > 0.5


def test_what_it_cannot_do_is_said():
    with fails(FdrlError, "labeled", "'CartPole-v1'"):
        make(Classifier(), context(1))
    with pytest.raises(FdrlError, match=r"strategy.unit"):
        classifiers(1).learn(np.array([64]), 3)
    with pytest.raises(FdrlError, match="at most 143"):
        make(Classifier(samples=2000), context([9], DIGITS))


# ---- Samples beside an agent's own: kept, saved, and trained on ----


def extra(*counts, width=2):
    rng = np.random.default_rng(0)
    return [(rng.random((n, width)).astype(np.float32), np.full(n, 3)) for n in counts]


def test_saving_loses_nothing():
    kept = classifier.as_bytes(extra(2, 0, 3))
    state = classifier.pack(kept)
    assert state["extra/images"].shape == (3, 3, 2)
    assert state["extra/counts"].tolist() == [2, 0, 3]
    for (x, y), (x2, y2) in zip(kept, classifier.unpack(state), strict=True):
        np.testing.assert_array_equal(x, x2)
        np.testing.assert_array_equal(y, y2)
    assert classifier.unpack({}) is None


def test_joining_puts_them_behind():
    own = [(np.zeros((1, 1), np.float32), np.array([0]))]
    ((x, y),) = classifier.joined(own, [(np.array([[51]], np.uint8), np.array([7]))])
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
