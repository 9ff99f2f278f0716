"""Kernels: the analytic one, and the empirical one of torch networks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from messages import fails
from torch import nn

from fdrl.theory import networks
from fdrl.theory.problem import empirical_ntk, relu_kernel


class TwoLayer(nn.Module):
    """The network of `fdrl.theory.networks`, written for torch."""

    def __init__(self, hidden: np.ndarray, signs: np.ndarray) -> None:
        super().__init__()
        self.hidden = nn.Parameter(torch.tensor(hidden, dtype=torch.float64))
        self.register_buffer("signs", torch.tensor(signs, dtype=torch.float64))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        signs: torch.Tensor = self.signs
        return torch.relu(x @ self.hidden) @ signs / len(signs) ** 0.5


def unit_inputs(count: int, dimension: int) -> np.ndarray:
    x = np.random.default_rng(0).standard_normal((count, dimension))
    return np.asarray(x / np.linalg.norm(x, axis=1, keepdims=True))


def test_relu_kernel_by_hand() -> None:
    x = np.array([[1.0, 0.0], [0.0, 2.0], [-1.0, 0.0], [1.0, 1.0]])
    out = relu_kernel(x)
    # itself: |x|**2 / 2; right angles: 0; opposite: 0; at 45 degrees: 3/8 of the product
    np.testing.assert_allclose(out[0], [0.5, 0, 0, 0.375], atol=1e-12)
    assert out[1, 1] == pytest.approx(2)
    np.testing.assert_array_equal(out, out.T)


def test_relu_kernel_refuses() -> None:
    with pytest.raises(ValueError, match="no direction"):
        relu_kernel(np.zeros((2, 3)))
    with pytest.raises(ValueError, match=r"\[N, D\]"):
        relu_kernel(np.ones(3))


def test_the_kernel_of_a_linear_model_is_the_gram_matrix() -> None:
    x = torch.tensor(unit_inputs(5, 3))
    kernel = empirical_ntk(nn.Linear(3, 2, bias=False).double(), x)
    assert kernel.shape == (5, 5, 2, 2)
    torch.testing.assert_close(kernel[:, :, 0, 0], x @ x.T)
    torch.testing.assert_close(kernel[:, :, 1, 1], x @ x.T)
    torch.testing.assert_close(kernel[:, :, 0, 1], torch.zeros(5, 5, dtype=torch.float64))
    with_bias = empirical_ntk(nn.Linear(3, 1).double(), x)
    torch.testing.assert_close(with_bias[..., 0, 0], x @ x.T + 1)


def test_only_what_trains_counts() -> None:
    x = torch.tensor(unit_inputs(4, 3))
    model = nn.Linear(3, 1).double()
    model.bias.requires_grad_(False)
    torch.testing.assert_close(empirical_ntk(model, x)[..., 0, 0], x @ x.T)
    model.weight.requires_grad_(False)
    with fails(ValueError, "parameter"):
        empirical_ntk(model, x)


def test_convolutions_have_a_kernel_too() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3))
    kernel = empirical_ntk(model, torch.randn(5, 1, 4, 4)).detach()
    assert kernel.shape == (5, 5, 3, 3)
    square = kernel.permute(0, 2, 1, 3).reshape(15, 15)
    torch.testing.assert_close(square, square.T)
    assert torch.linalg.eigvalsh(square).min() > -1e-4


def test_numpy_and_torch_agree_on_a_network_and_its_kernel() -> None:
    x = unit_inputs(6, 4)
    nets = networks.initial(4, 50, [np.random.default_rng(i) for i in range(2)])
    for i in range(2):
        model = TwoLayer(nets.hidden[i], nets.signs[i])
        made = model(torch.tensor(x)).detach().numpy()
        np.testing.assert_allclose(networks.answers(nets, x)[i], made, atol=1e-6)
        kernel = empirical_ntk(model, torch.tensor(x))[..., 0, 0].numpy()
        np.testing.assert_allclose(networks.kernels(nets, x)[i], kernel, atol=1e-6)


def test_a_wide_network_has_the_analytic_kernel_within_monte_carlo_error() -> None:
    x, width = unit_inputs(6, 4), 20_000
    nets = networks.initial(4, width, [np.random.default_rng(1)])
    model = TwoLayer(nets.hidden[0], nets.signs[0])
    kernel = empirical_ntk(model, torch.tensor(x))[..., 0, 0].numpy()
    # an entry is x.x' times a share of active units: a binomial with variance below 1 / (4 m)
    error = (kernel - relu_kernel(x)) / (np.abs(x @ x.T) * 0.5 / np.sqrt(width))
    assert np.abs(error).max() < 4
    assert np.abs(error).max() > 0.05
