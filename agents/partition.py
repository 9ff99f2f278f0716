"""Dealing labeled samples to devices: pure functions of a seed.

Each returns the indices [n] of one device's samples. Where a rule can, devices share none: the
samples are shuffled once, by the run's seed, and dealt in order.
"""

from __future__ import annotations

import numpy as np

from fdrl.core.arrays import Integers
from fdrl.core.errors import FdrlError
from fdrl.core.seeding import Purpose, generator

DEAL = 2**20
"""The branch of the seed's tree that shuffles for all devices; no agent has that index."""


def iid(labels: Integers, seed: int, device: int, samples: int) -> Integers:
    """Return `samples` drawn evenly, which no other device has."""
    order = generator(seed, Purpose.DATA, DEAL).permutation(len(labels))
    return _dealt(order, device, samples, "samples")


def thinned(
    labels: Integers, seed: int, device: int, samples: int, scarce_labels: int = 3, scarce: int = 5
) -> Integers:
    """Return what is left of `samples` even ones once some labels are thinned to `scarce` each.

    FD's non-IID split (Jeong et al. 2018, arXiv 1811.11479, section 4): 2,000 samples a device,
    three labels of its own choice thinned to 5.
    """
    own = iid(labels, seed, device, samples)
    rng = generator(seed, Purpose.DATA, device)
    kept = []
    rare = set(_choose(rng, labels, scarce_labels).tolist())
    for label in range(int(labels.max()) + 1):
        found = own[labels[own] == label]
        kept.append(found[:scarce] if label in rare else found)
    return np.sort(np.concatenate(kept))


def scarce(
    labels: Integers, seed: int, device: int, samples: int, scarce_labels: int = 2, scarce: int = 2
) -> Integers:
    """Return `samples`, `scarce` of each of a few labels and equally many of all others.

    Mix2FLD's non-IID split (Oh et al. 2020, arXiv 2006.09801): 500 a device, two labels with 2
    samples, eight with 62.
    """
    rng = generator(seed, Purpose.DATA, device)
    classes = int(labels.max()) + 1
    rare = set(_choose(rng, labels, scarce_labels).tolist())
    each = (samples - scarce * scarce_labels) // max(1, classes - scarce_labels)
    order = generator(seed, Purpose.DATA, DEAL).permutation(len(labels))
    own = []
    for label in range(classes):
        share = _dealt(order[labels[order] == label], device, each, f"samples of label {label}")
        own.append(share[:scarce] if label in rare else share)
    return np.sort(np.concatenate(own))


def dirichlet(labels: Integers, seed: int, device: int, samples: int, alpha: float) -> Integers:
    """Return `samples` whose label shares are drawn from Dirichlet(alpha, ..., alpha).

    Hsu, Qi and Brown 2019 (arXiv 1909.06335). Each device draws for itself, without repeats of its
    own; two devices may have the same sample. Where a label runs out, the device has fewer.
    """
    rng = generator(seed, Purpose.DATA, device)
    classes = int(labels.max()) + 1
    counts = rng.multinomial(samples, rng.dirichlet(np.full(classes, alpha)))
    own = []
    for label in range(classes):
        pool = np.flatnonzero(labels == label)
        own.append(rng.choice(pool, size=min(int(counts[label]), len(pool)), replace=False))
    return np.sort(np.concatenate(own))


def histogram(labels: Integers, classes: int) -> Integers:
    """Return how many samples of each label there are [classes]."""
    return np.bincount(labels, minlength=classes)


def _choose(rng: np.random.Generator, labels: Integers, count: int) -> Integers:
    classes = int(labels.max()) + 1
    if not 0 <= count < classes:
        raise FdrlError(
            f"{count} scarce labels, but there are {classes} labels (at agent.scarce_labels)"
        )
    return rng.choice(classes, size=count, replace=False)


def _dealt(order: Integers, device: int, each: int, what: str) -> Integers:
    if (device + 1) * each > len(order) or each < 1:
        enough = len(order) // (device + 1)
        raise FdrlError(
            f"{device + 1} devices with {each} {what} each, but there are {len(order)}: at most "
            f"{enough} (at agent.samples)"
        )
    return np.asarray(order[device * each : (device + 1) * each])
