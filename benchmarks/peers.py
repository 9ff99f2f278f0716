"""The learners that throughput.py compares: ours, and Stable-Baselines3's, on equal settings."""

from __future__ import annotations

from typing import Any

import gymnasium
import torch
from fdrl.agents.ppo import PPO
from stable_baselines3 import PPO as SB3
from stable_baselines3.common.vec_env import DummyVecEnv

from fdrl.core.cohort import Cohort, CohortContext
from fdrl.federation.shards import build_cohort
from fdrl.vector.factory import make_factory
from fdrl.vector.heterogeneity import Nothing

EPOCHS, MINIBATCHES = 4, 4


def context(env: str, agents: int) -> CohortContext:
    """Return the context of agents in equal environments."""
    ids = tuple(f"agent-{i}" for i in range(agents))
    return CohortContext(
        ids, tuple(range(agents)), make_factory(env, agents, Nothing(), seed=0), seed=0
    )


def fdrl_cohort(
    env: str, hidden: tuple[int, ...], agents: int, copies: int, steps: int, threads: int = 1
) -> Cohort:
    """Return our agents."""
    settings = PPO(
        n_envs=copies,
        n_steps=steps,
        batch_size=copies * steps // MINIBATCHES,
        n_epochs=EPOCHS,
        hidden=hidden,
    )
    return build_cohort("fdrl.agents.ppo:make", settings, context(env, agents), threads=threads)


def sb3_agents(
    env: str, hidden: tuple[int, ...], agents: int, copies: int, steps: int
) -> list[SB3]:
    """Return Stable-Baselines3's agents, each with a DummyVecEnv of its own."""
    torch.set_num_threads(1)
    kwargs: dict[str, Any] = {
        "n_steps": steps,
        "batch_size": copies * steps // MINIBATCHES,
        "n_epochs": EPOCHS,
        "policy_kwargs": {"net_arch": list(hidden)},
        "device": "cpu",
    }
    return [
        SB3(
            "MlpPolicy",
            DummyVecEnv([lambda: gymnasium.make(env) for _ in range(copies)]),
            seed=agent,
            **kwargs,
        )
        for agent in range(agents)
    ]


def sb3_learn(agents: list[SB3], steps: int) -> None:
    """Train one agent after another for `steps` steps, one rollout each."""
    for agent in agents:
        agent.learn(steps, reset_num_timesteps=False)
