"""What a Stable-Baselines3 model steps: the environment copies of one agent, as its `VecEnv`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv

from .rollout import World

Array = NDArray[Any]


class Copies(VecEnv):
    """One agent's copies. Notes every observation that is acted on, and the episodes that end."""

    def __init__(self, world: World, space: spaces.Box, n_actions: int) -> None:
        self.world = world
        self._actions: Array = np.zeros(world.copies, np.int64)
        self._seen: list[NDArray[np.float32]] = []
        super().__init__(world.copies, space, spaces.Discrete(n_actions))

    def reset(self) -> NDArray[np.float32]:
        """Return the present observations: the copies were reset when they were made."""
        return self._now()

    def _now(self) -> NDArray[np.float32]:
        return np.array(self.world.observations[0].reshape(self.num_envs, *self._shape()))

    def _shape(self) -> tuple[int, ...]:
        return tuple(self.observation_space.shape or ())

    def step_async(self, actions: Array) -> None:
        """Take note of the actions [E]."""
        self._actions = np.asarray(actions).reshape(-1)

    def step_wait(self) -> tuple[Any, Any, Any, list[dict[str, Any]]]:
        """Step all copies; a truncated one says where it really ended, as SB3 expects."""
        self._seen.append(self.world.observations[0].copy())
        step = self.world.env.step(self._actions)
        done = step.terminated | step.truncated
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        for i in np.flatnonzero(done).tolist():
            infos[i]["terminal_observation"] = np.array(step.next_observations[i])
            infos[i]["TimeLimit.truncated"] = bool(step.truncated[i] and not step.terminated[i])
        self.world.tally.add(step.rewards, done)
        self.world.observations[0] = step.observations.reshape(self.num_envs, -1)
        return self._now(), step.rewards.astype(np.float32), done.copy(), infos

    def take_seen(self) -> NDArray[np.float32]:
        """Return the observations acted on since the last call [n * E, O], and forget them."""
        seen = np.concatenate(self._seen) if self._seen else np.zeros((0, self.world.inputs))
        self._seen = []
        return np.asarray(seen, np.float32)

    def close(self) -> None:
        """Free the environments."""
        self.world.env.close()

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """Return None for each copy: they share one program and have no attributes of their own."""
        return [None] * len(self._which(indices))

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Raise: the copies share one program."""
        raise AttributeError(f"the copies of an agent have no attribute {attr_name!r} to set")

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> Any:
        """Raise: the copies share one program."""
        raise AttributeError(f"the copies of an agent have no method {method_name!r}")

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        """No copy is wrapped."""
        return [False] * len(self._which(indices))

    def _which(self, indices: Any) -> Sequence[int]:
        return list(self._get_indices(indices))
