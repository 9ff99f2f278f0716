"""How long until four CartPole agents have all solved it, against Stable-Baselines3?

    python benchmarks/time_to_solve.py [--seeds 3] [--lr 1e-3] [--jobs 1] [--json FILE]

Ours are four agents of the default PPO preset, but for its learning rate, learning alone in one
stack. SB3's four have the same settings and are trained one after another. An agent has solved the
task when the mean return of its last 20 training episodes is at least 475, and then takes no more
steps. One thread, both in turn in one process; building agents and environments counts, importing
does not.
"""

from __future__ import annotations

import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"  # before NumPy is imported

import argparse
import json
import statistics
import time
from collections import deque
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import parts
import torch
import twins
from fdrl.agents.ppo import PPO

from fdrl.core.cohort import CohortContext
from fdrl.federation.shards import build_cohort
from fdrl.vector.factory import make_factory
from fdrl.vector.heterogeneity import Nothing

ENV, AGENTS = "CartPole-v1", 4
WINDOW, THRESHOLD = 20, 475.0
PARTS = ("rollout policy", "environment", "update")


@dataclass
class Solve:
    """One seed of one side: seconds, the steps at which each agent had solved it, parts."""

    wall: float = 0.0
    cpu: float = 0.0
    steps: list[int] = field(default_factory=list)
    parts: dict[str, float] = field(default_factory=dict)

    @property
    def solved(self) -> bool:
        """Whether all agents solved it."""
        return len(self.steps) == AGENTS


class Judge:
    """Says when an agent has solved the task."""

    def __init__(self) -> None:
        self.recent: deque[float] = deque(maxlen=WINDOW)
        self.solved = False

    def hear(self, returns: Iterable[float]) -> bool:
        """Listen to the returns of episodes, in order; once solved, always solved."""
        for value in returns:
            self.recent.append(value)
            if len(self.recent) == WINDOW and sum(self.recent) >= THRESHOLD * WINDOW:
                self.solved = True
        return self.solved


class UntilSolved(twins.Episodes):
    """Stops an SB3 agent with the very step that solves the task."""

    def __init__(self) -> None:
        super().__init__()
        self.judge, self._heard = Judge(), 0

    def enough(self, returns: list[float]) -> bool:
        """Listen to what is new among the returns since the last rollout's end."""
        new = returns[self._heard :]
        self._heard = len(returns)
        return self.judge.hear(new)

    def _on_rollout_end(self) -> None:
        super()._on_rollout_end()
        self._heard = 0


def our_agents(settings: PPO, seed: int) -> Any:
    """Build four agents that learn together."""
    ids = tuple(f"agent-{k}" for k in range(AGENTS))
    envs = make_factory(ENV, AGENTS, Nothing(), seed)
    context = CohortContext(ids, tuple(range(AGENTS)), envs, seed)
    return build_cohort("fdrl.agents.ppo:make", settings, context)


def ours(settings: PPO, seed: int, limit: int) -> Solve:
    """Train our agents together; whoever has solved the task rests, as SB3's agents do."""
    watch, result = parts.Stopwatch(), Solve()
    wall, cpu = time.perf_counter(), time.process_time()
    cohort = our_agents(settings, seed)
    # The timers belong to parts.py, which follows the learner when it changes.
    parts._instrument(cohort, watch)
    judges = [Judge() for _ in range(AGENTS)]
    for taken in range(cohort.iteration_steps, limit + 1, cohort.iteration_steps):
        waiting = [not judge.solved for judge in judges]
        returns = cohort.learn(np.where(waiting, cohort.iteration_steps, 0)).returns
        for k, judge in enumerate(judges):
            if waiting[k] and judge.hear(returns[k].tolist()):
                result.steps.append(taken)
        if result.solved:
            break
    result.wall, result.cpu = time.perf_counter() - wall, time.process_time() - cpu
    result.parts = {name: watch.seconds[name] for name in PARTS}
    cohort.close()
    return result


def theirs(settings: PPO, seed: int, limit: int) -> Solve:
    """Train SB3's agents one after another, each until it has solved the task."""
    torch.set_num_threads(1)
    watch, result = parts.Stopwatch(), Solve()
    wall, cpu = time.perf_counter(), time.process_time()
    for agent in range(AGENTS):
        model = twins.sb3_twin(ENV, settings, seed * AGENTS + agent)
        _time(model, watch)
        callback = UntilSolved()
        model.learn(limit, callback=callback)
        if callback.judge.solved:
            result.steps.append(model.num_timesteps)
    result.wall, result.cpu = time.perf_counter() - wall, time.process_time() - cpu
    result.parts = dict(watch.seconds)
    return result


def _time(model: Any, watch: parts.Stopwatch) -> None:
    """Time the parts of an SB3 agent's learning."""
    model.policy.forward = watch.wrap("rollout policy", model.policy.forward)
    model.env.step = watch.wrap("environment", model.env.step)
    model.train = watch.wrap("update", model.train)


def compare(job: tuple[float, int, int]) -> tuple[Solve, Solve]:
    """Let both solve the task on one seed, after a warm-up that loads what is loaded lazily."""
    rate, seed, limit = job
    settings = PPO(learning_rate=rate)
    rollout = settings.n_envs * settings.n_steps
    ours(settings, seed, rollout)
    twins.sb3_twin(ENV, settings, seed).learn(rollout)
    return ours(settings, seed, limit), theirs(settings, seed, limit)


def row(name: str, one: Solve) -> str:
    """Write one seed of one side as a table's row."""
    steps = ", ".join(f"{n:,}" for n in one.steps)
    solved = f"{len(one.steps)} of {AGENTS}"
    return f"| {name} | {one.wall:.2f} | {one.cpu:.2f} | {solved} | {steps} |"


def where(name: str, all_of_them: list[Solve]) -> None:
    """Print which parts of the wall-clock time the seeds took together."""
    total = sum(one.wall for one in all_of_them)
    seconds = {p: sum(one.parts[p] for one in all_of_them) for p in PARTS}
    seconds["rest"] = total - sum(seconds.values())
    shares = ", ".join(f"{p} {s / total:.0%}" for p, s in seconds.items())
    print(f"where {name}'s time goes: {shares}")


def report(pairs: list[tuple[Solve, Solve]], limit: int) -> dict[str, Any]:
    """Print a table of all seeds, medians and parts; return the medians."""
    print("| seed | wall seconds | CPU seconds | solved | after steps |\n|---|---:|---:|---|---|")
    for seed, (mine, sb3) in enumerate(pairs):
        print(row(f"fdrl {seed}", mine) + "\n" + row(f"SB3 {seed}", sb3))
    out: dict[str, Any] = {"ratio": {}}
    for clock in ("wall", "cpu"):
        for i, side in enumerate(("fdrl", "sb3")):
            out[f"{side} {clock}"] = statistics.median(getattr(pair[i], clock) for pair in pairs)
        ratios = (getattr(b, clock) / getattr(a, clock) for a, b in pairs)
        out["ratio"][clock] = statistics.median(ratios)
    print(f"\nmedian wall seconds: fdrl {out['fdrl wall']:.2f}, SB3 {out['sb3 wall']:.2f}")
    print(f"median CPU seconds: fdrl {out['fdrl cpu']:.2f}, SB3 {out['sb3 cpu']:.2f}")
    wall, cpu = out["ratio"]["wall"], out["ratio"]["cpu"]
    print(f"median ratio: {wall:.1f} times (CPU seconds: {cpu:.1f} times)")
    where("fdrl", [mine for mine, _ in pairs])
    where("SB3", [sb3 for _, sb3 in pairs])
    unsolved = sum(not one.solved for pair in pairs for one in pair)
    if unsolved:
        print(f"{unsolved} of {2 * len(pairs)} were not solved within {limit:,} steps per agent")
    return out


def main() -> None:
    """Compare on every seed."""
    parser = argparse.ArgumentParser(description="Time until four CartPole agents all solve it.")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--lr", type=float, default=1e-3, help="learning rate of both")
    parser.add_argument("--limit", type=int, default=102_400, help="most steps per agent")
    parser.add_argument("--jobs", type=int, default=1, help="processes, each with its own seeds")
    parser.add_argument("--json", type=Path, help="write all numbers to this file")
    args = parser.parse_args()
    jobs = [(args.lr, seed, args.limit) for seed in range(args.seeds)]
    if args.jobs > 1:
        with ProcessPoolExecutor(args.jobs, mp_context=get_context("spawn")) as pool:
            pairs = list(pool.map(compare, jobs))
    else:
        pairs = [compare(job) for job in jobs]
    found = report(pairs, args.limit)
    if args.json is not None:
        found["seeds"] = [{"fdrl": asdict(a), "sb3": asdict(b)} for a, b in pairs]
        args.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
