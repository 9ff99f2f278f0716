"""Many worlds of one kind as what a federation of their agents steps (`fdrl.multi`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from fdrl.errors import FdrlError
from fdrl.multi import MultiStep

from .worlds import OneWorld

Array = NDArray[Any]


class SharedWorlds:
    """W worlds of `one`, stepped together (a `fdrl.multi.MultiVectorEnv`).

    `kwargs` [W] are each world's arguments: those of `one`, drawing aside.
    """

    def __init__(
        self,
        one: type[OneWorld],
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
