"""What the multi-agent environments share: many worlds at once, and one world for PettingZoo.

Shapes: W worlds, N agents in each, O numbers an agent sees. A subclass of `Worlds` holds the
equations, each line of it over all [W, N] agents; `SingleWorld` is the same class with W = 1 behind
PettingZoo's parallel interface, so the two agree to the bit under the same seed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from pettingzoo import ParallelEnv

from fdrl.core.arrays import Array, Bools, Doubles
from fdrl.core.env import MultiStep, MultiVectorEnv
from fdrl.core.errors import FdrlError
from fdrl.core.registry import Physics
from fdrl.core.seeding import pack_generators, unpack_generators

BLOCK = 32
"""Rows of random numbers drawn ahead per world; the stream is the same as one row at a time."""


class WorldStep(NamedTuple):
    """The outcome of one step of W worlds, with same-step autoreset of whole worlds.

    `observations` [W, N, O] is what to act on next, `next_observations` where the actions led.
    `active` [W, N] says who acted: of the others every entry is 0 or False. A world starts again
    once nobody in it is left.
    """

    observations: NDArray[np.float32]
    next_observations: NDArray[np.float32]
    rewards: Doubles
    terminated: Bools
    truncated: Bools
    active: Bools


class Worlds:
    """W worlds of N agents; subclasses write the dynamics.

    `params` hold one value per agent, [W, N], for each name in `defaults`. Each reset and each
    step of a world uses one row of `draws` uniform numbers in [0, 1) of the world's own stream,
    so a world does not depend on how many there are. Actions are not checked: 0 .. A-1.
    """

    observation_space: ClassVar[spaces.Box]
    action_space: ClassVar[spaces.Discrete]
    agents: ClassVar[int]
    """N."""
    draws: ClassVar[int]
    defaults: ClassVar[Mapping[str, float]]
    saved: ClassVar[tuple[str, ...]]
    """Attributes [W, ...] that a saved state needs besides steps and streams."""

    def __init__(
        self,
        count: int,
        params: Mapping[str, Doubles],
        seeds: Sequence[np.random.SeedSequence],
        max_steps: int,
        *,
        autoreset: bool = True,
    ) -> None:
        self.count, self.max_steps, self._autoreset = count, max_steps, autoreset
        shape = (count, self.agents)
        self.params = {
            name: np.broadcast_to(np.asarray(params.get(name, default), np.float64), shape).copy()
            for name, default in self.defaults.items()
        }
        self._generators = [np.random.Generator(np.random.PCG64(s)) for s in seeds]
        self._ahead = np.zeros((count, BLOCK, self.draws))
        self._cursor = np.full(count, BLOCK)
        self._every = np.arange(count)
        self._steps = np.zeros(count, np.int64)
        self.active: Bools = np.zeros(shape, np.bool_)
        self._observations = np.zeros((*shape, *self.observation_space.shape), np.float32)
        self._next = np.zeros_like(self._observations)
        self._started = False
        self._prepare(count)

    def _prepare(self, count: int) -> None:
        """Make the state of `count` worlds, and what a step needs of `params`."""

    def _begin(self, rows: NDArray[np.intp], drawn: Doubles) -> None:
        """Start an episode in worlds `rows` [m] from uniform numbers [m, draws]."""
        raise NotImplementedError

    def _advance(self, actions: Array, drawn: Doubles) -> tuple[Doubles, Bools]:
        """Move every world; return rewards and who is done, both [W, N]."""
        raise NotImplementedError

    def _observe(self, out: NDArray[np.float32]) -> None:
        """Write what every agent sees now into `out` [W, N, O]."""
        raise NotImplementedError

    def reset(self) -> NDArray[np.float32]:
        """Start a new episode in every world; return the observations [W, N, O]."""
        self._restart(self._every)
        self._started = True
        self._observe(self._observations)
        return self._observations

    def step(self, actions: Array) -> WorldStep:
        """Advance every world by one action per agent [W, N]."""
        if not self._started:
            raise FdrlError("call reset before step")
        acted = self.active.copy()
        rewards, terminated = self._advance(np.asarray(actions), self._row(self._every))
        rewards *= acted
        terminated &= acted
        self._steps += 1
        truncated = acted & ~terminated & (self._steps >= self.max_steps)[:, None]
        self.active &= ~(terminated | truncated)
        self._observe(self._next)
        self._next *= acted[:, :, None]
        np.copyto(self._observations, self._next)
        over = ~self.active.any(axis=1)
        if self._autoreset and over.any():
            self._restart(np.flatnonzero(over))
            fresh = np.empty_like(self._observations)
            self._observe(fresh)
            self._observations[over] = fresh[over]
        return WorldStep(self._observations, self._next, rewards, terminated, truncated, acted)

    def _restart(self, rows: NDArray[np.intp]) -> None:
        self._steps[rows] = 0
        self.active[rows] = True
        self._begin(rows, self._row(rows))

    def _row(self, rows: NDArray[np.intp]) -> Doubles:
        for i in rows[self._cursor[rows] == BLOCK].tolist():
            self._ahead[i] = self._generators[i].random((BLOCK, self.draws))
            self._cursor[i] = 0
        drawn: Doubles = self._ahead[rows, self._cursor[rows]]
        self._cursor[rows] += 1
        return drawn

    def seed(self, seeds: Sequence[np.random.SeedSequence]) -> None:
        """Begin every world's stream anew."""
        self._generators = [np.random.Generator(np.random.PCG64(s)) for s in seeds]
        self._cursor[:] = BLOCK

    def state(self) -> dict[str, Array]:
        """Return states, steps and streams, each with W as its first axis."""
        for g, left in zip(self._generators, (BLOCK - self._cursor).tolist(), strict=True):
            if left:  # wind back to the first number that was drawn ahead and not used
                g.bit_generator.advance(-left * self.draws)  # type: ignore[attr-defined]
        self._cursor[:] = BLOCK
        own = {name: getattr(self, name).copy() for name in self.saved}
        streams = pack_generators(self._generators)
        return {**own, "steps": self._steps.copy(), "active": self.active.copy(),
                "generators": streams}  # fmt: skip

    def load_state(self, state: dict[str, Array]) -> None:
        """Continue from what `state` returned."""
        if len(state["steps"]) != self.count:
            raise FdrlError(
                f"{type(self).__name__}: a state of {len(state['steps'])} worlds cannot be "
                f"loaded into {self.count}"
            )
        for name in self.saved:
            getattr(self, name)[:] = state[name]
        self._steps[:], self.active[:] = state["steps"], state["active"]
        unpack_generators(self._generators, state["generators"])
        self._cursor[:] = BLOCK
        self._started = True

    def close(self) -> None:
        """Nothing to free."""


class SingleWorld(ParallelEnv[str, NDArray[np.float32], int]):  # type: ignore[misc]
    """One world as a PettingZoo parallel environment; keyword arguments are the world's params.

    Each may be one number for all agents or a list of N. `render()` draws an array [h, w, 3].
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array"], "render_fps": 10}
    worlds: ClassVar[type[Worlds]]
    physics: ClassVar[Mapping[str, Physics]]
    """What heterogeneity may vary from agent to agent, each with its default."""
    prefix: ClassVar[str]
    """What agents are called: prefix_0, prefix_1, ..."""
    max_steps: ClassVar[int]

    def __init__(
        self, render_mode: str | None = None, max_cycles: int | None = None, **params: Any
    ) -> None:
        unknown = sorted(set(params) - set(self.worlds.defaults))
        if unknown:
            known = ", ".join(sorted(self.worlds.defaults))
            raise FdrlError(f"{type(self).__name__} takes no argument {unknown[0]!r}: {known}")
        self.render_mode = render_mode
        self.possible_agents = [f"{self.prefix}_{i}" for i in range(self.worlds.agents)]
        self.agents: list[str] = []
        self._ids = {name: i for i, name in enumerate(self.possible_agents)}
        self.world = self.worlds(
            1, params, [np.random.SeedSequence()], max_cycles or self.max_steps, autoreset=False
        )
        # An object per agent: each has a random stream for `sample` of its own.
        self.observation_spaces = {
            a: spaces.Box(s.low, s.high, dtype=np.float32)
            for a in self.possible_agents
            for s in [self.worlds.observation_space]
        }
        self.action_spaces = {
            a: spaces.Discrete(int(self.worlds.action_space.n)) for a in self.possible_agents
        }

    @classmethod
    def vectorized(
        cls, kwargs: Sequence[Mapping[str, Any]], seeds: Sequence[np.random.SeedSequence]
    ) -> MultiVectorEnv:
        """Return many worlds that step together, what a federation trains in."""

        return SharedWorlds(cls, kwargs, seeds)

    def observation_space(self, agent: str) -> spaces.Box:
        """Return what an agent sees: a flat Box."""
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> spaces.Discrete:
        """Return what an agent can do."""
        return self.action_spaces[agent]

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, NDArray[np.float32]], dict[str, dict[str, Any]]]:
        """Start an episode; a seed begins the world's random stream anew."""
        if seed is not None:
            self.world.seed([np.random.SeedSequence(seed)])
        self.agents = self.possible_agents[:]
        seen = self.world.reset()[0].copy()
        return dict(zip(self.agents, seen, strict=True)), {a: {} for a in self.agents}

    def step(
        self, actions: dict[str, int]
    ) -> tuple[
        dict[str, NDArray[np.float32]],
        dict[str, float],
        dict[str, bool],
        dict[str, bool],
        dict[str, dict[str, Any]],
    ]:
        """Advance by one action for every agent that is left."""
        moves = np.zeros((1, len(self.possible_agents)), np.int64)
        for agent, action in actions.items():
            moves[0, self._ids[agent]] = action
        step = self.world.step(moves)
        seen, now = step.next_observations[0].copy(), [(a, self._ids[a]) for a in self.agents]
        terminated, truncated = step.terminated[0].tolist(), step.truncated[0].tolist()
        rewards = step.rewards[0].tolist()
        self.agents = [a for a, i in now if not (terminated[i] or truncated[i])]
        return (
            {a: seen[i] for a, i in now},
            {a: rewards[i] for a, i in now},
            {a: terminated[i] for a, i in now},
            {a: truncated[i] for a, i in now},
            {a: {} for a, _ in now},
        )

    def close(self) -> None:
        """Nothing to free."""


# ---- Many worlds of one kind as what a federation of their agents steps (`fdrl.core.env`) ----


class SharedWorlds:
    """W worlds of `one`, stepped together (a `fdrl.core.env.MultiVectorEnv`).

    `kwargs` [W] are each world's arguments: those of `one`, drawing aside.
    """

    def __init__(
        self,
        one: type[SingleWorld],
        kwargs: Sequence[Mapping[str, Any]],
        seeds: Sequence[np.random.SeedSequence],
    ) -> None:
        kind = one.worlds
        self.agents = tuple(f"{one.prefix}_{i}" for i in range(kind.agents))
        limits = {given.get("max_cycles") or one.max_steps for given in kwargs}
        if len(limits) > 1:
            raise FdrlError(f"worlds that step together need one max_cycles, not {sorted(limits)}")
        params = {
            name: np.stack([np.broadcast_to(g.get(name, default), kind.agents) for g in kwargs])
            for name, default in kind.defaults.items()
        }
        self._worlds = kind(len(kwargs), params, seeds, limits.pop())

    @property
    def observation_spaces(self) -> Mapping[str, spaces.Space[Any]]:
        """What each agent sees."""
        return dict.fromkeys(self.agents, self._worlds.observation_space)

    @property
    def action_spaces(self) -> Mapping[str, spaces.Space[Any]]:
        """What each agent can do."""
        return dict.fromkeys(self.agents, self._worlds.action_space)

    def _named(self, rows: Array) -> dict[str, Array]:
        """View [W, N, ...] by agent."""
        return {agent: rows[:, i] for i, agent in enumerate(self.agents)}

    def reset(self) -> dict[str, NDArray[np.float32]]:
        """Start a new episode in every world; return the observations [W, O] by agent."""
        return self._named(self._worlds.reset())

    def step(self, actions: Mapping[str, Array]) -> MultiStep:
        """Advance every world by the agents' actions [W]."""
        step = self._worlds.step(np.stack([actions[a] for a in self.agents], axis=1))
        named = self._named
        return MultiStep(
            named(step.observations), named(step.rewards), named(step.terminated),
            named(step.truncated), named(step.next_observations), named(step.active),
        )  # fmt: skip

    def state(self) -> dict[str, Array]:
        """Return everything needed to continue to the bit; the first axis is W."""
        return self._worlds.state()

    def load_state(self, state: Mapping[str, Array]) -> None:
        """Continue from what `state` returned."""
        self._worlds.load_state(dict(state))

    def close(self) -> None:
        """Nothing to free."""
