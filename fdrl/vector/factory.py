"""From an environment's name to the copies that agents step.

Shapes: K agents, E copies per agent, H held-out environments, O observation shape.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Self

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from fdrl.core.arrays import Array, subtree
from fdrl.core.env import VectorEnv
from fdrl.core.errors import FdrlError, warn_once
from fdrl.core.registry import EnvSpec, load_object
from fdrl.core.seeding import Purpose, generator, leaf
from fdrl.core.watch import PULSE
from fdrl.vector import contract
from fdrl.vector.flatten import said_of
from fdrl.vector.gym import (
    CAP,
    GymEnv,
    check_kwargs,
    check_same_spaces,
    check_spaces,
    find_env,
    has_limit,
    no_limit,
    open_env,
    own_end,
    own_limit,
    take_limit,
)
from fdrl.vector.gym_loop import GymLoop
from fdrl.vector.heterogeneity import Heterogeneity, Nothing, agent_kwargs, held_out_kwargs
from fdrl.vector.shared import UnsteppableEnv

Kwargs = Mapping[str, Any]
Box = tuple[NDArray[np.float32], NDArray[np.float32]]

UNBOUNDED = 1e6
"""A bound at least this large says nothing about where states are."""
_MEASURE = 0xB0C5  # the branch of Purpose.PROXY that measures boxes
_VISIT = 0x0517  # the one that visits proxy states
REPEATED = 16
"""Steps of a measurement that are taken twice, to see whether the environment heeds its seed."""
_PROBE = 0xE2D5  # the one that looks whether episodes end


@dataclass(frozen=True)
class EnvFactory:
    """Makes the environment copies of K agents (`fdrl.core.env.Envs`); it can be pickled.

    `kwargs` [K] are each agent's environment arguments, `held_out` [H] those of environments that
    no agent trains in, `public` those of a copy that belongs to nobody. `agents` [K] are global
    indices, the key of every random stream.
    """

    spec: EnvSpec
    kwargs: tuple[Kwargs, ...]
    held_out: tuple[Kwargs, ...]
    agents: tuple[int, ...]
    seed: int
    public: Kwargs = field(default_factory=dict)
    resting: bool = False
    """Whether agents only act, in `evaluation`: there are no training copies then."""
    _visited: dict[int, NDArray[np.float32]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    @cached_property
    def _spaces(self) -> tuple[spaces.Box, spaces.Discrete | spaces.Box]:
        if self.spec.vector:
            cls = load_object(self.spec.vector)
            observations, actions = cls.observation_space, cls.action_space
        else:
            env = open_env(self.spec, self.kwargs[0])
            observations, actions = env.observation_space, env.action_space
            if done := said_of(env, self.spec.name):
                warn_once(done)
            contract.close(env, self.spec.name)
        check_spaces(self.spec.name, observations, actions)
        if not self.spec.vector:
            check_same_spaces(self.spec, self.agents, self.kwargs, (observations, actions))
        return observations, actions

    @property
    def observation_space(self) -> spaces.Box:
        """The agents' observation space, a flat Box."""
        return self._spaces[0]

    @property
    def action_space(self) -> spaces.Discrete | spaces.Box:
        """The agents' action space; discrete actions handed to copies always count from 0."""
        return self._spaces[1]

    @property
    def observation_shape(self) -> tuple[int, ...]:
        """O."""
        return self.observation_space.shape

    @property
    def n_actions(self) -> int:
        """A, the number of discrete actions, or D, the dimensions of a continuous one."""
        space = self.action_space
        return int(space.n) if isinstance(space, spaces.Discrete) else int(space.shape[0])

    @property
    def gaussian(self) -> bool:
        """Whether actions are continuous, so that policies are Gaussians."""
        return isinstance(self.action_space, spaces.Box)

    def random_actions(self, draw: np.random.Generator, count: int) -> NDArray[Any]:
        """Draw actions [count], or continuous ones [count, D], uniformly."""
        space = self.action_space
        if isinstance(space, spaces.Discrete):
            return draw.integers(int(space.n), size=count)
        uniform = draw.uniform(space.low, space.high, (count, *space.shape))
        return np.asarray(uniform.astype(space.dtype))

    def vector(self, copies: int) -> VectorEnv:
        """Return K*E training copies, agent-major: copy e of agent k is number k*E + e."""
        if self.resting:
            return UnsteppableEnv(len(self.agents) * copies, self.observation_shape)
        where = [(k, e) for k in range(len(self.agents)) for e in range(copies)]
        return self._build(
            [self.kwargs[k] for k, _ in where],
            [leaf(self.seed, Purpose.ENV, self.agents[k], e) for k, e in where],
            [f"agent {self.agents[k]} copy {e}" for k, e in where],
        )

    def evaluation(self, episodes: int, seed: int, held_out: bool = False) -> VectorEnv:
        """Return one copy per evaluation episode, [K, episodes], or [K, H, episodes] held out.

        Episode j starts from the same seed for every agent. Each copy is for one episode: a real
        environment that has finished it takes no more steps.
        """
        rows: list[tuple[Kwargs, np.random.SeedSequence, str]] = []
        for agent, own in zip(self.agents, self.kwargs, strict=True):
            for h, kwargs in enumerate(self.held_out if held_out else (own,)):
                branch = (Purpose.HELD_OUT, h) if held_out else (Purpose.EVALUATION,)
                for j in range(episodes):
                    label = f"agent {agent} evaluation episode {j}"
                    rows.append((kwargs, leaf(seed, *branch, j), label))
        kwargs_, seeds, labels = zip(*rows, strict=True)
        return self._build(kwargs_, seeds, labels, once=True)

    def open(self, row: int) -> GymEnv:
        """Return one real environment of agent `row`, for the caller to close."""
        return open_env(self.spec, self.kwargs[row])

    def subset(self, rows: Sequence[int]) -> EnvFactory:
        """Return the factory of some of the agents, with the same random streams."""
        kwargs = tuple(self.kwargs[k] for k in rows)
        some = replace(self, kwargs=kwargs, agents=tuple(self.agents[k] for k in rows))
        for known in ("_spaces", "_box"):  # what took environment steps to learn is kept
            if known in vars(self):
                vars(some)[known] = vars(self)[known]
        return some

    def _build(
        self,
        kwargs: Sequence[Kwargs],
        seeds: Sequence[np.random.SeedSequence],
        labels: Sequence[str],
        *,
        once: bool = False,
    ) -> VectorEnv:
        if not self.spec.vector:
            return GymLoop(self.spec, kwargs, seeds, labels, once=once)
        defaults = {name: p.default for name, p in self.spec.physics.items()}
        if self.spec.init is not None:
            defaults |= {"init_low": self.spec.init[0], "init_high": self.spec.init[1]}
        params = {
            name: np.array([given.get(name, default) for given in kwargs], np.float64)
            for name, default in defaults.items()
        }
        made: VectorEnv = load_object(self.spec.vector)(
            len(kwargs), params, seeds, self.spec.max_steps
        )
        return made

    def proxy_box(self) -> Box:
        """Return (low [O], high [O]), the box of states worth asking policies about.

        The registered box, else the observation space's bounds; unbounded parts are measured
        (`measure_proxy_box`), which costs `proxy_box_steps` environment steps.
        """
        low, high, _ = self._box
        return low.copy(), high.copy()

    @property
    def proxy_box_steps(self) -> int:
        """Environment steps that `proxy_box` cost: 0 unless some part had to be measured."""
        return self._box[2]

    @cached_property
    def _box(self) -> tuple[NDArray[np.float32], NDArray[np.float32], int]:
        size = math.prod(self.observation_shape)
        if self.spec.proxy_low or self.spec.proxy_high:
            low = np.array(self.spec.proxy_low, np.float32)
            high = np.array(self.spec.proxy_high, np.float32)
            if low.shape != (size,) or high.shape != (size,) or not (low < high).all():
                raise FdrlError(
                    f"environment {self.spec.name!r}: proxy_low and proxy_high need "
                    f"{size} components each, low below high"
                )
            return low, high, 0
        space = self.observation_space
        bounded = (np.abs(space.low) < UNBOUNDED) & (np.abs(space.high) < UNBOUNDED)
        low, high, steps = space.low.astype(np.float32), space.high.astype(np.float32), 0
        if not bounded.all():
            low, high, steps = self.measure_proxy_box()
            np.copyto(low, space.low, where=bounded, casting="same_kind")
            np.copyto(high, space.high, where=bounded, casting="same_kind")
        still = low == high  # a component that cannot move still needs an interval
        return low - np.float32(0.5) * still, high + np.float32(0.5) * still, steps

    def measure_proxy_box(
        self, steps: int = 1000
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], int]:
        """Return (low [O], high [O], steps used): where a random policy goes in a public copy.

        The ranges get a tenth on either side; a component that never moved gets 0.5.
        """
        seen = self._wander(_MEASURE, steps)
        low, high = seen.min(0), seen.max(0)
        margin = np.where(high > low, 0.1 * (high - low), 0.5).astype(np.float32)
        return low - margin, high + margin, steps

    def visit(self, steps: int) -> NDArray[np.float32]:
        """Return the first states [steps, *O] that a random policy sees in a public copy."""
        if steps not in self._visited:
            self._visited[steps] = self._wander(_VISIT, steps)[:-1]
        return self._visited[steps].copy()

    def measured(self) -> dict[str, Array]:
        """Return what was found out by stepping a public copy, by name; nothing if nothing was.

        A run keeps it: an environment that ignores its seed would give something else next time,
        and proxy states and cells would no longer be those that agents were asked about.
        """
        out: dict[str, Array] = {f"visited.{n}": states for n, states in self._visited.items()}
        if "_box" in vars(self) and self._box[2]:
            low, high, steps = self._box
            out |= {"low": low, "high": high, "steps": np.array(steps)}
        return out

    def recall(self, measured: Mapping[str, Array]) -> Self:
        """Take over what another factory of the same environments has `measured`."""
        if "low" in measured:
            box = np.array(measured["low"]), np.array(measured["high"]), int(measured["steps"])
            vars(self)["_box"] = box
        for name, states in subtree(measured, "visited.").items():
            self._visited[int(name)] = np.array(states)
        return self

    def ends(self) -> bool:
        """Say whether agent 0's environment ends an episode of random actions by itself."""
        seeds = [leaf(self.seed, Purpose.PROXY, _PROBE, 0)]
        env = self._build(self.kwargs[:1], seeds, ["public copy"], once=True)
        draw = generator(self.seed, Purpose.PROXY, _PROBE, 1)

        def over() -> bool:
            step = env.step(self.random_actions(draw, 1))
            return bool(step.terminated[0] or step.truncated[0])

        try:
            env.reset()
            return contract.ends(over)
        finally:
            env.close()

    def _wander(self, branch: int, steps: int) -> NDArray[np.float32]:
        """Let a random policy take steps; return every observation [steps + 1, *O].

        Of an episode that ends, the last observation stands for itself, not the next one's first.
        """
        env = self._build(
            [self.public], [leaf(self.seed, Purpose.PROXY, branch, 0)], ["public copy"]
        )
        draw = generator(self.seed, Purpose.PROXY, branch, 1)
        seen = np.zeros((steps + 1, *self.observation_shape), np.float32)
        start, moves = None if self.spec.vector else env.state(), []
        PULSE.phase(f"measuring the ranges of {self.spec.name}")
        try:
            seen[0] = env.reset()[0]
            for t in range(1, steps + 1):
                PULSE.count(t - 1, steps)
                moves.append(self.random_actions(draw, 1))
                seen[t] = env.step(moves[-1]).next_observations[0]
            if start is not None:
                env.load_state(start)
                again = [env.reset()[0].copy()]
                again += [env.step(m).next_observations[0].copy() for m in moves[:REPEATED]]
                if not np.array_equal(seen[: len(again)], again):
                    warn_once(unrepeatable(self.spec.name))
        finally:
            env.close()
        PULSE.phase("building")
        return seen


def unrepeatable(name: str) -> str:
    """Return what a user must know of an environment that does not do the same again."""
    return (
        f"environment {name!r} does not repeat what it did with the same seed, so this run cannot "
        "be repeated to the bit; it can be stopped, resumed, evaluated and exported all the same "
        "(the remedy: let reset(seed=...) fix all of its randomness)"
    )


def make_factory(
    env: str,
    agents: int,
    hetero: Heterogeneity,
    seed: int,
    env_kwargs: Kwargs | None = None,
    per_agent: Sequence[Kwargs] = (),
    *,
    unlimited: bool = False,
) -> EnvFactory:
    """Return the factory of K agents' environments.

    `env_kwargs` are given to every environment, `per_agent` [K] to each agent's; what they say
    about a physical parameter moves the value that `hetero` varies, or overrides it. The argument
    ``max_episode_steps`` sets the time limit; an environment without one is an error, unless
    `unlimited` says that nobody will be evaluated in it.
    """
    if agents < 1:
        raise FdrlError(f"agents is {agents}, but there must be at least 1")
    if per_agent and len(per_agent) != agents:
        raise FdrlError(f"{len(per_agent)} sets of per-agent kwargs for {agents} agents")
    spec, given = take_limit(find_env(env), env_kwargs or {}, per_agent)
    shared = {**spec.kwargs, **given}
    _check(spec, shared, per_agent, hetero)
    if not unlimited:
        spec, said = limited(spec, {**shared, **(per_agent[0] if per_agent else {})}, seed)
        if said:
            warn_once(said)
    centered = _centered(spec, shared)
    varied = agent_kwargs(centered, hetero, agents)
    own = per_agent or [{}] * agents
    public = {**shared, **_between(per_agent)}
    unseen = [{}] if isinstance(hetero, Nothing) else held_out_kwargs(centered, hetero, agents)
    return EnvFactory(
        spec=spec,
        kwargs=tuple({**shared, **v, **o} for v, o in zip(varied, own, strict=True)),
        held_out=tuple({**public, **h} for h in unseen),
        agents=tuple(range(agents)),
        seed=seed,
        public=public,
    )


def _check(
    spec: EnvSpec, shared: Kwargs, per_agent: Sequence[Kwargs], hetero: Heterogeneity
) -> None:
    """Raise for arguments or spaces that agents cannot live with."""
    for given in (shared, *per_agent):
        check_kwargs(spec, given)
    if not isinstance(hetero, Nothing):
        # That its spaces cannot be used is more to the point than that its physics cannot vary.
        first = {**shared, **(per_agent[0] if per_agent else {})}
        _ = EnvFactory(spec, (first,), (), (0,), 0).n_actions


def limited(spec: EnvSpec, kwargs: Kwargs, seed: int) -> tuple[EnvSpec, str]:
    """Return the spec with a limit on the length of an episode, and a line to say, or "".

    An environment without one that ends an episode of random actions by itself, or whose maker has
    a limit of its own, gets a `CAP`; any other is an error: its evaluation need never end.
    """
    if spec.max_steps:
        return spec, ""
    probe = EnvFactory(spec, (kwargs,), (), (0,), seed)
    # That its spaces cannot be used is more to the point than that it never ends.
    _ = probe.n_actions
    if has_limit(spec, kwargs):
        return spec, ""
    own = own_limit(spec, kwargs)
    if spec.vector or not (own > CAP or probe.ends()):
        raise FdrlError(no_limit(spec.name))
    most = max(own, CAP)
    return replace(spec, max_steps=most), own_end(spec.name, most)


def _centered(spec: EnvSpec, shared: Kwargs) -> EnvSpec:
    """Return the spec with the shared arguments as defaults: heterogeneity spreads around them."""
    physics = {
        name: replace(p, default=float(shared[name])) if name in shared else p
        for name, p in spec.physics.items()
    }
    init = spec.init
    if init is not None:
        init = (shared.get("init_low", init[0]), shared.get("init_high", init[1]), init[2])
    return replace(spec, physics=physics, init=init)


def _between(per_agent: Sequence[Kwargs]) -> dict[str, Any]:
    """Return arguments that belong to no agent: means of floats, else the first agent's."""
    if not per_agent:
        return {}
    merged = dict(per_agent[0])
    for name in merged:
        values = [given[name] for given in per_agent if name in given]
        if all(isinstance(v, float) for v in values):
            merged[name] = math.fsum(values) / len(values)
    return merged
