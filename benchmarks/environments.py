"""How much faster the vectorized environments are than the same environments one at a time.

    python benchmarks/environments.py [--copies 80] [--seconds 0.5] [--only NAME] [--against sync]

Random actions; every copy starts again when its episode ends. Single-agent environments are
compared with a plain loop over `gymnasium.make(id)`, with its usual wrappers but the checker, that
throws away what it sees, or with ``--against sync`` with Gymnasium's SyncVectorEnv, which gathers
it in arrays as the vectorized ones do; the multi-agent ones, `copies` worlds of four agents, with a
loop over their PettingZoo environments. Both sides take turns in one process, in CPU seconds, so a
busy machine hits both alike; what counts is the median ratio.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before NumPy is imported
os.environ["OPENBLAS_NUM_THREADS"] = "1"

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import gymnasium
import numpy as np
from fdrl.envs.drones import DroneCorridor
from fdrl.envs.spectrum import SpectrumAccess
from fdrl.envs.worlds import SingleWorld
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from fdrl.vector.factory import make_factory
from fdrl.vector.heterogeneity import Nothing

SINGLE = ("CartPole-v1", "Acrobot-v1", "MountainCar-v0", "fdrl/Conflict-v0", "fdrl/PixelGrid-v0")
WORLDS = {"fdrl/SpectrumAccess-v0": SpectrumAccess, "fdrl/DroneCorridor-v0": DroneCorridor}
TURNS = 5
BATCH = 64
Stepper = Callable[[np.ndarray], object]
Sides = tuple[Stepper, Stepper, tuple[int, ...], int]


def loop(envs: list[Any]) -> Stepper:
    """Return what steps Gymnasium environments one after another with actions [n]."""
    for seed, env in enumerate(envs):
        env.reset(seed=seed)

    def step(actions: np.ndarray) -> None:
        for env, action in zip(envs, actions.tolist(), strict=True):
            _, _, terminated, truncated, _ = env.step(action)
            if terminated or truncated:
                env.reset()

    return step


def parallel_loop(envs: list[SingleWorld]) -> Stepper:
    """Return what steps PettingZoo environments one after another with actions [W, N]."""
    for seed, env in enumerate(envs):
        env.reset(seed=seed)

    def step(actions: np.ndarray) -> None:
        for env, row in zip(envs, actions.tolist(), strict=True):
            moves = dict(zip(env.possible_agents, row, strict=True))
            env.step({agent: moves[agent] for agent in env.agents})
            if not env.agents:
                env.reset()

    return step


def synchronous(makers: list[Callable[[], Any]]) -> Stepper:
    """Return what steps Gymnasium's vector of the same environments."""
    vector = SyncVectorEnv(makers, autoreset_mode=AutoresetMode.SAME_STEP)
    vector.reset(seed=0)
    return vector.step


def single(name: str, copies: int, against: str) -> Sides:
    """Return both sides of a single-agent environment, the shape of actions and their number."""
    envs = make_factory(name, 1, Nothing(), 0)
    vector = envs.vector(copies)
    vector.reset()
    make = partial(gymnasium.make, envs.spec.gym_id, disable_env_checker=True)
    makers = [make] * copies
    slow = synchronous(makers) if against == "sync" else loop([made() for made in makers])
    return vector.step, slow, (copies,), envs.n_actions


def worlds(kind: type[SingleWorld], copies: int) -> Sides:
    """Return both sides of a multi-agent environment."""
    seeds = [np.random.SeedSequence(i) for i in range(copies)]
    vector = kind.worlds(copies, {}, seeds, kind.max_steps)
    vector.reset()
    shape, actions = (copies, kind.worlds.agents), int(kind.worlds.action_space.n)
    return vector.step, parallel_loop([kind() for _ in range(copies)]), shape, actions


def speed(step: Stepper, actions: np.ndarray, seconds: float) -> float:
    """Return how many steps of the whole batch a CPU second brings."""
    start, count = time.process_time(), 0
    while (spent := time.process_time() - start) < seconds:
        for row in actions[: BATCH if count else 4]:
            step(row)
            count += 1
            if count % 4 == 0 and time.process_time() - start >= seconds:
                break
    return count / spent


def compare(name: str, copies: int, seconds: float, against: str) -> float:
    """Print and return how many times faster the vectorized environment is."""
    sides = worlds(WORLDS[name], copies) if name in WORLDS else single(name, copies, against)
    fast, slow, shape, n_actions = sides
    actions = np.random.default_rng(0).integers(n_actions, size=(BATCH, *shape))
    pairs = [(speed(fast, actions, seconds), speed(slow, actions, seconds)) for _ in range(TURNS)]
    ratio = statistics.median(a / b for a, b in pairs)
    mine, theirs = (statistics.median(p[i] for p in pairs) * copies for i in (0, 1))
    print(f"{name}: {mine:,.0f} steps per CPU second against {theirs:,.0f}: {ratio:.1f} times",
          flush=True)  # fmt: skip
    return ratio


def main() -> None:
    """Compare every environment."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--copies", type=int, default=80)
    parser.add_argument("--seconds", type=float, default=0.5)
    parser.add_argument("--only", default="")
    parser.add_argument("--against", default="loop", choices=("loop", "sync"))
    given = parser.parse_args()
    known = SINGLE if given.against == "sync" else (*SINGLE, *WORLDS)
    names = [n for n in known if given.only in n]
    ratios = [compare(name, given.copies, given.seconds, given.against) for name in names]
    print(f"the smallest ratio is {min(ratios):.1f} at {given.copies} copies")


if __name__ == "__main__":
    main()
