"""Diagonal Gaussians: by hand, against torch, and as properties."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from messages import fails

from fdrl.core.errors import FdrlError
from fdrl.ops import gaussian

ONE = np.ones((1, 1))
MEANS = st.floats(-5, 5)
STDS = st.floats(0.1, 5)


def rows(*shape: int) -> st.SearchStrategy[np.ndarray[Any, Any]]:
    """Moments [*shape, 2D] for shape [..., D]."""
    parts = arrays(np.float64, shape, elements=MEANS), arrays(np.float64, shape, elements=STDS)
    return st.tuples(*parts).map(lambda p: np.concatenate(p, axis=-1))


def test_the_direction_of_the_divergence() -> None:
    """p = N(0, 1), q = N(1, 2).

    KL(p || q) = ln 2 + (1 + 1) / 8 - 1/2 = 0.443147
    KL(q || p) = -ln 2 + (4 + 1) / 2 - 1/2 = 1.306853
    """
    p, q = np.array([0.0, 1.0]), np.array([1.0, 2.0])
    assert gaussian.kl(p, q) == pytest.approx(np.log(2) - 0.25)
    assert gaussian.kl(q, p) == pytest.approx(2 - np.log(2))
    policy, target = np.array([[[1.0, np.log(2.0)]]]), p[None, None]
    forward, _ = gaussian.loss_and_gradient(policy, target, ONE, "forward")
    reverse, _ = gaussian.loss_and_gradient(policy, target, ONE, "reverse")
    assert forward[0] == pytest.approx(np.log(2) - 0.25)  # KL(target || policy)
    assert reverse[0] == pytest.approx(2 - np.log(2))


def test_the_gradients_by_hand() -> None:
    """policy N(1, 2), target N(0, 1).

    forward: by the mean (1 - 0) / 4, by log std 1 - (1 + 1) / 4
    reverse: by the mean (1 - 0) / 1, by log std 4 / 1 - 1
    """
    policy, target = np.array([[[1.0, np.log(2.0)]]]), np.array([[[0.0, 1.0]]])
    _, forward = gaussian.loss_and_gradient(policy, target, ONE, "forward")
    _, reverse = gaussian.loss_and_gradient(policy, target, ONE, "reverse")
    np.testing.assert_allclose(forward[0, 0], [0.25, 0.5])
    np.testing.assert_allclose(reverse[0, 0], [1.0, 3.0])


@settings(max_examples=40, deadline=None, derandomize=True)
@given(policy=rows(2, 3, 2), target=rows(2, 3, 2), loss=st.sampled_from(["forward", "reverse"]))
def test_losses_equal_torchs(policy: Any, target: Any, loss: Any) -> None:
    weights = np.array([[1.0, 0.5, 0.0], [0.0, 0.0, 0.0]])
    policy[..., 2:] = np.log(policy[..., 2:])
    value, gradient = gaussian.loss_and_gradient(policy, target, weights, loss)
    theta = torch.tensor(policy, requires_grad=True)
    mean, log_std = theta.chunk(2, dim=2)
    ours = torch.distributions.Normal(mean, log_std.exp())
    teacher = torch.distributions.Normal(*torch.tensor(target).chunk(2, dim=2))
    pair = (teacher, ours) if loss == "forward" else (ours, teacher)
    each = torch.distributions.kl_divergence(*pair).sum(2)
    wanted = (each * torch.tensor(weights)).sum(1) / torch.tensor([1.5, 1.0])
    (slope,) = torch.autograd.grad(wanted.sum(), theta)
    np.testing.assert_allclose(value, wanted.detach(), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(gradient, slope, rtol=1e-9, atol=1e-9)


def test_there_is_no_jensen_shannon() -> None:
    with fails(FdrlError, "'js'", "forward or reverse"):
        gaussian.loss_and_gradient(np.zeros((1, 1, 2)), np.ones((1, 1, 2)), ONE, "js")


@settings(max_examples=60, deadline=None, derandomize=True)
@given(p=rows(4, 2), q=rows(4, 2))
def test_divergence_is_not_negative_and_zero_for_equals(p: Any, q: Any) -> None:
    assert (gaussian.kl(p, q) >= -1e-12).all()
    np.testing.assert_allclose(gaussian.kl(p, p), 0, atol=1e-12)


def test_entropy() -> None:
    """Of N(., 1) it is log(2 pi e) / 2; twice the standard deviation adds log 2."""
    one = 0.5 * np.log(2 * np.pi * np.e)
    wide = np.array([0.0, 0.0, 1.0, 2.0])
    assert gaussian.entropy(np.array([3.0, 1.0])) == pytest.approx(one)
    assert gaussian.entropy(wide) == pytest.approx(2 * one + np.log(2))


TWO = np.array([[[0.0, 1.0]], [[4.0, 2.0]]])
"""N(0, 1) and N(4, 2) about one state."""


def test_the_mixture_by_hand() -> None:
    """Mean (0 + 4) / 2; variance (1 + 4) / 2 + 4. With weights 3:1 mean 1, variance 7/4 + 3."""
    equal = gaussian.mixture(TWO, np.ones((2, 1)))
    np.testing.assert_allclose(equal, [[2.0, np.sqrt(6.5)]])
    np.testing.assert_allclose(
        gaussian.mixture(TWO, np.array([[3.0], [1.0]])), [[1, np.sqrt(4.75)]]
    )
    np.testing.assert_allclose(gaussian.mixture(TWO, np.zeros((2, 1))), equal)


def test_the_product_by_hand() -> None:
    """Precision (1 + 1/4) / 2 = 5/8; mean (0 * 1/2 + 4 * 1/8) / (5/8) = 0.8."""
    np.testing.assert_allclose(gaussian.product(TWO, np.ones((2, 1))), [[0.8, np.sqrt(1.6)]])
    np.testing.assert_allclose(gaussian.product(TWO, np.array([[0.0], [9.0]])), [[4.0, 2.0]])


def test_one_that_is_sure_does_not_overrule_the_others() -> None:
    """Its standard deviation counts as a tenth of the median, 1: precision 100 of 102."""
    answers = np.array([[[0.0, 1.0]], [[0.0, 1.0]], [[9.0, 1e-9]]])
    mean, std = gaussian.product(answers, np.ones((3, 1)))[0]
    assert mean == pytest.approx(900 / 102)
    assert std == pytest.approx((102 / 3) ** -0.5)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(answers=rows(3, 4, 2), weights=arrays(np.float64, (3, 4), elements=st.floats(0, 9)))
def test_pools_keep_what_pools_must(answers: Any, weights: Any) -> None:
    mean, std = gaussian.halves(answers)
    for pool in (gaussian.mixture, gaussian.product):
        got_mean, got_std = gaussian.halves(pool(answers, weights))
        assert (got_mean <= mean.max(0) + 1e-9).all()
        assert (got_mean >= mean.min(0) - 1e-9).all()
        np.testing.assert_allclose(
            pool(answers[::-1], weights[::-1]), pool(answers, weights), rtol=1e-9, atol=1e-9
        )
        alike = np.repeat(answers[:1], 3, axis=0)
        np.testing.assert_allclose(pool(alike, weights), answers[0], rtol=1e-9, atol=1e-9)
        assert (got_std > 0).all()
    # the product is never wider than the widest answer, the mixture never narrower than all
    assert (gaussian.halves(gaussian.product(answers, weights))[1] <= std.max(0) + 1e-9).all()
    assert (gaussian.halves(gaussian.mixture(answers, weights))[1] >= std.min(0) - 1e-9).all()


def test_the_mixture_has_the_moments_of_its_samples() -> None:
    rng = np.random.default_rng(0)
    drawn = np.concatenate([rng.normal(0, 1, 200_000), rng.normal(4, 2, 200_000)])
    wanted = gaussian.mixture(TWO, np.ones((2, 1)))[0]
    assert [drawn.mean(), drawn.std()] == pytest.approx(wanted.tolist(), rel=0.01)


def test_sharpening_divides_the_variance() -> None:
    np.testing.assert_allclose(gaussian.sharpen(np.array([[3.0, 2.0]]), 4.0), [[3.0, 1.0]])


def test_moments_by_group() -> None:
    """Group 1 holds N(0, 1) and N(4, 2), group 0 N(7, 3) alone."""
    said = np.array([[0.0, 1.0], [7.0, 3.0], [4.0, 2.0]])
    got = gaussian.mean_by(said, np.array([1, 0, 1]), 2)
    np.testing.assert_allclose(got, [[7.0, 3.0], [2.0, np.sqrt(6.5)]])
