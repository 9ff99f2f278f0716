"""Federated reinforcement learning by policy distillation.

Agents learn locally, each in its own environment with its own network. They exchange action
probabilities on agreed proxy states, never data or weights, and distill the result.

>>> import fdrl
>>> run = fdrl.make_run(env="CartPole-v1", agents=4, strategy="fd", steps=2_048)
>>> summary = fdrl.train(run)
"""

from __future__ import annotations

import importlib
import importlib.metadata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fdrl.checks.cohort import check_cohort
    from fdrl.checks.env import check_env
    from fdrl.checks.strategy import check_strategy
    from fdrl.cohort import Cohort, CohortContext, Episodes, Experience, Part
    from fdrl.config import Exchange, Run, make_run, parse
    from fdrl.distill import DistillSettings
    from fdrl.errors import FdrlError
    from fdrl.federation import Federation
    from fdrl.learner_base import AgentSettings, Learner
    from fdrl.message import Message, ProbTable
    from fdrl.pack.train import train_packed
    from fdrl.presets import read_tables
    from fdrl.records import RoundRecord, Summary
    from fdrl.registry import Physics, register_agent, register_env, register_strategy
    from fdrl.stopping import Stopped
    from fdrl.strategies.local import Client, Server, StrategySettings
    from fdrl.strategy import ClientContext, Messages, ServerContext
    from fdrl.track import Tracker
    from fdrl.training import train

    __version__: str

_HOMES = {
    "AgentSettings": "fdrl.learner_base",
    "Client": "fdrl.strategies.local",
    "ClientContext": "fdrl.strategy",
    "Cohort": "fdrl.cohort",
    "CohortContext": "fdrl.cohort",
    "DistillSettings": "fdrl.distill",
    "Episodes": "fdrl.cohort",
    "Exchange": "fdrl.config",
    "Experience": "fdrl.cohort",
    "FdrlError": "fdrl.errors",
    "Federation": "fdrl.federation",
    "Learner": "fdrl.learner_base",
    "Message": "fdrl.message",
    "Messages": "fdrl.strategy",
    "Part": "fdrl.cohort",
    "Physics": "fdrl.registry",
    "ProbTable": "fdrl.message",
    "RoundRecord": "fdrl.records",
    "Run": "fdrl.config",
    "Server": "fdrl.strategies.local",
    "ServerContext": "fdrl.strategy",
    "Stopped": "fdrl.stopping",
    "StrategySettings": "fdrl.strategies.local",
    "Summary": "fdrl.records",
    "Tracker": "fdrl.track",
    "check_cohort": "fdrl.checks.cohort",
    "check_env": "fdrl.checks.env",
    "check_strategy": "fdrl.checks.strategy",
    "make_run": "fdrl.config",
    "parse": "fdrl.config",
    "read_tables": "fdrl.presets",
    "register_agent": "fdrl.registry",
    "register_env": "fdrl.registry",
    "register_strategy": "fdrl.registry",
    "train": "fdrl.training",
    "train_packed": "fdrl.pack.train",
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
