"""One big cohort that holds the agents of several runs, and calls that serve many at once.

Shapes: K agents of the stack, N states, A actions. A cohort's numbers do not depend on who else is
in it, so what a member gets is to the bit what it would get alone.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from fdrl.arrays import stack_padded
from fdrl.build import Group, agent_ids
from fdrl.cohort import Cohort, CohortContext, Experience, Staggered, Valued
from fdrl.config import Run
from fdrl.environment import EnvFactory
from fdrl.pack.members import Call, Collapsed
from fdrl.registry import AGENTS
from fdrl.shards import build_cohort

Array = NDArray[Any]
Rows = slice

SHARE = 4
"""Staggered learning pauses when a `SHARE`th of those who learn are through: waiting for more of
them would leave the stack half empty, waiting for fewer would make exchanges one by one."""


LATE = "distill/value_"
"""Parts of a cohort's state that are not there before its values were taught."""


def fitted(array: Array, tail: tuple[int, ...]) -> Array:
    """Return an array [K, ...] whose other axes are padded with zeros to at least `tail`."""
    if len(tail) != array.ndim - 1:
        raise Collapsed(f"states of {array.shape[1:]} and {tail} do not fit", alone=True)
    shape = (len(array), *(max(a, b) for a, b in zip(array.shape[1:], tail, strict=True)))
    if shape == array.shape:
        return array
    wide = np.zeros(shape, array.dtype)
    wide[tuple(map(slice, array.shape))] = array
    return wide


def with_late_parts(state: Mapping[str, Array], model: Mapping[str, Array]) -> dict[str, Array]:
    """Add the parts of `model` that a state only has once values were taught: zeros, until then."""
    size = len(next(iter(state.values())))
    late = {
        name: np.zeros((size, *array.shape[1:]), array.dtype)
        for name, array in model.items()
        if name.startswith(LATE) and name not in state
    }
    return {**state, **late}


def joined_states(states: Sequence[Mapping[str, Array]]) -> dict[str, Array]:
    """Put the states of several cohorts one after another along the first axis."""
    every = {name: array for state in states for name, array in state.items()}
    states = [with_late_parts(state, every) for state in states]
    names = set(states[0])
    if any(set(s) != names for s in states):
        raise Collapsed("the runs' states have different parts", alone=True)
    out = {}
    for name in states[0]:
        parts = [s[name] for s in states]
        if len({p.ndim for p in parts}) > 1:
            raise Collapsed(f"the runs' states of {name!r} have different axes", alone=True)
        out[name] = stack_padded(parts)
    return out


def joined_context(
    runs: Sequence[Run], groups: Sequence[Group], envs: Sequence[EnvFactory]
) -> CohortContext:
    """Return the context of one group of every run; the state that is loaded holds the streams."""
    first = envs[0]
    if any(e.spec != first.spec or e.held_out != first.held_out for e in envs):
        raise Collapsed("the runs' environments differ", alone=True)
    agents = tuple(a for g in groups for a in g.agents)
    own = [e.subset(g.agents) for e, g in zip(envs, groups, strict=True)]
    ids = agent_ids(runs[0].agents)
    return CohortContext(
        ids=tuple(f"{ids[a]}, seed {r.seed}" for r, g in zip(runs, groups, strict=True)
                  for a in g.agents),
        agents=agents,
        envs=replace(first, kwargs=tuple(k for o in own for k in o.kwargs), agents=agents),
        seed=runs[0].seed,
        same_init=bool(runs[0].same_init),
        total_steps=runs[0].steps,
        device=runs[0].device,
    )  # fmt: skip


class Stack:
    """The cohort of some members' views; `rows` are the views', one after another."""

    def __init__(self, group: Group, context: CohortContext, state: Mapping[str, Array]) -> None:
        factory = AGENTS.spec(group.name).factory
        self.size = len(context.ids)
        self.cohort: Cohort = build_cohort(factory, group.settings, context, tile=self.size)
        self.cohort.load_state(state)
        self.staggered = self.cohort if isinstance(self.cohort, Staggered) else None

    def load(self, calls: Sequence[Call]) -> None:
        """Load every caller's state into its rows."""
        full = self.cohort.state()
        for call in calls:
            given = with_late_parts(call.args[0], full)
            full |= with_late_parts(full, given)
            if set(given) != set(full):
                raise Collapsed("a checkpoint has other parts than the stack", alone=True)
            for name, array in given.items():
                full[name] = fitted(full[name], array.shape[1:])
                full[name][call.view.rows] = fitted(array, full[name].shape[1:])
        self.cohort.load_state(full)

    def probs(self, calls: Sequence[Call]) -> None:
        """Answer every caller's states, which have one shape."""
        self._answer(calls, self.cohort.probs)

    def values(self, calls: Sequence[Call]) -> None:
        """Estimate the values of every caller's states, which have one shape."""
        self._answer(calls, self._valued().values)

    def distill(self, calls: Sequence[Call]) -> None:
        """Distill for every caller."""
        # others' targets only have to be valid: uniform probabilities, or positive deviations
        self._teach(calls, self.cohort.distill, 1.0 / calls[0].view.n_actions)

    def distill_values(self, calls: Sequence[Call]) -> None:
        """Distill values for every caller."""
        self._teach(calls, self._valued().distill_values, 0.0)

    def _answer(self, calls: Sequence[Call], ask: Callable[[Array], Array]) -> None:
        """Ask about the callers' states: each agent gets its own."""
        answers = ask(self._scattered([self._own(c, c.args[0]) for c in calls], calls, 0.0))
        for call in calls:
            call.result = answers[call.view.rows].copy()

    def _teach(
        self, calls: Sequence[Call], teach: Callable[..., dict[str, Any]], rest: float
    ) -> None:
        """Teach the callers' agents; the others' weights are zero, which leaves them alone."""
        states = self._scattered([self._own(c, c.args[0]) for c in calls], calls, 0.0)
        targets = self._scattered([c.args[1] for c in calls], calls, rest)
        weights = self._scattered([c.args[2] for c in calls], calls, 0.0)
        metrics = teach(states, targets, weights, calls[0].args[3])
        for call in calls:
            call.result = {name: v[call.view.rows].copy() for name, v in metrics.items()}

    def _valued(self) -> Valued:
        if not isinstance(self.cohort, Valued):
            raise TypeError("a stack of agents without value estimates was asked for them")
        return self.cohort

    def evaluate(self, calls: Sequence[Call]) -> None:
        """Play for every caller: in the stack, unless most of it would play for nobody."""
        episodes, seed, held_out, greedy = calls[0].args
        asked = sum(len(c.view.ids) for c in calls)
        if 2 * asked > self.size:
            returns = self.cohort.evaluate(episodes, seed, held_out=held_out, greedy=greedy)
            for call in calls:
                call.result = returns[call.view.rows].copy()
            return
        for call in calls:
            cohort = call.view.alone()
            try:
                call.result = cohort.evaluate(episodes, seed, held_out=held_out, greedy=greedy)
            finally:
                cohort.close()

    def learn(self, calls: Sequence[Call]) -> list[Call]:
        """Let the callers learn; return who is through."""
        if self.staggered is not None:
            return self._staggered(self.staggered, calls)
        steps, episodes = np.zeros(self.size, np.int64), np.zeros(self.size, np.int64)
        limited = calls[0].args[1] is not None
        for call in calls:
            steps[call.view.rows] = call.args[0]
            episodes[call.view.rows] = call.args[1] if limited else 0
        experience = self.cohort.learn(steps, episodes if limited else None)
        for call in calls:
            call.result = part(experience, call.view.rows)
        return list(calls)

    def _staggered(self, cohort: Staggered, calls: Sequence[Call]) -> list[Call]:
        """Let new callers begin, and all go on until some are through."""
        for call in calls:
            if not call.begun:
                rows = np.arange(call.view.rows.start, call.view.rows.stop)
                cohort.begin(rows, call.args[0], call.args[1])
                call.begun = True
        wanted = -(-len(calls) // SHARE)

        def enough(busy: NDArray[np.bool_]) -> bool:
            return sum(not busy[c.view.rows].any() for c in calls) >= wanted

        busy = cohort.advance(enough)
        through = [c for c in calls if not busy[c.view.rows].any()]
        for call in through:
            rows = np.arange(call.view.rows.start, call.view.rows.stop)
            call.result = cohort.result(rows)
        return through

    def _own(self, call: Call, states: Array) -> Array:
        """Return states [N, *O] or [K, N, *O] as one set for each of a caller's agents."""
        if states.ndim == 2 + len(call.view.observation_shape):
            return states
        return np.broadcast_to(states, (len(call.view.ids), *states.shape))

    def _scattered(self, parts: Sequence[Array], calls: Sequence[Call], rest: float) -> Array:
        """Put each caller's array [k, ...] into its rows of an array [K, ...]."""
        out = np.full((self.size, *parts[0].shape[1:]), rest, np.float32)
        for own, call in zip(parts, calls, strict=True):
            out[call.view.rows] = own
        return out

    def close(self) -> None:
        """Free the environments."""
        self.cohort.close()


def part(experience: Experience, rows: Rows) -> Experience:
    """Return some agents' share of an experience, cut to the longest of them."""
    steps = experience.steps[rows].copy()
    m = int(steps.max(initial=0))
    return Experience(
        observations=experience.observations[rows, :m].copy(),
        probs=experience.probs[rows, :m].copy(),
        steps=steps,
        returns=experience.returns[rows],
        lengths=experience.lengths[rows],
        metrics={name: v[rows].copy() for name, v in experience.metrics.items()},
        ends=experience.ends[rows],
    )


def kind(call: Call) -> Hashable:
    """Return what calls must have in common to be one call of the stack's cohort."""
    if call.method == "learn":
        if call.view.stack.staggered is not None:
            return ()
        # Whoever has no steps left reports nothing, as alone: it must not ride with the others.
        return (call.args[1] is None, bool(np.any(call.args[0])))
    if call.method in ("probs", "values"):
        return (call.args[0].shape,)
    if call.method in ("distill", "distill_values"):
        settings = msgspec.json.encode(call.args[3])
        return (call.args[0].shape, call.args[1].shape[1:], settings)
    return call.args if call.method == "evaluate" else ()


Server = Callable[[Stack, Sequence[Call]], Any]
SERVERS: dict[str, Server] = {
    "load_state": Stack.load,
    "probs": Stack.probs,
    "distill": Stack.distill,
    "values": Stack.values,
    "distill_values": Stack.distill_values,
    "evaluate": Stack.evaluate,
}
