"""What a federation of several roles in shared worlds needs besides: one server half per role."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fdrl.client import under
from fdrl.config import Run
from fdrl.environment import EnvFactory
from fdrl.errors import FdrlError
from fdrl.joint import Together
from fdrl.message import Message
from fdrl.registry import AGENTS, by_default, load_object
from fdrl.strategy import ServerHalf
from fdrl.team import Teams

Array = NDArray[Any]


def together(envs: Any) -> Together | None:
    """Return what runs the roles of shared worlds at the same time; None if nothing is shared."""
    return Together(len(envs.roles), envs.abandon) if isinstance(envs, Teams) else None


def factory_of(envs: EnvFactory | Teams, agent: int) -> EnvFactory:
    """Return the factory that knows an agent's environment."""
    if not isinstance(envs, Teams):
        return envs
    return next(role for role in envs.roles if agent in role.agents)


def check_teams(run: Run) -> None:
    """Raise for settings that agents of a shared world cannot have: all must step together."""
    name = f"agents of {run.env!r} share a world and step together"
    if run.episodes or run.strategy.unit == "episodes":
        raise FdrlError(f"config: {name}: count steps or iterations, not episodes")
    if not run.agent.steps_together:
        able = [s.name for s in by_default(AGENTS) if load_object(s.settings).steps_together]
        raise FdrlError(
            f"config: {name}, which agent {run.agent_name!r} cannot: use {' or '.join(able)} "
            "(at agent)"
        )
    if run.threads > 1:
        raise FdrlError(f"config: {name}: a team cannot be spread over threads, leave it at 1")
    if run.networks != "same" or run.cohorts:
        raise FdrlError(
            f"config: {name}: their networks are set by role alone, one learner for all"
        )


class RoleHalves:
    """The server halves of all roles as one (`fdrl.strategy.ServerHalf`), by their agents' ids."""

    def __init__(self, halves: Mapping[tuple[str, ...], ServerHalf]) -> None:
        self.halves = dict(halves)
        self._of = {name: half for ids, half in halves.items() for name in ids}

    def announce(self) -> dict[str, Message]:
        """Say what every agent must know before the first round."""
        return {n: m for half in self.halves.values() for n, m in half.announce().items()}

    def check(self, message: Message, agent: str, round: int) -> None:
        """Let the agent's role decide."""
        self._of[agent].check(message, agent, round)

    def aggregate(self, round: int, messages: Mapping[str, Message]) -> dict[str, Message]:
        """Combine the messages of each role."""
        out: dict[str, Message] = {}
        for ids, half in self.halves.items():
            out |= half.aggregate(round, {n: m for n, m in messages.items() if n in ids})
        return out

    def metrics(self) -> dict[str, float]:
        """Return means over the roles."""
        found: dict[str, list[float]] = {}
        for half in self.halves.values():
            for name, value in half.metrics().items():
                found.setdefault(name, []).append(value)
        return {name: float(np.mean(values)) for name, values in found.items()}

    def state(self) -> dict[str, Array]:
        """Everything needed to resume."""
        return {
            f"role{i}.{name}": array
            for i, half in enumerate(self.halves.values())
            for name, array in half.state().items()
        }

    def load_state(self, state: Mapping[str, Array]) -> None:
        """Continue from what `state` returned."""
        for i, half in enumerate(self.halves.values()):
            half.load_state(under(state, f"role{i}."))
