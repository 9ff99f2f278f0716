"""Draw a picture of each multi-agent environment, and the learning curves of run folders.

    python benchmarks/env_pictures.py [--out docs/figures] [--curves NAME=LABEL:RUN,...]

Pictures are taken after a few steps of a hand-written policy with seed 0; those of the others are
drawn by `reference_scores.py`. Needs the extra ``report`` (matplotlib).
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from fdrl.envs import drones, spectrum
from fdrl.envs.worlds import SingleWorld

matplotlib.use("agg")
from matplotlib import pyplot as plt

ROUNDS = 10
"""Rounds that a point of a curve is the mean of."""
WORLDS = {"spectrum": (spectrum, 40), "drones": (drones, 14)}


def world(module: Any, steps: int) -> np.ndarray:
    """Return what a multi-agent environment looks like when its heuristic plays."""
    kinds = (spectrum.SpectrumAccess, drones.DroneCorridor)
    kind = next(k for k in kinds if k.__module__ == module.__name__)
    env: SingleWorld = kind(render_mode="rgb_array")
    seen, _ = env.reset(seed=0)
    full = np.zeros((len(env.possible_agents), *kind.worlds.observation_space.shape), np.float32)
    for _ in range(steps):
        for agent, row in seen.items():
            full[env.possible_agents.index(agent)] = row
        actions = dict(zip(env.possible_agents, module.heuristic(full).tolist(), strict=True))
        seen, *_ = env.step({a: actions[a] for a in env.agents})
    picture: np.ndarray = env.render()  # type: ignore[no-untyped-call]
    return picture


def curves(runs: dict[str, Path], target: Path) -> None:
    """Draw training returns in run folders' metrics against steps per agent."""
    figure, axes = plt.subplots(figsize=(5, 3), dpi=90)
    for label, run in runs.items():
        lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        rows = [row for row in lines if row["return_mean"] is not None]
        steps = np.array([np.mean(row["env_steps"]) for row in rows]) / 1000
        means = np.convolve([row["return_mean"] for row in rows], np.ones(ROUNDS) / ROUNDS, "valid")
        axes.plot(steps[ROUNDS - 1 :], means, label=label)
    axes.set_xlabel("environment steps per agent, in thousands")
    axes.set_ylabel("training return, mean of agents")
    axes.legend(frameon=False, ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    figure.tight_layout()
    figure.savefig(target)


def main() -> None:
    """Write the files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("docs/figures"))
    parser.add_argument("--curves", nargs="*", default=[], metavar="NAME=LABEL:RUN,...")
    given = parser.parse_args()
    for curve in given.curves:
        name, _, runs = curve.partition("=")
        labeled = dict(run.split(":") for run in runs.split(","))
        curves({k: Path(v) for k, v in labeled.items()}, given.out / f"env-{name}-curve.png")
    if given.curves:
        return
    for name, (module, steps) in WORLDS.items():
        plt.imsave(given.out / f"env-{name}.png", world(module, steps))


if __name__ == "__main__":
    main()
