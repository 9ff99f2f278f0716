import numpy as np
import pytest
import torch
from fdrl.agents import train_state
from fdrl.agents.train_state import step_rows

K, P = 3, 50


def gradients(steps: int = 20) -> np.ndarray:
    scale = np.array([1e-4, 1.0, 30.0])[:, None]  # agents far apart
    return (scale * np.random.default_rng(0).standard_normal((steps, K, P))).astype(np.float32)


@pytest.mark.parametrize("kind", ["adam", "rmsprop"])
def test_steps_equal_torchs(kind: str) -> None:
    ours = np.ones((K, P), np.float32)
    moments = np.zeros((K, train_state.SLOTS[kind], P), np.float32)
    count = np.zeros(K, np.int64)
    theirs = torch.ones(K, P, requires_grad=True)
    torch_class = torch.optim.Adam if kind == "adam" else torch.optim.RMSprop
    other = torch_class([theirs], lr=0.01, eps=1e-5)
    step = getattr(train_state, kind)
    for g in gradients():
        step(ours, g, moments, count, np.full(K, 0.01))
        theirs.grad = torch.tensor(g)
        other.step()
        np.testing.assert_allclose(ours, theirs.detach().numpy(), atol=2e-6)
    assert count.tolist() == [20] * K


def test_learning_rates_may_differ_by_agent_and_parameter() -> None:
    params = np.zeros((2, 2), np.float32)
    rates = np.array([[0.1, 0.2], [0.0, 0.4]])
    moments, count = np.zeros((2, 2, 2), np.float32), np.zeros(2, np.int64)
    train_state.adam(params, np.ones((2, 2), np.float32), moments, count, rates)
    # Adam's first step is its learning rate
    np.testing.assert_allclose(params, -rates, rtol=2e-5)


def test_clipping_is_per_agent_and_equals_torchs() -> None:
    grad = gradients(1)[0]
    before = grad.copy()
    norms = train_state.clip_rows(grad, 0.5)
    np.testing.assert_allclose(norms, np.linalg.norm(before, axis=1), rtol=1e-5)
    np.testing.assert_array_equal(grad[0], before[0])  # a small one stays to the bit
    for row, old in zip(grad[1:], before[1:], strict=True):
        leaf = torch.zeros(P, requires_grad=True)
        leaf.grad = torch.tensor(old)
        torch.nn.utils.clip_grad_norm_([leaf], 0.5)
        assert leaf.grad is not None
        np.testing.assert_allclose(row, leaf.grad.numpy(), rtol=1e-5)


def test_a_limit_of_zero_never_clips() -> None:
    grad = gradients(1)[0]
    before = grad.copy()
    train_state.clip_rows(grad, 0.0)
    np.testing.assert_array_equal(grad, before)


def test_rows_that_are_not_live_keep_every_bit() -> None:
    params = np.ones((K, P), np.float32)
    moments, count = np.full((K, 2, P), 0.5, np.float32), np.full(K, 4)
    whole = (params.copy(), moments.copy(), count.copy())
    grad, lr = gradients(1)[0], np.full(K, 0.1)
    live = np.array([True, False, True])
    step_rows(train_state.adam, params, grad, moments, count, lr, live)
    train_state.adam(*(whole[0], grad, whole[1], whole[2]), lr)
    assert count.tolist() == [5, 4, 5]
    assert (params[1] == 1).all()
    assert (moments[1] == 0.5).all()
    for k in (0, 2):
        np.testing.assert_array_equal(params[k], whole[0][k])
        np.testing.assert_array_equal(moments[k], whole[1][k])
