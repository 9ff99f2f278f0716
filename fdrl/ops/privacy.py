"""How much of a raw sample an upload gives away: pure functions.

Distances are Euclidean, in the units of the samples (pixels in [0, 1] unless said otherwise);
logarithms are natural.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from fdrl.core.arrays import Array
from fdrl.core.errors import FdrlError


def sample_privacy(uploaded: Array, raw: Array) -> float:
    """Return log min_n |x - r[n]|, of a sample [*O] and the raw samples [N, *O] that are in it.

    The sample privacy of Mix2FLD (arXiv 2006.09801): larger is better, -inf for a sample that is
    uploaded as it is. For a mixed-up sample the raw ones are the N that were mixed, for an
    inversely mixed one the N * N that its N mixtures were made of.
    """
    x, r = (np.asarray(a, dtype=np.float64) for a in (uploaded, raw))
    if not len(r) or r.shape[1:] != x.shape:
        raise FdrlError(f"sample privacy: raw samples {r.shape} do not fit a sample {x.shape}")
    nearest = float(np.sqrt(((r - x) ** 2).reshape(len(r), -1).sum(1)).min())
    return float(np.log(nearest)) if nearest > 0 else -np.inf


def mean_privacy(uploaded: Array, raw: Array) -> float:
    """Return the mean sample privacy of samples [S, *O] made of raw ones [S, N, *O]."""
    if not len(uploaded):
        raise FdrlError("sample privacy: no samples were uploaded")
    found = [sample_privacy(x, r) for x, r in zip(uploaded, raw, strict=True)]
    return float(np.mean(found))


def target_share(targets: Collection[int], decoys: Collection[int]) -> float:
    """Return the share of a device's uploaded seed labels that it really lacks, in [0, 1].

    Federated augmentation (FAug, 1811.11479): a device uploads seeds of the labels that it is short
    of, which tells the server which those are; seeds of other labels (decoys) hide them. Smaller
    is better; 0 for a device that uploads nothing.
    """
    own = set(targets)
    union = own | set(decoys)
    return len(own) / len(union) if union else 0.0


def peer_share(targets: Collection[int], uploaded: Collection[Collection[int]]) -> float:
    """Return the share of all devices' uploaded labels that one device lacks, in [0, 1].

    What another device learns of it from the downloaded generator (FAug, 1811.11479), which makes
    every label that anybody uploaded. `uploaded` has the labels, decoys too, of each device.
    """
    union = set().union(*uploaded) | set(targets)
    return len(set(targets)) / len(union) if union else 0.0
