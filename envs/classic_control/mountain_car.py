"""MountainCar-v0, many copies at once (Moore 1990), to the bit Gymnasium's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from fdrl.core.arrays import Array, Doubles

from ..vectorized import Vectorized

LEFT, RIGHT, GOAL, MAX_SPEED = -1.2, 0.6, 0.5, 0.07
_LOW = np.array([LEFT, -MAX_SPEED], np.float32)
_HIGH = np.array([RIGHT, MAX_SPEED], np.float32)


class MountainCar(Vectorized):
    """A car too weak for its hill: left (0), coast (1), right (2), -1 a step until the goal.

    Parameters per copy: gravity, force, goal_velocity.
    """

    observation_space: ClassVar[spaces.Box] = spaces.Box(_LOW, _HIGH, dtype=np.float32)
    action_space: ClassVar[spaces.Discrete] = spaces.Discrete(3)
    size: ClassVar[int] = 2
    draws: ClassVar[int] = 1

    def _prepare(self, count: int, params: Mapping[str, Doubles]) -> None:
        self._force, self._pull = params["force"], -params["gravity"]
        self._goal_velocity = params["goal_velocity"]
        self._push, self._slope = np.zeros((2, count))
        self._at_wall, self._slow = np.zeros((2, count), np.bool_)

    def _advance(self, actions: Array) -> None:
        position, velocity = self._state
        push, slope = self._push, self._slope
        np.copyto(push, actions)
        np.subtract(push, 1.0, out=push)
        np.multiply(push, self._force, out=push)
        np.multiply(3.0, position, out=slope)
        np.cos(slope, out=slope)
        np.multiply(slope, self._pull, out=slope)
        np.add(push, slope, out=push)
        np.add(velocity, push, out=velocity)
        np.minimum(np.maximum(velocity, -MAX_SPEED, out=velocity), MAX_SPEED, out=velocity)
        np.add(position, velocity, out=position)
        np.minimum(np.maximum(position, LEFT, out=position), RIGHT, out=position)
        np.equal(position, LEFT, out=self._at_wall)
        np.maximum(velocity, 0.0, out=velocity, where=self._at_wall)
        np.greater_equal(position, GOAL, out=self._terminated)
        np.greater_equal(velocity, self._goal_velocity, out=self._slow)
        np.logical_and(self._terminated, self._slow, out=self._terminated)
        np.copyto(self._next, self._state.T, casting="same_kind")
        self._rewards.fill(-1.0)

    def _begin(self, rows: NDArray[np.intp], planned: Doubles) -> None:
        self._state[0, rows] = planned[:, 0]
        self._state[1, rows] = 0.0
        self._observations[rows] = self._state[:, rows].T
