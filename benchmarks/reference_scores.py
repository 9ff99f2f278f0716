"""Reference scores of every environment of the suite, and a page for each in docs/environments.

    python benchmarks/reference_scores.py                 # all; minutes of one core
    python benchmarks/reference_scores.py --only Cart     # those whose names contain it

Random: the mean return of uniform actions over 100 episodes. Trained: agents that learn alone
(strategy local), at the end, greedily, with the settings that the page prints.
"""

from __future__ import annotations

import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import argparse
import json
import re
from pathlib import Path
from typing import Any

import numpy as np

import fdrl
from fdrl.environment import EnvFactory, make_factory, render_env
from fdrl.errors import FdrlError
from fdrl.heterogeneity import Nothing
from fdrl.registry import ENVS, EnvSpec

ROOT = Path(__file__).resolve().parent.parent
PAGES = ROOT / "docs" / "environments"
EPISODES = 100
TRAINED: dict[str, dict[str, Any]] = {
    "CartPole-v1": {"steps": 61_440, "agent": {"type": "ppo", "learning_rate": 1e-3}},
    "Acrobot-v1": {"steps": 81_920, "agent": {"type": "ppo", "learning_rate": 1e-3}},
    "MountainCar-v0": {"steps": 81_920, "agent": {"type": "ppo", "learning_rate": 3e-3}},
    "LunarLander-v3": {"steps": 204_800, "agent": {"type": "ppo", "learning_rate": 1e-3}},
}
"""What differs from the defaults when reference agents are trained."""
USUAL: dict[str, Any] = {"steps": 61_440, "agent": {"type": "ppo", "learning_rate": 1e-3}}


def random_score(envs: EnvFactory) -> tuple[float, float]:
    """Return mean and standard deviation of a random policy's return over `EPISODES` episodes."""
    env, draw = envs.evaluation(EPISODES, seed=0), np.random.default_rng(0)
    env.reset()
    returns, open_ = np.zeros(env.count), np.ones(env.count, bool)
    while open_.any():
        actions = getattr(envs, "random_actions", None)
        step = env.step(
            actions(draw, env.count) if actions else draw.integers(envs.n_actions, size=env.count)
        )
        returns[open_] += step.rewards[open_]
        open_ &= ~(step.terminated | step.truncated)
    env.close()
    return float(returns.mean()), float(returns.std())


def trained_score(name: str) -> dict[str, float]:
    """Train two agents that learn alone; return their mean and worst final return."""
    fields = TRAINED.get(name, USUAL)
    summary = fdrl.train(fdrl.make_run(env=name, agents=2, strategy="local", seed=0, **fields))
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
    """Return a name as a file can have it."""
    return re.sub(r"[^\w.-]+", "-", name)


def knobs(spec: EnvSpec) -> str:
    """Return a table of what agents can differ in."""
    rows = []
    for name, p in spec.physics.items():
        low, high = (f"{v:g}" if np.isfinite(v) else "" for v in (p.low, p.high))
        varies = "yes" if p.varies else ""
        rows.append(f"| `{name}` | {p.default:g} | {low} | {high} | {varies} |")
    if not rows:
        return "None: agents' environments are all alike, but for `--hetero reward` and the like."
    head = "| argument | default | at least | at most | varied by `dynamics` |"
    return "\n".join([head, "| --- | --- | --- | --- | --- |", *rows])


def page(spec: EnvSpec, envs: EnvFactory, score: dict[str, Any], drawn: bool) -> str:
    """Return the page of an environment."""
    fields = TRAINED.get(spec.name, USUAL)
    flags = f"--steps {fields['steps']} --agent.learning_rate {fields['agent']['learning_rate']:g}"
    image = f"![{spec.name}](figures/{slug(spec.name)}.png)\n\n" if drawn else ""
    extra = f"Needs the `{spec.extra}` extra.\n\n" if spec.extra else ""
    level = "--hetero dynamics --hetero.level 0.5"
    short = f"fdrl train --env {spec.name} --agents 4 --steps 4096"
    return f"""# {spec.name}

{spec.summary}

{image}{extra}Observations: {envs.observation_shape}. Actions: `{envs.action_space}`. At most \
{spec.max_steps} steps.

| | mean return |
| --- | --- |
| random actions | {score["random"]:.1f} (episodes' standard deviation {score["random_std"]:.1f}) |
| solved from | {"" if spec.threshold is None else f"{spec.threshold:g}"} |
| trained alone | {score["mean"]:.1f}, the worse of two agents {score["worst"]:.1f} |

Random: {EPISODES} episodes. Trained: `fdrl train --env {spec.name} --agents 2 --strategy local
{flags}`, greedy evaluation at the end, seed 0. Both by `python benchmarks/reference_scores.py`.

## What agents can differ in

{knobs(spec)}

<!-- snippet: slow -->
```bash
{short}{f" {level}" if any(p.varies for p in spec.physics.values()) else ""}
```
"""


def main() -> None:
    """Measure, and write the pages."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--only", default="", help="a part of the environments' names")
    only = options.parse_args().only
    file = PAGES / "scores.json"
    scores = json.loads(file.read_text()) if file.exists() else {}
    for spec in ENVS:
        if only not in spec.name:
            continue
        try:
            envs = make_factory(spec.name, 1, Nothing(), 0)
            mean, std = random_score(envs)
        except FdrlError as error:
            print(f"{spec.name}: left out: {error}")
            continue
        score = {"random": mean, "random_std": std, **trained_score(spec.name)}
        scores[spec.name] = score
        drawn = picture(spec, PAGES / "figures" / f"{slug(spec.name)}.png")
        (PAGES / f"{slug(spec.name)}.md").write_text(page(spec, envs, score, drawn))
        file.write_text(json.dumps(scores, indent=1, sort_keys=True) + "\n")
        print(spec.name, {k: round(v, 2) for k, v in score.items()}, flush=True)


if __name__ == "__main__":
    main()
