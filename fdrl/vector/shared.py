"""One world, several roles: each role's cohort steps its own agents, and the world waits for all.

A role's cohort sees an ordinary `fdrl.VectorEnv` (`RoleEnv`). The cohorts of a team have a thread
each, but one runs at a time: a `Coroutine`, which pauses whenever it waits for the others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from fdrl.core.arrays import Array
from fdrl.core.env import MultiStep, MultiVectorEnv, Step
from fdrl.core.errors import FdrlError
from fdrl.core.threads import Coroutine, present
from fdrl.vector.parallel import resting

Made = TypeVar("Made")


class PeerFailed(Exception):
    """Another role of the team failed; its own error is the one to tell."""


class StepBarrier:
    """W worlds, W = teams * E copies: world t * E + e is copy e of team t.

    `roles` are the agents (indices) of each role.
    """

    def __init__(
        self, env: MultiVectorEnv, roles: Sequence[tuple[int, ...]], teams: int, copies: int
    ) -> None:
        self.env, self.teams, self.copies = env, teams, copies
        self.roles = tuple(roles)
        self.agents = tuple(env.agents)
        self._sitting = set(range(len(self.roles)))
        self._said: dict[int, Array] = {}
        self._turn = 0
        self._step: MultiStep | None = None
        self._error: BaseException | None = None
        self._first: dict[str, NDArray[np.float32]] | None = None

    def first(self) -> dict[str, NDArray[np.float32]]:
        """Return the observations of the worlds' first reset, whoever asks first."""
        if self._first is None:
            self._first = {a: o.copy() for a, o in self.env.reset().items()}
        return self._first

    def say(self, role: int, actions: Array) -> MultiStep:
        """Wait until every role has said its actions [members, W, ...]; return the step."""
        turn = self._turn

        def over() -> bool:
            return self._turn != turn or self._error is not None

        self._said[role] = actions
        self._go()
        while not over():
            me = present()
            if me is None:
                raise FdrlError("agents of a shared world can only act together")
            me.pause(over)
        if self._error is not None:
            raise PeerFailed
        assert self._step is not None
        return self._step

    def _go(self) -> None:
        """Step the worlds if everybody who still sits here has said what to do."""
        if not self._sitting or not self._sitting <= self._said.keys():
            return
        worlds = self.teams * self.copies
        moves = {a: resting(s, worlds) for a, s in self.env.action_spaces.items()}
        for role, actions in self._said.items():
            for row, i in zip(actions, self.roles[role], strict=True):
                moves[self.agents[i]] = row
        self._said.clear()
        try:
            self._step = masked(self.env.step(moves))
        except BaseException as error:
            self._error = error
            raise
        self._turn += 1

    @property
    def open(self) -> bool:
        """Whether anybody sits here."""
        return bool(self._sitting)

    def abandon(self) -> None:
        """Let nobody wait for a role that has failed."""
        if self._error is None:
            self._error = PeerFailed()

    def rise(self, role: int) -> None:
        """Leave: from now on the role's agents do action 0; the last one closes the worlds."""
        if role not in self._sitting:
            return
        self._sitting.discard(role)
        if not self._sitting:
            self.env.close()
        elif self._error is None and self._said:
            self._go()


def masked(step: MultiStep) -> MultiStep:
    """Copy a step; what it holds for agents that have left their world becomes 0 and False.

    A copy, because roles read at their own pace, while a faster one may be steps ahead.
    """
    parts: Any = ({agent: rows.copy() for agent, rows in part.items()} for part in step)
    out = MultiStep(*parts)
    stays = {a: out.alive[a] & ~(out.terminated[a] | out.truncated[a]) for a in out.alive}
    again = ~np.logical_or.reduce(list(stays.values()))  # worlds that have started again
    for agent, alive in out.alive.items():
        for part in (out.rewards, out.terminated, out.truncated, out.next_observations):
            part[agent][~alive] = 0
        out.observations[agent][~(stays[agent] | again)] = 0
    return out


class RoleEnv:
    """The copies of one role's agents in the worlds (a `fdrl.VectorEnv`).

    Agent-major: row (t * members + m) * E + e is member m of team t in its copy e.
    """

    def __init__(self, joint: StepBarrier, role: int) -> None:
        self.joint, self.role = joint, role
        self._names = [joint.agents[i] for i in joint.roles[role]]
        self.count = joint.teams * len(self._names) * joint.copies
        rows = np.arange(joint.teams * joint.copies).reshape(joint.teams, 1, joint.copies)
        self._world = np.broadcast_to(rows, (joint.teams, len(self._names), joint.copies)).reshape(
            -1
        )

    def _rows(self, part: dict[str, Array]) -> Array:
        """Return what the members' arrays [W, ...] say, as [count, ...]."""
        j = self.joint
        stacked = np.stack([part[a].reshape(j.teams, j.copies, *part[a].shape[1:])
                            for a in self._names], axis=1)  # fmt: skip
        return np.ascontiguousarray(stacked.reshape(self.count, *stacked.shape[3:]))

    def reset(self) -> NDArray[np.float32]:
        """Return the first observations [n, *O]: worlds are reset once, for all roles."""
        return self._rows(self.joint.first())

    def step(self, actions: Array) -> Step:
        """Advance the worlds by this role's actions [n] and everybody else's."""
        j = self.joint
        members, tail = len(self._names), np.shape(actions)[1:]
        by_member = np.asarray(actions).reshape(j.teams, members, j.copies, *tail)
        step = j.say(self.role, by_member.swapaxes(0, 1).reshape(members, -1, *tail))
        rows = self._rows
        alive = rows(step.alive)
        return Step(rows(step.observations), rows(step.next_observations), rows(step.rewards),
                    rows(step.terminated), rows(step.truncated),
                    None if alive.all() else alive)  # fmt: skip

    def state(self) -> dict[str, Array]:
        """Return the worlds' state, a row for each copy."""
        return {name: array[self._world] for name, array in self.joint.env.state().items()}

    def load_state(self, state: dict[str, Array]) -> None:
        """Continue from what `state` returned; the first role speaks for the worlds."""
        if self.role == 0:
            where = np.unique(self._world, return_index=True)[1]
            self.joint.env.load_state({name: array[where] for name, array in state.items()})

    def close(self) -> None:
        """Leave the worlds."""
        self.joint.rise(self.role)


class UnsteppableEnv:
    """Copies for a learner that only learns from others' transitions; they cannot be stepped."""

    def __init__(self, count: int, shape: tuple[int, ...]) -> None:
        self.count, self._shape = count, shape

    def reset(self) -> NDArray[np.float32]:
        """Return zeros [n, *O]."""
        return np.zeros((self.count, *self._shape), np.float32)

    def step(self, actions: Array) -> Step:
        """Raise: one agent alone has no world."""
        raise FdrlError("agents of a shared world can only act together")

    def state(self) -> dict[str, Array]:
        """Nothing to keep."""
        return {}

    def load_state(self, state: dict[str, Array]) -> None:
        """Nothing to restore."""

    def close(self) -> None:
        """Nothing to free."""


class RoleThreads:
    """Runs what the roles of a team do side by side: in turns, each until it waits for others."""

    def __init__(self, roles: int, abandon: Callable[[], None]) -> None:
        self._abandon = abandon
        self._roles = [Coroutine(heir=self._next) for _ in range(roles if roles > 1 else 0)]
        self._last, self._interrupted = -1, False

    def run(self, jobs: Sequence[Callable[[], Made]]) -> list[Made]:
        """Return what each job returns; the first error, if any, ends all of them."""
        if not self._roles:
            return [job() for job in jobs]
        for role, job in zip(self._roles, jobs, strict=True):
            role.begin(partial(self._guarded, job))
        self._last, self._interrupted = -1, False
        try:
            while (first := self._next()) is not None:
                first.resume()
            if not all(role.done for role in self._roles):
                raise FdrlError(
                    "agents of a shared world must take the same steps, but some have ended "
                    "theirs while others wait for them"
                )
        except BaseException as interrupt:
            self._interrupted = True
            self._abandon()
            for role in self._roles:
                role.settle()
            for role in self._roles:
                role.end(interrupt)
            raise
        errors = [role.error for role in self._roles if role.error is not None]
        for error in errors:
            if not isinstance(error, PeerFailed):
                raise error
        if errors:
            raise errors[0]
        return [role.result for role in self._roles]

    def _guarded(self, job: Callable[[], Made]) -> Made:
        try:
            return job()
        except BaseException:
            self._abandon()
            raise

    def _next(self) -> Coroutine | None:
        """Return the role that goes on: of those that can, the next in order."""
        for i in range(0 if self._interrupted else len(self._roles)):
            at = (self._last + 1 + i) % len(self._roles)
            if self._roles[at].ready:
                self._last = at
                return self._roles[at]
        return None

    def close(self) -> None:
        """End the threads."""
        for role in self._roles:
            role.close()
