"""Our PPO and Stable-Baselines3's in lockstep: given the same random numbers, are they the same?

SB3 gets our initial weights, our uniforms to choose actions by, our shuffles, and the random
streams of our environments in Gymnasium's own. Then everything else, rollouts, resets, time limits,
advantages, losses, clipping, Adam and schedules, must lead to the same weights but for rounding.
Rounding grows, so this can last for some iterations only: once an action falls differently, the
two are merely two seeds.
"""

from __future__ import annotations

from typing import Any
from unittest import mock

import numpy as np
import torch
import twins
from fdrl.agents.ppo import PPO
from numpy.typing import NDArray
from stable_baselines3 import PPO as SB3
from stable_baselines3.common.callbacks import BaseCallback

from fdrl import Federation
from fdrl.core.seeding import Purpose, generator


def lockstep(
    env: str,
    settings: PPO,
    iterations: int,
    total: int,
    seed: int = 0,
    start: NDArray[Any] | None = None,
) -> list[tuple[float, bool]]:
    """Return, for each iteration, the largest difference of a weight, and if all episodes agree.

    `total` is the number of steps that a learning-rate schedule runs over; `start` [P] are the
    weights to begin with, or else our initial ones.
    """
    federation = Federation(twins.our_run(env, settings, 1, total, seed))
    cohort = federation.clients[0].cohort
    if start is not None:
        cohort.load_parameters(start[None])
    weights, episodes = [cohort.parameters()[0]], []
    for _ in range(iterations):
        federation.round()
        weights.append(cohort.parameters()[0])
        episodes.append([value for _, value in twins.our_episodes(federation)[0]])
    federation.close()
    theirs, returns = _follow(env, settings, weights[0], iterations, total, seed)
    return [
        (float(np.abs(a - b).max()), np.allclose(r, s) if len(r) == len(s) else False)
        for a, b, r, s in zip(weights[1:], theirs, episodes, returns, strict=True)
    ]


def _follow(
    env: str, settings: PPO, start: NDArray[Any], iterations: int, total: int, seed: int
) -> tuple[list[NDArray[Any]], list[list[float]]]:
    """Let SB3 learn with our numbers; return its weights and returns after each iteration."""
    agent = twins.sb3_twin(env, settings, seed)
    assert agent.env is not None
    for copy, inner in enumerate(agent.env.get_attr("unwrapped")):
        inner.np_random = generator(seed, Purpose.ENV, 0, copy)
    agent.env._reset_seeds()
    write(agent, start)
    _choose_by(agent, generator(seed, Purpose.ACTION, 0))
    shuffles = generator(seed, Purpose.MINIBATCH, 0)
    seen = _Watch(settings.n_envs * settings.n_steps * iterations)

    def permutation(n: int) -> NDArray[np.int64]:
        ours = shuffles.permutation(n)  # rows in order of time; SB3's are in order of copies
        copies = settings.n_envs
        return np.asarray(ours % copies * (n // copies) + ours // copies)

    with mock.patch.object(np.random, "permutation", permutation):
        agent.learn(total, callback=seen)
    return seen.weights, seen.returns


class _Watch(BaseCallback):
    """Notes weights and returns after each iteration of an SB3 agent; stops it in the end."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.steps = steps
        self.weights: list[NDArray[Any]] = []
        self.returns: list[list[float]] = []

    def _on_step(self) -> bool:
        # the step after the last one to be watched proves that the last update is over
        if self.num_timesteps > self.steps:
            return False
        for info in self.locals["infos"]:
            if "episode" in info:
                self.returns[-1].append(float(info["episode"]["r"]))
        return True

    def _on_rollout_start(self) -> None:
        if self.num_timesteps:
            self.weights.append(read(self.model))
        if self.num_timesteps < self.steps:
            self.returns.append([])

    def _on_training_end(self) -> None:
        if len(self.weights) < len(self.returns):
            self.weights.append(read(self.model))


def _layers(agent: Any) -> list[torch.nn.Linear]:
    """Return SB3's layers in the order of our rows: policy tower, then value tower."""
    extractor = agent.policy.mlp_extractor
    every = (
        *extractor.policy_net,
        agent.policy.action_net,
        *extractor.value_net,
        agent.policy.value_net,
    )
    return [layer for layer in every if isinstance(layer, torch.nn.Linear)]


def read(agent: Any) -> NDArray[Any]:
    """Return an SB3 agent's weights as one of our rows [P], a copy."""
    parts = []
    for layer in _layers(agent):
        parts += [layer.weight.detach().numpy().T.ravel(), layer.bias.detach().numpy()]
    return np.concatenate(parts)


def write(agent: SB3, row: NDArray[Any]) -> None:
    """Give an SB3 agent the weights of one of our rows [P]."""
    offset = 0
    with torch.no_grad():
        for layer in _layers(agent):
            out, into = layer.weight.shape
            weight = row[offset : offset + into * out].reshape(into, out)
            layer.weight.copy_(torch.from_numpy(weight.T.copy()))
            offset += into * out
            layer.bias.copy_(torch.from_numpy(row[offset : offset + out].copy()))
            offset += out


def _choose_by(agent: SB3, rng: np.random.Generator) -> None:
    """Let an SB3 agent invert the distribution function at our uniforms."""
    choice: Any = agent.policy.action_dist

    def sample() -> torch.Tensor:
        summed = choice.distribution.probs.numpy().cumsum(1)
        uniforms = rng.random(len(summed), dtype=np.float32)
        passed = (uniforms * summed[:, -1])[:, None] >= summed[:, :-1]
        return torch.from_numpy(passed.sum(1))

    choice.sample = sample
