"""Vectorized environments, and Gymnasium's own with the same physics beside them."""

from __future__ import annotations

from typing import Any

import gymnasium

from fdrl.core.registry import load_object
from fdrl.vector.factory import EnvFactory, make_factory
from fdrl.vector.heterogeneity import Heterogeneity, Nothing


def factory(name: str, agents: int, hetero: Heterogeneity | None = None) -> EnvFactory:
    return make_factory(name, agents, hetero or Nothing(), 5)


def twin(envs: EnvFactory, agent: int = 0) -> Any:
    """Gymnasium's environment, unwrapped, with one agent's physics."""
    env = gymnasium.make(envs.spec.gym_id).unwrapped
    physics = {n: envs.kwargs[agent].get(n, p.default) for n, p in envs.spec.physics.items()}
    load_object(envs.spec.vector).configure(env, physics)
    return env
