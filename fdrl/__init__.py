"""Federated reinforcement learning by policy distillation.

Agents learn locally, each in its own environment with its own network. They exchange action
probabilities on agreed proxy states, never data or weights, and distill the result.

>>> import fdrl
>>> run = fdrl.make_run(env="CartPole-v1", agents=4, strategy="fd", steps=2_048)
>>> summary = fdrl.train(run)
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fdrl.checks.cohort import check_cohort
    from fdrl.checks.env import check_env
    from fdrl.checks.strategy import check_strategy
    from fdrl.cohort import Cohort, CohortContext, Experience
    from fdrl.config import Run, make_run
    from fdrl.errors import FdrlError
    from fdrl.federation import Federation
    from fdrl.learner_base import AgentSettings, Learner
    from fdrl.pack.train import train_packed
    from fdrl.records import Summary
    from fdrl.registry import register_agent, register_env, register_strategy
    from fdrl.strategies.local import Client, Server, StrategySettings
    from fdrl.training import train

_HOMES = {
    "AgentSettings": "fdrl.learner_base",
    "Client": "fdrl.strategies.local",
    "Cohort": "fdrl.cohort",
    "CohortContext": "fdrl.cohort",
    "Experience": "fdrl.cohort",
    "FdrlError": "fdrl.errors",
    "Federation": "fdrl.federation",
    "Learner": "fdrl.learner_base",
    "Run": "fdrl.config",
    "Server": "fdrl.strategies.local",
    "StrategySettings": "fdrl.strategies.local",
    "Summary": "fdrl.records",
    "check_cohort": "fdrl.checks.cohort",
    "check_env": "fdrl.checks.env",
    "check_strategy": "fdrl.checks.strategy",
    "make_run": "fdrl.config",
    "register_agent": "fdrl.registry",
    "register_env": "fdrl.registry",
    "register_strategy": "fdrl.registry",
    "train": "fdrl.training",
    "train_packed": "fdrl.pack.train",
}

__all__ = [
    "AgentSettings",
    "Client",
    "Cohort",
    "CohortContext",
    "Experience",
    "FdrlError",
    "Federation",
    "Learner",
    "Run",
    "Server",
    "StrategySettings",
    "Summary",
    "check_cohort",
    "check_env",
    "check_strategy",
    "make_run",
    "register_agent",
    "register_env",
    "register_strategy",
    "train",
    "train_packed",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: `fdrl --help` must not wait for numpy."""
    if name not in _HOMES:
        raise AttributeError(f"module 'fdrl' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
