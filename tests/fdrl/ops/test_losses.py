"""Losses on probabilities: by hand, against torch's autograd, and against finite differences."""

from __future__ import annotations

from typing import Any, get_args

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from fdrl.core.settings import DistillSettings, Loss
from fdrl.ops.losses import FLOOR, kl, loss_and_gradient

LOSSES: tuple[Loss, ...] = get_args(Loss)
ONE = np.ones((1, 1))


def at(policy: list[float], target: list[float], loss: Loss) -> float:
    """The loss of one policy and one target."""
    value, _ = loss_and_gradient(np.log([[policy]]), np.array([[target]]), ONE, loss)
    return float(value[0])


def test_the_direction_of_each_divergence() -> None:
    """t = (1/2, 1/2), p = (1/4, 3/4).

    KL(t || p) = ln 2 / 2 + ln(2/3) / 2 = ln(4/3) / 2 = 0.143841
    KL(p || t) = ln(1/2) / 4 + 3 ln(3/2) / 4     = 0.130812
    """
    p, t = [0.25, 0.75], [0.5, 0.5]
    forward, reverse = np.log(4 / 3) / 2, np.log(0.5) / 4 + 0.75 * np.log(1.5)
    assert at(p, t, "forward") == pytest.approx(forward)
    assert at(p, t, "reverse") == pytest.approx(reverse)
    assert kl(np.array(t), np.array(p)) == pytest.approx(forward)
    assert kl(np.array(p), np.array(t)) == pytest.approx(reverse)
    m = [0.375, 0.625]
    js = (kl(np.array(t), np.array(m)) + kl(np.array(p), np.array(m))) / 2
    assert at(p, t, "js") == pytest.approx(float(js))
    assert at(t, p, "js") == pytest.approx(float(js))


def test_what_forward_and_reverse_forgive() -> None:
    """Forward punishes missing an action of the teacher, reverse playing one it never plays."""
    misses = ([1 - 1e-6, 1e-6], [0.5, 0.5])
    adds = ([0.5, 0.5], [1.0, 0.0])
    assert at(*misses, "forward") > 5 > 1 > at(*misses, "reverse")
    assert at(*adds, "reverse") > 5 > 1 > at(*adds, "forward")


def test_the_weights_are_a_mean_over_each_agents_states() -> None:
    logits = np.log([[[0.25, 0.75], [0.5, 0.5]]] * 2)
    targets = np.full((2, 2, 2), 0.5)
    weights = np.array([[1.0, 3.0], [0.0, 0.0]])
    value, gradient = loss_and_gradient(logits, targets, weights, "forward")
    np.testing.assert_allclose(value, np.array([np.log(4 / 3) / 8, 0.0]))
    # (p - t) / 4 for the first state, nothing anywhere else
    np.testing.assert_allclose(gradient[0], [[-0.0625, 0.0625], [0.0, 0.0]], atol=1e-15)
    np.testing.assert_array_equal(gradient[1], np.zeros((2, 2)))


def torch_loss(logits: Any, t: Any, weights: Any, loss: Loss) -> Any:
    """The same, written with torch's own functions."""
    log_p = torch.log_softmax(logits, -1)
    p = log_p.exp()
    if loss == "forward":
        each = (torch.xlogy(t, t) - t * log_p).sum(-1)
    elif loss == "reverse":
        each = (p * (log_p - t.clamp_min(FLOOR).log())).sum(-1)
    else:
        m = (p + t) / 2
        each = (p * log_p - p * m.log() + torch.xlogy(t, t) - torch.xlogy(t, m)).sum(-1) / 2
    return (each * weights).sum(1) / weights.sum(1)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-12), (np.float32, 2e-6)])
@pytest.mark.parametrize("actions", [2, 5])
def test_against_autograd(loss: Loss, dtype: Any, tolerance: float, actions: int) -> None:
    rng = np.random.default_rng(1)
    logits = rng.normal(0, 3, (3, 17, actions)).astype(dtype)
    targets = rng.dirichlet(np.full(actions, 0.5), (3, 17)).astype(dtype)
    weights = rng.random((3, 17)).astype(dtype)
    value, gradient = loss_and_gradient(logits, targets, weights, loss)
    z = torch.tensor(logits, dtype=torch.float64, requires_grad=True)
    expected = torch_loss(z, torch.tensor(targets).double(), torch.tensor(weights).double(), loss)
    expected.sum().backward()
    assert value.dtype == gradient.dtype == dtype
    np.testing.assert_allclose(value, expected.detach().numpy(), atol=10 * tolerance)
    assert z.grad is not None
    np.testing.assert_allclose(gradient, z.grad.numpy(), atol=tolerance)


@pytest.mark.parametrize("loss", LOSSES)
def test_against_finite_differences(loss: Loss) -> None:
    rng = np.random.default_rng(2)
    logits, weights = rng.normal(size=(2, 3, 3)), rng.random((2, 3))
    targets = rng.dirichlet([1, 1, 1], (2, 3))
    _, gradient = loss_and_gradient(logits, targets, weights, loss)
    for index in np.ndindex(logits.shape):
        step = np.zeros_like(logits)
        step[index] = 1e-5
        up, _ = loss_and_gradient(logits + step, targets, weights, loss)
        down, _ = loss_and_gradient(logits - step, targets, weights, loss)
        assert (up - down)[index[0]] / 2e-5 == pytest.approx(gradient[index], abs=1e-8)


@pytest.mark.parametrize("loss", LOSSES)
def test_a_policy_that_is_the_teacher_stays(loss: Loss) -> None:
    targets = np.array([[[0.7, 0.2, 0.1], [0.01, 0.01, 0.98]]])
    value, gradient = loss_and_gradient(np.log(targets) + 5, targets, np.ones((1, 2)), loss)
    np.testing.assert_allclose(value, 0, atol=1e-12)
    np.testing.assert_allclose(gradient, 0, atol=1e-12)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_certain_policies_and_teachers_stay_finite(loss: Loss, dtype: Any) -> None:
    logits = np.array([[[500, -500], [-500, 500], [0, 0]]], dtype=dtype)
    targets = np.array([[[0, 1], [0, 1], [1, 0]]], dtype=dtype)
    value, gradient = loss_and_gradient(logits, targets, np.ones((1, 3)), loss)
    assert np.isfinite(value).all()
    assert np.isfinite(gradient).all()
    assert value[0] > 0


def test_forward_keeps_its_gradient_where_the_policy_is_most_wrong() -> None:
    """A logarithm clamped at 1e-8 would have none here; p - t is (1, -1)."""
    _, gradient = loss_and_gradient(np.array([[[40.0, 0.0]]]), np.array([[[0.0, 1.0]]]), ONE)
    np.testing.assert_allclose(gradient, [[[1, -1]]])


@pytest.mark.parametrize("loss", LOSSES)
def test_agents_do_not_depend_on_each_other(loss: Loss) -> None:
    rng = np.random.default_rng(3)
    logits = rng.normal(size=(5, 130, 3)).astype(np.float32)
    targets = rng.dirichlet([1, 1, 1], (5, 130)).astype(np.float32)
    weights = rng.random((5, 130)).astype(np.float32)
    value, gradient = loss_and_gradient(logits, targets, weights, loss)
    for k in range(5):
        one = slice(k, k + 1)
        alone = loss_and_gradient(logits[one], targets[one], weights[one], loss)
        np.testing.assert_array_equal(alone[0][0], value[k])
        np.testing.assert_array_equal(alone[1][0], gradient[k])


@pytest.mark.parametrize("loss", LOSSES)
def test_inputs_are_left_alone_whatever_their_layout(loss: Loss) -> None:
    rng = np.random.default_rng(4)
    actions_first = rng.normal(size=(2, 3, 9))
    logits = actions_first.swapaxes(1, 2)
    targets, weights = rng.dirichlet([1, 1, 1], (2, 9)), np.ones((2, 9))
    inputs: list[NDArray[Any]] = [logits, targets, weights]
    before = [x.copy() for x in inputs]
    value, gradient = loss_and_gradient(logits, targets, weights, loss)
    for x, old in zip(inputs, before, strict=True):
        np.testing.assert_array_equal(x, old)
    plain = loss_and_gradient(before[0], targets, weights, loss)
    np.testing.assert_allclose(value, plain[0])
    np.testing.assert_allclose(gradient, plain[1])


def test_kl_clamps_and_is_zero_only_for_equals() -> None:
    p, q = np.array([[0.5, 0.5], [1.0, 0.0]]), np.array([[0.5, 0.5], [0.0, 1.0]])
    np.testing.assert_allclose(kl(p, q), [0, -np.log(FLOOR)])


def test_gradient_descent_reaches_the_teacher() -> None:
    rng = np.random.default_rng(5)
    targets = rng.dirichlet([1, 1, 1], (2, 8))
    for loss in LOSSES:
        logits = np.zeros((2, 8, 3))
        for _ in range(3000):
            logits -= 8 * loss_and_gradient(logits, targets, np.ones((2, 8)), loss)[1]
        policy = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
        np.testing.assert_allclose(policy, targets, atol=5e-3)


def test_defaults() -> None:
    assert DistillSettings().loss == "forward"
