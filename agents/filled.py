"""Samples that agents were given beside those they own: kept as bytes, saved with their state.

Shapes: K agents, n samples of one agent (padded to M in saved arrays), O pixels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fdrl.arrays import stack_padded

Array = NDArray[Any]
Labels = NDArray[np.int64]
Extra = list[tuple[NDArray[np.uint8], Labels]]
"""Images [n, O] as bytes and labels [n], of each agent."""


def quantized(samples: Sequence[tuple[Array, Array]]) -> Extra:
    """Return samples with pixels in [0, 1] as bytes, so that saving them loses nothing."""
    return [
        (np.rint(np.clip(x, 0.0, 1.0) * 255).astype(np.uint8), np.asarray(y, np.int64))
        for x, y in samples
    ]


def joined(
    owned: Sequence[tuple[Array, Labels]], extra: Extra
) -> list[tuple[NDArray[np.float32], Labels]]:
    """Return each agent's own samples with its extra ones behind."""
    return [
        (np.concatenate([x, more / np.float32(255)]), np.concatenate([y, labels]))
        for (x, y), (more, labels) in zip(owned, extra, strict=True)
    ]


def pack(extra: Extra) -> dict[str, Array]:
    """Write them as arrays whose first axis is K."""
    counts = np.array([len(y) for _, y in extra], np.int64)
    images = stack_padded([x[None] for x, _ in extra])
    labels = stack_padded([y[None] for _, y in extra])
    return {"extra/images": images, "extra/labels": labels, "extra/counts": counts}


def unpack(state: Mapping[str, Array]) -> Extra | None:
    """Read what `pack` wrote; None if a state has nothing of the kind."""
    if "extra/counts" not in state:
        return None
    rows = zip(state["extra/images"], state["extra/labels"], strict=True)
    counts = state["extra/counts"].tolist()
    return [
        (x[:n].astype(np.uint8), y[:n].astype(np.int64))
        for (x, y), n in zip(rows, counts, strict=True)
    ]
