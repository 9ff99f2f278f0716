"""Mixup of seed samples, and its inverse across devices: pure functions (Mix2FLD, 2006.09801).

Shapes: N labels that are mixed into one sample, S uploaded samples, *O a sample. Mixing weights
``w`` [N] sum to 1; row s of ``labels`` [S, N] lists a sample's labels in the order of the weights,
so that ``labels[s, 0]`` has weight ``w[0]``. All arithmetic is float64.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice, product

import numpy as np

from fdrl.core.arrays import Array, Doubles, Integers
from fdrl.core.errors import FdrlError

SINGULAR = 1e-6
"""How near to zero the smallest mode of a mixing matrix may come: it divides what is inverted."""
MOST_GROUPS = 100_000
"""Groups that are looked at when uploads are matched, at the most."""


def mixing_weights(lam: float, labels: int = 2) -> Doubles:
    """Return [N]: lam for the first label, the rest in equal shares; (lam, 1 - lam) for two.

    Raises `FdrlError` outside 0 < lam < 1 (a sample would travel as it is), or for fewer than two.
    """
    if not 0.0 < lam < 1.0:
        raise FdrlError(f"mixup: lam must be between 0 and 1, got {lam:g} (0.1 hides one in nine)")
    if labels < 2:
        raise FdrlError(f"mixup: at least 2 labels are mixed, got {labels}")
    weights = np.full(labels, (1.0 - lam) / (labels - 1))
    weights[0] = lam
    return weights


def mix(samples: Array, weights: Array) -> Doubles:
    """Return sum_n w[n] x[n], [*O], of samples [N, *O]: lam * x_i + (1 - lam) * x_j for two.

    Mixup (Zhang et al., 2018, arXiv 1710.09412); MixFLD mixes samples of different labels of one
    device before they are uploaded (2006.09801).
    """
    x = np.asarray(samples, dtype=np.float64)
    return np.asarray(np.tensordot(np.asarray(weights, dtype=np.float64), x, axes=1))


def soft_labels(labels: Array, weights: Array, count: int) -> Doubles:
    """Return the label distributions [S, count] of mixed samples: w[n] at ``labels[s, n]``."""
    rows = np.asarray(labels)
    out = np.zeros((len(rows), count))
    np.add.at(out, (np.arange(len(rows))[:, None], rows), np.asarray(weights, dtype=np.float64))
    return out


def mixing_matrix(weights: Array) -> Doubles:
    """Return M [N, N]: device d mixes label l with ``M[d, l] = w[(l - d) mod N]``."""
    w = np.asarray(weights, dtype=np.float64)
    return np.stack([np.roll(w, d) for d in range(len(w))])


def inverse_ratios(weights: Array) -> Doubles:
    """Return the inverse of `mixing_matrix`, [N, N]: row l undoes the mixture for label l.

    Inverse mixup (2006.09801), for N labels across N devices. For two labels its rows are
    (lamhat, 1 - lamhat), with lamhat = lam / (2 lam - 1) for label i, (lam - 1) / (2 lam - 1) for
    label j. Weights whose cyclic shifts are not independent cannot be told apart: `FdrlError`.
    """
    w = np.asarray(weights, dtype=np.float64)
    smallest = float(np.abs(np.fft.fft(w)).min())
    if smallest < SINGULAR:
        at = f"lam = {w[0]:g} mixes {len(w)} labels evenly, so that all devices' mixtures are alike"
        raise FdrlError(f"inverse mixup: {at}: choose lam away from {1 / len(w):g}, such as 0.1")
    if len(w) == 2:  # as published: exact to the last bit where a solver is not
        lam, rest = float(w[0]), float(w[1])
        return np.array([[lam, -rest], [-rest, lam]]) / (lam - rest)
    return np.asarray(np.linalg.inv(mixing_matrix(w)))


def unmix(mixed: Array, weights: Array) -> Doubles:
    """Return samples [N, *O] of one label each, from the mixtures [N, *O] of N devices.

    Device d's mixture has the labels of device 0 shifted cyclically by d (for two: swapped).
    Result n has the label of weight ``w[n]`` at device 0; its label is one-hot.
    """
    x = np.asarray(mixed, dtype=np.float64)
    return np.asarray(np.tensordot(inverse_ratios(weights), x, axes=1))


def match(
    labels: Array, devices: Sequence[int] | Array, rng: np.random.Generator, most: int
) -> tuple[Integers, Integers]:
    """Find groups of N uploads of N different devices whose labels are cyclic shifts of each other.

    Returns `groups` [G, N], indices of uploads in the order in which `unmix` takes them, and the
    labels [G, N] of its results. Of more than `most` // N groups some are drawn, none twice. An
    upload may serve in several groups, as one of each device.
    """
    rows, who = np.asarray(labels, dtype=np.int64), np.asarray(devices)
    if rows.ndim != 2 or who.shape != rows.shape[:1]:
        raise FdrlError(f"mixup: labels {rows.shape} and devices {who.shape} do not fit")
    found = list(islice(_groups(rows, who), MOST_GROUPS))
    wanted = max(1, most // rows.shape[1])
    if len(found) > wanted:
        found = [found[i] for i in sorted(rng.permutation(len(found))[:wanted])]
    groups = np.array(found, dtype=np.int64).reshape(-1, rows.shape[1])
    return groups, rows[groups[:, 0]]


def _groups(rows: Integers, who: Array) -> Iterator[tuple[int, ...]]:
    """Yield each group once, beginning at its shift with the smallest label in front."""
    by_labels: dict[tuple[int, ...], list[int]] = {}
    for s, row in enumerate(rows.tolist()):
        by_labels.setdefault(tuple(row), []).append(s)
    for key in sorted(by_labels):
        if key[0] != min(key) or len({*key}) < len(key):
            continue
        # As in `mixing_matrix`: the first weight moves one label on from device to device.
        for group in product(*(by_labels.get(key[d:] + key[:d], []) for d in range(len(key)))):
            if len({who[s] for s in group}) == len(group):
                yield group


def shifted(labels: Array, by: int) -> Integers:
    """Return labels [..., N] as the device `by` shifts away mixes them: `unmix` undoes it."""
    return np.asarray(np.roll(np.asarray(labels, dtype=np.int64), -by, axis=-1))


def agreed_labels(labels: int, mixed: int, count: int, rng: np.random.Generator) -> Integers:
    """Return [count, mixed] labels below `labels`, the same for all devices, each label as often.

    Tuples are cut from one permutation of the labels after another; the devices' shifts of them
    are what makes their uploads match. `FdrlError` if more labels are to be mixed than there are.
    """
    if mixed > labels:
        raise FdrlError(f"mixup: cannot mix {mixed} of {labels} labels (at strategy.seeds.labels)")
    cut = labels // mixed
    found: list[Integers] = []
    while len(found) < count:
        order = rng.permutation(labels)[: cut * mixed].reshape(cut, mixed)
        found += list(order)
    return np.array(found[:count], dtype=np.int64).reshape(-1, mixed)
