"""What the vectorized classic-control environments share: streams, time limits, autoreset.

n copies are stepped together; the state is [D, n], one contiguous row per quantity, so each line
of a subclass is one equation over all copies. Work arrays are allocated once: for n near 100 a
step is a few dozen NumPy calls of a fraction of a microsecond each, so a call saved is time saved.
Constants are arrays, because NumPy needs as long again to make an array of a Python number, and
arrays are copied by assignment, which is quicker than `np.copyto`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from fdrl.core.arrays import Array, Doubles
from fdrl.core.env import Step
from fdrl.core.errors import FdrlError
from fdrl.core.seeding import pack_generators, unpack_generators

BLOCK = 64
"""Beginnings of episodes drawn ahead per copy; the stream is the same as one draw at a time."""

ENDLESS = 2**62
"""A limit that no clock reaches."""

PATIENCE = 8
"""Steps without a cut after which it is worth to know when the next one is."""


class Vectorized:
    """n copies with per-copy physics (a `VectorEnv`); subclasses write the physics.

    `params` hold one value per copy [n] for each physical parameter, and the interval
    ``init_low, init_high`` from which each of an initial state's numbers is drawn. Actions are
    not checked: they must be 0 .. A-1, or [n, D] in the space. One copy's values are the same
    whatever n is.
    """

    observation_space: ClassVar[spaces.Box]
    action_space: ClassVar[spaces.Discrete | spaces.Box]
    size: ClassVar[int]
    """D, the numbers in a state."""
    draws: ClassVar[int]
    """Random numbers that start an episode."""

    def __init__(
        self,
        count: int,
        params: Mapping[str, Doubles],
        seeds: Sequence[np.random.SeedSequence],
        max_steps: int,
    ) -> None:
        self.count, self.max_steps = count, max_steps
        self._params = params
        self._low, self._high = params["init_low"].tolist(), params["init_high"].tolist()
        self._generators = [np.random.Generator(np.random.PCG64(s)) for s in seeds]
        planned = self._plan(np.zeros((BLOCK, self.draws)))
        self._ahead = np.zeros((count, *planned.shape), planned.dtype)
        self._flat_ahead = self._ahead.reshape(-1, *planned.shape[1:])
        # The next beginning of each copy, in all that is drawn ahead; none is at first.
        self._first = np.arange(count) * BLOCK
        self._cursor, self._sure = self._first + BLOCK, 0
        self._after = np.arange(1, count * BLOCK + 1)
        # An episode is cut off when the clock reaches its end; before `_due` none can be.
        self._clock, self._due, self._quiet = 0, 0, 0
        self._limit = min(max_steps, ENDLESS)
        self._ends = np.full(count, self._limit, np.int64)
        shape = (count, *self.observation_space.shape)
        self._observations = np.zeros(shape, np.float32)
        self._next = np.zeros(shape, np.float32)
        self._rewards = np.zeros(count)
        self._terminated, self._truncated, self._finished = np.zeros((3, count), np.bool_)
        seen = self._observations, self._next
        self._step = Step(*seen, self._rewards, self._terminated, self._truncated)
        self._now = np.zeros((), np.int64)
        self._started = False
        self._state = np.zeros((self.size, count))
        self._prepare(count, params)

    def _prepare(self, count: int, params: Mapping[str, Doubles]) -> None:
        """Keep what a step needs of the parameters [n], and memory to work in."""

    def _advance(self, actions: Array) -> None:
        """Move `_state`, and fill `_next`, `_rewards` and `_terminated`."""
        raise NotImplementedError

    def _plan(self, drawn: Doubles) -> NDArray[Any]:
        """Turn numbers [m, draws] into what `_begin` needs [m, *P], for many episodes ahead."""
        return drawn

    def _begin(self, rows: NDArray[np.intp], planned: NDArray[Any]) -> None:
        """Set the state of `rows` [m] from what was planned [m, *P], and their observations."""
        raise NotImplementedError

    def _show(self) -> None:
        """Make the observations what the actions led to, before finished copies start again."""
        self._observations[...] = self._next

    def _placed(self, rows: NDArray[np.intp]) -> None:
        """Take notice that the states of `rows` [m] were set from elsewhere."""

    @property
    def _steps(self) -> NDArray[np.int64]:
        """Steps that each copy's episode has lasted [n]."""
        return self._clock + self._limit - self._ends

    @classmethod
    def configure(cls, env: Any, values: Mapping[str, float]) -> None:
        """Give Gymnasium's own environment these physics, e.g. to render it."""
        for name, value in values.items():
            setattr(env, name if hasattr(env, name) else name.upper(), value)

    def reset(self) -> NDArray[np.float32]:
        """Start a new episode in every copy; return the observations [n, *O]."""
        self._restart(np.arange(self.count))
        self._started = True
        return self._observations

    def step(self, actions: Array) -> Step:
        """Advance every copy by one action [n] or [n, D]; finished copies start again."""
        if not self._started:
            raise FdrlError("call reset before step")
        self._advance(actions)
        self._show()
        self._clock += 1
        finished = self._terminated if self._clock < self._due else self._cut_off()
        if 1 in finished.tobytes():  # three times faster than any()
            self._restart(finished.nonzero()[0])
        return self._step

    def _cut_off(self) -> NDArray[np.bool_]:
        """Mark the episodes that are as long as they may be; return who is finished [n]."""
        terminated, truncated, now = self._terminated, self._truncated, self._now
        now.fill(self._clock)
        np.less_equal(self._ends, now, truncated)
        if 1 not in truncated.tobytes():
            # Looking for the next end costs more than a few looks: soon after one, others follow.
            self._quiet += 1
            if self._quiet > PATIENCE:
                self._due = int(self._ends.min())
            return terminated
        self._due = self._quiet = 0
        if 1 not in terminated.tobytes():
            return truncated
        np.logical_or(terminated, truncated, self._finished)
        np.greater(truncated, terminated, truncated)
        return self._finished

    def _restart(self, rows: NDArray[np.intp]) -> None:
        if not self._sure:
            self._draw_ahead()
        self._sure -= 1
        at = self._cursor[rows]
        self._cursor[rows] = self._after[at]  # a look at a table is cheaper than adding 1
        flat = self._flat_ahead
        planned = flat[at] if flat.ndim == 1 else flat.take(at, axis=0)
        self._ends[rows] = self._clock + self._limit
        self._begin(rows, planned)

    def _draw_ahead(self) -> None:
        """Fill up what is drawn ahead for every copy that has used half of it."""
        used = self._cursor - self._first
        for i in np.flatnonzero(used > BLOCK // 2).tolist():
            plans, gone = self._ahead[i], int(used[i])
            plans[: BLOCK - gone] = plans[gone:].copy()
            numbers = (gone, self.draws)
            drawn = self._generators[i].uniform(self._low[i], self._high[i], numbers)
            plans[BLOCK - gone :] = self._plan(drawn)
            self._cursor[i] = self._first[i]
        # a restart takes one beginning of a copy at most
        self._sure = BLOCK - int((self._cursor - self._first).max())

    def take(self, copies: NDArray[np.int64]) -> Self:
        """Return some copies as a vector of their own; until `put`, only it may be used."""
        params = {name: values[copies] for name, values in self._params.items()}
        part = type(self)(len(copies), params, (), self.max_steps)
        part._generators = [self._generators[i] for i in copies.tolist()]
        part._ahead[:] = self._ahead[copies]
        part._cursor += (self._cursor - self._first)[copies] - BLOCK
        part._clock = self._clock
        part._ends[:] = self._ends[copies]
        part._state[:] = self._state[:, copies]
        part._placed(np.arange(len(copies)))
        part._started = self._started
        return part

    def put(self, copies: NDArray[np.int64], part: Self) -> None:
        """Take back what `take` returned, as it is now."""
        self._ahead[copies] = part._ahead
        self._cursor[copies] = self._first[copies] + (part._cursor - part._first)
        self._sure = 0
        self._ends[copies] = part._ends + (self._clock - part._clock)
        self._due = 0
        self._state[:, copies] = part._state
        self._placed(copies)

    def state(self) -> dict[str, Array]:
        """Return states, steps and streams, each with n as its first axis."""
        self._give_back()
        return {
            "state": self._state.T.copy(),
            "steps": self._steps,
            "generators": pack_generators(self._generators),
        }

    def _give_back(self) -> None:
        """Wind each stream back to the first number that was drawn ahead and not used."""
        left = self._first + BLOCK - self._cursor
        for g, count in zip(self._generators, left.tolist(), strict=True):
            if count:
                g.bit_generator.advance(-count * self.draws)  # type: ignore[attr-defined]
        self._forget()

    def _forget(self) -> None:
        """Let nothing be drawn ahead."""
        self._cursor[:] = self._first + BLOCK
        self._sure = 0

    def load_state(self, state: dict[str, Array]) -> None:
        """Continue from what `state` returned."""
        if state["state"].shape != (self.count, self.size):
            raise FdrlError(
                f"{type(self).__name__}: a state of shape {state['state'].shape} cannot be "
                f"loaded into {self.count} copies of {self.size} numbers"
            )
        self._state[:] = state["state"].T
        self._ends[:] = self._clock + self._limit - state["steps"]
        self._due = 0
        unpack_generators(self._generators, state["generators"])
        self._forget()
        self._started = True
        self._placed(np.arange(self.count))

    def close(self) -> None:
        """Nothing to free."""
