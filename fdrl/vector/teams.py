"""Teams: agents of a run that share worlds, and the environments of each role.

Agent g of a run is member g % n of team g // n, where n agents share a world. Teams are
independent copies; their agents are federated with those of the same role.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from fdrl.core.env import MultiVectorEnv, VectorEnv
from fdrl.core.errors import FdrlError, warn_once
from fdrl.core.registry import EnvSpec
from fdrl.core.seeding import Purpose, generator, leaf
from fdrl.vector.factory import EnvFactory, unrepeatable
from fdrl.vector.gym import LIMIT
from fdrl.vector.heterogeneity import Heterogeneity, Nothing, agent_kwargs
from fdrl.vector.parallel import TeamSpec, random_moves, said_of_team, team_spec
from fdrl.vector.parallel_loop import check_ends, make_worlds
from fdrl.vector.shared import RoleEnv, RoleThreads, StepBarrier, UnsteppableEnv

_MEASURE = 0xB0C5  # the branch of Purpose.PROXY, as for an agent alone


@dataclass
class SharedEnvFactory:
    """The environments of all roles of a run; `roles` gives each role's own factory.

    `kwargs` [teams] are each team's arguments of its worlds.
    """

    team: TeamSpec
    world_kwargs: tuple[Mapping[str, Any], ...]
    seed: int
    _open: dict[Any, tuple[StepBarrier, set[int]]] = field(default_factory=dict)
    joints: list[StepBarrier] = field(default_factory=list)
    held_out: tuple[Mapping[str, Any], ...] = ({},)
    """Worlds that no agent trains in: the same world, other seeds."""
    resting: bool = False
    """Whether agents only act, in `evaluation`: there are no training worlds then."""

    @cached_property
    def roles(self) -> tuple[RoleEnvFactory, ...]:
        """One factory of environments per role."""
        made = []
        for number, members in enumerate(self.team.roles):
            agents = self.agents_of(number)
            made.append(
                RoleEnvFactory(
                    spec=EnvSpec(self.team.name),
                    kwargs=tuple(self.kwargs[a] for a in agents),
                    held_out=({},),
                    agents=agents,
                    seed=self.seed,
                    teams=self,
                    role=number,
                    member=members[0],
                    resting=self.resting,
                )
            )
        return tuple(made)

    def agents_of(self, role: int) -> tuple[int, ...]:
        """Return the run's agents of a role, in order."""
        n = len(self.team.agents)
        return tuple(
            t * n + i for t in range(len(self.world_kwargs)) for i in self.team.roles[role]
        )

    @property
    def kwargs(self) -> tuple[dict[str, Any], ...]:
        """What is particular about each agent of the run: who it is, and its team's world."""
        names, varied = self.team.agents, self.team.physics
        return tuple(
            {"agent": name}
            | {k: v[i] if k in varied and isinstance(v, list) else v for k, v in given.items()}
            for given in self.world_kwargs
            for i, name in enumerate(names)
        )

    @property
    def proxy_box_steps(self) -> int:
        """World steps that the roles' boxes cost."""
        return sum(role.proxy_box_steps for role in self.roles)

    def training(self, role: int, copies: int) -> RoleEnv:
        """Return a role's view of its agents in the worlds that all roles train in."""
        seeds = [
            leaf(self.seed, Purpose.ENV, t, e)
            for t in range(len(self.world_kwargs)) for e in range(copies)
        ]  # fmt: skip
        return self._seat(("train", copies), role, copies, seeds)

    def evaluation(self, role: int, episodes: int, seed: int, held_out: bool) -> RoleEnv:
        """Return a role's view of fresh worlds, one an episode; episode j has one seed."""
        branch = (Purpose.HELD_OUT, 0) if held_out else (Purpose.EVALUATION,)
        seeds = [leaf(seed, *branch, j) for _ in self.world_kwargs for j in range(episodes)]
        key = ("evaluate", episodes, seed, held_out)
        return self._seat(key, role, episodes, seeds, once=True)

    def _seat(
        self,
        key: Any,
        role: int,
        copies: int,
        seeds: list[np.random.SeedSequence],
        *,
        once: bool = False,
    ) -> RoleEnv:
        """Take a role's view; worlds are made by the first role that asks, and shared."""
        if key not in self._open:
            env = self._worlds(copies, seeds, str(key[0]), once)
            joint = StepBarrier(env, self.team.roles, len(self.world_kwargs), copies)
            self._open[key] = (joint, set())
            self.joints = [*(j for j in self.joints if j.open), joint]
        joint, seated = self._open[key]
        seated.add(role)
        if len(seated) == len(self.team.roles):
            del self._open[key]
        return RoleEnv(joint, role)

    def _worlds(
        self, copies: int, seeds: list[np.random.SeedSequence], label: str, once: bool
    ) -> MultiVectorEnv:
        where = [(t, e) for t in range(len(self.world_kwargs)) for e in range(copies)]
        labels = [f"team {t} {label} copy {e}" for t, e in where]
        kwargs = [self.world_kwargs[t] for t, _ in where]
        return make_worlds(self.team, kwargs, seeds, labels, once=once)

    def abandon(self) -> None:
        """Let nobody wait for a role that has failed."""
        for joint in self.joints:
            joint.abandon()


@dataclass(frozen=True)
class RoleEnvFactory(EnvFactory):
    """Makes the environment copies of the agents of one role, which sit in shared worlds."""

    teams: SharedEnvFactory = field(kw_only=True)
    role: int = field(kw_only=True)
    member: int = field(kw_only=True)

    @cached_property
    def _spaces(self) -> tuple[spaces.Box, spaces.Discrete | spaces.Box]:
        team = self.teams.team
        return team.observation_spaces[self.member], team.action_spaces[self.member]

    def vector(self, copies: int) -> VectorEnv:
        """Return this role's view of the training worlds; of some of its agents, no world."""
        if self.resting or self.agents != self.teams.agents_of(self.role):
            return UnsteppableEnv(len(self.agents) * copies, self.observation_shape)
        return self.teams.training(self.role, copies)

    def evaluation(self, episodes: int, seed: int, held_out: bool = False) -> VectorEnv:
        """Return this role's view of its agents in fresh worlds, one an episode."""
        return self.teams.evaluation(self.role, episodes, seed, held_out)

    def subset(self, rows: Sequence[int]) -> RoleEnvFactory:
        """Return the factory of some of the role's agents, given by their place in the role."""
        some = replace(
            self,
            kwargs=tuple(self.kwargs[k] for k in rows),
            agents=tuple(self.agents[k] for k in rows),
        )
        if "_box" in vars(self):
            vars(some)["_box"] = vars(self)["_box"]
        return some

    def _wander(self, branch: int, steps: int) -> NDArray[np.float32]:
        """Let everybody act at random in a public world; return what this role saw in turn.

        At step t its member t % members is asked, or the next one that is still there, so
        [steps + 1, *O] cost that many world steps. While none of them is, the last row repeats.
        """
        team = self.teams.team
        where = (self.seed, Purpose.PROXY, branch)
        public = [self.teams.world_kwargs[0]], [leaf(*where, 0)], ["public world"]
        worlds = make_worlds(team, *public)
        draw = generator(*where, 1)
        names = [team.agents[i] for i in team.roles[self.role]]
        moves = dict(zip(team.agents, team.action_spaces, strict=True))
        seen = np.zeros((steps + 1, *self.observation_shape), np.float32)
        try:
            first = {a: o.copy() for a, o in worlds.reset().items()}
            seen[0] = first[names[0]][0]
            for t in range(1, steps + 1):
                moved = worlds.step(random_moves(moves, draw))
                there = [a for a in names[t % len(names) :] + names if moved.alive[a][0]]
                seen[t] = moved.next_observations[there[0]][0] if there else seen[t - 1]
        finally:
            worlds.close()
        twin = make_worlds(team, *public)
        again = twin.reset()
        if not all(np.array_equal(first[a], again[a]) for a in first):
            warn_once(unrepeatable(team.name))
        twin.close()
        return seen


def make_teams(
    env: str,
    agents: int,
    hetero: Heterogeneity,
    seed: int,
    env_kwargs: Mapping[str, Any],
    per_agent: Sequence[Mapping[str, Any]],
    groups: Sequence[Sequence[str]] | None = None,
) -> SharedEnvFactory | None:
    """Return the teams of a run; None if its environment is no parallel one."""
    team = team_spec(env, {**env_kwargs, **(per_agent[0] if per_agent else {})}, groups)
    if team is None:
        return None
    n = len(team.agents)
    if agents % n:
        raise FdrlError(
            f"config: {env!r} has {n} agents in a world ({', '.join(team.agents)}), so agents "
            f"must be a multiple of {n}, not {agents}"
        )
    own = [dict(given) for given in per_agent] or [{}] * agents
    for t in range(agents // n):
        if any(given != own[t * n] for given in own[t * n : (t + 1) * n]):
            raise FdrlError(
                f"config: agents {t * n} to {t * n + n - 1} share a world, so their agent_kwargs "
                "must be the same"
            )
    if any(LIMIT in given for given in per_agent):
        raise FdrlError(
            f"environment {env!r}: {LIMIT} is one number for all agents: give it in env_kwargs"
        )
    worlds = [team.given({**env_kwargs, **own[t * n]}) for t in range(agents // n)]
    kwargs = _varied(team, worlds, hetero)
    check_ends(team, kwargs[0])
    if said := said_of_team(team):
        warn_once(said)
    return SharedEnvFactory(team, kwargs, seed)


def _varied(
    team: TeamSpec, kwargs: Sequence[Mapping[str, Any]], hetero: Heterogeneity
) -> tuple[Mapping[str, Any], ...]:
    """Return each team's arguments of its worlds, with a list of what its agents differ in.

    As elsewhere, heterogeneity spreads around what is given; lists that name each agent's own
    value are left alone.
    """
    if isinstance(hetero, Nothing):
        return tuple(kwargs)
    if not team.physics:
        raise FdrlError(
            f"config: hetero does not apply to {team.name!r}, whose physics fdrl does not know; "
            "give teams different agent_kwargs"
        )
    n, out = len(team.agents), []
    for t, given in enumerate(kwargs):
        physics = {
            name: replace(p, default=float(given.get(name, p.default)))
            for name, p in team.physics.items()
            if not isinstance(given.get(name), (list, tuple))
        }
        spec = EnvSpec(team.name, physics=physics)
        own = agent_kwargs(spec, hetero, n * len(kwargs))[t * n : (t + 1) * n]
        lists = {
            name: [values.get(name, physics[name].default) for values in own]
            for name in {name: None for values in own for name in values}
        }
        out.append({**given, **lists})
    return tuple(out)


def together(envs: Any) -> RoleThreads | None:
    """Return what runs the roles of shared worlds at the same time; None if nothing is shared."""
    return (
        RoleThreads(len(envs.roles), envs.abandon) if isinstance(envs, SharedEnvFactory) else None
    )


def factory_of(envs: EnvFactory | SharedEnvFactory, agent: int) -> EnvFactory:
    """Return the factory that knows an agent's environment."""
    if not isinstance(envs, SharedEnvFactory):
        return envs
    return next(role for role in envs.roles if agent in role.agents)
