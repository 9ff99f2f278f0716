"""`fd`: federated distillation weighted by who has been where."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from fdrl.distill import DistillSettings
from fdrl.strategies.distillation import Combine, Distillation


class FD(Distillation, tag="fd", tag_field="type", frozen=True, kw_only=True):
    """Current policies on the proxy states, one byte each, weighted by visits."""

    coding: Literal["float32", "float16", "uint8"] = "uint8"
    """How probabilities travel."""
    visit_power: Annotated[float, msgspec.Meta(ge=0.0)] = 1.0
    """Weigh an answer by (visits + visit_offset) ** visit_power; 0: all agents alike."""
    combine: Combine = "log"
    """Weighted mean of probabilities (mean) or of their logarithms (log), or a robust combination
    that ignores the weights."""
    distill: DistillSettings = DistillSettings(steps=16, batch=128, lr=1e-3)
