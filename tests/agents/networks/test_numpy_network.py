"""The hand-written kernels against autograd."""

import dataclasses
from typing import get_args

import numpy as np
import pytest
from fdrl.agents.losses import ActorCriticLoss
from fdrl.agents.networks.layout import Layout
from fdrl.agents.networks.numpy_network import Name, NumpyNetwork
from fdrl.agents.networks.torch_network import TorchNetwork

from fdrl.core.settings import Loss

K, A, INPUTS = 3, 3, 5


def networks(layout: Layout, scale: float = 0.5) -> tuple[NumpyNetwork, TorchNetwork]:
    rng = np.random.default_rng(0)
    rows = (scale * rng.standard_normal((K, layout.size))).astype(np.float32)
    return NumpyNetwork(layout, rows.copy()), TorchNetwork(layout, rows.copy())


def minibatch(rows: int, clip: float | None, clip_vf: float | None) -> ActorCriticLoss:
    rng = np.random.default_rng(1)
    normal = rng.standard_normal((3, K, rows)).astype(np.float32)
    return ActorCriticLoss(
        actions=rng.integers(A, size=(K, rows)),
        advantages=normal[0],
        targets=normal[1],
        old_log_probs=rng.uniform(-2, -0.5, (K, rows)).astype(np.float32),
        old_values=normal[2],
        clip_range=clip,
        clip_range_vf=clip_vf,
        ent_coef=0.03,
        vf_coef=0.7,
    )


@pytest.mark.parametrize("activation", get_args(Name))
@pytest.mark.parametrize("hidden", [(), (7,), (6, 9, 4)])
def test_gradients_equal_autograds(hidden: tuple[int, ...], activation: str) -> None:
    ours, theirs = networks(Layout(INPUTS, hidden, A, activation))
    x = np.random.default_rng(2).standard_normal((K, 20, INPUTS)).astype(np.float32)
    batch = minibatch(20, 0.2, 0.3)
    got, wanted = ours.backward(x, batch), theirs.backward(x, batch)
    np.testing.assert_allclose(got, wanted, atol=1e-6, rtol=1e-5)
    assert np.abs(theirs.grad).max() > 0.01
    np.testing.assert_allclose(ours.grad, theirs.grad, atol=2e-6, rtol=1e-4)


@pytest.mark.parametrize("rows", [1, 64, 513, 1024])
def test_blocks_of_rows_add_up(rows: int) -> None:
    ours, theirs = networks(Layout(INPUTS, (64, 64), A), scale=0.2)
    x = np.random.default_rng(2).standard_normal((K, rows, INPUTS)).astype(np.float32)
    batch = minibatch(rows, None, None)
    got, wanted = ours.backward(x, batch), theirs.backward(x, batch)
    np.testing.assert_allclose(got, wanted, atol=1e-5, rtol=1e-4)
    np.testing.assert_allclose(ours.grad, theirs.grad, atol=1e-5, rtol=1e-3)
    logits, values = ours.outputs(x)
    np.testing.assert_allclose(logits, theirs.policy(x), atol=1e-5)
    np.testing.assert_allclose(values, theirs.values(x), atol=1e-5)
    np.testing.assert_allclose(ours.policy(x), logits, atol=1e-6)
    np.testing.assert_allclose(ours.values(x), values, atol=1e-6)


@pytest.mark.parametrize("loss", get_args(Loss))
def test_distillation_gradients_equal_autograds(loss: Loss) -> None:
    layout = Layout(INPUTS, (8, 8), A)
    ours, theirs = networks(layout)
    rng = np.random.default_rng(3)
    x = rng.standard_normal((K, 20, INPUTS)).astype(np.float32)
    targets = rng.dirichlet(np.ones(A), (K, 20)).astype(np.float32)
    weights = rng.random((K, 20)).astype(np.float32)
    got, logits = ours.backward_distill(x, targets, weights, loss)
    logits = logits.copy()
    wanted, other = theirs.backward_distill(x, targets, weights, loss)
    np.testing.assert_allclose(got, wanted, atol=1e-6)
    np.testing.assert_allclose(logits, other, atol=1e-5)
    size = layout.policy_size
    np.testing.assert_allclose(ours.grad[:, :size], theirs.grad[:, :size], atol=1e-6)


@pytest.mark.parametrize("hidden", [(), (7,), (64, 64)])
@pytest.mark.parametrize("rows", [1, 20, 513])
def test_gradients_of_values_equal_autograds_and_leave_policies_alone(
    hidden: tuple[int, ...], rows: int
) -> None:
    layout = Layout(INPUTS, hidden, A)
    ours, theirs = networks(layout, scale=0.2)
    rng = np.random.default_rng(4)
    x = rng.standard_normal((K, rows, INPUTS)).astype(np.float32)
    targets = rng.standard_normal((K, rows)).astype(np.float32)
    shares = rng.random((K, rows)).astype(np.float32) / rows
    first = layout.policy_size
    ours.grad[...] = 7.0
    got, wanted = (n.backward_values(x, targets, shares) for n in (ours, theirs))
    np.testing.assert_allclose(got, wanted, atol=1e-6, rtol=1e-4)
    np.testing.assert_allclose(ours.grad[:, first:], theirs.grad[:, first:], atol=1e-5, rtol=1e-3)
    assert (ours.grad[:, :first] == 7).all()
    assert not theirs.grad[:, :first].any()
    by_hand = ((theirs.values(x) - targets).astype(np.float64) ** 2 * shares).sum(1)
    np.testing.assert_allclose(got, by_hand, rtol=1e-4)


def test_values_alone_have_the_actor_critics_gradient_to_the_bit() -> None:
    layout = Layout(INPUTS, (64, 64), A)
    ours, _ = networks(layout, scale=0.2)
    x = np.random.default_rng(2).standard_normal((K, 200, INPUTS)).astype(np.float32)
    batch = dataclasses.replace(minibatch(200, None, None), vf_coef=1.0)
    shares = np.full((K, 200), 1 / 200, np.float32)
    batch = dataclasses.replace(batch, shares=shares)
    first = layout.policy_size
    wanted = ours.backward(x, batch)[1]
    gradient = ours.grad[:, first:].copy()
    np.testing.assert_array_equal(ours.backward_values(x, batch.targets, shares), wanted)
    np.testing.assert_array_equal(ours.grad[:, first:], gradient)


def test_states_may_be_shared_by_all_agents() -> None:
    ours, theirs = networks(Layout(INPUTS, (8,), A))
    x = np.random.default_rng(3).standard_normal((1, 9, INPUTS)).astype(np.float32)
    own = np.repeat(x, K, axis=0)
    np.testing.assert_array_equal(ours.policy(x), ours.policy(own))
    np.testing.assert_array_equal(theirs.policy(x), theirs.policy(own))


def test_taking_agents_copies_them() -> None:
    for network in networks(Layout(INPUTS, (8,), A)):
        part = network.take(np.array([2, 0]))
        np.testing.assert_array_equal(part.params, network.params[[2, 0]])
        part.params[...] = 0
        assert network.params.any()
