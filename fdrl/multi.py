"""Worlds in which several agents act together: what a vectorized one must offer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

Array = NDArray[Any]


class MultiStep(NamedTuple):
    """The outcome of one step of W worlds, by agent, with same-step autoreset of whole worlds.

    A world starts again when its last agent has left. `observations` [W, *O] is what to act on
    next, `next_observations` [W, *O] where the action really led. `alive` [W] says who acted in
    this step: what the other arrays hold for an agent that had left before is to be ignored.
    """

    observations: dict[str, NDArray[np.float32]]
    rewards: dict[str, NDArray[np.float64]]
    terminated: dict[str, NDArray[np.bool_]]
    truncated: dict[str, NDArray[np.bool_]]
    next_observations: dict[str, NDArray[np.float32]]
    alive: dict[str, NDArray[np.bool_]]


class MultiVectorEnv(Protocol):
    """W worlds of the same agents, each world with its own random stream.

    A PettingZoo environment whose class has a class method ``vectorized(kwargs, seeds)`` is trained
    in what that returns instead of world by world; `kwargs` [W] are each world's arguments, `seeds`
    [W] `numpy.random.SeedSequence`s. Observation spaces are flat Boxes; actions are [W], counting
    from 0, or [W, D] if an agent's are continuous.
    """

    agents: tuple[str, ...]

    @property
    def observation_spaces(self) -> Mapping[str, spaces.Space[Any]]:
        """What each agent sees."""

    @property
    def action_spaces(self) -> Mapping[str, spaces.Space[Any]]:
        """What each agent can do."""

    def reset(self) -> dict[str, NDArray[np.float32]]:
        """Start a new episode in every world; return the observations [W, *O] by agent."""

    def step(self, actions: Mapping[str, Array]) -> MultiStep:
        """Advance every world by the agents' actions [W], or [W, D]."""

    def state(self) -> dict[str, Array]:
        """Return everything needed to continue to the bit; the first axis is W."""

    def load_state(self, state: Mapping[str, Array]) -> None:
        """Continue from what `state` returned."""

    def close(self) -> None:
        """Free windows and simulators."""
