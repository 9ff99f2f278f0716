"""What the checks of a cohort have in common: three agents, a lesson, and how a rule is broken."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from fdrl.cohort import Cohort, CohortContext, Part, is_gaussian
from fdrl.environment import make_factory
from fdrl.errors import FdrlError
from fdrl.heterogeneity import Nothing

AGENTS = 3
STATES = 40
PARTS: tuple[Part, ...] = ("policy", "all", "optimizer")

Make = Callable[[CohortContext], Cohort]
Floats = NDArray[np.float32]


class BrokenRule(FdrlError, AssertionError):
    """A cohort that does not do what `fdrl.Cohort` promises; the message names the rule."""


def require(kept: object, rule: str) -> None:
    """Raise `BrokenRule` unless a rule was kept."""
    if not kept:
        raise BrokenRule(f"broken rule of Cohort: {rule}")


def context(env: str, agents: tuple[int, ...] | None = None, same: bool = False) -> CohortContext:
    """Return the context of some of three agents, all by default."""
    rows = tuple(range(AGENTS)) if agents is None else agents
    envs = make_factory(env, AGENTS, Nothing(), seed=7).subset(rows)
    ids = tuple(f"agent-{i}" for i in rows)
    return CohortContext(ids, rows, envs, seed=7, same_init=same, total_steps=100_000)


def budget(cohort: Cohort, iterations: int = 1) -> NDArray[np.int64]:
    """Return steps [K] of some iterations; 128 steps stand for one if it is an episode."""
    return np.full(len(cohort.ids), iterations * (cohort.iteration_steps or 128))


def states_for(cohort: Cohort) -> Floats:
    """Return some states [N, *O]."""
    rng = np.random.default_rng(3)
    return rng.uniform(-0.5, 0.5, (STATES, *cohort.observation_shape)).astype(np.float32)


def lesson(cohort: Cohort, agents: tuple[int, ...] = ()) -> tuple[Floats, Floats, Floats]:
    """Return states [N, O], targets [K, N, W] and weights [K, N] of some agents, all by default."""
    rng = np.random.default_rng(4)
    shape = (AGENTS, STATES, cohort.n_actions)
    if is_gaussian(cohort):
        moments = [rng.uniform(-0.5, 0.5, shape), rng.uniform(0.4, 0.8, shape)]
        targets = np.concatenate(moments, axis=-1).astype(np.float32)
    else:
        targets = rng.dirichlet(np.full(cohort.n_actions, 2.0), shape[:2]).astype(np.float32)
    weights = rng.uniform(0.5, 1.0, shape[:2]).astype(np.float32)
    rows = list(agents or range(AGENTS))
    return states_for(cohort), targets[rows], weights[rows]
