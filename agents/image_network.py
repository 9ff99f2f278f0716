"""K policy-and-value networks on images, in torch: convolutions before the reference's towers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from .image_layout import ImageLayout
from .memory import keep_memory
from .torch_network import ACTIVATIONS, TorchNetwork, _linear

Floats = NDArray[np.float32]
BLOCK = 1024
"""Images that go through together where no gradient is asked for."""


class ImageNetwork(TorchNetwork):
    """K networks over `params` [K, P] (a `Network`); see `image_layout`."""

    def __init__(self, layout: ImageLayout, params: Floats, device: str = "cpu") -> None:
        super().__init__(layout, params, device)
        self._shape = layout
        keep_memory()

    def take(self, rows: NDArray[np.int64]) -> ImageNetwork:
        """Return a network of copies of some agents."""
        return ImageNetwork(self._shape, self.params[rows], str(self._device))

    def _map(self, function: Callable[[Tensor, Tensor], Tensor], x: Floats) -> Floats:
        blocks = []
        for i in range(0, x.shape[1], BLOCK):
            blocks.append(super()._map(function, x[:, i : i + BLOCK]))
        return np.concatenate(blocks, axis=-1)

    def _trunk(self, theta: Tensor, x: Tensor, offset: int) -> tuple[Tensor, int]:
        """Return the features [K, B, F] of one tower at x [K or 1, B, O], and where they end."""
        act = ACTIVATIONS[self._shape.activation]
        z, channels = self._planes(x.expand(len(theta), *x.shape[1:])), self._shape.planes[0]
        for c in self._shape.convolutions:
            end = offset + channels * c.kernel**2 * c.channels
            w = theta[:, offset:end].reshape(len(theta), -1, c.channels).transpose(1, 2)
            b = theta[:, end : end + c.channels]
            # agents side by side as groups of channels: one call, and no sum across agents
            z = functional.conv2d(
                z,
                w.reshape(-1, channels, c.kernel, c.kernel),
                b.reshape(-1),
                stride=c.stride,
                padding=c.padding,
                groups=len(theta),
            )
            z, channels, offset = functional.relu(z), c.channels, end + c.channels
        h = z.reshape(len(z), len(theta), -1).transpose(0, 1)
        for i, o in self._shape.dense:
            h = act(_linear(theta, h, offset, i, o))
            offset += i * o + o
        return h, offset

    def _planes(self, x: Tensor) -> Tensor:
        """Return images [K, B, O] as [B, K * C, H, W], scaled."""
        layout = self._shape
        c, h, w = layout.planes
        agents, rows = x.shape[:2]
        if layout.channels_first:
            z = x.reshape(agents, rows, c, h, w)
        else:
            z = x.reshape(agents, rows, h, w, c).permute(0, 1, 4, 2, 3)
        return z.transpose(0, 1).reshape(rows, agents * c, h, w) * layout.scale
