"""Hand-written policies for the suite's environments: what a few lines earn without learning.

Each takes observations [n, *O] and returns actions [n] or [n, D].
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Policy = Callable[[np.ndarray], np.ndarray]
UP, DOWN, LEFT, RIGHT = range(4)


def cartpole(seen: np.ndarray) -> np.ndarray:
    """Push to where the pole leans and falls, and a little against where the cart drifts."""
    x, x_dot, theta, theta_dot = seen.T
    return (theta + 0.5 * theta_dot + 0.02 * x + 0.05 * x_dot > 0).astype(np.int64)


def acrobot(seen: np.ndarray) -> np.ndarray:
    """Push the second link the way the first one swings against it."""
    return np.where(seen[:, 4] < 0, 2, 0)


def mountain_car(seen: np.ndarray) -> np.ndarray:
    """Push the way the car rolls."""
    return np.where(seen[:, 1] < 0, 0, 2)


def continuous_mountain_car(seen: np.ndarray) -> np.ndarray:
    """Push with all power the way the car rolls."""
    return np.where(seen[:, 1:] < 0, -1.0, 1.0).astype(np.float32)


def pendulum(seen: np.ndarray) -> np.ndarray:
    """Pump energy until the rod comes near the top, then hold it as a spring and a damper would."""
    cos, sin, speed = seen.T
    angle = np.arctan2(sin, cos)
    # the energy of standing upright is 0: 1/6 speed**2 + 5 (cos - 1), for g 10, mass and length 1
    pumped = 4.0 * np.sign(speed) * -(speed**2 / 6 + 5 * (cos - 1))
    torque = np.where(np.abs(angle) < 0.5, -12 * angle - 3 * speed, pumped)
    return np.clip(torque, -2, 2)[:, None].astype(np.float32)


def _lift_and_turn(seen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return how much to brake the fall and to turn: lean to the pad, come down above it."""
    x, y, vx, vy, angle, spin, left, right = seen.T
    lean = np.clip(0.5 * x + vx, -0.4, 0.4)
    landed = (left + right) > 0
    turn = np.where(landed, 0.0, 0.5 * (lean - angle) - spin)
    lift = np.where(landed, -0.5 * vy, 0.5 * (0.55 * np.abs(x) - y) - 0.5 * vy)
    return lift, turn


def lander(seen: np.ndarray) -> np.ndarray:
    """Gymnasium's own heuristic (`gymnasium.envs.box2d.lunar_lander.heuristic`)."""
    lift, turn = _lift_and_turn(seen)
    main = (lift > np.abs(turn)) & (lift > 0.05)
    return np.where(main, 2, np.where(turn < -0.05, 3, np.where(turn > 0.05, 1, 0)))


def lander_throttles(seen: np.ndarray) -> np.ndarray:
    """The same for engines with throttles."""
    lift, turn = _lift_and_turn(seen)
    return np.clip(np.stack([20 * lift - 1, -20 * turn], axis=1), -1, 1).astype(np.float32)


def conflict(seen: np.ndarray) -> np.ndarray:
    """Walk to the exit on the right: to the middle row, then along it."""
    row = seen[:, 0]
    return np.where(row < 0, DOWN, np.where(row > 0, UP, RIGHT))


def pixelgrid(seen: np.ndarray) -> np.ndarray:
    """Walk to the goal: to its row, then to its column."""
    size = seen.shape[-1]
    walker, goal = (seen[:, c].reshape(len(seen), -1).argmax(axis=1) for c in (0, 1))
    down, right = goal // size - walker // size, goal % size - walker % size
    sideways = np.where(right > 0, RIGHT, LEFT)
    return np.where(down < 0, UP, np.where(down > 0, DOWN, sideways))


BY_HAND: dict[str, Policy] = {
    "CartPole-v1": cartpole,
    "Acrobot-v1": acrobot,
    "MountainCar-v0": mountain_car,
    "MountainCarContinuous-v0": continuous_mountain_car,
    "Pendulum-v1": pendulum,
    "LunarLander-v3": lander,
    "LunarLanderContinuous-v3": lander_throttles,
    "fdrl/Conflict-v0": conflict,
    "fdrl/PixelGrid-v0": pixelgrid,
}
