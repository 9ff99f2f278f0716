"""CartPole-v1, many copies at once (Barto, Sutton, Anderson 1983), to the bit Gymnasium's."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from fdrl.vector import Array

from .vectorized import Floats, Vectorized

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

    def _prepare(self, count: int, params: Mapping[str, Floats]) -> None:
        # Rows x, theta, their velocities, their accelerations: the derivative of the first four
        # rows is the last four, so one Euler step is a product and a sum.
        self._rows = np.zeros((6, count))
        self._state, self._slopes = self._rows[:4], self._rows[2:]
        self._moved = np.zeros((4, count))
        # [n, {x, theta}, {position, velocity}], which read in order is Gymnasium's observation
        self._seen = self._state.reshape(2, 2, count).transpose(2, 1, 0)
        self._next_pairs = self._next.reshape(count, 2, 2)
        self._limits = np.array([[X_LIMIT], [THETA_LIMIT]])
        self._distance, self._outside = np.zeros((2, count)), np.zeros((2, count), np.bool_)
        self._work = np.zeros((4, count))
        self._gravity, self._tau = params["gravity"], params["tau"]
        self._force_mag, self._masspole = params["force_mag"], params["masspole"]
        self._twice_force = 2 * self._force_mag
        self._length = params["length"]
        self._total_mass = self._masspole + params["masscart"]
        self._polemass_length = self._masspole * self._length

    def _advance(self, actions: Array) -> None:
        # Gymnasium's equations operation by operation, in its order: no term may be regrouped.
        sin, cos, temp, work = self._work
        _, theta, _, theta_dot, xacc, thetaacc = self._rows
        np.sin(theta, out=sin)
        np.cos(theta, out=cos)
        np.multiply(theta_dot, theta_dot, out=temp)
        np.multiply(self._polemass_length, temp, out=temp)
        np.multiply(temp, sin, out=temp)
        np.copyto(work, actions)
        np.multiply(work, self._twice_force, out=work)
        np.subtract(work, self._force_mag, out=work)  # the force: exactly +- force_mag
        np.add(work, temp, out=temp)
        np.divide(temp, self._total_mass, out=temp)
        np.multiply(self._gravity, sin, out=sin)
        np.multiply(cos, temp, out=thetaacc)
        np.subtract(sin, thetaacc, out=thetaacc)
        np.multiply(cos, cos, out=work)
        np.multiply(self._masspole, work, out=work)
        np.divide(work, self._total_mass, out=work)
        np.subtract(4.0 / 3.0, work, out=work)
        np.multiply(self._length, work, out=work)
        np.divide(thetaacc, work, out=thetaacc)
        np.multiply(self._polemass_length, thetaacc, out=xacc)
        np.multiply(xacc, cos, out=xacc)
        np.divide(xacc, self._total_mass, out=xacc)
        np.subtract(temp, xacc, out=xacc)
        np.multiply(self._tau, self._slopes, out=self._moved)
        np.add(self._state, self._moved, out=self._state)
        np.absolute(self._state[:2], out=self._distance)
        np.greater(self._distance, self._limits, out=self._outside)
        np.logical_or(self._outside[0], self._outside[1], out=self._terminated)
        np.copyto(self._next_pairs, self._seen, casting="same_kind")
        self._rewards.fill(1.0)

    def _begin(self, rows: NDArray[np.intp], drawn: Floats) -> NDArray[np.float32]:
        self._state[:, rows] = drawn[:, [0, 2, 1, 3]].T
        return drawn.astype(np.float32)

    @classmethod
    def configure(cls, env: Any, values: Mapping[str, float]) -> None:
        """Set the physics on Gymnasium's CartPoleEnv, and what it derived from them."""
        super().configure(env, values)
        env.total_mass = env.masspole + env.masscart
        env.polemass_length = env.masspole * env.length
