"""Convolutional classifiers of K agents, in torch, one agent after another (a `Network`).

The two networks of the federated distillation papers, and any like them: convolutions with ReLU,
some followed by 2 x 2 max-pooling, then dense layers. One after another because an agent's numbers
must not depend on who else is there; a convolution of one agent fills a core as it is.

Shapes: K agents, B images, H x W pixels, O = H * W, A classes, P parameters.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import NoReturn

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from fdrl.core.arrays import Doubles, Floats
from fdrl.core.errors import FdrlError
from fdrl.core.settings import Loss

from .base import Objective
from .layout import linear_default
from .torch_network import distill_loss, keep_memory

BLOCK = 1000
"""Images that are answered at a time."""


@dataclass(frozen=True)
class Convolution:
    """A 3 x 3 convolution and ReLU; `same` pads, `pool` halves what comes out."""

    channels: int
    same: bool
    pool: bool


@dataclass(frozen=True)
class ConvLayout:
    """Where one network's parameters lie in a row [P]: by layer, weights before biases."""

    height: int
    width: int
    convolutions: tuple[Convolution, ...]
    hidden: tuple[int, ...]
    n_actions: int
    bias: bool

    @cached_property
    def inputs(self) -> int:
        """O."""
        return self.height * self.width

    @cached_property
    def flat(self) -> int:
        """Values that reach the first dense layer."""
        h, w, channels = self.height, self.width, 1
        for c in self.convolutions:
            h, w = (n if c.same else n - 2 for n in (h, w))
            h, w = (n // 2 if c.pool else n for n in (h, w))
            channels = c.channels
        if min(h, w) < 1:
            raise FdrlError(
                f"images of {self.height} x {self.width} are too small for this network; "
                "use agent.network = 'mlp'"
            )
        return h * w * channels

    @cached_property
    def shapes(self) -> list[tuple[int, ...]]:
        """The weights' shapes: [out, in, 3, 3] of convolutions, [out, in] of dense layers."""
        channels = (1, *(c.channels for c in self.convolutions))
        dense = (self.flat, *self.hidden, self.n_actions)
        return [(o, i, 3, 3) for i, o in pairwise(channels)] + [(o, i) for i, o in pairwise(dense)]

    @cached_property
    def size(self) -> int:
        """P."""
        return sum(math.prod(s) + (s[0] if self.bias else 0) for s in self.shapes)

    @property
    def policy_size(self) -> int:
        """P: there is no value network."""
        return self.size

    @property
    def outputs(self) -> int:
        """A: an answer is a probability for each class."""
        return self.n_actions

    @property
    def gaussian(self) -> bool:
        """No: classes are not numbers."""
        return False

    def initial(self, rng: np.random.Generator) -> Floats:
        """Draw one network [P] as torch initializes its layers (He et al. 2015, a = sqrt(5))."""
        parts: list[Floats] = []
        for shape in self.shapes:
            weights, bias = linear_default(rng, math.prod(shape[1:]), shape[0])
            parts += [weights.T.ravel(), bias] if self.bias else [weights.T.ravel()]
        return np.concatenate(parts)


def chapter(height: int, width: int, classes: int) -> ConvLayout:
    """Return the network of FD's experiments: 1,199,648 parameters on 28 x 28, no biases.

    Convolutions of 32 and 64 channels, pooling, 128 dense units (algorithm of arXiv 1811.11479).
    """
    layers = (Convolution(32, same=False, pool=False), Convolution(64, same=False, pool=True))
    return ConvLayout(height, width, layers, (128,), classes, bias=False)


def small(height: int, width: int, classes: int) -> ConvLayout:
    """Return the network of Mix2FLD's experiments: 12,544 parameters on 28 x 28 (2006.09801)."""
    layers = (Convolution(12, same=True, pool=True), Convolution(6, same=True, pool=False))
    return ConvLayout(height, width, layers, (), classes, bias=True)


class ConvNetwork:
    """K networks over `params` [K, P]."""

    def __init__(self, layout: ConvLayout, params: Floats, device: str = "cpu") -> None:
        self.layout, self.params = layout, params
        self.grad = np.zeros_like(params)
        keep_memory()
        try:
            self._device = torch.device(device)
        except RuntimeError as error:
            raise FdrlError(f"device {device!r} cannot be used: {error}") from error

    def take(self, rows: NDArray[np.int64]) -> ConvNetwork:
        """Return a network of copies of some agents."""
        return ConvNetwork(self.layout, self.params[rows], str(self._device))

    def policy(self, x: Floats) -> Floats:
        """Return the logits [K, A, B] at x [K or 1, B, O]."""
        with torch.no_grad():
            return np.stack(
                [self._answers(k, x[min(k, len(x) - 1)]) for k in range(len(self.params))]
            )

    def _answers(self, agent: int, x: Floats) -> Floats:
        theta = self._send(self.params[agent])
        blocks = [
            self._forward(theta, self._send(x[i : i + BLOCK])) for i in range(0, len(x), BLOCK)
        ]
        return np.ascontiguousarray(torch.cat(blocks).cpu().numpy().T)

    def backward_distill(
        self, x: Floats, targets: Floats, weights: Floats, loss: Loss
    ) -> tuple[Doubles, Floats]:
        """Write the gradient toward `targets` [K, B, A] into `grad`; see `Network`."""
        k, b = weights.shape
        losses, logits = np.zeros(k), np.empty((k, self.layout.n_actions, b), np.float32)
        for agent in range(k):
            theta = self._send(self.params[agent]).requires_grad_()
            ours = self._forward(theta, self._send(x[min(agent, len(x) - 1)]))
            each = distill_loss(
                ours.T[None],
                self._send(targets[agent : agent + 1]),
                self._send(weights[agent : agent + 1]),
                loss,
            )
            (slope,) = torch.autograd.grad(each.sum(), theta)
            self.grad[agent] = slope.cpu().numpy()
            losses[agent] = float(each.detach())
            logits[agent] = ours.detach().T.cpu().numpy()
        return losses, logits

    def _send(self, array: Floats) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self._device)

    def _forward(self, theta: Tensor, x: Tensor) -> Tensor:
        """Return the logits [B, A] of parameters [P] at x [B, O]."""
        layout = self.layout
        z = x.reshape(len(x), 1, layout.height, layout.width)
        offset = 0
        for number, shape in enumerate(layout.shapes):
            end = offset + math.prod(shape)
            w = theta[offset:end].view(shape)
            b = theta[end : end + shape[0]] if layout.bias else None
            offset = end + (shape[0] if layout.bias else 0)
            if len(shape) == 4:
                z = self._convolve(z, w, b, layout.convolutions[number])
                continue
            z = functional.linear(z.flatten(1), w, b)
            if number < len(layout.shapes) - 1:
                z = functional.relu(z)
        return z

    @staticmethod
    def _convolve(z: Tensor, w: Tensor, b: Tensor | None, layer: Convolution) -> Tensor:
        z = functional.conv2d(z, w, b, padding=int(layer.same))
        # the largest of four, then ReLU, is what the other order gives, at a quarter of its cost
        return functional.relu(functional.max_pool2d(z, 2) if layer.pool else z)

    def values(self, x: Floats) -> NoReturn:
        """Raise: there is no value network."""
        raise TypeError("a classifier has no values")

    def outputs(self, x: Floats) -> NoReturn:
        """Raise: there is no value network."""
        self.values(x)

    def backward_values(self, x: Floats, targets: Floats, shares: Floats) -> NoReturn:
        """Raise: there is no value network."""
        self.values(x)

    def backward(self, x: Floats, objective: Objective) -> NoReturn:
        """Raise: a classifier learns from labels."""
        self.values(x)
