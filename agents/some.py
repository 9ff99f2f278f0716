"""Some copies of a vector of environments, stepped without the others.

Vectors that can be cut say so by two methods, ``take(copies)`` and ``put(copies, part)``; of any
other all copies are stepped, and those that should have stood still are put back.
"""

from __future__ import annotations

from typing import Any, Protocol, cast, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from fdrl.arrays import stack_padded
from fdrl.vector import Step, VectorEnv

Array = NDArray[Any]


@runtime_checkable
class Divisible(Protocol):
    """A `VectorEnv` that can be cut."""

    def take(self, copies: NDArray[np.int64]) -> VectorEnv:
        """Return these copies as a vector of their own; until `put`, only it may be used."""

    def put(self, copies: NDArray[np.int64], part: Any) -> None:
        """Take back what `take` returned, as it is now."""


def take(env: VectorEnv, copies: NDArray[np.int64]) -> VectorEnv:
    """Return some copies as a vector of their own."""
    return env.take(copies) if isinstance(env, Divisible) else _Held(env, copies)


def put(env: VectorEnv, copies: NDArray[np.int64], part: VectorEnv) -> None:
    """Take back what `take` returned."""
    if isinstance(env, Divisible):
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
