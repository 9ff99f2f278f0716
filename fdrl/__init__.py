"""Federated reinforcement learning by policy distillation.

Agents learn locally, each in its own environment with its own network. They exchange action
probabilities on agreed proxy states, never data or weights, and distill the result.

>>> import fdrl
>>> run = fdrl.make_run(env="CartPole-v1", agents=4, strategy="fd", steps=2_048)
>>> summary = fdrl.train(run)
"""

from __future__ import annotations

import importlib.metadata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fdrl.checks.cohort import check_cohort
    from fdrl.checks.env import check_env
    from fdrl.checks.strategy import check_strategy
    from fdrl.config.run import Run, make_run, parse
    from fdrl.config.tables import read_tables
    from fdrl.core.cohort import Cohort, CohortContext, Episodes, Experience, Part
    from fdrl.core.errors import FdrlError
    from fdrl.core.learner import AgentSettings, Learner
    from fdrl.core.message import Message, ProbTable
    from fdrl.core.records import RoundRecord, Summary
    from fdrl.core.registry import Physics, register_agent, register_env, register_strategy
    from fdrl.core.settings import DistillSettings, Exchange
    from fdrl.core.strategy import ClientContext, Messages, ServerContext
    from fdrl.federation.loop import Federation
    from fdrl.packs.train import train_packed
    from fdrl.runs.tracking import Tracker
    from fdrl.runs.train import Stopped, train
    from fdrl.strategies.base import Client, Server, StrategySettings

    __version__: str

_HOMES = {
    "AgentSettings": "fdrl.core.learner",
    "Client": "fdrl.strategies.base",
    "ClientContext": "fdrl.core.strategy",
    "Cohort": "fdrl.core.cohort",
    "CohortContext": "fdrl.core.cohort",
    "DistillSettings": "fdrl.core.settings",
    "Episodes": "fdrl.core.cohort",
    "Exchange": "fdrl.core.settings",
    "Experience": "fdrl.core.cohort",
    "FdrlError": "fdrl.core.errors",
    "Federation": "fdrl.federation.loop",
    "Learner": "fdrl.core.learner",
    "Message": "fdrl.core.message",
    "Messages": "fdrl.core.strategy",
    "Part": "fdrl.core.cohort",
    "Physics": "fdrl.core.registry",
    "ProbTable": "fdrl.core.message",
    "RoundRecord": "fdrl.core.records",
    "Run": "fdrl.config.run",
    "Server": "fdrl.strategies.base",
    "ServerContext": "fdrl.core.strategy",
    "Stopped": "fdrl.runs.train",
    "StrategySettings": "fdrl.strategies.base",
    "Summary": "fdrl.core.records",
    "Tracker": "fdrl.runs.tracking",
    "check_cohort": "fdrl.checks.cohort",
    "check_env": "fdrl.checks.env",
    "check_strategy": "fdrl.checks.strategy",
    "make_run": "fdrl.config.run",
    "parse": "fdrl.config.run",
    "read_tables": "fdrl.config.tables",
    "register_agent": "fdrl.core.registry",
    "register_env": "fdrl.core.registry",
    "register_strategy": "fdrl.core.registry",
    "train": "fdrl.runs.train",
    "train_packed": "fdrl.packs.train",
}

__all__ = [
    "AgentSettings",
    "Client",
    "ClientContext",
    "Cohort",
    "CohortContext",
    "DistillSettings",
    "Episodes",
    "Exchange",
    "Experience",
    "FdrlError",
    "Federation",
    "Learner",
    "Message",
    "Messages",
    "Part",
    "Physics",
    "ProbTable",
    "RoundRecord",
    "Run",
    "Server",
    "ServerContext",
    "Stopped",
    "StrategySettings",
    "Summary",
    "Tracker",
    "__version__",
    "check_cohort",
    "check_env",
    "check_strategy",
    "make_run",
    "parse",
    "read_tables",
    "register_agent",
    "register_env",
    "register_strategy",
    "train",
    "train_packed",
]


if not TYPE_CHECKING:  # or a checker would take any name for one of ours

    def __getattr__(name: str) -> Any:
        """Import a public name when it is first used: `fdrl --help` must not wait for numpy."""
        if name == "__version__":
            value = importlib.metadata.version("fdrl")
        elif name in _HOMES:
            value = getattr(importlib.import_module(_HOMES[name]), name)
        else:
            raise AttributeError(f"module 'fdrl' has no attribute {name!r}")
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted(__all__)
