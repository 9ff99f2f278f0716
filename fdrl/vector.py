"""What a learner steps: many copies of one environment, advanced together."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


class Step(NamedTuple):
    """The outcome of one step of n copies, with same-step autoreset.

    `observations` [n, *O] is what to act on next: for a finished copy, the first observation of
    its next episode. `next_observations` [n, *O] is where the action really led, so a truncated
    episode can be bootstrapped from it. A copy is finished when `terminated | truncated`.

    `alive` [n] says whose step it was, of agents in shared worlds of which some have left theirs;
    None: everybody's. Elsewhere the other arrays are 0 and False, and stand for no experience.
    """

    observations: NDArray[np.float32]
    next_observations: NDArray[np.float32]
    rewards: NDArray[np.float64]
    terminated: NDArray[np.bool_]
    truncated: NDArray[np.bool_]
    alive: NDArray[np.bool_] | None = None

    @property
    def arrays(self) -> tuple[Array, ...]:
        """The five arrays that every step has."""
        return self[:5]


class VectorEnv(Protocol):
    """n copies of one environment with its own random stream each.

    The arrays in a `Step` belong to the caller until the next call of `step`, no longer.
    """

    count: int

    def reset(self) -> NDArray[np.float32]:
        """Start a new episode in every copy; return the observations [n, *O]."""

    def step(self, actions: Array) -> Step:
        """Advance every copy by one action, [n] or, if continuous, [n, D] inside the space."""

    def state(self) -> dict[str, Array]:
        """Return everything needed to continue to the bit, including random streams."""

    def load_state(self, state: dict[str, Array]) -> None:
        """Continue from what `state` returned."""

    def close(self) -> None:
        """Free windows and simulators."""
