"""Seed samples for output-to-model conversion: an agent's choice of them, the server's use.

Shapes: S samples of shape *O, N labels mixed into each, L labels in all. Pixels are in [0, 1].
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from fdrl.core.arrays import Array, Floats
from fdrl.core.errors import FdrlError
from fdrl.ops import mixup

Count = Annotated[int, msgspec.Meta(ge=0)]
Mix = Literal["none", "up", "inverse"]
"""Seeds travel as they are, mixed up at the agent, or so and are inversely mixed by the server."""


class Seeds(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which samples agents upload once, for the server to turn outputs into parameters on."""

    count: Count = 50
    """Seed samples that each agent uploads with its first answer."""
    lam: float = 0.1
    """Share of the first label in a mixture; the rest is shared evenly by the others."""
    labels: Annotated[int, msgspec.Meta(ge=2)] = 2
    """Labels in a mixture."""
    most: Annotated[int, msgspec.Meta(ge=1)] = 2_000
    """Samples that the server makes by inverse mixup, at the most."""
    coding: Literal["uint8", "float32"] = "uint8"
    """One byte a pixel, or four."""


def check_settings(seeds: Seeds, mix: Mix, labels: int, agents: int) -> None:
    """Raise `FdrlError` for seeds that cannot be made, or that no server could use."""
    if seeds.count == 0:
        raise FdrlError(
            "config: without seed samples the server cannot turn outputs into parameters: use at "
            "least 1 (at strategy.seeds.count), or --strategy fd"
        )
    if mix == "none":
        return
    weights = mixup.mixing_weights(seeds.lam, seeds.labels)
    if seeds.labels > labels:
        raise FdrlError(
            f"config: {seeds.labels} labels cannot be mixed where there are {labels} "
            "(at strategy.seeds.labels)"
        )
    if mix == "inverse":
        mixup.inverse_ratios(weights)
        if agents < seeds.labels:
            raise FdrlError(
                f"config: inverse mixup of {seeds.labels} labels needs as many agents, not "
                f"{agents} (at agents)"
            )


@dataclass(frozen=True)
class Chosen:
    """An agent's seeds: `samples` [S, *O], `labels` [S, N], and the raw ones in each [S, N, *O]."""

    samples: Floats
    labels: NDArray[np.int64]
    raw: Floats


def choose(
    images: Array,
    labels: Array,
    seeds: Seeds,
    mix: Mix,
    agreed: NDArray[np.int64],
    device: int,
    rng: np.random.Generator,
) -> Chosen:
    """Choose and mix an agent's seeds among its images [n, *O] and labels [n].

    Mixtures follow the labels `agreed` [S, N] by all devices, shifted by the device's number so
    that every mixture has counterparts elsewhere; those of labels that the device lacks are left
    out. A sample is used again only when a label's samples are used up.
    """
    x, y = np.asarray(images, dtype=np.float32), np.asarray(labels, dtype=np.int64)
    if mix == "none":
        rows = rng.permutation(len(y))[: seeds.count]
        return Chosen(x[rows], y[rows][:, None], x[rows][:, None])
    owned = set(y.tolist())
    wanted = [row for row in mixup.shifted(agreed, device).tolist() if owned.issuperset(row)]
    if not wanted:
        raise FdrlError(
            f"agent {device} has samples of {len(owned)} labels, of which none of the agreed "
            f"mixtures of {seeds.labels} can be made: give it more labels, or --strategy fld"
        )
    queues: dict[int, list[int]] = {}
    raw = np.stack([[x[_next(queues, y, label, rng)] for label in row] for row in wanted])
    weights = mixup.mixing_weights(seeds.lam, seeds.labels)
    mixed = np.stack([mixup.mix(group, weights) for group in raw])
    return Chosen(mixed.astype(np.float32), np.array(wanted, np.int64), raw)


def _next(queues: dict[int, list[int]], y: Array, label: int, rng: np.random.Generator) -> int:
    """Return the next sample of a label, in a random order that begins again at its end."""
    if not queues.get(label):
        queues[label] = rng.permutation(np.flatnonzero(y == label)).tolist()
    return queues[label].pop()


@dataclass(frozen=True)
class Usable:
    """What a server can train on: `samples` [S, *O] and label distributions [S, L]."""

    samples: Floats
    labels: Floats
    groups: NDArray[np.int64]
    """Of inversely mixed ones: the uploads [S, N] that each was made of."""


def usable(
    uploads: Mapping[int, tuple[Array, Array]],
    seeds: Seeds,
    mix: Mix,
    count: int,
    rng: np.random.Generator,
) -> Usable:
    """Return what all uploads, (samples [S, *O], labels [S, N]) by device, are good for.

    `count` is L. Inverse mixup gives samples of one label, a little outside [0, 1]; uploads that
    have no counterparts yet are of no use to it.
    """
    order = sorted(uploads)
    samples = np.concatenate([uploads[d][0] for d in order])
    labels = np.concatenate([uploads[d][1] for d in order]).astype(np.int64)
    if mix == "none":
        return _made(samples, np.eye(count)[labels[:, 0]], np.zeros((0, 1), np.int64))
    weights = mixup.mixing_weights(seeds.lam, seeds.labels)
    if mix == "up":
        soft = mixup.soft_labels(labels, weights, count)
        return _made(samples, soft, np.zeros((0, 1), np.int64))
    devices = np.repeat(order, [len(uploads[d][0]) for d in order])
    groups, found = mixup.match(labels, devices, rng, seeds.most)
    unmixed = [mixup.unmix(samples[group], weights) for group in groups]
    shape = (-1, *samples.shape[1:])
    each = groups.repeat(seeds.labels, axis=0)
    return _made(np.array(unmixed).reshape(shape), np.eye(count)[found.reshape(-1)], each)


def _made(samples: Array, labels: Array, groups: NDArray[np.int64]) -> Usable:
    return Usable(samples.astype(np.float32), labels.astype(np.float32), groups)


def nothing(shape: tuple[int, ...], count: int) -> Usable:
    """Return what no uploads at all are good for."""
    return _made(np.zeros((0, *shape)), np.zeros((0, count)), np.zeros((0, 1), np.int64))


def coded(samples: Array, coding: Literal["uint8", "float32"]) -> Array:
    """Return pixels as they travel: one byte each, 0..255 for [0, 1], or four."""
    if coding == "float32":
        return np.asarray(samples, dtype=np.float32)
    return np.rint(np.clip(samples, 0.0, 1.0) * 255.0).astype(np.uint8)


def decoded(seeds: Array) -> Floats:
    """Return pixels from what `coded` made of them."""
    scale = 255.0 if seeds.dtype == np.uint8 else 1.0
    return np.asarray(seeds / np.float32(scale), dtype=np.float32)


def conversion_targets(labels: Array, table: Array, known: Array, weight: float) -> Floats:
    """Return (y + b * G[y]) / (1 + b), [S, L]: what output-to-model conversion moves F(x) toward.

    The loss CE(F(x), y) + b * CE(F(x), G[y]) of FLD (2006.09801) is linear in its targets, so it is
    (1 + b) times the cross-entropy to this one. `labels` y [S, L] may be soft, and G[y] is then
    the mean of the teacher's rows `table` [L, L]; for labels without a row (not `known` [L]) the
    label itself stands in.
    """
    y = np.asarray(labels, dtype=np.float64)
    rows = np.where(np.asarray(known)[:, None], table, np.eye(y.shape[1]))
    return np.asarray((y + weight * (y @ rows)) / (1.0 + weight), dtype=np.float32)
