"""Convolutional policies against modules of torch, and on their own."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from fdrl.agents.losses import ActorCriticLoss
from fdrl.agents.networks.layout import ImageLayout, initial_rows
from fdrl.agents.networks.torch_network import BLOCK, ImageNetwork
from torch import nn

LAYOUT = ImageLayout(8 * 6 * 3, (5,), 2, "tanh", image=(8, 6, 3), scale=1 / 255)


def network(layout: ImageLayout = LAYOUT, agents: int = 2) -> ImageNetwork:
    return ImageNetwork(layout, initial_rows(layout, 0, tuple(range(agents)), same=False))


def images(agents: int, rows: int, layout: ImageLayout = LAYOUT) -> np.ndarray:
    rng = np.random.default_rng(1)
    return rng.integers(0, 256, (agents, rows, layout.inputs)).astype(np.float32)


def tower(layout: ImageLayout, row: np.ndarray, outputs: int) -> nn.Module:
    """Build a tower of torch's modules from its parameters."""
    convolutions, channels, offset = [], layout.planes[0], 0
    modules: list[nn.Module] = []
    for c in layout.convolutions:
        made: nn.Module = nn.Conv2d(channels, c.channels, c.kernel, c.stride, c.padding)
        convolutions.append(made)
        modules += [made, nn.ReLU()]
        channels = c.channels
    modules += [nn.Flatten(), nn.Linear(layout.flat, 5), nn.Tanh(), nn.Linear(5, outputs)]
    for made in (m for m in modules if isinstance(m, nn.Conv2d | nn.Linear)):
        shape = tuple(made.weight.shape)
        inputs, out = int(np.prod(shape[1:])), shape[0]
        weights = row[offset : offset + inputs * out].reshape(inputs, out).T.reshape(shape)
        offset += inputs * out
        made.weight.data = torch.tensor(weights)
        made.bias.data = torch.tensor(row[offset : offset + out])
        offset += out
    return nn.Sequential(*modules)


@pytest.mark.parametrize("first", [False, True])
def test_outputs_are_those_of_torch_modules(first: bool) -> None:
    layout = replace(LAYOUT, image=(3, 8, 6)) if first else LAYOUT
    made, x = network(layout), images(2, 7, layout)
    logits, values = made.outputs(x)
    for k, row in enumerate(made.params):
        pixels = torch.tensor(x[k]).reshape(7, *layout.image) / 255
        pixels = pixels if first else pixels.permute(0, 3, 1, 2)
        policy = tower(layout, row[: layout.policy_size], 2)
        value = tower(layout, row[layout.policy_size :], 1)
        with torch.no_grad():
            np.testing.assert_allclose(logits[k].T, policy(pixels).numpy(), atol=1e-5)
            np.testing.assert_allclose(values[k], value(pixels)[:, 0].numpy(), atol=1e-5)


def test_an_agents_numbers_do_not_depend_on_the_others() -> None:
    both, x = network(), images(2, 9)
    alone = both.take(np.array([1]))
    np.testing.assert_array_equal(both.policy(x)[1:], alone.policy(x[1:]))
    batch = _batch(9)
    both.backward(x, batch)
    one = ActorCriticLoss(**{**vars(batch), **{n: getattr(batch, n)[1:] for n in ARRAYS}})
    alone.backward(x[1:], one)
    np.testing.assert_array_equal(both.grad[1:], alone.grad)


ARRAYS = ("actions", "advantages", "targets", "old_log_probs", "old_values")


def _batch(rows: int) -> ActorCriticLoss:
    normal = np.random.default_rng(2).standard_normal((4, 2, rows)).astype(np.float32)
    actions = np.random.default_rng(3).integers(2, size=(2, rows))
    return ActorCriticLoss(actions, *normal, clip_range=0.2, clip_range_vf=None, ent_coef=0.01,
                       vf_coef=0.5)  # fmt: skip


def test_agents_computed_together_are_the_same_but_for_rounding() -> None:
    """As on devices other than the CPU, where groups of channels are agents."""
    apart, together, x = network(), network(), images(2, 9)
    together._stacks = [slice(0, 2)]
    for got, wanted in zip(together.outputs(x), apart.outputs(x), strict=True):
        np.testing.assert_allclose(got, wanted, atol=1e-5)
    shared = together.policy(x[:1])
    np.testing.assert_allclose(shared[0], apart.policy(x)[0], atol=1e-5)
    together.backward(x, _batch(9))
    apart.backward(x, _batch(9))
    np.testing.assert_allclose(together.grad, apart.grad, atol=1e-6, rtol=1e-3)
    assert np.abs(apart.grad[:, : 27 * 16]).max() > 1e-4  # it reaches the first convolution


def test_many_images_go_through_in_blocks() -> None:
    made, x = network(agents=1), images(1, BLOCK + 3)
    logits = made.policy(x)
    assert logits.shape == (1, 2, BLOCK + 3)
    np.testing.assert_allclose(logits[..., -3:], made.policy(x[:, -3:]), atol=1e-5)
    assert made.values(x).shape == (1, BLOCK + 3)


def test_distilling_leaves_the_value_alone() -> None:
    made, x = network(), images(1, 6)
    targets = np.tile(np.float32([0.9, 0.1]), (2, 6, 1))
    made.backward_distill(x, targets, np.ones((2, 6), np.float32), "forward")
    assert not made.grad[:, LAYOUT.policy_size :].any()
    assert made.grad[:, : LAYOUT.policy_size].any()
