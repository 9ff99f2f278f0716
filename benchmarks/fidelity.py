"""Does our PPO learn as Stable-Baselines3's does, given the same settings?

    python benchmarks/fidelity.py [--env CartPole-v1 Acrobot-v1] [--seeds 10] [--jobs 2]

Ten agents that learn alone in one run of ours (ten independent seeds) are compared with ten SB3
PPO agents, each on Gymnasium's own environments. Everything that both have is set alike; the
random numbers differ. How often two equal learners pass each check is in docs/fidelity.md. Then one
agent of each learns from the same random numbers, step by step (lockstep.py).
"""

from __future__ import annotations

import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")  # before NumPy is imported

import argparse
import json
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from seedstats import Interval, binned, permutation_p, student, welch

Array = NDArray[np.float64]
BINS = 20
EPISODES = 20
LOCKSTEP = 10
EVALUATION_SEED = 1_000_003


@dataclass(frozen=True)
class Task:
    """What is compared on one environment: PPO's settings, and environment steps per seed."""

    env: str
    steps: int
    settings: dict[str, Any]


TASKS = {
    # Our default preset, and SB3's defaults but for the rollouts (2,048 steps of one copy) and
    # 3e-4, with which CartPole takes twice as long.
    "CartPole-v1": Task(
        "CartPole-v1",
        25_600,
        {
            "n_envs": 8,
            "n_steps": 32,
            "batch_size": 64,
            "n_epochs": 10,
            "learning_rate": 1e-3,
            "gamma": 0.99,
            "gae_lambda": 0.95,
        },
    ),
    # As in rl-baselines3-zoo, but for its 16 copies, 3e-4 and normalized observations, with which
    # a million steps are needed.
    "Acrobot-v1": Task(
        "Acrobot-v1",
        81_920,
        {
            "n_envs": 8,
            "n_steps": 256,
            "batch_size": 64,
            "n_epochs": 4,
            "learning_rate": 1e-3,
            "gamma": 0.99,
            "gae_lambda": 0.94,
        },
    ),
    # As in rl-baselines3-zoo, but for its clip range, which decays there. A few seeds in a hundred
    # never settle, so it takes 30 seeds to compare.
    "CartPole-v1:zoo": Task(
        "CartPole-v1",
        51_200,
        {
            "n_envs": 8,
            "n_steps": 32,
            "batch_size": 256,
            "n_epochs": 20,
            "learning_rate": 1e-3,
            "lr_schedule": "linear",
            "gamma": 0.98,
            "gae_lambda": 0.8,
        },
    ),
}
DEFAULT = ["CartPole-v1", "Acrobot-v1"]


@dataclass(frozen=True)
class Curves:
    """One side's learning curves [S, B], final greedy returns [S], and CPU seconds."""

    curves: Array
    final: Array
    seconds: float

    @property
    def area(self) -> Array:
        """Mean training return over the run's steps [S]; bins without episodes do not count."""
        return np.asarray(np.nanmean(self.curves, axis=1))


def ours(task: Task, seeds: int) -> Curves:
    """Train our agents in one run."""
    import twins
    from fdrl.agents.ppo import PPO

    from fdrl import Federation

    run = twins.our_run(task.env, PPO(**task.settings), seeds, task.steps)
    start = time.process_time()
    federation = Federation(run)
    episodes: list[list[twins.Episode]] = [[] for _ in range(seeds)]
    while not federation.done:
        federation.round()
        for all_of_them, new in zip(episodes, twins.our_episodes(federation), strict=True):
            all_of_them += new
    seconds = time.process_time() - start
    client = federation.clients[0]
    final = client.cohort.evaluate(EPISODES, EVALUATION_SEED).mean(1)
    federation.close()
    return Curves(np.stack([binned(e, task.steps, BINS) for e in episodes]), final, seconds)


def theirs(job: tuple[Task, int]) -> tuple[Array, float, float]:
    """Train one SB3 agent: its curve [B], final greedy return, CPU seconds."""
    import torch
    import twins
    from fdrl.agents.ppo import PPO

    from fdrl.vector.factory import make_factory
    from fdrl.vector.heterogeneity import Nothing

    task, seed = job
    torch.set_num_threads(1)
    start = time.process_time()
    agent = twins.sb3_twin(task.env, PPO(**task.settings), seed)
    episodes = twins.Episodes()
    agent.learn(task.steps, callback=episodes)
    seconds = time.process_time() - start
    envs = make_factory(task.env, 1, Nothing(), seed=0)
    final = twins.sb3_evaluate(agent, envs, EPISODES, EVALUATION_SEED).mean()
    return binned(episodes.found, task.steps, BINS), float(final), seconds


def all_of_theirs(task: Task, seeds: int, workers: int) -> Curves:
    """Train SB3's agents, one a seed, over worker processes."""
    jobs = [(task, seed) for seed in range(seeds)]
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        curves, final, seconds = zip(*pool.map(theirs, jobs), strict=True)
    return Curves(np.stack(curves), np.array(final), float(sum(seconds)))


def inside(mean: Array, interval: Interval) -> NDArray[np.bool_]:
    """Say where a mean lies in an interval; ends belong to it."""
    return np.asarray((interval.low <= mean) & (mean <= interval.high))


def compare(a: Curves, b: Curves) -> dict[str, Any]:
    """Return what the seeds say about ours (a) and theirs (b), as plain numbers and lists."""
    both = ~(np.isnan(a.curves).any(0) | np.isnan(b.curves).any(0))
    x, y = a.curves[:, both], b.curves[:, both]
    mine, sb3, difference = student(x), student(y), welch(x, y)
    return {
        "bins": np.flatnonzero(both).tolist(),
        "fdrl": [v.tolist() for v in mine],
        "sb3": [v.tolist() for v in sb3],
        "fdrl in sb3": inside(mine.mean, sb3).tolist(),
        "sb3 in fdrl": inside(sb3.mean, mine).tolist(),
        "overlap": ((mine.low <= sb3.high) & (sb3.low <= mine.high)).tolist(),
        "difference has 0": inside(np.zeros(x.shape[1]), difference).tolist(),
        "curves p": permutation_p(x, y),
        "area": _three(a.area, b.area),
        "final": _three(a.final, b.final),
        "cpu seconds": [a.seconds, b.seconds],
        "seeds": {
            "fdrl": {"curves": _plain(a.curves), "final": a.final.tolist()},
            "sb3": {"curves": _plain(b.curves), "final": b.final.tolist()},
        },
    }


def _plain(curves: Array) -> list[list[float | None]]:
    """Return curves as JSON can hold them."""
    return [[None if np.isnan(v) else float(v) for v in row] for row in curves]


def _three(a: Array, b: Array) -> dict[str, list[float]]:
    """Return the intervals of both means and of their difference."""
    found = {"fdrl": student(a), "sb3": student(b), "difference": welch(a, b)}
    return {name: [float(v) for v in interval] for name, interval in found.items()}


def report(name: str, steps: int, seeds: int, found: dict[str, Any]) -> None:
    """Print one task's tables."""
    print(f"\n### {name}, {seeds} seeds each, {steps:,} steps per seed\n")
    print("| steps up to | fdrl | 95% | SB3 | 95% | fdrl in SB3's | SB3 in fdrl's | overlap |")
    print("|---:|---:|---|---:|---|---|---|---|")
    checks = ("fdrl in sb3", "sb3 in fdrl", "overlap")
    for i, b in enumerate(found["bins"]):
        cells = [f"{steps * (b + 1) // BINS:,}"]
        for side in ("fdrl", "sb3"):
            mean, low, high = (found[side][j][i] for j in range(3))
            cells += [f"{mean:.1f}", f"{low:.1f} .. {high:.1f}"]
        cells += ["yes" if found[check][i] else "no" for check in checks]
        print("| " + " | ".join(cells) + " |")
    n = len(found["bins"])
    print(f"\nBins of {n}, {BINS - n} more without episodes of every seed:")
    for check in (*checks, "difference has 0"):
        print(f"- {check}: {sum(found[check])}")
    print(f"- p-value of the whole curves' distance: {found['curves p']:.2f}\n")
    print("| | fdrl | SB3 | difference | contains 0 |\n|---|---|---|---|---|")
    names = {"area": "mean return over training", "final": "final greedy return"}
    for key, words in names.items():
        row = found[key]
        cells = [f"{m:.1f} ({lo:.1f} .. {hi:.1f})" for m, lo, hi in row.values()]
        _, low, high = row["difference"]
        print(f"| {words} | {' | '.join(cells)} | {'yes' if low <= 0 <= high else 'no'} |")
    mine, sb3 = found["cpu seconds"]
    print(f"\nCPU seconds: fdrl {mine:.1f}, SB3 {sb3:.1f}: {sb3 / mine:.1f} times", flush=True)


def in_lockstep(task: Task) -> list[tuple[float, bool]]:
    """Print and return how far both are apart in each iteration, given the same random numbers."""
    import lockstep
    from fdrl.agents.ppo import PPO

    found = lockstep.lockstep(task.env, PPO(**task.settings), LOCKSTEP, task.steps)
    apart = ", ".join(f"{difference:.0e}" for difference, _ in found)
    agree = sum(same for _, same in found)
    print("\nGiven the same random numbers, the largest difference of a weight after each of the")
    print(f"first {LOCKSTEP} iterations: {apart};")
    print(f"all episodes equal in {agree} of them", flush=True)
    return found


def main() -> None:
    """Compare on every environment asked for."""
    parser = argparse.ArgumentParser(description="Does our PPO learn as SB3's does?")
    parser.add_argument("--env", nargs="+", choices=list(TASKS), default=DEFAULT)
    parser.add_argument("--seeds", type=int, default=10, help="at least 2")
    parser.add_argument("--steps", type=int, help="environment steps per seed; default: a task's")
    parser.add_argument("--jobs", type=int, default=2, help="processes for SB3's agents")
    parser.add_argument("--json", type=Path, help="write all numbers to this file")
    args = parser.parse_args()
    if args.seeds < 2:
        parser.error("an interval needs at least 2 seeds")
    out = {}
    for name in args.env:
        task = TASKS[name]
        task = replace(task, steps=args.steps or task.steps)
        iteration = task.settings["n_envs"] * task.settings["n_steps"]
        if task.steps % iteration:
            parser.error(f"{name}: steps must be a multiple of a rollout's {iteration}")
        mine = ours(task, args.seeds)
        found = compare(mine, all_of_theirs(task, args.seeds, args.jobs))
        report(name, task.steps, args.seeds, found)
        found["lockstep"] = in_lockstep(task)
        out[name] = {"steps": task.steps, "settings": task.settings} | found
    if args.json is not None:
        args.json.write_text(json.dumps(out, indent=1) + "\n")


if __name__ == "__main__":
    main()
