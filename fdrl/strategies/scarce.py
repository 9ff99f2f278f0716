"""Which labels an agent lacks, and which of its samples it gives away to get more of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fdrl.strategies.faug import FAug

Array = NDArray[Any]


@dataclass(frozen=True)
class Wanted:
    """What an agent asks for."""

    seeds: NDArray[np.int64]
    """Indices [S] of the samples that it uploads."""
    missing: NDArray[np.int64]
    """A label [n] for each sample that it lacks."""
    targets: int
    """Labels that it uploads because it lacks them."""
    decoys: int
    """Labels that it uploads to hide those."""


def wanted(labels: NDArray[np.int64], count: int, faug: FAug, rng: np.random.Generator) -> Wanted:
    """Return what the owner of samples with `labels` [M], of 0..count-1, uploads and lacks.

    A label is scarce if there are fewer samples of it than ``faug.below`` of the mean; what is
    missing fills it up to the mean of the labels that are not (rounded down).
    """
    owned = np.bincount(labels, minlength=count)
    scarce = owned < faug.below * len(labels) / count
    if not scarce.any():
        nothing = np.zeros(0, np.int64)
        return Wanted(nothing, nothing, 0, 0)
    full = int(owned[~scarce].mean())
    rich = np.flatnonzero(~scarce)
    decoys = rng.permutation(rich)[: faug.decoys]
    targets = np.flatnonzero(scarce & (owned > 0))
    seeds = [
        rng.permutation(np.flatnonzero(labels == label))[: faug.seeds]
        for label in (*targets.tolist(), *decoys.tolist())
    ]
    missing = [np.full(full - owned[label], label) for label in np.flatnonzero(scarce)]
    chosen = rng.permutation(np.concatenate([np.zeros(0, np.int64), *seeds]))
    return Wanted(chosen, np.concatenate(missing), len(targets), len(decoys))


def pixels(images: Array) -> NDArray[np.uint8]:
    """Return images with values in [0, 1] as bytes."""
    return np.asarray(np.rint(np.clip(images, 0.0, 1.0) * 255), np.uint8)
