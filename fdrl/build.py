"""From a config to the parts of a federation: environments, cohorts, and strategy halves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from fdrl.architectures import TEN
from fdrl.client import CohortClient, round_steps
from fdrl.cohort import Cohort, CohortContext, Part
from fdrl.config import Run, agent_settings
from fdrl.environment import EnvFactory, make_factory
from fdrl.errors import FdrlError
from fdrl.parallel import TeamSpec, team_spec
from fdrl.registry import AGENTS, STRATEGIES, load_object
from fdrl.roles import RoleHalves, check_teams
from fdrl.server import Server
from fdrl.settings import LearnerSettings
from fdrl.shards import build_cohort
from fdrl.strategy import ClientContext, CohortFacts, Particular, ServerContext
from fdrl.team import RoleFactory, Teams, make_teams

PARTS: tuple[Part, ...] = ("policy", "all", "optimizer")


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


def environments(run: Run) -> EnvFactory | Teams:
    """Build the factory of every agent's environments, or those of the roles that share worlds."""
    if _team(run) is not None:
        check_teams(run)
        teams = make_teams(
            run.env, run.agents, run.hetero, run.seed, run.env_kwargs, run.agent_kwargs, run.groups
        )
        assert teams is not None
        return teams
    if run.groups is not None:
        raise FdrlError(f"config: groups does not apply: agents share no world in {run.env!r}")
    return make_factory(run.env, run.agents, run.hetero, run.seed, run.env_kwargs, run.agent_kwargs)


def check_budget(run: Run, group: Group) -> None:
    """Raise for a budget that an agent cannot learn by.

    Its steps must be dealt evenly to its environment copies, and a learning rate that falls over
    the steps needs a run that takes them.
    """
    if run.episodes and group.settings.needs_steps:
        raise FdrlError(
            f"config: the linear lr_schedule of agent {group.name!r} falls over the run's steps, "
            "which a budget of episodes ends long before: use constant, or steps without episodes "
            "(at agent.lr_schedule)"
        )
    copies = group.settings.copies
    if run.steps % copies:
        low = run.steps // copies * copies
        near = f"{low} or {low + copies}" if low else f"{copies}"
        raise FdrlError(
            f"config: {run.steps} steps cannot be shared by the {copies} environment copies of "
            f"agent {group.name!r} (agent.n_envs): use {near} (at steps)"
        )


def factories(envs: EnvFactory | Teams, count: int) -> Sequence[EnvFactory]:
    """Return the factory that knows the environments of each of `count` groups."""
    return envs.roles if isinstance(envs, Teams) else [envs] * count


def make_cohort(run: Run, group: Group, envs: EnvFactory | Teams, threads: int = 1) -> Cohort:
    """Build the learner of one group, cut into cache-sized tiles over `threads` processes.

    Agents that share worlds are never cut: they step together.
    """
    ids = agent_ids(run.agents)
    rows: Sequence[int] = group.agents
    options = {"threads": threads}
    if isinstance(envs, Teams):
        envs = next(role for role in envs.roles if set(group.agents) <= set(role.agents))
        rows = [envs.agents.index(a) for a in group.agents]
        options = {"tile": len(rows)}
    context = CohortContext(
        ids=tuple(ids[a] for a in group.agents),
        agents=group.agents,
        envs=envs.subset(rows),
        seed=run.seed,
        same_init=bool(run.same_init),
        total_steps=run.steps,
        device=run.device,
    )
    factory = AGENTS.spec(group.name).factory
    cohort: Cohort = build_cohort(factory, group.settings, context, **options)
    return cohort


def client_context(run: Run, group: Group, envs: EnvFactory) -> ClientContext:
    """Return what the client half of one group is told."""
    ids, box = agent_ids(run.agents), envs.proxy_box()
    own = tuple(ids[a] for a in group.agents)
    return ClientContext(run, own, group.agents, *box, envs.n_actions, envs.gaussian)


def make_clients(
    run: Run, threads: int = 1, envs: EnvFactory | Teams | None = None
) -> list[CohortClient]:
    """Build the agents' side of a federation; `envs` saves measuring the box of states again."""
    envs = envs or environments(run)
    half = load_object(STRATEGIES.spec(run.strategy_name).client)
    clients: list[CohortClient] = []
    try:
        found = groups(run)
        for group, own in zip(found, factories(envs, len(found)), strict=True):
            check_budget(run, group)
            context = client_context(run, group, own)
            # The half checks the strategy's settings: before any worker process is started.
            ready = half(context)
            clients.append(CohortClient(run, make_cohort(run, group, envs, threads), ready))
            if isinstance(ready, Particular):
                ready.check_cohort(clients[-1].cohort)
    except BaseException:
        for client in clients:
            client.cohort.close()
        raise
    return clients


def make_server(
    run: Run, facts: list[CohortFacts], envs: EnvFactory | Teams | None = None
) -> Server:
    """Build the server's side from the config and what it implies of each group's learner."""
    envs = envs or environments(run)
    ids, found = agent_ids(run.agents), groups(run)
    if not isinstance(envs, Teams):
        return _make_server(run, facts, envs, found, ids)
    # Roles differ in their spaces: each has a server half of its own, which sees its agents alone.
    servers = {
        tuple(ids[a] for a in group.agents): _make_server(
            run, [fact], role, [group], tuple(ids[a] for a in group.agents)
        )
        for group, fact, role in zip(found, facts, envs.roles, strict=True)
    }
    server = Server(RoleHalves({own: made.half for own, made in servers.items()}), ids)
    server.env_steps = sum(made.env_steps for made in servers.values())
    return server


def _make_server(
    run: Run, facts: list[CohortFacts], envs: EnvFactory, found: list[Group], own: tuple[str, ...]
) -> Server:
    """Build the server of agents `own`, in groups `found`."""
    ids, (low, high) = agent_ids(run.agents), envs.proxy_box()
    visited = 0

    def visit(steps: int) -> NDArray[np.float32]:
        nonlocal visited
        visited += steps
        return envs.visit(steps)

    context = ServerContext(
        run=run,
        ids=own,
        low=low,
        high=high,
        n_actions=envs.n_actions,
        groups=tuple(tuple(ids[a] for a in g.agents) for g in found),
        facts=tuple(facts),
        round_steps=max(round_steps(run, f.iteration_steps) for f in facts),
        visit=visit,
        trainer=_trainer(run, found, envs),
        gaussian=envs.gaussian,
    )
    half = load_object(STRATEGIES.spec(run.strategy_name).server)
    server = Server(half(context), own)
    server.env_steps = visited
    return server


def _trainer(run: Run, found: list[Group], envs: EnvFactory) -> Callable[[int], Cohort]:
    """Return what builds a server-side learner: one agent, with batches of the whole group."""

    def build(index: int) -> Cohort:
        group = found[index]
        settings = group.settings.for_pool(len(group.agents))
        some = Group(group.name, settings, group.agents[:1])
        return make_cohort(run, some, envs.teams if isinstance(envs, RoleFactory) else envs)

    return build


def cohort_facts(cohort: Cohort, settings: LearnerSettings) -> CohortFacts:
    """Return what a server may know of a cohort."""
    sizes: dict[str, int] = {part: int(cohort.parameters(part).shape[1]) for part in PARTS}
    return CohortFacts(sizes, cohort.iteration_steps, settings.copies)
