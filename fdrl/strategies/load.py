"""Loading the weights that a server sends to the agents of a cohort."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fdrl.cohort import Cohort
from fdrl.message import Parameters

Array = NDArray[Any]


def load_policies(
    cohort: Cohort,
    ids: Sequence[str],
    received: Mapping[str, Parameters],
    optimizer: Literal["keep", "reset"],
) -> dict[str, Array]:
    """Load the policy of each agent that received one; value networks stay the agents' own.

    Returns how far each policy moved [K], ``fld/drift``; nothing if nobody received anything.
    """
    if not received:
        return {}
    before = cohort.parameters("policy")
    rows, moments = before.copy(), cohort.parameters("optimizer")
    for name, message in received.items():
        k = list(ids).index(name)
        rows[k], moments[k] = message.values, 0.0
    cohort.load_parameters(rows, "policy")
    if optimizer == "reset":
        cohort.load_parameters(moments, "optimizer")
    return {"fld/drift": np.sqrt(((rows - before).astype(np.float64) ** 2).sum(1))}
