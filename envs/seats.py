"""Worlds seen from their agents' seats: agent k of a federation is agent k of every world.

A `fdrl.VectorEnv` of N * W copies, agent-major as fdrl asks for them: copy w of agent k sits in
seat k of world w. So the N agents of a run learn together in the same W worlds, each with a
network of its own. For worlds that all agents leave together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from fdrl.errors import FdrlError
from fdrl.registry import EnvSpec
from fdrl.vector import Array, Step

from .spectrum import SLOTS, Spectrum, SpectrumAccess
from .worlds import Floats, Worlds


class Seats:
    """N * W copies of one agent's view; the seeds of the first agent's copies seed the worlds."""

    worlds: ClassVar[type[Worlds]]
    observation_space: ClassVar[spaces.Box]
    action_space: ClassVar[spaces.Discrete]

    def __init__(
        self,
        count: int,
        params: Mapping[str, Floats],
        seeds: Sequence[np.random.SeedSequence],
        max_steps: int,
    ) -> None:
        agents = self.worlds.agents
        self.count, self._shape = count, (agents, count // agents)
        if count % agents:
            raise FdrlError(
                f"{self.worlds.__name__} has {agents} agents: train that many (--agents {agents}) "
                "in one process"
            )
        own = {name: values.reshape(self._shape).T for name, values in params.items()}
        self.world = self.worlds(self._shape[1], own, seeds[: self._shape[1]], max_steps)

    def _flat(self, values: Array) -> Array:
        """Return [W, N, ...] as [N * W, ...]."""
        return np.ascontiguousarray(values.swapaxes(0, 1)).reshape(self.count, *values.shape[2:])

    def reset(self) -> NDArray[np.float32]:
        """Start a new episode in every world; return the observations [n, *O]."""
        return self._flat(self.world.reset())

    def step(self, actions: Array) -> Step:
        """Advance every world by one action per seat [n]."""
        step = self.world.step(np.asarray(actions).reshape(self._shape).T)
        return Step(
            self._flat(step.observations),
            self._flat(step.next_observations),
            self._flat(step.rewards),
            self._flat(step.terminated),
            self._flat(step.truncated),
        )

    def state(self) -> dict[str, Array]:
        """Return the worlds' state, once for every seat."""
        agents = self._shape[0]
        return {k: np.concatenate([v] * agents) for k, v in self.world.state().items()}

    def load_state(self, state: dict[str, Array]) -> None:
        """Continue from what `state` returned."""
        self.world.load_state({k: v[: self._shape[1]] for k, v in state.items()})

    def close(self) -> None:
        """Nothing to free."""


class SpectrumSeats(Seats):
    """Four agents that are the radios of `fdrl.envs.spectrum`."""

    worlds: ClassVar[type[Worlds]] = Spectrum
    observation_space: ClassVar[spaces.Box] = Spectrum.observation_space
    action_space: ClassVar[spaces.Discrete] = Spectrum.action_space


SPECTRUM = EnvSpec(
    name="fdrl.envs.seats:SPECTRUM",
    summary="Four radios share three fading channels; 100 slots.",
    vector="fdrl.envs.seats:SpectrumSeats",
    physics=SpectrumAccess.physics,
    max_steps=SLOTS,
    threshold=30.0,
)
"""What ``fdrl train --env fdrl.envs.seats:SPECTRUM --agents 4`` trains."""
