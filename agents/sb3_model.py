"""Driving one Stable-Baselines3 model a stretch at a time, and keeping all of its state.

`learn` of SB3 is not called: it rounds budgets up to whole rollouts, and its progress, which drives
every schedule, starts anew with each call. Here the same parts are called, in the same order, with
progress over the whole run.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.type_aliases import TrainFreq, TrainFrequencyUnit

from fdrl.errors import FdrlError
from fdrl.seeding import pack_generators, unpack_generators

from .sb3_env import Copies
from .sb3_network import ordered
from .sb3_random import OwnRandomness

Array = NDArray[Any]
COUNTERS = ("num_timesteps", "_n_updates", "_n_calls", "_episode_num")
LEVELS = ("_current_progress_remaining", "exploration_rate")
SLOTS = {"Adam": ("exp_avg", "exp_avg_sq"), "RMSprop": ("square_avg",)}
"""What torch's optimizers keep for each parameter, besides a count of their steps."""
BUFFER = ("observations", "next_observations", "actions", "rewards", "dones", "timeouts")


class Driven:
    """One model, its copies, its callback and its own random numbers."""

    def __init__(
        self, model: Any, copies: Copies, callback: Any, total: int, randomness: OwnRandomness
    ) -> None:
        self.model, self.copies, self.randomness = model, copies, randomness
        self.on_policy = isinstance(model, OnPolicyAlgorithm)
        kind = type(model.policy.optimizer).__name__
        if kind not in SLOTS:
            raise FdrlError(f"SB3 optimizer {kind} cannot be saved here: use Adam or RMSprop")
        self.kind: Any = kind.lower()
        if not self.on_policy and model.train_freq.unit != TrainFrequencyUnit.STEP:
            raise FdrlError(
                "agent 'sb3' trains DQN every so many steps: train_freq = 4, not episodes"
            )
        if getattr(model, "optimize_memory_usage", False):
            raise FdrlError("agent 'sb3' saves DQN's whole memory: optimize_memory_usage = false")
        with self.randomness():
            self.total, self.callback = model._setup_learn(total, callback)
            self.callback.on_training_start({}, {})

    @property
    def rollout(self) -> int:
        """Environment steps between two updates, of all copies together."""
        each = self.model.n_steps if self.on_policy else self.model.train_freq.frequency
        return int(each) * self.copies.num_envs

    def collect(self, steps: int) -> None:
        """Act for `steps` environment steps, at most a rollout."""
        model, each = self.model, steps // self.copies.num_envs
        with self.randomness():
            if self.on_policy:
                buffer = self._buffer(each)
                going = model.collect_rollouts(model.env, self.callback, buffer, each)
            else:
                going = model.collect_rollouts(
                    model.env,
                    self.callback,
                    TrainFreq(each, TrainFrequencyUnit.STEP),
                    model.replay_buffer,
                    learning_starts=model.learning_starts,
                ).continue_training
        if not going:
            raise FdrlError("an SB3 callback asked to stop, which a federation cannot do for one")

    def _buffer(self, each: int) -> Any:
        """Return a rollout buffer of so many steps a copy: the last rollout may be shorter."""
        model = self.model
        old = model.rollout_buffer
        if old.buffer_size != each:
            model.rollout_buffer = type(old)(
                each,
                model.observation_space,
                model.action_space,
                device=model.device,
                gamma=model.gamma,
                gae_lambda=model.gae_lambda,
                n_envs=model.n_envs,
                **model.rollout_buffer_kwargs,
            )
        return model.rollout_buffer

    def update(self, steps: int) -> dict[str, float]:
        """Train on what was collected; return SB3's ``train/*`` numbers."""
        model = self.model
        model._update_current_progress_remaining(model.num_timesteps, self.total)
        with self.randomness():
            if self.on_policy:
                model.train()
            elif model.num_timesteps > model.learning_starts:
                wanted = model.gradient_steps
                model.train(wanted if wanted >= 0 else steps, batch_size=model.batch_size)
        found = {
            name: float(value)
            for name, value in model.logger.name_to_value.items()
            if name.startswith("train/") and isinstance(value, int | float | np.number)
        }
        model.logger.name_to_value.clear()
        return found

    def moments(self) -> tuple[Array, int]:
        """Return what the optimizer keeps [slots, P], parameters in the network's order, and steps.

        Zeros before its first step.
        """
        parameters, _ = ordered(self.model.policy)
        state = self.model.policy.optimizer.state
        rows, count = [], 0
        for slot in SLOTS[type(self.model.policy.optimizer).__name__]:
            parts = [
                state[p][slot].numpy().ravel() if p in state else np.zeros(p.numel(), np.float32)
                for p in parameters
            ]
            rows.append(np.concatenate(parts))
        for p in parameters:
            if p in state:
                count = int(state[p]["step"])
        return np.stack(rows).astype(np.float32), count

    def load_moments(self, rows: Array, count: int) -> None:
        """Put back what `moments` returned; a count of 0 makes the optimizer forget everything."""
        optimizer = self.model.policy.optimizer
        optimizer.state.clear()
        if count <= 0:
            return
        names = SLOTS[type(optimizer).__name__]
        trained = {p for group in optimizer.param_groups for p in group["params"]}
        offset = 0
        for p in ordered(self.model.policy)[0]:
            end = offset + p.numel()
            if p in trained:
                parts = {
                    name: torch.from_numpy(np.array(row[offset:end], np.float32)).view_as(p)
                    for name, row in zip(names, rows, strict=True)
                }
                optimizer.state[p] = {"step": torch.tensor(float(count)), **parts}
            offset = end

    def state(self) -> dict[str, Array]:
        """Return everything but the weights: copies, optimizer, counters, randomness, memory."""
        model = self.model
        moments, count = self.moments()
        out: dict[str, Array] = {"moments": moments, "count": np.array(count)}
        out |= {f"rng/{n}": a for n, a in self.randomness.state().items()}
        out |= {f"world/{n}": a[0] for n, a in self.copies.world.state().items()}
        out["counters"] = np.array([int(getattr(model, n, 0)) for n in COUNTERS])
        out["levels"] = np.array([float(getattr(model, n, 0.0)) for n in LEVELS])
        out["starts"] = np.asarray(model._last_episode_starts, np.bool_)
        if not self.on_policy:
            out |= {f"buffer/{n}": a for n, a in self._memory().items()}
            out["target"] = np.concatenate(
                [p.data.numpy().ravel() for p in model.q_net_target.parameters()]
            )
        # an action space draws the first, random actions with a generator of its own
        out["space"] = pack_generators([model.action_space.np_random])[0]
        return out

    def _memory(self) -> dict[str, Array]:
        buffer: ReplayBuffer = self.model.replay_buffer
        used = buffer.buffer_size if buffer.full else buffer.pos
        kept = {name: np.array(getattr(buffer, name)[:used]) for name in BUFFER}
        return kept | {"place": np.array([buffer.pos, int(buffer.full), used])}

    def load_state(self, state: Mapping[str, Array]) -> None:
        """Continue from what `state` returned."""
        model = self.model
        self.load_moments(state["moments"], int(state["count"]))
        inner = {n.removeprefix("rng/"): a for n, a in state.items() if n.startswith("rng/")}
        self.randomness.load_state(inner)
        world = {n.removeprefix("world/"): a[None] for n, a in state.items() if n[:6] == "world/"}
        self.copies.world.load_state(world)
        for names, values in ((COUNTERS, state["counters"]), (LEVELS, state["levels"])):
            for name, value in zip(names, values.tolist(), strict=True):
                if hasattr(model, name):
                    setattr(model, name, value)
        model._last_obs = self.copies.reset()
        model._last_episode_starts = np.array(state["starts"], np.bool_)
        if not self.on_policy:
            self._remember(state)
        unpack_generators([model.action_space.np_random], np.asarray(state["space"])[None])

    def _remember(self, state: Mapping[str, Array]) -> None:
        buffer: ReplayBuffer = self.model.replay_buffer
        position, full, used = (int(v) for v in state["buffer/place"])
        for name in BUFFER:
            getattr(buffer, name)[:used] = state[f"buffer/{name}"][:used]
        buffer.pos, buffer.full = position, bool(full)
        offset = 0
        for p in self.model.q_net_target.parameters():
            end = offset + p.numel()
            p.data.copy_(torch.from_numpy(np.array(state["target"][offset:end])).view_as(p))
            offset = end
