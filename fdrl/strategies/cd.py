"""`cd`: co-distillation, each agent taught by the mean of the others (arXiv 1804.03235)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from fdrl.distill import DistillSettings
from fdrl.strategies.distillation import Distillation


class CD(Distillation, tag="cd", tag_field="type", frozen=True, kw_only=True):
    """Current answers on common samples; the teacher is the mean of the others' answers there.

    The common samples are public states by default (`proxy` rollout), which the server sends once.
    """

    default_proxy: ClassVar[Mapping[str, Any]] = {"type": "rollout"}

    leave_self_out: bool = True
    """Teach each agent by the others only."""
    distill: DistillSettings = DistillSettings(steps=16, batch=64, lr=1e-3)
