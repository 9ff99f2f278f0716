"""Pendulum-v1, many copies at once, by Gymnasium's equations.

Equal to Gymnasium's but for the last bit of a square: it squares scalars with libm's `pow`, which
may be off by one unit in the last place, and here squares are exact.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from fdrl.core.arrays import Array, Doubles

from ..vectorized import Vectorized

MAX_SPEED, MAX_TORQUE, DT = 8.0, 2.0, 0.05
_HIGH = np.array([1.0, 1.0, MAX_SPEED], np.float32)


class Pendulum(Vectorized):
    """A rod on a motor that is too weak to lift it: swing it up and hold it, 200 steps.

    The reward is minus (angle**2 + 0.1 speed**2 + 0.001 torque**2), the angle in (-pi, pi] from
    upright. Parameters per copy: g, m, l (gravity, mass, length). An episode starts at an angle
    of pi times one number of the initial interval, and at the speed of a second one.
    """

    observation_space: ClassVar[spaces.Box] = spaces.Box(-_HIGH, _HIGH, dtype=np.float32)
    action_space: ClassVar[spaces.Box] = spaces.Box(-MAX_TORQUE, MAX_TORQUE, (1,), np.float32)
    size: ClassVar[int] = 2
    draws: ClassVar[int] = 2

    def _prepare(self, count: int, params: Mapping[str, Doubles]) -> None:
        self._pull = 3 * params["g"] / (2 * params["l"])
        # Gymnasium multiplies the torque, a float32, by a plain number: the product is a float32.
        self._push = (3.0 / (params["m"] * params["l"] ** 2)).astype(np.float32)

    def _advance(self, actions: Array) -> None:
        angle, speed = self._state
        torque = np.clip(actions[:, 0], -MAX_TORQUE, MAX_TORQUE).astype(np.float32)
        away = (angle + np.pi) % (2 * np.pi) - np.pi
        effort = np.float32(0.001) * (torque * torque)
        np.negative(away * away + 0.1 * (speed * speed) + effort, out=self._rewards)
        faster = speed + (self._pull * np.sin(angle) + self._push * torque) * DT
        np.clip(faster, -MAX_SPEED, MAX_SPEED, out=speed)
        np.add(angle, speed * DT, out=angle)
        seen = self._next.T
        seen[0], seen[1], seen[2] = np.cos(angle), np.sin(angle), speed

    def _begin(self, rows: NDArray[np.intp], planned: Doubles) -> None:
        angle, speed = np.pi * planned[:, 0], planned[:, 1]
        self._state[:, rows] = angle, speed
        self._observations[rows] = np.stack([np.cos(angle), np.sin(angle), speed], axis=1)
