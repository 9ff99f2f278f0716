"""Which agents form a cohort: agents of one architecture and one learner."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec

from fdrl.config.run import Run, agent_settings
from fdrl.core.errors import FdrlError
from fdrl.core.settings import LearnerSettings
from fdrl.vector.parallel import TeamSpec, team_spec

# ---- Ten networks that differ in depth, width and activation (arXiv 2502.00870) ----
#
# The learning rates belong to REINFORCE on CartPole, for which they were published.


class Architecture(NamedTuple):
    """Hidden layers, activation, and the learning rate that goes with them."""

    hidden: tuple[int, ...]
    activation: str
    learning_rate: float


TEN = (
    Architecture((128,), "relu", 1e-3),
    Architecture((32, 32), "relu", 2e-3),
    Architecture((16, 16, 32), "tanh", 4e-3),
    Architecture((8, 8, 8), "relu", 5e-4),
    Architecture((32, 32, 32), "tanh", 3e-3),
    Architecture((8, 8), "relu", 7e-4),
    Architecture((64, 64), "tanh", 1e-3),
    Architecture((16, 16), "relu", 5e-4),
    Architecture((16, 32, 16), "tanh", 5e-4),
    Architecture((32,), "relu", 8e-4),
)


@dataclass(frozen=True)
class Group:
    """Agents that share a learner and an architecture: one cohort."""

    name: str
    settings: LearnerSettings
    agents: tuple[int, ...]


def agent_ids(count: int) -> tuple[str, ...]:
    """Return stable ids whose alphabetical order is the agents' order."""
    width = max(2, len(str(count - 1)))
    return tuple(f"agent-{k:0{width}d}" for k in range(count))


def groups(run: Run) -> list[Group]:
    """Split the agents of a run into cohorts of one learner and architecture each."""
    if run.cohorts:
        found, start = [], 0
        for cohort in run.cohorts:
            settings = agent_settings(cohort.agent)
            name = str(type(settings).__struct_config__.tag)
            found.append(Group(name, settings, tuple(range(start, start + cohort.agents))))
            start += cohort.agents
        return found
    team = _team(run)
    if team is not None:
        n = len(team.agents)
        return [
            Group(run.agent_name, run.agent, tuple(
                t * n + i for t in range(run.agents // n) for i in role
            ))
            for role in team.roles
        ]  # fmt: skip
    if run.networks == "same":
        return [Group(run.agent_name, run.agent, tuple(range(run.agents)))]
    return [
        Group(run.agent_name, _with_network(run, index), tuple(range(index, run.agents, len(TEN))))
        for index in range(min(len(TEN), run.agents))
    ]


def _with_network(run: Run, index: int) -> Any:
    hidden, activation, rate = TEN[index]
    changes: dict[str, Any] = {"hidden": hidden, "activation": activation}
    if run.networks == "fedhpd":
        changes["learning_rate"] = rate
    known = {f.name for f in msgspec.structs.fields(run.agent)}
    if not changes.keys() <= known:
        raise FdrlError(f"networks = {run.networks!r} does not apply to agent {run.agent_name!r}")
    return msgspec.structs.replace(run.agent, **changes)


def _team(run: Run) -> TeamSpec | None:
    """Return the agents that share a world, if the environment is such a one."""
    if not set(run.env) & set(":/"):
        return None
    own = run.agent_kwargs[0] if run.agent_kwargs else {}
    return team_spec(run.env, {**run.env_kwargs, **own}, run.groups)
