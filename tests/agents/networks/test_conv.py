"""The two published convolutional networks."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from fdrl.agents.networks import conv
from torch import nn

from fdrl import FdrlError


def networks(layout, agents=2):
    rng = np.random.default_rng(2)
    return conv.ConvNetwork(layout, np.stack([layout.initial(rng) for _ in range(agents)]))


def test_parameters_are_as_many_as_published():
    assert conv.chapter(28, 28, 10).size == 1_199_648
    assert conv.small(28, 28, 10).size == 12_544


@pytest.mark.parametrize("design", ["small", "chapter"])
def test_answers_are_those_of_torch_modules(design):
    layout = getattr(conv, design)(12, 12, 3)
    network = networks(layout, 1)
    bias = layout.bias
    same = int(layout.convolutions[0].same)
    a, b = (c.channels for c in layout.convolutions)
    first = [nn.Conv2d(1, a, 3, padding=same, bias=bias), nn.ReLU()]
    second = [nn.Conv2d(a, b, 3, padding=same, bias=bias), nn.ReLU()]
    pool = [nn.MaxPool2d(2)]
    body = first + pool + second if design == "small" else first + second + pool
    dense: list[nn.Module] = [nn.Flatten()]
    sizes = (layout.flat, *layout.hidden, 3)
    for number, (i, o) in enumerate(pairwise(sizes)):
        dense += [nn.ReLU()] * (number > 0) + [nn.Linear(i, o, bias=bias)]
    module = nn.Sequential(*body, *dense)
    nn.utils.vector_to_parameters(torch.from_numpy(network.params[0]), module.parameters())
    x = np.random.default_rng(0).random((5, 144), np.float32)
    with torch.no_grad():
        expected = module(torch.from_numpy(x).view(5, 1, 12, 12)).numpy()
    np.testing.assert_allclose(network.policy(x[None])[0].T, expected, atol=1e-5)


def test_gradients_agree_with_differences():
    network = networks(conv.small(8, 8, 3))
    rng = np.random.default_rng(1)
    x = rng.random((2, 4, 64)).astype(np.float32)
    targets = rng.dirichlet(np.ones(3), (2, 4)).astype(np.float32)
    weights = np.ones((2, 4), np.float32)
    network.backward_distill(x, targets, weights, "forward")
    slope = network.grad[1].copy()
    direction = rng.standard_normal(slope.size).astype(np.float32)
    direction /= np.linalg.norm(direction)
    ends = []
    for sign in (-1, 1):
        moved = conv.ConvNetwork(network.layout, network.params.copy())
        moved.params[1] += sign * np.float32(3e-3) * direction
        ends.append(moved.backward_distill(x, targets, weights, "forward")[0][1])
    assert (ends[1] - ends[0]) / 6e-3 == pytest.approx(float(slope @ direction), rel=0.03, abs=1e-4)


def test_images_too_small_are_refused():
    with pytest.raises(FdrlError, match="too small"):
        _ = conv.chapter(4, 4, 10).size
