"""Where each weight of K networks lies in one array [K, P], of vectors and of images."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from functools import cached_property
from itertools import pairwise
from typing import Any, Literal, NamedTuple

import numpy as np
from gymnasium import spaces

from fdrl.core.arrays import Floats
from fdrl.core.errors import FdrlError
from fdrl.core.seeding import Purpose, generator

# ---- Where each weight of K policy-and-value networks lies in one array [K, P] ----
#
# Two separate towers, as in Stable-Baselines3's ``MlpPolicy``: the policy's parameters come first,
# then the value's; inside a tower layer by layer, weights [in, out] before biases [out]. Both
# towers have the same hidden sizes, so one strided view [K, 2, in, out] reaches a layer of both. A
# Gaussian policy's tower ends with the logarithms of its D standard deviations.


Init = Literal["orthogonal", "torch"]
"""How networks start: as Stable-Baselines3's do, or as plain ``torch.nn.Linear`` layers do."""


@dataclass(frozen=True)
class Layout:
    """The shape of one agent's networks: O inputs, hidden sizes, A actions (or D dimensions)."""

    inputs: int
    hidden: tuple[int, ...]
    n_actions: int
    activation: str = "tanh"
    gaussian: bool = False
    log_std: float = 0.0
    """Where the logarithms of a Gaussian policy's standard deviations start."""

    @property
    def outputs(self) -> int:
        """What a policy puts out for a state: A logits, or D means and D logarithms."""
        return 2 * self.n_actions if self.gaussian else self.n_actions

    @cached_property
    def layers(self) -> list[tuple[int, int]]:
        """(inputs, outputs) of each hidden layer of a tower."""
        sizes = (self.inputs, *self.hidden)
        return list(pairwise(sizes))

    @property
    def features(self) -> int:
        """Inputs of a head."""
        return self.hidden[-1] if self.hidden else self.inputs

    @cached_property
    def trunk_size(self) -> int:
        """Parameters of a tower without its head."""
        return sum(i * o + o for i, o in self.layers)

    @cached_property
    def policy_size(self) -> int:
        """Parameters of the policy tower."""
        spread = self.n_actions if self.gaussian else 0
        return self.trunk_size + (self.features + 1) * self.n_actions + spread

    @cached_property
    def size(self) -> int:
        """P: parameters of policy and value tower."""
        return self.policy_size + self.trunk_size + self.features + 1


class Views:
    """The layers of `rows` [K, P] as arrays that share its memory.

    `w[l]` [K, 2, in, out] and `b[l]` [K, 2, 1, out] are hidden layer l of both towers;
    `policy_w` [K, features, A], `policy_b` [K, A, 1], `value_w` [K, features, 1] and
    `value_b` [K, 1, 1] are the heads; `log_std` [K, D, 1] is empty unless policies are Gaussians.
    """

    def __init__(self, layout: Layout, rows: Floats) -> None:
        if rows.dtype != np.float32 or rows.strides[1] != 4:
            raise ValueError("parameters must be float32 rows without gaps")
        self.w: list[Floats] = []
        self.b: list[Floats] = []
        offset = 0
        towers = layout.policy_size * 4
        for i, o in layout.layers:
            self.w.append(_strided(rows, offset, (2, i, o), (towers, o * 4, 4)))
            self.b.append(_strided(rows, offset + i * o, (2, 1, o), (towers, o * 4, 4)))
            offset += i * o + o
        f, a, v = layout.features, layout.n_actions, layout.policy_size + offset
        self.policy_w = _strided(rows, offset, (f, a), (a * 4, 4))
        self.policy_b = _strided(rows, offset + f * a, (a, 1), (4, 4))
        self.log_std = rows[:, offset + (f + 1) * a : layout.policy_size, None]
        self.value_w = _strided(rows, v, (f, 1), (4, 4))
        self.value_b = _strided(rows, v + f, (1, 1), (4, 4))


def _strided(rows: Floats, offset: int, shape: tuple[int, ...], strides: tuple[int, ...]) -> Floats:
    view: Any = np.lib.stride_tricks.as_strided(
        rows[:, offset:], (rows.shape[0], *shape), (rows.strides[0], *strides)
    )
    return view  # type: ignore[no-any-return]


def orthogonal(rng: np.random.Generator, inputs: int, outputs: int, gain: float) -> Floats:
    """Draw a (semi-)orthogonal matrix [inputs, outputs] times `gain` (Saxe et al. 2014)."""
    tall = rng.standard_normal((max(inputs, outputs), min(inputs, outputs)))
    q, r = np.linalg.qr(tall)
    q = q * np.sign(np.diagonal(r))
    return np.asarray(gain * (q if inputs >= outputs else q.T), dtype=np.float32)


def linear_default(rng: np.random.Generator, inputs: int, outputs: int) -> list[Floats]:
    """Draw weights [inputs, outputs] and biases [outputs] as ``torch.nn.Linear`` does.

    Both are uniform within 1 / sqrt(inputs): Kaiming's rule (He et al. 2015) with a = sqrt(5).
    """
    bound = 1.0 / math.sqrt(inputs)
    shapes = ((inputs, outputs), (outputs,))
    return [rng.uniform(-bound, bound, shape).astype(np.float32) for shape in shapes]


def initial_row(layout: Layout, rng: np.random.Generator, init: Init = "orthogonal") -> Floats:
    """Return one agent's initial parameters [P]; `orthogonal` has Stable-Baselines3's gains."""
    spread = [np.full(layout.n_actions, layout.log_std, np.float32)] if layout.gaussian else []
    towers: list[list[Floats]] = []
    for outputs, gain in ((layout.n_actions, 0.01), (1, 1.0)):
        sizes = [(i, o, math.sqrt(2)) for i, o in layout.layers]
        parts: list[Floats] = []
        for i, o, gain_here in (*sizes, (layout.features, outputs, gain)):
            if init == "torch":
                parts += [p.ravel() for p in linear_default(rng, i, o)]
            else:
                parts += [orthogonal(rng, i, o, gain_here).ravel(), np.zeros(o, np.float32)]
        towers.append(parts)
    return np.concatenate([*towers[0], *spread, *towers[1]])


def initial_rows(
    layout: Layout, seed: int, agents: tuple[int, ...], same: bool, init: Init = "orthogonal"
) -> Floats:
    """Return [K, P]: each agent from its own stream, or all from agent 0's."""
    if same:
        row = initial_row(layout, generator(seed, Purpose.INIT, 0), init)
        return np.repeat(row[None], len(agents), axis=0)
    return np.stack([initial_row(layout, generator(seed, Purpose.INIT, a), init) for a in agents])


# ---- Networks for images: two convolutions before the hidden layers of a `Layout` ----
#
# The convolutions are those of the first deep Q-network (Mnih et al. 2013, arXiv 1312.5602, 16 and
# 32 channels) where an image has room for them, 3 x 3 ones where it is small. Policy and value have
# their own, as everywhere in these learners, so that distilling a policy leaves the value as it is.
#
# Shapes: H x W pixels of C channels, O = (H, W), (H, W, C) or (C, H, W).


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
