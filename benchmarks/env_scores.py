"""Reference scores: what random actions, and hand-written policies, earn in each environment.

    python benchmarks/env_scores.py [--episodes 200] [--only NAME]

Mean undiscounted return over episodes with seeds of their own and the default physics. In the
multi-agent environments it is the mean over agents.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import numpy as np
from env_policies import BY_HAND
from fdrl.envs import drones, spectrum
from gymnasium import spaces

from fdrl.core.env import VectorEnv
from fdrl.vector.factory import make_factory
from fdrl.vector.heterogeneity import Nothing

SINGLE = (
    *("CartPole-v1", "Acrobot-v1", "MountainCar-v0", "MountainCarContinuous-v0", "Pendulum-v1"),
    *("LunarLander-v3", "LunarLanderContinuous-v3", "fdrl/Conflict-v0", "fdrl/PixelGrid-v0"),
)
WORLDS = {spectrum.ID: (spectrum, 4), drones.ID: (drones, 5)}
Policy = Callable[[np.ndarray], np.ndarray]


def seeds(count: int) -> list[np.random.SeedSequence]:
    """Return one seed an episode."""
    return [np.random.SeedSequence(7, spawn_key=(i,)) for i in range(count)]


def returns(env: VectorEnv, policy: Policy) -> np.ndarray:
    """Return [n], the first episode's return of every copy."""
    seen = env.reset()
    total, running = np.zeros(env.count), np.ones(env.count, np.bool_)
    while running.any():
        step = env.step(policy(seen))
        seen = step.observations
        total += step.rewards * running
        running &= ~(step.terminated | step.truncated)
    return total


def chance(space: spaces.Space[Any]) -> Policy:
    """Return what draws uniform actions."""
    draw = np.random.default_rng(0)
    if isinstance(space, spaces.Discrete):
        n_actions = int(space.n)
        return lambda seen: draw.integers(n_actions, size=len(seen))
    assert isinstance(space, spaces.Box)
    low, high = space.low, space.high
    return lambda seen: draw.uniform(low, high, (len(seen), len(low))).astype(np.float32)


def world_returns(module: Any, policy: Policy, episodes: int) -> np.ndarray:
    """Return [W], the mean over agents of the first episode's return in every world."""
    kind = module.Spectrum if module is spectrum else module.Drones
    world = kind(episodes, {}, seeds(episodes), 100)
    seen, total = world.reset(), np.zeros(episodes)
    running = np.ones(episodes, np.bool_)
    while running.any():
        step = world.step(policy(seen))
        seen = step.observations
        total += step.rewards.mean(axis=1) * running
        running &= (step.active & ~(step.terminated | step.truncated)).any(axis=1)
    return total


def main() -> None:
    """Print a line per environment."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--episodes", type=int, default=200)
    parser.add_argument("--only", default="", help="a part of the environments' names")
    given = parser.parse_args()
    count = given.episodes
    for name in [n for n in SINGLE if given.only in n]:
        envs = make_factory(name, 1, Nothing(), 0)
        earned = returns(envs.evaluation(count, 7), chance(envs.action_space))
        line = f"{name}: random {earned.mean():.2f}"
        if name in BY_HAND:
            skilled = returns(envs.evaluation(count, 7), BY_HAND[name])
            line += f", by hand {skilled.mean():.2f}"
        print(line, flush=True)
    for name in [n for n in WORLDS if given.only in n]:
        module, n_actions = WORLDS[name]
        draw = np.random.default_rng(0)
        by_chance = world_returns(
            module, lambda o, d=draw, n=n_actions: d.integers(n, size=o.shape[:2]), count
        )
        skilled = world_returns(module, module.heuristic, count)
        print(f"{name}: random {by_chance.mean():.2f}, by hand {skilled.mean():.2f}")


if __name__ == "__main__":
    main()
