"""CartPole-v1, many copies at once (Barto, Sutton, Anderson 1983), to the bit Gymnasium's."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from fdrl.core.arrays import Array, Doubles

from ..vectorized import Vectorized

X_LIMIT = 2.4
THETA_LIMIT = 12 * 2 * math.pi / 360
_BOUND = np.array([X_LIMIT * 2, np.inf, THETA_LIMIT * 2, np.inf], np.float32)


class CartPole(Vectorized):
    """A pole on a cart: push left (0) or right (1), 1 a step until it falls.

    Parameters per copy: gravity, masscart, masspole, length (half the pole's), force_mag, tau.
    """

    observation_space: ClassVar[spaces.Box] = spaces.Box(-_BOUND, _BOUND, dtype=np.float32)
    action_space: ClassVar[spaces.Discrete] = spaces.Discrete(2)
    size: ClassVar[int] = 4
    draws: ClassVar[int] = 4

    def _prepare(self, count: int, params: Mapping[str, Doubles]) -> None:
        # Rows x, theta, their velocities, their accelerations: the derivative of the first four
        # rows is the last four, so one Euler step is a product and a sum.
        self._rows = np.zeros((6, count))
        self._state, self._slopes = self._rows[:4], self._rows[2:]
        self._moved, self._work = np.zeros((2, 4, count))
        x, theta, x_dot, theta_dot = self._state
        self._seen = list(zip(self._next.T, (x, x_dot, theta, theta_dot), strict=True))
        # whole arrays instead of one column or number: broadcasting costs more than the sums
        self._limits = np.repeat([[X_LIMIT], [THETA_LIMIT]], count, axis=1)
        self._tau = np.tile(params["tau"], (4, 1))
        self._four_thirds = np.full(count, 4.0 / 3.0)
        self._distance, self._outside = np.zeros((2, count)), np.zeros((2, count), np.bool_)
        self._gravity, self._masspole = params["gravity"], params["masspole"]
        self._force_mag, self._twice_force = params["force_mag"], 2 * params["force_mag"]
        self._length = params["length"]
        self._total_mass = self._masspole + params["masscart"]
        self._polemass_length = self._masspole * self._length

    def _advance(self, actions: Array) -> None:
        # Gymnasium's equations operation by operation, in its order: no term may be regrouped.
        sin, cos, temp, work = self._work
        _, theta, _, theta_dot, xacc, thetaacc = self._rows
        np.sin(theta, sin)
        np.cos(theta, cos)
        np.multiply(theta_dot, theta_dot, temp)
        np.multiply(self._polemass_length, temp, temp)
        np.multiply(temp, sin, temp)
        work[...] = actions
        np.multiply(work, self._twice_force, work)
        np.subtract(work, self._force_mag, work)  # the force: exactly +- force_mag
        np.add(work, temp, temp)
        np.divide(temp, self._total_mass, temp)
        np.multiply(self._gravity, sin, sin)
        np.multiply(cos, temp, thetaacc)
        np.subtract(sin, thetaacc, thetaacc)
        np.multiply(cos, cos, work)
        np.multiply(self._masspole, work, work)
        np.divide(work, self._total_mass, work)
        np.subtract(self._four_thirds, work, work)
        np.multiply(self._length, work, work)
        np.divide(thetaacc, work, thetaacc)
        np.multiply(self._polemass_length, thetaacc, xacc)
        np.multiply(xacc, cos, xacc)
        np.divide(xacc, self._total_mass, xacc)
        np.subtract(temp, xacc, xacc)
        np.multiply(self._tau, self._slopes, self._moved)
        np.add(self._state, self._moved, self._state)
        np.absolute(self._state[:2], self._distance)
        np.greater(self._distance, self._limits, self._outside)
        np.logical_or(self._outside[0], self._outside[1], self._terminated)
        for column, row in self._seen:
            column[...] = row
        self._rewards.fill(1.0)

    def _begin(self, rows: NDArray[np.intp], planned: Doubles) -> None:
        for (_, row), numbers in zip(self._seen, planned.T, strict=True):
            row[rows] = numbers
        self._observations[rows] = planned

    @classmethod
    def configure(cls, env: Any, values: Mapping[str, float]) -> None:
        """Set the physics on Gymnasium's CartPoleEnv, and what it derived from them."""
        super().configure(env, values)
        env.total_mass = env.masspole + env.masscart
        env.polemass_length = env.masspole * env.length
