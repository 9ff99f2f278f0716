"""A conditional generator of samples: a small network that turns noise and a label into an image.

Its parameters travel as one row [P]; running one takes NumPy alone (`fdrl.generator_training` makes
one). Shapes: n samples, Z latent values, O pixels in [0, 1], L labels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fdrl.seeding import Purpose, generator
from fdrl.wire import require

Array = NDArray[Any]
Floats = NDArray[np.float32]
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


def generate(layout: GeneratorLayout, row: Floats, inputs: Floats) -> Floats:
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
