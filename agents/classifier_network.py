"""Which network a classifier has, and what it starts from."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fdrl.cohort import CohortContext
from fdrl.seeding import Purpose, generator

from .backend import make_network
from .layout import Layout, initial_rows
from .policy_network import PolicyLayout, PolicyNetwork

Kind = Literal["mlp", "small", "chapter"]


def build(settings: Any, context: CohortContext, shape: tuple[int, int], classes: int) -> Any:
    """Return K networks (a `Network` without values) that classify images of a shape."""
    if settings.network == "mlp":
        sizes = (shape[0] * shape[1], settings.hidden, classes, settings.activation)
        layout = Layout(*sizes)
        rows = initial_rows(layout, context.seed, context.agents, context.same_init, "torch")
        return PolicyNetwork(
            make_network("numpy", layout, rows, context.device), PolicyLayout(*sizes)
        )
    from . import conv

    maker = conv.small if settings.network == "small" else conv.chapter
    design = maker(shape[0], shape[1], classes)
    return conv.ConvNetwork(design, _rows(design, context), context.device)


def _rows(design: Any, context: CohortContext) -> NDArray[np.float32]:
    """Return [K, P]: each agent from its own stream, or all from agent 0's."""
    agents = (0,) * len(context.agents) if context.same_init else context.agents
    return np.stack([design.initial(generator(context.seed, Purpose.INIT, a)) for a in agents])
