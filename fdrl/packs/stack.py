"""One big cohort that holds the agents of several runs, and calls that serve many at once.

Shapes: K agents of the stack, N states, A actions. A cohort's numbers do not depend on who else is
in it, so what a member gets is to the bit what it would get alone.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from fdrl.config.run import Run
from fdrl.core.abilities import METHODS, alike, bound, merged, profile
from fdrl.core.arrays import Array, stack_padded
from fdrl.core.cohort import Cohort, CohortContext, Interruptible
from fdrl.core.registry import AGENTS
from fdrl.federation.groups import Group, agent_ids
from fdrl.federation.shards import build_cohort
from fdrl.packs.members import Call, PackBroken
from fdrl.vector.factory import EnvFactory

SHARE = 4
"""Staggered learning pauses when a `SHARE`th of those who learn are through: waiting for more of
them would leave the stack half empty, waiting for fewer would make exchanges one by one."""


def with_late_parts(
    state: Mapping[str, Array], model: Mapping[str, Array], late: Sequence[str]
) -> dict[str, Array]:
    """Add the parts of `model` that a state has only after first use: zeros, until then."""
    size = len(next(iter(state.values())))
    added = {
        name: np.zeros((size, *model[name].shape[1:]), model[name].dtype)
        for name in late
        if name in model and name not in state
    }
    return {**state, **added}


def joined_states(states: Sequence[Mapping[str, Array]], late: Sequence[str]) -> dict[str, Array]:
    """Put the states of several cohorts one after another along the first axis."""
    every = {name: array for state in states for name, array in state.items()}
    states = [with_late_parts(state, every, late) for state in states]
    names = set(states[0])
    if any(set(s) != names for s in states):
        raise PackBroken("the runs' states have different parts", alone=True)
    return {name: _stacked(name, [s[name] for s in states]) for name in states[0]}


def _stacked(name: str, parts: Sequence[Array]) -> Array:
    if len({part.ndim for part in parts}) > 1:
        raise PackBroken(f"the runs' states of {name!r} have different axes", alone=True)
    return stack_padded(parts)


def joined_context(
    runs: Sequence[Run], groups: Sequence[Group], envs: Sequence[EnvFactory]
) -> CohortContext:
    """Return the context of one group of every run; the state that is loaded holds the streams."""
    first = envs[0]
    if any(e.spec != first.spec or e.held_out != first.held_out for e in envs):
        raise PackBroken("the runs' environments differ", alone=True)
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
        self.profile = profile(self.cohort)
        self.staggered = self.cohort if isinstance(self.cohort, Interruptible) else None

    def serve(self, method: str, calls: list[Call]) -> list[Call]:
        """Run the callers' calls, which are alike, as one; return who is through."""
        if method in ("learn", "evaluate", "load_state"):
            return getattr(self, method)(calls)  # type: ignore[no-any-return]
        return self._as_one(method, calls)

    def _as_one(self, method: str, calls: list[Call]) -> list[Call]:
        """Ask all agents; what those of nobody who calls are given leaves them as they are."""
        where = [call.view.rows for call in calls]
        own = merged(method, [call.given for call in calls], self.profile, where)
        result = getattr(self.cohort, method)(*own.args, **own.kwargs)
        for call in calls:
            call.result = METHODS[method].gives.part(result, call.view.rows)
        return calls

    def load_state(self, calls: list[Call]) -> list[Call]:
        """Load every caller's state into its rows."""
        full, late = self.cohort.state(), self.profile.late_state
        for call in calls:
            given = with_late_parts(call.given["state"], full, late)
            full |= with_late_parts(full, given, late)
            if set(given) != set(full):
                raise PackBroken("a checkpoint has other parts than the stack", alone=True)
            for name, array in given.items():
                both = _stacked(name, [full[name], array])
                full[name] = both[: self.size]
                full[name][call.view.rows] = both[self.size :]
        self.cohort.load_state(full)
        return calls

    def evaluate(self, calls: list[Call]) -> list[Call]:
        """Play for every caller: in the stack, unless most of it would play for nobody."""
        if 2 * sum(len(c.view.ids) for c in calls) > self.size:
            return self._as_one("evaluate", calls)
        for call in calls:
            cohort = call.view.alone()
            try:
                own = bound("evaluate", call.given)
                call.result = cohort.evaluate(*own.args, **own.kwargs)
            finally:
                cohort.close()
        return calls

    def learn(self, calls: list[Call]) -> list[Call]:
        """Let new callers begin, and all go on until some are through; return who is."""
        if self.staggered is None:
            return self._as_one("learn", calls)
        for call in calls:
            if not call.begun:
                self.staggered.begin(_agents(call), call.given["steps"], call.given["episodes"])
                call.begun = True
        wanted = -(-len(calls) // SHARE)

        def enough(busy: NDArray[np.bool_]) -> bool:
            return sum(not busy[c.view.rows].any() for c in calls) >= wanted

        busy = self.staggered.advance(enough)
        through = [c for c in calls if not busy[c.view.rows].any()]
        for call in through:
            call.result = self.staggered.result(_agents(call))
        return through

    def close(self) -> None:
        """Free the environments."""
        self.cohort.close()


def _agents(call: Call) -> NDArray[np.int64]:
    return np.arange(call.view.rows.start, call.view.rows.stop)


def kind(call: Call) -> Hashable:
    """Return what calls must have in common to be one call of the stack's cohort."""
    if call.method == "learn" and call.view.stack.staggered is not None:
        return ()
    return alike(call.method, call.given)
