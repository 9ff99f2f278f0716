"""The settings of `fdrl theory`, checked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec

from fdrl.complaints import check_finite, explain
from fdrl.config import NotNegative, Positive
from fdrl.errors import FdrlError

NotBelowZero = Annotated[float, msgspec.Meta(ge=0)]
Width = Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]
LARGEST = 1_000
"""Rows of the largest matrix that is decomposed: seconds."""
MOST_STEPS = 4_000
"""How many gradient steps are taken at most if nobody says how many."""


class Theory(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is learned, by how many, for how long."""

    samples: Annotated[int, msgspec.Meta(ge=2, le=500)] = 32
    """Training inputs, random directions of length 1."""
    inputs: Annotated[int, msgspec.Meta(ge=2)] = 16
    """Dimension of an input."""
    widths: Annotated[tuple[Width, ...], msgspec.Meta(min_length=2)] = (
        64, 128, 256, 512, 1024, 2048, 4096, 8192,
    )  # fmt: skip
    """Hidden units of the finite networks."""
    seeds: Positive = 8
    """How many times each width is trained, from other weights; the data stay the same."""
    weight: NotBelowZero = 1.0
    """Weight b of the distillation loss; the targets have weight 1."""
    workers: Annotated[int, msgspec.Meta(ge=2, le=64)] = 3
    """Workers that co-distill."""
    period: Positive = 30
    """Gradient steps between two looks at the others, in periodic co-distillation."""
    teacher_error: NotBelowZero = 1.0
    """Root mean square error of the teacher in KD; the targets have root mean square 1."""
    steps: Positive | None = None
    """Gradient steps; unset: until the slowest error is down to a thousandth, at most 4,000."""
    lr: Annotated[float, msgspec.Meta(gt=0)] | None = None
    """Learning rate; unset: a quarter of the largest stable one of co-distillation."""
    seed: NotNegative = 0
    """Root of all randomness."""
    out: str = "theory"
    """Folder of the figures, tables and results."""


def parse(tables: Mapping[str, Any]) -> Theory:
    """Read a TOML file's tables into checked settings; errors name the place."""
    if tables.get("workers") == 1:
        raise FdrlError("config: co-distillation needs at least 2 workers, got 1 (at workers)")
    widths = tables.get("widths")
    if isinstance(widths, list | tuple) and len(widths) < 2:
        raise FdrlError("config: a slope needs at least two widths (at widths)")
    try:
        made = msgspec.convert(dict(tables), Theory)
    except msgspec.ValidationError as error:
        raise explain(error, "", Theory, dict(tables)) from None
    check_finite(made)
    if len(set(made.widths)) < len(made.widths):
        raise FdrlError("config: a width is given twice (at widths)")
    if made.samples * made.workers > LARGEST:
        raise FdrlError(
            f"config: samples times workers can be {LARGEST:,} at most, got {made.samples} x "
            f"{made.workers} (at samples)"
        )
    return msgspec.structs.replace(made, widths=tuple(sorted(made.widths)))
