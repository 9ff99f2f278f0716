"""The same PPO settings in our hands and in Stable-Baselines3's.

An episode is a pair: the environment steps that its agent had taken when the rollout in which it
ended was over, and its undiscounted return. Both sides count them in the same way.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from fdrl.agents.ppo import PPO
from numpy.typing import NDArray
from stable_baselines3 import PPO as SB3
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env

from fdrl import Federation, make_run
from fdrl.config.run import Run
from fdrl.vector.factory import EnvFactory

Episode = tuple[int, float]
ACTIVATIONS = {"tanh": torch.nn.Tanh, "relu": torch.nn.ReLU}
SEED_STRIDE = 1000
"""SB3 seeds copy e of an agent with `seed + e`, so neighboring seeds would share episodes."""


def our_run(env: str, settings: PPO, agents: int, steps: int, seed: int = 0) -> Run:
    """Return a run of agents that learn alone: each is an independent seed."""
    return make_run(
        env=env, agents=agents, steps=steps, seed=seed, agent=settings, strategy="local"
    )


def our_episodes(federation: Federation) -> list[list[Episode]]:
    """Return the episodes [K] of every agent that ended in the round just over."""
    client = federation.clients[0]
    taken = (federation.run.steps - client.remaining).tolist()
    return [
        [(n, float(r)) for r in returns]
        for n, returns in zip(taken, client.report.returns, strict=True)
    ]


def sb3_twin(env: str, settings: PPO, seed: int) -> SB3:
    """Return SB3's PPO with our settings, on copies of Gymnasium's own environment."""
    rate = settings.learning_rate
    linear = settings.lr_schedule == "linear"
    return SB3(
        "MlpPolicy",
        make_vec_env(env, settings.n_envs, seed=SEED_STRIDE * seed),
        learning_rate=(lambda remaining: remaining * rate) if linear else rate,
        n_steps=settings.n_steps,
        batch_size=settings.batch_size,
        n_epochs=settings.n_epochs,
        gamma=settings.gamma,
        gae_lambda=settings.gae_lambda,
        clip_range=settings.clip_range,
        clip_range_vf=settings.clip_range_vf,
        normalize_advantage=settings.normalize_advantage,
        ent_coef=settings.ent_coef,
        vf_coef=settings.vf_coef,
        max_grad_norm=settings.max_grad_norm or float("inf"),
        target_kl=settings.target_kl,
        policy_kwargs={
            "net_arch": list(settings.hidden),
            "activation_fn": ACTIVATIONS[settings.activation],
            "optimizer_kwargs": {"eps": 1e-5},
        },
        seed=SEED_STRIDE * seed,
        device="cpu",
    )


class Episodes(BaseCallback):
    """Collects the episodes of an SB3 agent; may stop it."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[Episode] = []
        self._returns: list[float] = []

    def _on_step(self) -> bool:
        for info in self.locals["infos"]:
            if "episode" in info:
                self._returns.append(float(info["episode"]["r"]))
        return not self.enough(self._returns)

    def enough(self, returns: list[float]) -> bool:
        """Say whether the agent may stop, given the returns since the last rollout's end."""
        return False

    def _on_rollout_end(self) -> None:
        self.found += [(self.num_timesteps, r) for r in self._returns]
        self._returns.clear()


def sb3_evaluate(agent: SB3, envs: EnvFactory, episodes: int, seed: int) -> NDArray[np.float64]:
    """Play an SB3 agent greedily in the episodes that `Cohort.evaluate` plays: returns [J]."""
    env: Any = envs.subset([0]).evaluation(episodes, seed)
    observations = env.reset()
    returns, playing = np.zeros(episodes), np.ones(episodes, np.bool_)
    while playing.any():
        actions, _ = agent.predict(observations, deterministic=True)
        step = env.step(actions)
        returns += np.where(playing, step.rewards, 0.0)
        playing &= ~(step.terminated | step.truncated)
        observations = step.observations
    env.close()
    return returns
