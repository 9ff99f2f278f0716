"""A conditional generator of samples, and its training on a few seed samples."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Annotated, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from fdrl.core.arrays import Array, Floats
from fdrl.core.seeding import Purpose, generator
from fdrl.wire.safetensors import require

# ---- A conditional generator of samples: a small network that turns noise and a label into an
# image
#
# Its parameters travel as one row [P]; running one takes NumPy alone
# (`fdrl.strategies.faug_generator` makes one). Shapes: n samples, Z latent values, O pixels in [0,
# 1], L labels.


SLOPE = 0.2
"""Of the leaky rectifier, below zero."""
EPSILON = 1e-5
"""Added to a variance before its root is taken."""
CODES = 2**20 + 1
"""The branch of the seed's tree that draws the labels' codes; no agent has that index."""
SPREAD = 2.0
"""Standard deviation of a code's values: codes of 100 values then lie far apart in the noise."""
LARGEST = 1e6
"""Beyond it a parameter is a fault of transmission, or meant to do harm."""
NORMS = ("scale", "shift", "mean", "variance")


@dataclass(frozen=True)
class GeneratorLayout:
    """Dense layers Z -> hidden -> O; a hidden layer is leaky and then batch-normalized.

    With Z = 100, hidden layers of 256, 512 and 1,024 and O = 784 there are 1,493,520 values, the
    generator of FAug (Jeong et al. 2018, arXiv 1811.11479): running means and variances included,
    since the receiver needs them.
    """

    latent: int
    hidden: tuple[int, ...]
    pixels: int

    @cached_property
    def shapes(self) -> list[tuple[str, tuple[int, ...]]]:
        """What a row holds, in order: of each layer weights [in, out], biases, and norms."""
        sizes = (self.latent, *self.hidden, self.pixels)
        found: list[tuple[str, tuple[int, ...]]] = []
        for number, (i, o) in enumerate(pairwise(sizes)):
            found += [("weight", (i, o)), ("bias", (o,))]
            if number < len(self.hidden):
                found += [(name, (o,)) for name in NORMS]
        return found

    @cached_property
    def size(self) -> int:
        """P."""
        return sum(math.prod(shape) for _, shape in self.shapes)

    def layers(self, row: Array) -> list[dict[str, Array]]:
        """Return views into a row [P], a layer each, by name."""
        out: list[dict[str, Array]] = []
        offset = 0
        for name, shape in self.shapes:
            if name == "weight":
                out.append({})
            end = offset + math.prod(shape)
            out[-1][name] = row[offset:end].reshape(shape)
            offset = end
        return out


def check_row(layout: GeneratorLayout, row: Array) -> None:
    """Raise `BadMessage` unless a row [P] is a generator that can be run."""
    require(row.shape == (layout.size,), f"expected {layout.size} values, got {list(row.shape)}")
    require(row.dtype == np.float32, f"a generator of {row.dtype}, not float32")
    largest = float(np.abs(row).max(initial=0.0))
    require(largest <= LARGEST, f"a generator's value of {largest:g}: no network has that")
    norms = [layer["variance"] for layer in layout.layers(row) if "variance" in layer]
    require(all(v.min() >= 0 for v in norms), "a generator with a negative variance")


def label_codes(seed: int, labels: int, latent: int) -> Floats:
    """Return what each label adds to the noise [L, Z]: agreed through the run's seed, never sent.

    Noise around a code of its own is how the generator is told the label; it takes no parameters.
    """
    rng = generator(seed, Purpose.DATA, CODES)
    return (SPREAD * rng.standard_normal((labels, latent))).astype(np.float32)


def sample_images(layout: GeneratorLayout, row: Floats, inputs: Floats) -> Floats:
    """Return images [n, O] for noise with the labels' codes added, `inputs` [n, Z]."""
    x: Array = inputs
    for layer in layout.layers(row):
        x = x @ layer["weight"] + layer["bias"]
        if "variance" in layer:
            x = np.where(x > 0, x, np.float32(SLOPE) * x)
            scale = layer["scale"] / np.sqrt(layer["variance"] + np.float32(EPSILON))
            x = (x - layer["mean"]) * scale + layer["shift"]
    with np.errstate(over="ignore"):  # exp(-x) beyond float32 is infinity, and the pixel black
        return np.asarray(1.0 / (1.0 + np.exp(-x)), dtype=np.float32)


# ---- Training a conditional generator on a few seed samples, as FAug's server does ----
#
# A conditional variational autoencoder (Kingma and Welling 2013, arXiv 1312.6114; Sohn et al. 2015)
# whose decoder is the generator: on a handful of samples it is steadier than the adversarial
# training of the FAug paper, and only the decoder travels. Seeds are multiplied by small random
# turns, shifts and zooms, where the paper's server searches the web for more of their kind.
#
# Shapes: S seeds, B of a minibatch, Z latent values, O = side * side pixels, L labels.


Positive = Annotated[int, msgspec.Meta(ge=1)]
NotNegative = Annotated[float, msgspec.Meta(ge=0.0)]
MOMENTUM = 0.1
"""How far one minibatch moves the running means and variances."""
TURN, SHIFT, ZOOM = 0.2, 0.08, 0.1
"""Largest turn (radians), shift (of the side) and zoom of an augmented seed."""


class GeneratorTraining(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How the server trains its generator."""

    latent: Positive = 100
    """Values of noise that an image is made of."""
    hidden: tuple[Positive, ...] = (256, 512, 1024)
    """The generator's hidden layers; with 28 x 28 images it has 1,493,520 values."""
    encoder: Positive = 256
    """Hidden units of the encoder, which stays at the server."""
    steps: Annotated[int, msgspec.Meta(ge=0)] = 1500
    """Gradient steps; 0: an untrained generator, as a control."""
    batch: Annotated[int, msgspec.Meta(ge=2)] = 64
    """Seeds in a step, each label as often as another."""
    lr: NotNegative = 1e-3
    """Learning rate of Adam."""
    divergence: NotNegative = 1.0
    """Weight of the latent code's divergence from noise."""


def train(
    layout: GeneratorLayout,
    images: Floats,
    labels: NDArray[np.int64],
    codes: Floats,
    settings: GeneratorTraining,
    rng: np.random.Generator,
) -> tuple[Floats, float]:
    """Return a generator [P] trained on seeds [S, O], labels [S], and its last loss per seed.

    `codes` [L, Z] are the labels' (`fdrl.strategies.faug_generator.label_codes`).
    """
    import torch

    row = initial_row(layout, rng)
    theta = [
        {name: torch.from_numpy(part.copy()) for name, part in layer.items()}
        for layer in layout.layers(row)
    ]
    encoder = [torch.from_numpy(a) for a in _encoder(layout, settings.encoder, rng)]
    learned = [t for layer in theta for n, t in layer.items() if n not in ("mean", "variance")]
    for tensor in learned + encoder:
        tensor.requires_grad_()
    adam = torch.optim.Adam(learned + encoder, lr=settings.lr)
    value = 0.0
    for _ in range(settings.steps):
        picked = balanced_rows(labels, settings.batch, rng)
        x = augment(images[picked], rng)
        noise = rng.standard_normal((settings.batch, layout.latent)).astype(np.float32)
        code = torch.from_numpy(codes[labels[picked]])
        loss = _loss(theta, encoder, x, code, torch.from_numpy(noise), settings.divergence)
        adam.zero_grad(set_to_none=True)
        loss.backward()
        adam.step()
        value = float(loss.detach())
    parts = [layer[name].detach().numpy().ravel() for layer in theta for name in layer]
    return np.concatenate(parts).astype(np.float32), value


def initial_row(layout: GeneratorLayout, rng: np.random.Generator) -> Floats:
    """Draw a generator [P]: layers as torch's, norms that change nothing."""
    row = np.zeros(layout.size, np.float32)
    for layer in layout.layers(row):
        bound = 1.0 / math.sqrt(len(layer["weight"]))
        layer["weight"][...] = rng.uniform(-bound, bound, layer["weight"].shape)
        if "scale" in layer:
            layer["scale"][...] = 1.0
            layer["variance"][...] = 1.0
    return row


def _encoder(layout: GeneratorLayout, hidden: int, rng: np.random.Generator) -> list[Floats]:
    """Draw O + Z -> hidden -> 2 Z: the mean and log-variance of an image's latent values."""
    found: list[Floats] = []
    sizes = (layout.pixels + layout.latent, hidden), (hidden, 2 * layout.latent)
    for i, o in sizes:
        bound = 1.0 / math.sqrt(i)
        found.append(rng.uniform(-bound, bound, (i, o)).astype(np.float32))
        found.append(np.zeros(o, np.float32))
    return found


def balanced_rows(
    labels: NDArray[np.int64], count: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Draw seeds: first a label, each as likely as another, then one of its seeds."""
    present = np.unique(labels)
    pools = {int(label): np.flatnonzero(labels == label) for label in present}
    wanted = rng.choice(present, size=count)
    return np.array([rng.choice(pools[int(label)]) for label in wanted], np.int64)


def _loss(theta: Any, encoder: Any, x: Any, code: Any, noise: Any, divergence: float) -> Any:
    """Return the negative evidence bound per image: cross-entropy of pixels plus divergence."""
    import torch
    from torch.nn import functional

    w1, b1, w2, b2 = encoder
    inner = functional.leaky_relu(torch.cat([x, code], 1) @ w1 + b1, SLOPE)
    mean, log_variance = (inner @ w2 + b2).chunk(2, dim=1)
    log_variance = log_variance.clamp(-10.0, 10.0)
    h = mean + noise * torch.exp(0.5 * log_variance) + code
    for layer in theta:
        h = h @ layer["weight"] + layer["bias"]
        if "variance" in layer:
            h = functional.batch_norm(
                functional.leaky_relu(h, SLOPE),
                layer["mean"],
                layer["variance"],
                layer["scale"],
                layer["shift"],
                training=True,
                momentum=MOMENTUM,
                eps=EPSILON,
            )
    pixels = functional.binary_cross_entropy_with_logits(h, x, reduction="sum")
    apart = 0.5 * (mean.square() + log_variance.exp() - 1.0 - log_variance).sum()
    return (pixels + divergence * apart) / len(x)


def augment(images: Floats, rng: np.random.Generator) -> Any:
    """Return square images [B, O] turned, shifted and zoomed a little, as a tensor in [0, 1].

    Others than square ones come back as they are.
    """
    import torch
    from torch.nn import functional

    x = torch.from_numpy(np.ascontiguousarray(images))
    side = math.isqrt(images.shape[1])
    if side * side != images.shape[1]:
        return x
    b = len(images)
    turn = rng.uniform(-TURN, TURN, b)
    zoom = rng.uniform(1 - ZOOM, 1 + ZOOM, b)
    shift = rng.uniform(-2 * SHIFT, 2 * SHIFT, (b, 2))  # the grid is 2 wide
    cos, sin = zoom * np.cos(turn), zoom * np.sin(turn)
    maps = np.stack(
        [np.stack([cos, -sin, shift[:, 0]], 1), np.stack([sin, cos, shift[:, 1]], 1)], 1
    )
    grid = functional.affine_grid(
        torch.from_numpy(maps.astype(np.float32)), [b, 1, side, side], align_corners=False
    )
    moved = functional.grid_sample(x.reshape(b, 1, side, side), grid, align_corners=False)
    return moved.reshape(b, -1).clamp(0.0, 1.0)
