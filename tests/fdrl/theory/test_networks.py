"""Finite networks: their gradients, their training, and their gap to the theory."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from messages import fails

from fdrl.theory import networks
from fdrl.theory.closed_forms import cd, kd
from fdrl.theory.networks import Networks, fixed_teacher, gap, slope, slopes, stale_teacher
from fdrl.theory.problem import relu_kernel

DRAW = np.random.default_rng(0)
X = DRAW.standard_normal((5, 3))
X /= np.linalg.norm(X, axis=1, keepdims=True)
Y, PHI = DRAW.standard_normal((2, 5))


def nets(width: int, workers: int = 3) -> Networks:
    return networks.initial(3, width, [np.random.default_rng(i) for i in range(workers)])


def test_one_unit_by_hand() -> None:
    one = Networks(np.array([[[2.0], [0.0]]], "f"), np.array([[-1.0]], "f"))
    x = np.array([[1.0, 0.0], [-1.0, 0.0]])
    np.testing.assert_allclose(networks.answers(one, x), [[-2, 0]])
    np.testing.assert_allclose(networks.kernels(one, x), [[[1, 0], [0, 0]]])
    # pull on the active input: -2 - 1 + 0.5 (-2 - 0) = -4; w += 0.1 * (-4) * 1 -> 1.6
    y, teacher = np.array([1.0, 0.0]), np.zeros(2)
    out, moved = networks.train(one, x, y, fixed_teacher(teacher), 0.5, 0.1, 1)
    np.testing.assert_allclose(out, [[[-2, 0]], [[-1.6, 0]]], rtol=1e-6)
    np.testing.assert_allclose(moved.hidden, [[[1.6], [0]]], rtol=1e-6)
    np.testing.assert_allclose(one.hidden, [[[2], [0]]])


@pytest.mark.parametrize("period", [1, 3])
def test_training_is_what_autograd_does(period: int) -> None:
    made = nets(40)
    out, _ = networks.train(made, X, Y, stale_teacher(period), 0.7, 0.2, 7)
    x, y = torch.tensor(X), torch.tensor(Y)
    w = torch.tensor(made.hidden, dtype=torch.float64, requires_grad=True)
    signs = torch.tensor(made.signs, dtype=torch.float64)
    for step in range(8):
        f = torch.einsum("mnr,mr->mn", torch.relu(x @ w), signs) / 40**0.5
        np.testing.assert_allclose(out[step], f.detach().numpy(), atol=1e-5)
        if step % period == 0:
            held = (f.detach().sum(0) - f.detach()) / 2
        loss = ((f - y) ** 2).sum() / 2 + 0.7 * ((f - held) ** 2).sum() / 2
        (grad,) = torch.autograd.grad(loss, w)
        w = (w - 0.2 * grad).detach().requires_grad_(True)


def test_the_same_generators_give_the_same_course() -> None:
    one, two = (networks.train(nets(20), X, Y, stale_teacher(2), 1.0, 0.2, 5)[0] for _ in range(2))
    np.testing.assert_array_equal(one, two)


@pytest.mark.slow
def test_wide_networks_follow_the_theory() -> None:
    made, steps = nets(30_000), np.arange(61)
    start, kernel = networks.answers(made, X), relu_kernel(X)
    out, _ = networks.train(made, X, Y, stale_teacher(1), 1.0, 0.3, 60)
    assert gap(out, cd(kernel, start, Y, 1.0, 0.3, steps, "descent")) < 0.01
    alone = Networks(made.hidden[:1], made.signs[:1])
    out, _ = networks.train(alone, X, Y, fixed_teacher(PHI), 1.0, 0.3, 60)
    assert gap(out[:, 0], kd(kernel, start[0], Y, PHI, 1.0, 0.3, steps, "descent")) < 0.01


def test_gap_by_hand() -> None:
    assert gap([[3.0, 0.0]], [[0.0, 4.0]]) == pytest.approx(np.sqrt(12.5))
    assert gap([np.nan], [0.0]) == np.inf


def test_slopes_by_hand() -> None:
    widths = np.array([64, 256, 1024])
    gaps = np.stack([widths**-0.5, 3 * widths**-0.25])
    np.testing.assert_allclose(slopes(widths, gaps), [-0.5, -0.25])
    found = slope(widths, gaps)
    assert found.value == pytest.approx(-0.375)
    assert (found.low, found.high) == pytest.approx((-0.5, -0.25))
    assert np.isnan(slope(widths, gaps[:1]).low)
    assert np.isnan(slopes(widths, [[1.0, np.inf, 0.5]])).all()
    with fails(ValueError, "widths"):
        slopes([8, 8], [[1.0, 1.0]])
