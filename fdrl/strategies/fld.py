"""`fld`: outputs up, parameters down, for links that are slow upward (arXiv 2006.09801)."""

from __future__ import annotations

from typing import ClassVar, Literal

from fdrl.distill import DistillSettings
from fdrl.strategies.fd import FD


class FLD(FD, tag="fld", tag_field="type", frozen=True, kw_only=True):
    """Answers on the proxy states up; the server's own network, distilled from them, down.

    `distill` is what the server does in a round. All agents start from the same weights unless
    `same_init` says otherwise, and so does the server.
    """

    default_same_init: ClassVar[bool] = True

    optimizer: Literal["keep", "reset"] = "keep"
    """What becomes of an agent's optimizer moments when the weights under them change."""
    distill: DistillSettings = DistillSettings(steps=64, batch=128, lr=1e-3)
