"""Networks for images: two convolutions before the hidden layers of a `Layout`.

The convolutions are those of the first deep Q-network (Mnih et al. 2013, arXiv 1312.5602, 16 and 32
channels) where an image has room for them, 3 x 3 ones where it is small. Policy and value have
their own, as everywhere in these learners, so that distilling a policy leaves the value as it is.

Shapes: H x W pixels of C channels, O = (H, W), (H, W, C) or (C, H, W).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from gymnasium import spaces

from fdrl.errors import FdrlError

from .layout import Layout

ROOM = 36
"""The smallest side that leaves something of an 8 x 8 and a 4 x 4 convolution's output."""
SMALL = 16
"""The largest side at which a first convolution keeps every pixel."""


class Convolution(NamedTuple):
    """A square convolution with ReLU."""

    channels: int
    kernel: int
    stride: int
    padding: int

    def side(self, pixels: int) -> int:
        """Return how many of a side's pixels are left."""
        return (pixels + 2 * self.padding - self.kernel) // self.stride + 1


@dataclass(frozen=True)
class ImageLayout(Layout):
    """The shape of one agent's networks on images of shape `image`, flat in C order."""

    image: tuple[int, ...] = ()
    scale: float = 1.0
    """What pixels are multiplied by: 1 / 255 for bytes."""

    @property
    def channels_first(self) -> bool:
        """Whether O is (C, H, W): channels are fewer than pixels."""
        return len(self.image) == 3 and self.image[0] < min(self.image[1:])

    @property
    def planes(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        if len(self.image) == 2:
            return 1, self.image[0], self.image[1]
        c, h, w = self.image if self.channels_first else (self.image[2], *self.image[:2])
        return c, h, w

    @cached_property
    def convolutions(self) -> tuple[Convolution, ...]:
        """What comes before the hidden layers."""
        sides = self.planes[1:]
        if min(sides) >= ROOM:
            return Convolution(16, 8, 4, 0), Convolution(32, 4, 2, 0)
        first = 1 if max(sides) <= SMALL else 2
        return Convolution(16, 3, first, 1), Convolution(32, 3, 2, 1)

    @cached_property
    def flat(self) -> int:
        """Values that reach the first hidden layer."""
        channels, h, w = self.planes
        for c in self.convolutions:
            channels, h, w = c.channels, c.side(h), c.side(w)
        return channels * h * w

    @cached_property
    def dense(self) -> list[tuple[int, int]]:
        """(inputs, outputs) of each hidden layer of a tower."""
        return list(pairwise((self.flat, *self.hidden)))

    @cached_property
    def layers(self) -> list[tuple[int, int]]:
        """The convolutions as matrices [C * kernel * kernel, channels], then the hidden layers."""
        channels = (self.planes[0], *(c.channels for c in self.convolutions))
        squares = (c.kernel**2 for c in self.convolutions)
        matrices = [(i * s, o) for (i, o), s in zip(pairwise(channels), squares, strict=True)]
        return matrices + self.dense

    @property
    def features(self) -> int:
        """Inputs of a head."""
        return self.hidden[-1] if self.hidden else self.flat


@dataclass(frozen=True)
class ImagePolicyLayout(ImageLayout):
    """An `ImageLayout` of which the policy tower is all there is."""

    @cached_property
    def size(self) -> int:
        """P: parameters of the policy."""
        return self.policy_size


def for_images(plain: Layout, space: spaces.Box) -> Layout:
    """Return `plain` with convolutions if observations are images; bytes are scaled to 0..1."""
    if len(space.shape) < 2:
        return plain
    if math.prod(space.shape) != plain.inputs:
        raise FdrlError(f"{plain.inputs} inputs do not fit images of shape {space.shape}")
    known = {f.name: getattr(plain, f.name) for f in fields(plain)}
    scale = 1 / 255 if space.dtype == np.uint8 else 1.0
    return ImageLayout(**known, image=space.shape, scale=scale)
