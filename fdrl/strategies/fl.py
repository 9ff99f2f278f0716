"""`fl`: federated averaging for classification, weighted by samples (arXiv 1602.05629, eq. 1)."""

from __future__ import annotations

from typing import Literal

from fdrl.strategies.fedavg import FedAvg


class FL(FedAvg, tag="fl", tag_field="type", frozen=True, kw_only=True):
    """`fedavg` whose weights are the numbers of samples that agents own."""

    weights: Literal["uniform", "steps", "return", "samples"] = "samples"
    """Weigh agents alike, by environment steps since the last exchange, by recent return, or by
    the labeled samples that they own (agents without any: by steps)."""
