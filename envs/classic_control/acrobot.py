"""Acrobot-v1, many copies at once (Sutton 1996), by Gymnasium's equations.

Equal to Gymnasium's but for the last bit of a squared velocity: it squares scalars with libm's
`pow`, which is off by one unit in the last place once in a thousand, and here it is exact.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from fdrl.core.arrays import Array, Doubles

from ..vectorized import Vectorized

DT, GRAVITY = 0.2, 9.8
MAX_SPEED = (4 * math.pi, 9 * math.pi)
_HIGH = np.array([1.0, 1.0, 1.0, 1.0, *MAX_SPEED], np.float32)


class Acrobot(Vectorized):
    """Two links, torque -1, 0 or +1 on the joint between them: swing the tip up, -1 a step.

    Parameters per copy: link_length_1, link_length_2, link_mass_1, link_mass_2, link_com_pos_1,
    link_com_pos_2, link_moi. As in Gymnasium, the length of the second link moves only the
    picture; the goal's height is counted in links of length 1.
    """

    observation_space: ClassVar[spaces.Box] = spaces.Box(-_HIGH, _HIGH, dtype=np.float32)
    action_space: ClassVar[spaces.Discrete] = spaces.Discrete(3)
    size: ClassVar[int] = 4
    draws: ClassVar[int] = 4

    def _prepare(self, count: int, params: Mapping[str, Doubles]) -> None:
        m1, m2 = params["link_mass_1"], params["link_mass_2"]
        l1, moi = params["link_length_1"], params["link_moi"]
        c1, c2 = params["link_com_pos_1"], params["link_com_pos_2"]
        self._m2, self._moi = m2, moi
        self._m1_c1c1, self._l1l1_c2c2 = m1 * (c1 * c1), l1 * l1 + c2 * c2
        self._2_l1_c2, self._l1_c2, self._c2c2 = 2 * l1 * c2, l1 * c2, c2 * c2
        self._m2_l1_c2, self._2_m2_l1_c2 = m2 * l1 * c2, 2 * m2 * l1 * c2
        self._m2_c2_g, self._m2_c2c2_moi = m2 * c2 * GRAVITY, m2 * (c2 * c2) + moi
        self._pull = (m1 * c1 + m2 * l1) * GRAVITY
        self._torque = np.zeros(count)
        self._slopes = np.zeros((4, 4, count))
        self._at, self._sum = np.zeros((2, 4, count))
        self._work = np.zeros((7, count))
        self._fast = np.array(MAX_SPEED)[:, None]
        self._seen = self._next.T

    def _advance(self, actions: Array) -> None:
        np.copyto(self._torque, actions)
        np.subtract(self._torque, 1.0, out=self._torque)
        self._integrate()
        angles, speeds = self._state[:2], self._state[2:]
        _wrap(angles)
        np.minimum(np.maximum(speeds, -self._fast, out=speeds), self._fast, out=speeds)
        cos, sin, tip = self._work[:2], self._work[2:4], self._work[4]
        np.cos(angles, out=cos)
        np.sin(angles, out=sin)
        seen = self._seen
        seen[0], seen[1], seen[2], seen[3], seen[4:] = cos[0], sin[0], cos[1], sin[1], speeds
        np.add(angles[1], angles[0], out=tip)
        np.cos(tip, out=tip)
        np.negative(cos[0], out=cos[0])
        np.subtract(cos[0], tip, out=tip)
        np.greater(tip, 1.0, out=self._terminated)
        np.subtract(self._terminated, 1.0, out=self._rewards)

    def _integrate(self) -> None:
        """One Runge-Kutta step of order 4 over `DT` seconds."""
        state, at, total = self._state, self._at, self._sum
        k1, k2, k3, k4 = self._slopes
        self._slope(state, k1)
        for known, unknown, dt in ((k1, k2, DT / 2), (k2, k3, DT / 2), (k3, k4, DT)):
            np.multiply(dt, known, out=at)
            np.add(state, at, out=at)
            self._slope(at, unknown)
        np.multiply(2, k2, out=total)
        np.add(k1, total, out=total)
        np.multiply(2, k3, out=at)
        np.add(total, at, out=total)
        np.add(total, k4, out=total)
        np.multiply(DT / 6.0, total, out=total)
        np.add(state, total, out=state)

    def _slope(self, state: Doubles, out: Doubles) -> None:
        """Write d(state)/dt [4, n] into `out`, Gymnasium's ``_dsdt`` in its order ("book")."""
        theta1, theta2, speed1, speed2 = state
        cos2, sin2, d1, d2, phi1, phi2, work = self._work
        np.cos(theta2, out=cos2)
        np.sin(theta2, out=sin2)
        np.multiply(self._2_l1_c2, cos2, out=d1)
        np.add(self._l1l1_c2c2, d1, out=d1)
        np.multiply(self._m2, d1, out=d1)
        np.add(self._m1_c1c1, d1, out=d1)
        np.add(d1, self._moi, out=d1)
        np.add(d1, self._moi, out=d1)
        np.multiply(self._l1_c2, cos2, out=d2)
        np.add(self._c2c2, d2, out=d2)
        np.multiply(self._m2, d2, out=d2)
        np.add(d2, self._moi, out=d2)
        np.add(theta1, theta2, out=phi2)
        np.subtract(phi2, math.pi / 2.0, out=phi2)
        np.cos(phi2, out=phi2)
        np.multiply(self._m2_c2_g, phi2, out=phi2)
        np.multiply(speed2, speed2, out=phi1)
        np.multiply(self._m2_l1_c2, phi1, out=phi1)
        np.multiply(phi1, sin2, out=phi1)
        np.negative(phi1, out=phi1)
        np.multiply(self._2_m2_l1_c2, speed2, out=work)
        np.multiply(work, speed1, out=work)
        np.multiply(work, sin2, out=work)
        np.subtract(phi1, work, out=phi1)
        np.subtract(theta1, math.pi / 2.0, out=work)
        np.cos(work, out=work)
        np.multiply(self._pull, work, out=work)
        np.add(phi1, work, out=phi1)
        np.add(phi1, phi2, out=phi1)
        self._accelerate(speed1, speed2, out)

    def _accelerate(self, speed1: Doubles, speed2: Doubles, out: Doubles) -> None:
        ratio, sin2, d1, d2, phi1, phi2, work = self._work
        out[0], out[1] = speed1, speed2
        _, _, first, second = out
        np.divide(d2, d1, out=ratio)
        np.multiply(ratio, phi1, out=ratio)
        np.add(self._torque, ratio, out=second)
        np.multiply(speed1, speed1, out=work)
        np.multiply(self._m2_l1_c2, work, out=work)
        np.multiply(work, sin2, out=work)
        np.subtract(second, work, out=second)
        np.subtract(second, phi2, out=second)
        np.multiply(d2, d2, out=work)
        np.divide(work, d1, out=work)
        np.subtract(self._m2_c2c2_moi, work, out=work)
        np.divide(second, work, out=second)
        np.multiply(d2, second, out=first)
        np.add(first, phi1, out=first)
        np.negative(first, out=first)
        np.divide(first, d1, out=first)

    def _begin(self, rows: NDArray[np.intp], planned: Doubles) -> None:
        # Gymnasium's first state, and so the first observation's sines, are float32.
        start = planned.astype(np.float32)
        self._state[:, rows] = start.T
        cos, sin = np.cos(start), np.sin(start)
        pairs = [cos[:, 0], sin[:, 0], cos[:, 1], sin[:, 1], start[:, 2], start[:, 3]]
        self._observations[rows] = np.stack(pairs, axis=1)


def _wrap(angles: Doubles) -> None:
    """Bring angles into [-pi, pi] by whole turns, in place."""
    turn = math.pi - -math.pi
    for beyond, back in ((np.greater, -turn), (np.less, turn)):
        limit = -math.copysign(math.pi, back)
        over = beyond(angles, limit)
        while 1 in over.tobytes():
            np.add(angles, back, out=angles, where=over)
            over = beyond(angles, limit)
