"""`fdv`: `fd` with estimates of value beside the answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from fdrl.distill import DistillSettings
from fdrl.strategies.fd import FD


class FDV(FD, tag="fdv", tag_field="type", frozen=True, kw_only=True):
    """Policies and values on the proxy states, weighted by visits; for agents that have critics."""

    default_proxy: ClassVar[Mapping[str, Any]] = {"type": "mix", "size": 192}

    values: bool | None = True
    """Exchange estimates of the proxy states' values too, and distill their mean, weighted as the
    answers are, into the value networks; needs current answers and agents that estimate values."""
    distill: DistillSettings = DistillSettings(steps=32, batch=128, lr=2e-3)
