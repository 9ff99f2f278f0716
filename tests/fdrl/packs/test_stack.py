"""A run in a pack is to the bit what it is alone: log, summary, checkpoints."""

from __future__ import annotations

import pytest
from packs import assert_same_run, preset, seeded

from fdrl import train
from fdrl.config.run import make_run
from fdrl.packs.train import train_packed

EVALUATION = {"episodes": 3}
TINY = {"type": "ppo", "hidden": [8], "n_envs": 2, "n_steps": 32, "batch_size": 16, "n_epochs": 2}
A2C = {"type": "a2c", "hidden": [8], "n_envs": 2, "n_steps": 8}
COMMON = {"steps": 192, "agents": 2, "evaluation": EVALUATION, "checkpoint_every": 2}
UNLIMITED = {k: v for k, v in COMMON.items() if k != "steps"}
FADING = {
    "type": "fading", "deadline_slots": 2, "down_deadline_slots": 1, "threshold": 15.0,
    "step_seconds": 1e-4,
}  # fmt: skip
"""A quarter of the slots is lost up."""
RUNS = {
    "frd by episodes, an update a step": lambda: preset(
        "a2c-classic", steps=900, evaluation=EVALUATION, checkpoint_every=1,
        strategy={"type": "frd", "every": 5, "unit": "episodes"},
    ),
    "mixfrd": lambda: preset(
        "a2c-classic", steps=300, evaluation=EVALUATION,
        strategy={"type": "mixfrd", "every": 3, "unit": "episodes"},
    ),
    "fd with ppo": lambda: make_run(agent=TINY, strategy={"type": "fd", "every": 1}, **COMMON),
    "fd with evaluations on the way": lambda: make_run(
        agent=TINY, strategy="fd", **COMMON | {"evaluation": EVALUATION | {"every": 1}}
    ),
    "fdv": lambda: make_run(agent=TINY, strategy="fdv", **COMMON),
    "fdv with ten networks": lambda: make_run(
        agent=TINY, strategy="fdv", networks="arch", **COMMON | {"agents": 10, "steps": 128}
    ),
    "fdv on fading links until a goal, by episodes": lambda: make_run(
        agent=A2C | {"n_envs": 1}, strategy={"type": "fdv", "every": 3, "unit": "episodes"},
        episodes=14, goal={"mean": 18.0, "window": 3}, channel=FADING, **UNLIMITED,
    ),
    "self": lambda: make_run(agent=TINY, strategy="self", **COMMON),
    "local": lambda: make_run(agent=A2C, strategy="local", **COMMON),
    "fedavg, same weights": lambda: make_run(
        agent=TINY, strategy="fedavg", same_init=True, **COMMON
    ),
    "fedavg, other weights": lambda: make_run(
        agent=A2C, strategy={"type": "fedavg", "optimizer": "average"}, same_init=False, **COMMON
    ),
    "fedavg with an anchor": lambda: make_run(
        agent=A2C, strategy={"type": "fedavg", "prox": 0.1}, **COMMON
    ),
    "pooled": lambda: make_run(agent=TINY, strategy="pooled", **COMMON),
    "dynamics": lambda: make_run(
        agent=TINY, strategy="fd", hetero={"type": "dynamics", "level": 0.8}, **COMMON
    ),
    "real environments": lambda: make_run(
        agent=A2C, strategy={"type": "frd", "every": 2, "unit": "episodes"},
        proxy={"type": "grid", "bins": 5}, env_kwargs={"max_episode_steps": 60},
        env="gymnasium.envs.classic_control:CartPoleEnv", **COMMON,
    ),
    "mixed learners": lambda: make_run(
        strategy="fd", steps=192, evaluation=EVALUATION,
        cohorts=[{"agents": 2, "agent": TINY}, {"agents": 1, "agent": A2C}],
    ),
    "torch": lambda: make_run(
        agent=A2C | {"backend": "torch"}, strategy="fd", env_kwargs={"max_episode_steps": 20},
        **COMMON | {"steps": 64},
    ),
    "reinforce": lambda: make_run(
        agent={"type": "reinforce", "hidden": [8]},
        strategy={"type": "fedhpd", "every": 2, "unit": "episodes"},
        proxy={"type": "sobol", "size": 40}, **COMMON,
    ),
    "fd on fading links until a goal, by episodes": lambda: make_run(
        agent=A2C | {"n_envs": 1}, strategy={"type": "fd", "every": 3, "unit": "episodes"},
        episodes=14, goal={"mean": 18.0, "window": 3}, channel=FADING, **UNLIMITED,
    ),
    "reinforce with rollout proxies and its own optimizer": lambda: make_run(
        agent={"type": "reinforce", "hidden": [8]}, episodes=7,
        strategy={
            "type": "fedhpd", "every": 2, "unit": "episodes",
            "distill": {"passes": 2, "batch": 16, "optimizer": "learner"},
        },
        proxy={"type": "rollout", "size": 40}, **UNLIMITED,
    ),
    "fedavg on fading links until a goal": lambda: make_run(
        agent=TINY, strategy={"type": "fedavg", "optimizer": "average"},
        goal={"mean": 20.0, "window": 2}, channel=FADING, **COMMON | {"steps": 640},
    ),
    "ten reinforce networks": lambda: make_run(
        agent="reinforce", networks="fedhpd", agents=10, steps=150, evaluation=EVALUATION,
        strategy={"type": "fedhpd", "every": 2, "unit": "episodes"},
        proxy={"type": "sobol", "size": 40}, checkpoint_every=1,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", RUNS)
def test_packed_equals_alone(name, tmp_path):
    runs = seeded(RUNS[name](), 3)
    summaries = train_packed(runs, out=tmp_path / "packed", curves=False)
    for run, summary in zip(runs, summaries, strict=True):
        alone = tmp_path / f"alone-{run.seed}"
        train(run, out=alone, curves=False)
        assert summary.seed == run.seed
        assert_same_run(tmp_path / "packed" / f"seed-{run.seed:03d}", alone)
