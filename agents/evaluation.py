"""Playing finished policies: every episode of every agent in one vector of copies."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fdrl.seeding import Purpose, generator
from fdrl.vector import VectorEnv

from . import gaussian
from .network import Network
from .rollout import sample

BLOCK = 128
"""Steps of uniforms drawn ahead."""


def evaluate(
    network: Network,
    env: VectorEnv,
    agents: tuple[int, ...],
    seed: int,
    greedy: bool,
    bounds: gaussian.Bounds | None = None,
) -> NDArray[np.float64]:
    """Play each of the K * J copies of `env` to the end of its first episode: returns [K, J].

    Ties between actions go to the first. A stochastic policy draws from a stream of its own per
    agent, so no evaluation moves training. Continuous actions stay inside `bounds`.
    """
    k = len(agents)
    copies = env.count // k
    rngs = [generator(seed, Purpose.EVALUATION, agent, 1) for agent in agents]
    layout = network.layout
    chance = gaussian.chance_shape(layout.n_actions, layout.gaussian)
    uniforms = np.zeros((k, BLOCK, copies, *chance), np.float32)
    observations = env.reset()
    returns = np.zeros(env.count)
    playing = np.ones(env.count, np.bool_)
    t = 0
    while playing.any():
        logits = network.policy(observations.reshape(k, copies, -1))
        if greedy:
            actions = gaussian.greedy(logits) if layout.gaussian else np.argmax(logits, axis=1)
        else:
            if t % BLOCK == 0:
                for row, rng in zip(uniforms, rngs, strict=True):
                    row[...] = rng.random(row.shape, dtype=np.float32)
            actions = sample(logits, uniforms[:, t % BLOCK], layout.gaussian)
        step = env.step(gaussian.playable(actions, bounds))
        returns += np.where(playing, step.rewards, 0.0)
        playing &= ~(step.terminated | step.truncated)
        observations = step.observations
        t += 1
    return returns.reshape(k, copies)
