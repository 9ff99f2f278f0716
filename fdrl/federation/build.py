"""From a config to the parts of a federation: environments, cohorts, strategies, channel."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from fdrl.channels.settings import FadingChannel, MacAnalog, MacDigital
from fdrl.config.run import Run
from fdrl.core.arrays import Array, subtree
from fdrl.core.cohort import Cohort, CohortContext, Labeled, Part, optimizer_squares
from fdrl.core.errors import FdrlError
from fdrl.core.registry import AGENTS, STRATEGIES, load_object
from fdrl.core.settings import LearnerSettings
from fdrl.core.strategy import ChecksCohort, ClientContext, CohortFacts, ServerContext
from fdrl.core.transport import Channel, Ideal
from fdrl.federation.client import CohortClient, steps_per_round
from fdrl.federation.compatibility import check_budget, check_teams
from fdrl.federation.groups import Group, _team, agent_ids, groups
from fdrl.federation.server import PerRoleServer, Server
from fdrl.federation.shards import build_cohort
from fdrl.vector.factory import EnvFactory, make_factory
from fdrl.vector.teams import RoleEnvFactory, SharedEnvFactory, make_teams


def make_channel(run: Run, ids: tuple[str, ...]) -> Channel:
    """Build the channel that a config asks for; `FdrlError` if nothing can get through it."""
    if isinstance(run.channel, FadingChannel):
        from fdrl.channels.fading import Fading

        return Fading(run.channel, ids, run.seed)
    if isinstance(run.channel, MacDigital | MacAnalog):
        from fdrl.federation.compatibility import check_strategy

        check_strategy(run)
    if isinstance(run.channel, MacDigital):
        from fdrl.channels.digital import Digital

        return Digital(run.channel, ids, run.seed, run.strategy)
    if isinstance(run.channel, MacAnalog):
        from fdrl.channels.analog import Analog

        return Analog(run.channel, ids, run.seed, run.strategy)
    return Ideal()


PARTS: tuple[Part, ...] = ("policy", "all", "optimizer")


def environments(run: Run) -> EnvFactory | SharedEnvFactory:
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


def measured(envs: EnvFactory | SharedEnvFactory) -> dict[str, Array]:
    """Return what was found out by stepping public copies, of each role's if there are several."""
    return {f"{i}.{k}": v for i, own in enumerate(_own(envs)) for k, v in own.measured().items()}


def recall(envs: EnvFactory | SharedEnvFactory, known: Mapping[str, Array]) -> None:
    """Let factories take over what others `measured`, instead of measuring it again."""
    for i, own in enumerate(_own(envs)):
        own.recall(subtree(known, f"{i}."))


def _own(envs: EnvFactory | SharedEnvFactory) -> Sequence[EnvFactory]:
    return envs.roles if isinstance(envs, SharedEnvFactory) else (envs,)


def factories(envs: EnvFactory | SharedEnvFactory, count: int) -> Sequence[EnvFactory]:
    """Return the factory that knows the environments of each of `count` groups."""
    return envs.roles if isinstance(envs, SharedEnvFactory) else [envs] * count


def make_cohort(
    run: Run, group: Group, envs: EnvFactory | SharedEnvFactory, threads: int = 1
) -> Cohort:
    """Build the learner of one group, cut into cache-sized tiles over `threads` processes.

    Agents that share worlds are never cut: they step together.
    """
    ids = agent_ids(run.agents)
    rows: Sequence[int] = group.agents
    options = {"threads": threads}
    if isinstance(envs, SharedEnvFactory):
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


def make_cohorts(run: Run, envs: EnvFactory | SharedEnvFactory) -> list[Cohort]:
    """Build the learners of all groups alone, for agents that only act."""
    cohorts: list[Cohort] = []
    try:
        for group in groups(run):
            cohorts.append(make_cohort(run, group, envs))
    except BaseException:
        for cohort in cohorts:
            cohort.close()
        raise
    return cohorts


def make_clients(
    run: Run, threads: int = 1, envs: EnvFactory | SharedEnvFactory | None = None
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
            if isinstance(ready, ChecksCohort):
                ready.check_cohort(clients[-1].cohort)
    except BaseException:
        for client in clients:
            client.cohort.close()
        raise
    return clients


def make_server(
    run: Run, facts: list[CohortFacts], envs: EnvFactory | SharedEnvFactory | None = None
) -> Server:
    """Build the server's side from the config and what it implies of each group's learner."""
    envs = envs or environments(run)
    ids, found = agent_ids(run.agents), groups(run)
    if not isinstance(envs, SharedEnvFactory):
        return _make_server(run, facts, envs, found, ids)
    # Roles differ in their spaces: each has a server half of its own, which sees its agents alone.
    servers = {
        tuple(ids[a] for a in group.agents): _make_server(
            run, [fact], role, [group], tuple(ids[a] for a in group.agents)
        )
        for group, fact, role in zip(found, facts, envs.roles, strict=True)
    }
    key = run.channel.key()
    server = Server(PerRoleServer({own: made.half for own, made in servers.items()}), ids, key)
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

    most = [min(run.steps, steps_per_round(run, f.iteration_steps)) for f in facts]
    context = ServerContext(
        run=run,
        ids=own,
        low=low,
        high=high,
        n_actions=envs.n_actions,
        groups=tuple(tuple(ids[a] for a in g.agents) for g in found),
        facts=tuple(facts),
        round_steps=max(most),
        own_steps={ids[a]: n for g, n in zip(found, most, strict=True) for a in g.agents},
        visit=visit,
        trainer=_trainer(run, found, envs),
        gaussian=envs.gaussian,
    )
    half = load_object(STRATEGIES.spec(run.strategy_name).server)
    server = Server(half(context), own, run.channel.key())
    server.env_steps = visited
    return server


def _trainer(run: Run, found: list[Group], envs: EnvFactory) -> Callable[[int], Cohort]:
    """Return what builds a server-side learner: one agent, with batches of the whole group."""

    def build(index: int) -> Cohort:
        group = found[index]
        settings = group.settings.for_pool(len(group.agents))
        some = Group(group.name, settings, group.agents[:1])
        return make_cohort(run, some, envs.teams if isinstance(envs, RoleEnvFactory) else envs)

    return build


def cohort_facts(cohort: Cohort, settings: LearnerSettings) -> CohortFacts:
    """Return what a server may know of a cohort."""
    sizes: dict[str, int] = {part: int(cohort.parameters(part).shape[1]) for part in PARTS}
    owned = int(cohort.histogram().sum(1).max()) if isinstance(cohort, Labeled) else None
    return CohortFacts(
        sizes, cohort.iteration_steps, settings.copies, optimizer_squares(cohort), owned
    )
