"""Acting: one iteration of experience of K agents in E environment copies each."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from fdrl.core.arrays import Array, Floats, stack_padded
from fdrl.core.env import Step, VectorEnv
from fdrl.core.errors import FdrlError
from fdrl.core.watch import PULSE

from . import gaussian
from .episodes import EpisodeStats, any_set
from .networks.base import Network
from .networks.workspace import SHARED

# ---- Some copies of a vector of environments, stepped without the others ----
#
# Vectors that can be cut say so by two methods, ``take(copies)`` and ``put(copies, part)``; of any
# other all copies are stepped, and those that should have stood still are put back.


@runtime_checkable
class Sliceable(Protocol):
    """A `VectorEnv` that can be cut."""

    def take(self, copies: NDArray[np.int64]) -> VectorEnv:
        """Return these copies as a vector of their own; until `put`, only it may be used."""

    def put(self, copies: NDArray[np.int64], part: Any) -> None:
        """Take back what `take` returned, as it is now."""


def take(env: VectorEnv, copies: NDArray[np.int64]) -> VectorEnv:
    """Return some copies as a vector of their own."""
    return env.take(copies) if isinstance(env, Sliceable) else _Held(env, copies)


def put(env: VectorEnv, copies: NDArray[np.int64], part: VectorEnv) -> None:
    """Take back what `take` returned."""
    if isinstance(env, Sliceable):
        env.put(copies, part)
    else:
        cast(_Held, part).release()


class _Held:
    """Some copies of an undivided vector: the others step along, and are put back at the end."""

    def __init__(self, env: VectorEnv, copies: NDArray[np.int64]) -> None:
        self.count = len(copies)
        self._env, self._copies = env, copies
        self._before = env.state()
        self._actions: Array | None = None

    def reset(self) -> NDArray[np.float32]:
        raise TypeError("some copies of a vector are never reset")

    def step(self, actions: Array) -> Step:
        """Advance these copies; return what became of them."""
        if self._actions is None:
            self._actions = np.zeros((self._env.count, *actions.shape[1:]), actions.dtype)
        self._actions[self._copies] = actions
        step, rows = self._env.step(self._actions), self._copies
        PULSE.beats += 1
        return Step(
            step.observations[rows],
            step.next_observations[rows],
            step.rewards[rows],
            step.terminated[rows],
            step.truncated[rows],
            None if step.alive is None else step.alive[rows],
        )

    def release(self) -> None:
        """Put the other copies back."""
        self._env.load_state(self._merged(self._env.state()))

    def _merged(self, now: dict[str, Array]) -> dict[str, Array]:
        still = np.ones(self._env.count, np.bool_)
        still[self._copies] = False
        for name, before in self._before.items():
            now[name] = merged(now[name], before, still)
        return now

    def state(self) -> dict[str, Array]:
        """Return these copies' state."""
        return {name: a[self._copies] for name, a in self._env.state().items()}

    def load_state(self, state: dict[str, Array]) -> None:
        raise TypeError("some copies of a vector are never loaded")

    def close(self) -> None:
        """The vector is closed, not some of its copies."""


def merged(rows: Array, others: Array, where: NDArray[np.bool_]) -> Array:
    """Return `rows` [n, ...] with those of `others` where it says [n]; shorter ones are padded."""
    both = stack_padded([rows, others])
    out = both[: len(rows)]
    out[where] = both[len(rows) :][where]
    return out


# ---- Acting: the experience of one iteration of K agents in E environment copies each ----
#
# Shapes: K agents, T steps, E copies, O observation components, A actions.


@dataclass
class Rollout:
    """What happened, [K, T, ...] views of workspace memory that lies in time order.

    `actions` are [K, T, E], or [K, T, E, D] if they are continuous.

    `truncated_values` is V(next observation) where an episode was cut off, and 0 elsewhere;
    `following` is [K, T, E, O], kept on request; `last` [K, E, O] is what to act on next.
    `alive` [K, T, E] says which steps there were, if some agents had left their worlds.
    """

    observations: Floats
    actions: Array
    rewards: Floats
    terminated: NDArray[np.bool_]
    truncated: NDArray[np.bool_]
    truncated_values: Floats
    last: Floats
    following: Floats | None = None
    alive: NDArray[np.bool_] | None = None


class _Tape:
    """The memory behind a `Rollout`: a moment after another, [T, K * E] or [T, K, E, O]."""

    def __init__(
        self, steps: int, agents: int, copies: int, inputs: int, keep: bool, dims: int
    ) -> None:
        self.shape = (steps, agents, copies)
        flat = (steps, agents * copies)
        take = SHARED.take
        self.observations = take("tape observations", (steps + 1, *self.shape[1:], inputs))
        if dims:
            self.actions = take("tape continuous actions", (*flat, dims))
        else:
            self.actions = take("tape actions", flat, np.int64)
        self.rewards = take("tape rewards", flat)
        self.terminated = take("tape terminated", flat, np.bool_)
        self.truncated = take("tape truncated", flat, np.bool_)
        self.values = SHARED.zeros("tape values", self.shape)
        self.following = take("tape following", (*self.shape, inputs)) if keep else None
        self.alive: NDArray[np.bool_] | None = None

    def note_absent(self, t: int, alive: NDArray[np.bool_]) -> None:
        """Note who [K * E] took step t; until the first such note, everybody did."""
        if self.alive is None:
            self.alive = SHARED.take("tape alive", self.terminated.shape, np.bool_)
            self.alive.fill(True)
        self.alive[t] = alive

    def rollout(self, last: Floats) -> Rollout:
        """View the memory agent by agent."""

        def agents_first(array: Array) -> Array:
            return array.reshape(*self.shape, *array.shape[3:]).swapaxes(0, 1)

        def by_copy(array: Array) -> Array:
            return array.reshape(*self.shape, *array.shape[2:]).swapaxes(0, 1)

        return Rollout(
            agents_first(self.observations[:-1]),
            by_copy(self.actions),
            by_copy(self.rewards),
            by_copy(self.terminated),
            by_copy(self.truncated),
            self.values.swapaxes(0, 1),
            last,
            None if self.following is None else agents_first(self.following),
            None if self.alive is None else by_copy(self.alive),
        )


def sample(logits: Floats, uniforms: Floats, continuous: bool = False) -> NDArray[Any]:
    """Draw actions [K, E] from logits [K, A, E] by inverting the distribution function.

    `continuous` actions [K, E, D] are drawn by `gaussian.sample` from more uniforms.
    """
    if continuous:
        return gaussian.sample(logits, uniforms)
    e = np.subtract(logits, np.maximum.reduce(logits, axis=1, keepdims=True))
    np.exp(e, out=e)
    np.add.accumulate(e, axis=1, out=e)
    threshold = uniforms * e[:, -1]
    passed = np.greater_equal(threshold[:, None], e[:, :-1])
    return np.asarray(np.add.reduce(passed, axis=1, dtype=np.int64))


class Collector:
    """The environment copies of K agents, with what must survive between two trainings.

    Agents may have to stop at different times though all copies step together: then those that go
    on are taken out as a world of their own, and put back at the end.
    """

    def __init__(
        self, env: VectorEnv, agents: int, inputs: int, bounds: gaussian.Bounds | None = None
    ) -> None:
        if env.count % agents:
            raise ValueError(f"{env.count} environment copies for {agents} agents")
        self.env = env
        self.agents = agents
        self.copies = env.count // agents
        self.inputs = inputs
        self.bounds = bounds
        self.tally = EpisodeStats(agents, self.copies)
        self.observations = self._by_agent(env.reset()).reshape(agents, self.copies, inputs).copy()

    def take(self, rows: NDArray[np.int64]) -> Collector:
        """Return the world of some agents; until `put`, only it may be used."""
        part = copy.copy(self)
        part.agents = len(rows)
        part.env = take(self.env, self._copies_of(rows))
        part.tally = self.tally.take(rows)
        part.observations = self.observations[rows]
        return part

    def put(self, rows: NDArray[np.int64], part: Collector) -> None:
        """Take back what `take` returned, as it is now."""
        put(self.env, self._copies_of(rows), part.env)
        self.tally.put(rows, part.tally)
        self.observations[rows] = part.observations

    def _copies_of(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        return (rows[:, None] * self.copies + np.arange(self.copies)).reshape(-1)

    def _by_agent(self, array: Array) -> Array:
        """View [K * E, ...] as [K, E, ...]."""
        return array.reshape(self.agents, self.copies, *array.shape[1:])

    def act(
        self,
        network: Network,
        uniforms: Floats,
        fail_reward: float | None,
        keep_following: bool = False,
    ) -> Rollout:
        """Let all agents act for T steps; `uniforms` [K, T, E, ...] choose the actions."""
        steps = uniforms.shape[1]
        continuous = network.layout.gaussian
        dims = network.layout.n_actions if continuous else 0
        tape = _Tape(steps, self.agents, self.copies, self.inputs, keep_following, dims)
        shape = (self.agents, self.copies, self.inputs)
        draws = np.ascontiguousarray(uniforms.swapaxes(0, 1))
        tape.observations[0] = self.observations
        for t in range(steps):
            logits = network.policy(tape.observations[t])
            actions = sample(logits, draws[t], continuous)
            tape.actions[t] = actions.reshape(tape.actions.shape[1:])
            step = self.env.step(gaussian.playable(actions, self.bounds))
            PULSE.beats += 1
            tape.rewards[t] = step.rewards
            tape.terminated[t], tape.truncated[t] = step.terminated, step.truncated
            if tape.following is not None:
                tape.following[t] = step.next_observations.reshape(shape)
            if any_set(step.truncated):
                cut = (step.truncated & ~step.terminated).reshape(shape[:2])
                following = step.next_observations.reshape(shape)
                np.multiply(network.values(following), cut, out=tape.values[t])
            if step.alive is not None:
                tape.note_absent(t, step.alive)
            self.tally.add(step.rewards, step.terminated | step.truncated, step.alive)
            tape.observations[t + 1] = step.observations.reshape(shape)
        if fail_reward is not None:
            tape.rewards[tape.terminated] = fail_reward
        self.observations[...] = tape.observations[steps]
        return tape.rollout(self.observations.copy())

    def state(self) -> dict[str, Array]:
        """Return copies of everything needed to go on, [K, E, ...]."""
        inner = {f"env/{n}": _agents_first(n, a, self) for n, a in self.env.state().items()}
        return inner | {
            "observations": self.observations.copy(),
            "episode/returns": self.tally.sums.copy(),
            "episode/lengths": self.tally.lengths.copy(),
        }

    def load_state(self, state: dict[str, Array]) -> None:
        """Continue from what `state` returned."""
        n = self.agents * self.copies
        inner = {
            name.removeprefix("env/"): a.reshape(n, *a.shape[2:])
            for name, a in state.items()
            if name.startswith("env/")
        }
        self.env.load_state(inner)
        self.observations[...] = state["observations"]
        self.tally.sums[...] = state["episode/returns"]
        self.tally.lengths[...] = state["episode/lengths"]


def _agents_first(name: str, array: Array, world: Collector) -> Array:
    """View an environment's state [K * E, ...] as [K, E, ...], copied."""
    if array.ndim == 0 or array.shape[0] != world.env.count:
        raise FdrlError(
            f"state {name!r} of the environment is {array.shape}; its first axis must be the "
            f"{world.env.count} copies"
        )
    return world._by_agent(array).copy()


# ---- Uniform numbers of K agents, each from its own stream, drawn ahead in blocks ----


BLOCK = 128
"""Uniforms drawn ahead per agent, where an agent needs few at a time."""


class UniformStreams:
    """Hands out float32 uniforms in [0, 1); a stream gives the same numbers in whatever portions.

    The generators are ahead of what was handed out until `give_back` winds them back.
    """

    def __init__(self, generators: Sequence[np.random.Generator]) -> None:
        self._generators = list(generators)
        k = len(self._generators)
        self._ahead = np.zeros((k, BLOCK), np.float32)
        self._cursor = np.full(k, BLOCK)
        self._before: list[Any] = [None] * k

    def take(self, rows: NDArray[np.int64], count: int) -> Floats:
        """Return the next `count` uniforms of agents `rows` [R]: [R, count]."""
        if 8 * count > BLOCK:
            self.give_back(rows)
            out = np.empty((len(rows), count), np.float32)
            for row, k in zip(out, rows.tolist(), strict=True):
                self._generators[k].random(dtype=np.float32, out=row)
            return out
        start = self._cursor[rows]
        if int(start.max(initial=0)) + count > BLOCK:
            self._refill(rows[start + count > BLOCK])
            start = self._cursor[rows]
        self._cursor[rows] = start + count
        if count == 1:
            return np.asarray(self._ahead[rows, start])[:, None]
        return np.asarray(self._ahead[rows[:, None], start[:, None] + np.arange(count)])

    def _refill(self, rows: NDArray[np.int64]) -> None:
        self.give_back(rows)
        for k in rows.tolist():
            generator = self._generators[k]
            self._before[k] = generator.bit_generator.state
            generator.random(dtype=np.float32, out=self._ahead[k])
            self._cursor[k] = 0

    def give_back(self, rows: NDArray[np.int64] | None = None) -> None:
        """Wind the streams of some agents (all by default) back to what was handed out."""
        for k in range(len(self._cursor)) if rows is None else rows.tolist():
            used = int(self._cursor[k])
            if used < BLOCK:
                # two float32 share a draw of 64 bits, so a stream cannot just be set back by steps
                self._generators[k].bit_generator.state = self._before[k]
                self._generators[k].random(used, dtype=np.float32)
            self._cursor[k] = BLOCK
