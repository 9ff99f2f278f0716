"""Does a learner whose agents estimate values keep the promises of `fdrl.cohort.Valued`?"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fdrl.checks.rules import AGENTS, STATES, Make, context, require, states_for
from fdrl.cohort import Valued
from fdrl.distill import DistillSettings


def check_values(make: Make, env: str) -> None:
    """Raise `BrokenRule` at the first promise that is broken; others need not make any."""
    cohort: Any = make(context(env))
    able = isinstance(cohort, Valued)  # asked apart: it is a Cohort as well
    if not able:
        cohort.close()
        return
    states = states_for(cohort)
    before, policies = cohort.values(states), cohort.parameters("policy")
    require(before.shape == (AGENTS, STATES), "values is [K, N]")
    targets = (before + np.linspace(1.0, 2.0, STATES)).astype(np.float32)
    weights = np.ones((AGENTS, STATES), np.float32)
    weights[1] = 0
    metrics = cohort.distill_values(states, targets, weights, DistillSettings(steps=60))
    after = cohort.values(states)
    near = _error(after, targets) < _error(before, targets)
    require(near[0] and near[2], "distill_values brings values nearer to their targets")
    kept = np.array_equal(after[1], before[1])
    require(kept, "an agent whose weights are all zero keeps its values to the bit")
    kept = np.array_equal(cohort.parameters("policy"), policies)
    require(kept, "distill_values keeps policies to the bit")
    for name in ("error", "steps"):
        value = metrics.get(f"distill/value_{name}")
        require(value is not None and value.shape == (AGENTS,), f"distill/value_{name} is [K]")
    other: Any = make(context(env))
    other.load_state(cohort.state())
    for one in (cohort, other):
        one.distill_values(states, targets, weights, DistillSettings(steps=5))
    alike = np.array_equal(cohort.values(states), other.values(states))
    require(alike, "load_state resumes distill_values to the bit")
    cohort.close()
    other.close()


def _error(values: NDArray[np.float32], targets: NDArray[np.float32]) -> NDArray[np.float64]:
    return np.asarray(np.square(values - targets, dtype=np.float64).mean(1))
