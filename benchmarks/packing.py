"""How much faster several seeds are as one program than one after another.

    python benchmarks/packing.py [--quick]

Both ways train the same runs, in turn, in one process on one thread; what is printed are agent
steps per CPU second, final evaluations and checkpoints aside, and their ratio.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before NumPy is imported
os.environ["OPENBLAS_NUM_THREADS"] = "1"
os.environ["MKL_NUM_THREADS"] = "1"

import argparse
import time

import msgspec

import fdrl
from fdrl.config.run import Run
from fdrl.config.tables import read_tables
from fdrl.packs.train import train_packed


def a2c(quick: bool) -> Run:
    """Two agents that learn from every step, 24 hidden units, an exchange every 25 episodes."""
    tables = {**read_tables("a2c-classic"), "steps": 2_000 if quick else 10_000}
    return fdrl.make_run(**tables, evaluation={"episodes": 1})


def fedhpd(quick: bool, env: str) -> Run:
    """Ten REINFORCE networks of one agent each, an exchange every five episodes.

    Beginners on CartPole fall after some twenty steps, so most of the time goes into the 5,000
    states of each exchange. MountainCar's episodes always take 200 steps, as trained CartPole
    agents' do (and more), so most of it goes into acting.
    """
    return fdrl.make_run(
        env=env,
        agent="reinforce",
        networks="fedhpd",
        agents=10,
        steps=1_000 if quick else 3_000,
        strategy={"type": "fedhpd", "every": 5, "unit": "episodes"},
        evaluation={"episodes": 1},
    )


def ppo(quick: bool, networks: str, strategy: str = "fd") -> Run:
    """Ten PPO agents of 64x64 units: its arrays fill the cache, so a pack has little to win.

    Ten different networks are ten programs of one agent each, unless they are packed.
    """
    return fdrl.make_run(
        agents=10, steps=2_048 if quick else 4_096, strategy=strategy, networks=networks,
        evaluation={"episodes": 1},
    )  # fmt: skip


def compare(name: str, run: Run, seeds: int, alone: int) -> float:
    """Print and return the ratio; `alone` of the seeds are trained one after another."""
    runs = [msgspec.structs.replace(run, seed=seed) for seed in range(seeds)]
    start = time.process_time()
    for one in runs[:alone]:
        fdrl.train(one, curves=False)
    slow = (time.process_time() - start) / alone
    start = time.process_time()
    train_packed(runs, curves=False)
    fast = (time.process_time() - start) / seeds
    steps = run.agents * run.steps
    print(
        f"{name}, {seeds} seeds: {steps / fast:,.0f} agent steps per CPU second packed, "
        f"{steps / slow:,.0f} one after another: {slow / fast:.1f} times",
        flush=True,
    )
    return slow / fast


def main() -> None:
    """Print all comparisons."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer steps")
    quick = parser.parse_args().quick
    fdrl.train(fdrl.make_run(agents=2, steps=2_048), curves=False)  # imports and caches
    compare("(a) a2c-classic, frd, 2 agents", a2c(quick), 25, 2)
    for env in ("CartPole-v1", "MountainCar-v0"):
        for seeds in (5, 10):
            compare(f"(b) {env}, ten REINFORCE networks", fedhpd(quick, env), seeds, 1)
    compare("(c) PPO 64x64, fd, 10 agents", ppo(quick, "same"), 4, 1)
    for strategy in ("local", "fd", "fdv"):
        name = f"(d) PPO, {strategy}, ten different networks"
        compare(name, ppo(quick, "arch", strategy), 10, 2)


if __name__ == "__main__":
    main()
