"""Reference scores of the suite's single-agent environments, for their pages in docs/environments.

    python benchmarks/reference_scores.py                 # all that have a page; minutes of a core
    python benchmarks/reference_scores.py --only Cart     # those whose names contain it

Random: the mean return of uniform actions over 100 episodes; by hand: that of the policies of
`env_policies`. Trained: agents that learn alone (strategy local), at the end, greedily, with the
settings that the page prints. Of a page only what stands between the two marks is written.
"""

from __future__ import annotations

import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import argparse
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from env_pictures import curves
from env_policies import BY_HAND
from env_scores import chance, returns

import fdrl
from fdrl.core.errors import FdrlError
from fdrl.core.registry import ENVS, EnvSpec
from fdrl.vector.factory import EnvFactory, make_factory
from fdrl.vector.gym import render_env
from fdrl.vector.heterogeneity import Nothing

ROOT = Path(__file__).resolve().parent.parent
PAGES = ROOT / "docs" / "environments"
FIGURES = PAGES / "figures"
EPISODES = 100
BEGIN, END = "<!-- facts: reference_scores.py -->", "<!-- end of facts -->"
ROLLOUT = {"n_envs": 16, "n_steps": 200, "batch_size": 256, "gae_lambda": 0.98}
LANDER = {
    "learning_rate": 1e-3, "lr_schedule": "linear", "n_steps": 128, "n_epochs": 6,
    "gamma": 0.999, "gae_lambda": 0.98, "ent_coef": 0.01,
}  # fmt: skip
TRAINED: dict[str, dict[str, Any]] = {
    "CartPole-v1": {"steps": 61_440, "agent": {"learning_rate": 1e-3}},
    "Acrobot-v1": {"steps": 81_920, "agent": {"learning_rate": 1e-3}},
    "MountainCar-v0": {
        "steps": 800_000,
        "agent": {
            "learning_rate": 3e-3, "lr_schedule": "linear", "gamma": 0.995, "ent_coef": 0.02,
            **ROLLOUT,
        },
    },
    "Pendulum-v1": {
        "steps": 204_800,
        "agent": {
            "learning_rate": 1e-3, "lr_schedule": "linear", "gamma": 0.9, "n_envs": 4,
            "n_steps": 256,
        },
    },
    "MountainCarContinuous-v0": {
        "steps": 512_000,
        "agent": {
            "learning_rate": 1e-3, "lr_schedule": "linear", "gamma": 0.999, "ent_coef": 0.01,
            "log_std_init": 1.0, **ROLLOUT, "n_envs": 32,
        },
    },
    "LunarLander-v3": {"steps": 256_000, "agent": LANDER},
    "LunarLanderContinuous-v3": {"steps": 256_000, "agent": LANDER},
    "fdrl/Conflict-v0": {"steps": 20_480, "agent": {"learning_rate": 1e-3}},
    "fdrl/PixelGrid-v0": {
        "steps": 81_920,
        "agent": {
            "learning_rate": 1e-3, "lr_schedule": "linear", "n_envs": 16, "n_steps": 64,
            "batch_size": 256, "n_epochs": 4,
        },
    },
}  # fmt: skip
"""What differs from the defaults of `ppo` when two reference agents are trained."""


def score(policy: Callable[[np.ndarray], np.ndarray], envs: EnvFactory) -> tuple[float, float]:
    """Return mean and standard deviation of a policy's return over `EPISODES` episodes."""
    earned = returns(envs.evaluation(EPISODES, seed=0), policy)
    return float(earned.mean()), float(earned.std())


def measured(name: str, envs: EnvFactory) -> dict[str, float]:
    """Return what random actions and the hand-written policy earn."""
    mean, std = score(chance(envs.action_space), envs)
    by_hand = score(BY_HAND[name], envs)[0]
    return {"random": mean, "random_std": std, "by_hand": by_hand}


def trained(name: str) -> dict[str, float]:
    """Train two agents that learn alone and draw their curve; return their final returns."""
    fields = TRAINED[name]
    agent = {"type": "ppo", **fields["agent"]}
    run = fdrl.make_run(
        env=name, agents=2, strategy="local", seed=0, steps=fields["steps"], agent=agent
    )
    with tempfile.TemporaryDirectory() as folder:
        summary = fdrl.train(run, out=Path(folder) / "run")
        curves({"learning alone": Path(folder) / "run"}, FIGURES / f"{slug(name)}-curve.png")
    return {"mean": summary.return_mean, "worst": summary.return_worst}


def picture(spec: EnvSpec, path: Path) -> bool:
    """Save a frame after some random steps; False for an environment that does not draw."""
    from matplotlib.image import imsave

    try:
        env = render_env(spec, {})
    except FdrlError:
        return False
    env.reset(seed=0)
    env.action_space.seed(0)
    for _ in range(10):
        env.step(env.action_space.sample())
    frame = np.asarray(env.render())
    env.close()
    path.parent.mkdir(parents=True, exist_ok=True)
    imsave(path, frame[:: max(1, len(frame) // 400), :: max(1, len(frame) // 400)])
    return True


def slug(name: str) -> str:
    """Return the name of an environment's page."""
    return name.removeprefix("fdrl/")


def knobs(spec: EnvSpec) -> str:
    """Return a table of what agents can differ in."""
    rows = []
    for name, p in spec.physics.items():
        low, high = (f"{v:g}" if np.isfinite(v) else "" for v in (p.low, p.high))
        by = "`dynamics`" if p.varies else "`conflict`" if p.conflicts else ""
        rows.append(f"| `{name}` | {p.default:g} | {low} | {high} | {by} |")
    head = "| argument | default | at least | at most | varied by `--hetero` |"
    return "\n".join([head, "| --- | --- | --- | --- | --- |", *rows])


def command(name: str) -> str:
    """Return how the two reference agents are trained."""
    fields = TRAINED[name]
    flags = [f"--agent.{key} {value}" for key, value in fields["agent"].items()]
    words = [f"fdrl train --env {name} --agents 2 --strategy local --seed 0"]
    words += [f"--steps {fields['steps']}", *flags]
    lines = ["   "]
    for word in words:
        if len(lines[-1]) + len(word) > 110:
            lines.append("       ")
        lines[-1] += f" {word}"
    return " \\\n".join(lines)


def written(space: object) -> str:
    """Return a space in one line, without the blanks that align its bounds."""
    return " ".join(str(space).split()).replace("[ ", "[")


def of_training(name: str, scores: dict[str, Any]) -> tuple[str, str]:
    """Return the table's row and the paragraphs on what was trained; empty if nothing was."""
    page = slug(name)
    if "mean" not in scores:
        return "", ""
    mean, worst = scores["mean"], scores["worst"]
    row = f"\n| trained alone | {mean:.2f}, the worse of two agents {worst:.2f} |"
    text = f"""
Trained: a greedy evaluation of 20 episodes at the end of

{command(name)}
"""
    curve = f"figures/{page}-curve.png"
    if (PAGES / curve).exists():
        text += f"\nwhose training return is\n\n![Training return of {name}]({curve})\n"
    return row, text


def facts(spec: EnvSpec, envs: EnvFactory, scores: dict[str, Any]) -> str:
    """Return what is measured, as Markdown."""
    threshold = "" if spec.threshold is None else f"{spec.threshold:g}"
    page, mean, std = slug(spec.name), scores["random"], scores["random_std"]
    row, training = of_training(spec.name, scores)
    return f"""{BEGIN}
![{spec.name}](figures/{page}.png)

Observations: `{written(envs.observation_space)}`. Actions: \
`{written(envs.action_space)}`. At most {spec.max_steps} steps.

| | mean return |
| --- | --- |
| random actions | {mean:.2f} (episodes' standard deviation {std:.2f}) |
| by hand, `benchmarks/env_policies.py` | {scores["by_hand"]:.2f} |
| solved from | {threshold} |{row}

Random and by hand: 100 episodes. All by `python benchmarks/reference_scores.py --only {page}`.
{training}
## What agents can differ in

{knobs(spec)}
{END}"""


def write(path: Path, title: str, block: str) -> None:
    """Put the facts into a page, which may be new, in the place of those that it has."""
    text = path.read_text() if path.exists() else f"# {title}\n\n{BEGIN}\n{END}\n"
    before, _, rest = text.partition(BEGIN)
    path.write_text(before + block + rest.partition(END)[2])


def main() -> None:
    """Measure, and write the pages."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--only", default="", help="a part of the environments' names")
    options.add_argument("--untrained", action="store_true", help="leave the trained scores")
    given = options.parse_args()
    file = PAGES / "scores.json"
    scores = json.loads(file.read_text()) if file.exists() else {}
    for spec in [s for s in ENVS if s.name in TRAINED and given.only in s.name]:
        try:
            envs = make_factory(spec.name, 1, Nothing(), 0)
            found = scores.get(spec.name, {}) | measured(spec.name, envs)
        except FdrlError as error:
            print(f"{spec.name}: left out: {error}")
            continue
        scores[spec.name] = found if given.untrained else found | trained(spec.name)
        picture(spec, FIGURES / f"{slug(spec.name)}.png")
        file.write_text(json.dumps(scores, indent=1, sort_keys=True) + "\n")
        write(PAGES / f"{slug(spec.name)}.md", spec.name, facts(spec, envs, scores[spec.name]))
        print(spec.name, {k: round(v, 2) for k, v in scores[spec.name].items()}, flush=True)


if __name__ == "__main__":
    main()
