"""Reference scores: what random actions, and hand-written policies, earn in each environment.

    python benchmarks/env_scores.py [--episodes 200]

Mean undiscounted return over episodes with seeds of their own and the default physics. In the
multi-agent environments it is the mean over agents.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import numpy as np
from fdrl.envs import drones, spectrum
from fdrl.envs.pixelgrid import PixelGrid

from fdrl.environment import make_factory
from fdrl.heterogeneity import Nothing
from fdrl.vector import VectorEnv

SINGLE = ("CartPole-v1", "Acrobot-v1", "MountainCar-v0", "LunarLander-v3", "fdrl/Conflict-v0")
Policy = Callable[[np.ndarray], np.ndarray]


def seeds(count: int) -> list[np.random.SeedSequence]:
    """Return one seed an episode."""
    return [np.random.SeedSequence(7, spawn_key=(i,)) for i in range(count)]


def returns(env: VectorEnv, n_actions: int) -> np.ndarray:
    """Return [n], the first episode's return of every copy under random actions."""
    draw = np.random.default_rng(0)
    env.reset()
    total, running = np.zeros(env.count), np.ones(env.count, np.bool_)
    while running.any():
        step = env.step(draw.integers(n_actions, size=env.count))
        total += step.rewards * running
        running &= ~(step.terminated | step.truncated)
    return total


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
    count = parser.parse_args().episodes
    for name in SINGLE:
        envs = make_factory(name, 1, Nothing(), 0)
        earned = returns(envs.evaluation(count, 7), envs.n_actions)
        print(f"{name}: random {earned.mean():.2f}", flush=True)
    params = {"step_cost": np.full(count, 0.02), "init_low": np.zeros(count)}
    grid = PixelGrid(count, {**params, "init_high": np.ones(count)}, seeds(count), 40)
    print(f"fdrl/PixelGrid-v0: random {returns(grid, 4).mean():.2f}")
    for module in (spectrum, drones):
        n_actions = 4 if module is spectrum else 5
        draw = np.random.default_rng(0)
        chance = world_returns(
            module, lambda o, d=draw, n=n_actions: d.integers(n, size=o.shape[:2]), count
        )
        skilled = world_returns(module, module.heuristic, count)
        print(f"{module.ID}: random {chance.mean():.2f}, heuristic {skilled.mean():.2f}")


if __name__ == "__main__":
    main()
