"""Drone corridor: drones cross a corridor to their goals, each in a wind that it cannot see.

Drone i is a point with position p and velocity v in a corridor of length 10 and width 4; thrust
a(u) is 0, +x, -x, +y or -y times 1.5. With time steps of 0.2 and drag 0.5,

    v <- v + 0.2 (a(u) + wind_i(p) + turbulence - 0.5 v),   p <- p + 0.2 v,
    wind_i(p) = (wind_x_i, wind_y_i + gust_i sin(2 pi p_x / 5)),

turbulence uniform in [-0.2, 0.2] squared. Within 0.4 of its goal a drone lands; beyond a wall, or
within 0.3 of another flying drone, it crashes (both do); either way it leaves. The reward is

    (distance to goal before - after) / 10 - 0.005 + [landed] - [crashed].
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import pettingzoo
from gymnasium import spaces
from numpy.typing import NDArray

from fdrl.core.arrays import Array, Bools, Doubles
from fdrl.core.registry import Physics

from .grid_world import COLORS, DARK, GRAY, PALE, box, canvas, disk
from .worlds import SingleWorld, Worlds

ID = "fdrl/DroneCorridor-v0"
DRONES, LENGTH, HALF_WIDTH = 4, 10.0, 2.0
DT, THRUST, DRAG, TURBULENCE = 0.2, 1.5, 0.5, 0.2
LANDING, CRASH, MARGIN = 0.4, 0.3, 0.5
STEPS = 100
NEAREST = 2
_LANES = np.array([-1.2, -0.4, 0.4, 1.2])
_THRUSTS = THRUST * np.array([[0.0, 0.0], [1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
_SEEN = 6 + 3 * NEAREST


class Drones(Worlds):
    """W corridors with 4 drones each.

    A drone sees, clipped to [-1, 1]: its position (x / 5 - 1, y / 2), its velocity over 3, the
    way to its goal (over 10 and 4), and of its 2 nearest flying neighbors the way there over 2
    and a 1 (all 0 if there is none). It does not see the wind.
    """

    observation_space: ClassVar[spaces.Box] = spaces.Box(-1.0, 1.0, (_SEEN,), np.float32)
    action_space: ClassVar[spaces.Discrete] = spaces.Discrete(len(_THRUSTS))
    agents: ClassVar[int] = DRONES
    draws: ClassVar[int] = 3 * DRONES
    defaults: ClassVar[Mapping[str, float]] = {"wind_x": -0.1, "wind_y": 0.3, "gust": 0.3}
    saved: ClassVar[tuple[str, ...]] = ("_at", "_speed", "_goal")

    def _prepare(self, count: int) -> None:
        self._at, self._speed, self._goal = np.zeros((3, count, DRONES, 2))
        self._self = np.eye(DRONES, dtype=np.bool_)

    def _begin(self, rows: NDArray[np.intp], drawn: Doubles) -> None:
        back, start, end = drawn.reshape(len(rows), 3, DRONES).transpose(1, 0, 2)
        self._at[rows, :, 0] = 0.3 + 0.4 * back
        self._at[rows, :, 1] = _LANES[start.argsort(axis=1, kind="stable")]
        self._goal[rows, :, 0] = LENGTH
        self._goal[rows, :, 1] = _LANES[end.argsort(axis=1, kind="stable")]
        self._speed[rows] = 0.0

    def _advance(self, actions: Array, drawn: Doubles) -> tuple[Doubles, Bools]:
        p, at, speed = self.params, self._at, self._speed
        before = _length(self._goal - at)
        push = _THRUSTS[actions] - DRAG * speed
        rough = TURBULENCE * (2 * drawn[:, : 2 * DRONES] - 1)
        push += rough.reshape(self.count, DRONES, 2)
        push[:, :, 0] += p["wind_x"]
        push[:, :, 1] += p["wind_y"] + p["gust"] * np.sin(at[:, :, 0] * (2 * np.pi / 5))
        flying = self.active[:, :, None]
        speed += DT * push * flying
        at += DT * speed * flying
        after = _length(self._goal - at)
        landed = after < LANDING
        out = (at[:, :, 0] < -MARGIN) | (at[:, :, 0] > LENGTH + MARGIN)
        out |= np.abs(at[:, :, 1]) > HALF_WIDTH
        crashed = (out | (self._distances().min(axis=2) < CRASH)) & ~landed
        rewards = (before - after) / LENGTH - 0.005 + landed - crashed
        return rewards, landed | crashed

    def _distances(self) -> Doubles:
        """Return [W, N, N], infinite to oneself and to drones that have left."""
        apart = _length(self._at[:, None] - self._at[:, :, None])
        apart[~self.active[:, None, :] | self._self] = np.inf
        return apart

    def _observe(self, out: NDArray[np.float32]) -> None:
        way = self._goal - self._at
        out[:, :, 0] = self._at[:, :, 0] / (LENGTH / 2) - 1
        out[:, :, 1] = self._at[:, :, 1] / HALF_WIDTH
        out[:, :, 2:4] = self._speed / 3
        out[:, :, 4] = way[:, :, 0] / LENGTH
        out[:, :, 5] = way[:, :, 1] / (2 * HALF_WIDTH)
        apart = self._distances()
        nearest = apart.argsort(axis=2, kind="stable")[:, :, :NEAREST]
        worlds, drones = np.ogrid[: self.count, :DRONES]
        for j in range(NEAREST):
            other = nearest[:, :, j]
            there = np.isfinite(apart[worlds, drones, other])
            toward = (self._at[worlds, other] - self._at) / 2
            out[:, :, 6 + 3 * j : 8 + 3 * j] = toward * there[:, :, None]
            out[:, :, 8 + 3 * j] = there
        np.clip(out, -1.0, 1.0, out=out)


def _length(vectors: Doubles) -> Doubles:
    """Return the lengths of vectors [..., 2]."""
    x, y = vectors[..., 0], vectors[..., 1]
    lengths: Doubles = np.sqrt(x * x + y * y)
    return lengths


class DroneCorridor(SingleWorld):
    """Four drones cross a windy corridor (PettingZoo ``fdrl/DroneCorridor-v0``).

    >>> env = DroneCorridor(wind_y=[0.0, 0.2, 0.4, 0.6])
    >>> seen, _ = env.reset(seed=0)
    >>> seen["drone_0"].shape
    (12,)
    """

    metadata: ClassVar[dict[str, Any]] = {**SingleWorld.metadata, "name": "drone_corridor_v0"}
    worlds: ClassVar[type[Worlds]] = Drones
    physics: ClassVar[Mapping[str, Physics]] = {
        "wind_x": Physics(-0.1), "wind_y": Physics(0.3), "gust": Physics(0.3)
    }  # fmt: skip
    prefix: ClassVar[str] = "drone"
    max_steps: ClassVar[int] = STEPS

    def render(self) -> NDArray[np.uint8]:
        """Draw the corridor from above: goals as pale disks, flying drones as full ones."""
        world, scale = self.world, 30.0
        assert isinstance(world, Drones)
        image = canvas(130, 335)
        for top in (0, 125):
            box(image, top, 0, 5, 335, DARK)
        for i, color in enumerate(COLORS):
            x, y = scale * (world._goal[0, i] + [MARGIN, HALF_WIDTH])
            disk(image, y + 5, x, scale * LANDING, color)
            disk(image, y + 5, x, scale * LANDING - 3, PALE)
        for i, color in enumerate(COLORS):
            x, y = scale * (world._at[0, i] + [MARGIN, HALF_WIDTH])
            flies = bool(world.active[0, i])
            disk(image, y + 5, x, scale * CRASH / 2 + 2, color if flies else GRAY)
        return image


def heuristic(seen: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return actions [..., N] of a hand-written policy for observations [..., N, O].

    A damped spring to the goal, pushed away from neighbors that are near; of the two axes, the
    one that wants more thrust gets it.
    """
    way = seen[..., 4:6] * [LENGTH, 2 * HALF_WIDTH]
    want = np.clip(way, -1.5, 1.5) * [1.0, 2.0] - 1.0 * 3 * seen[..., 2:4]
    for j in range(NEAREST):
        toward = 2 * seen[..., 6 + 3 * j : 8 + 3 * j].astype(np.float64)
        near = seen[..., 8 + 3 * j] > 0
        squared = np.maximum((toward**2).sum(-1), 0.05)
        want -= 0.7 * toward / squared[..., None] * (near & (squared < 1))[..., None]
    along = np.abs(want[..., 0]) > np.abs(want[..., 1])
    x, y = np.where(want[..., 0] > 0, 1, 2), np.where(want[..., 1] > 0, 3, 4)
    return np.where(along, x, y)


if ID not in pettingzoo.parallel_registry:
    pettingzoo.register("parallel", ID, "fdrl.envs.drones:DroneCorridor")
