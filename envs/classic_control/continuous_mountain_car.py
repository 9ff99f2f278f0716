"""MountainCarContinuous-v0, many copies at once (Moore 1990), to the bit Gymnasium's.

Gymnasium keeps the state in single precision, all but the first of an episode.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from fdrl.core.arrays import Array, Doubles

from ..vectorized import Vectorized

LEFT, RIGHT, GOAL, MAX_SPEED, GRAVITY = -1.2, 0.6, 0.45, 0.07, 0.0025
_LOW = np.array([LEFT, -MAX_SPEED], np.float32)
_HIGH = np.array([RIGHT, MAX_SPEED], np.float32)


class ContinuousMountainCar(Vectorized):
    """A car too weak for its hill: push by -1 .. 1; 100 at the goal, minus a tenth of push**2.

    Parameters per copy: power, goal_velocity.
    """

    observation_space: ClassVar[spaces.Box] = spaces.Box(_LOW, _HIGH, dtype=np.float32)
    action_space: ClassVar[spaces.Box] = spaces.Box(-1.0, 1.0, (1,), np.float32)
    size: ClassVar[int] = 2
    draws: ClassVar[int] = 1

    def _prepare(self, count: int, params: Mapping[str, Doubles]) -> None:
        self._power = params["power"].astype(np.float32)
        self._goal_velocity = params["goal_velocity"]

    def _advance(self, actions: Array) -> None:
        position, velocity = self._state
        pushed = actions[:, 0].astype(np.float32)
        force = np.clip(pushed, -1.0, 1.0)
        first = self._ends == self._clock + self._limit
        phase = np.where(first, 3 * position, np.float32(3) * position.astype(np.float32))
        pull = (GRAVITY * np.cos(phase)).astype(np.float32)
        speed = velocity.astype(np.float32) + (force * self._power - pull)
        np.clip(speed, -np.float32(MAX_SPEED), np.float32(MAX_SPEED), out=speed)
        single = position.astype(np.float32) + speed
        moved = np.where(first, position + speed, single).astype(np.float32)
        np.clip(moved, _LOW[0], _HIGH[0], out=moved)
        speed[(moved == _LOW[0]) & (speed < 0)] = 0.0
        np.logical_and(
            moved >= np.float32(GOAL), speed >= self._goal_velocity, out=self._terminated
        )
        self._state[0], self._state[1] = moved, speed
        np.copyto(self._next, self._state.T, casting="same_kind")
        effort = pushed.astype(np.float64) ** 2 * 0.1
        np.subtract(100.0 * self._terminated, effort, out=self._rewards)

    def _begin(self, rows: NDArray[np.intp], planned: Doubles) -> None:
        self._state[0, rows] = planned[:, 0]
        self._state[1, rows] = 0.0
        self._observations[rows] = self._state[:, rows].T
