"""One Stable-Baselines3 model: what it steps, its randomness, its state, and how it is driven."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import stable_baselines3
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.type_aliases import TrainFreq, TrainFrequencyUnit
from stable_baselines3.common.vec_env import VecEnv

from fdrl.core.arrays import Array
from fdrl.core.errors import FdrlError, nearest, short
from fdrl.core.registry import load_object
from fdrl.core.seeding import pack_generators, unpack_generators
from fdrl.core.watch import PULSE

from ..rollout import Collector
from .network import ordered
from .settings import SB3
from .template import made, template_of

# ---- What a Stable-Baselines3 model steps: the environment copies of one agent, as its `VecEnv`


class Copies(VecEnv):
    """One agent's copies. Notes every observation that is acted on, and the episodes that end."""

    def __init__(self, world: Collector, space: spaces.Box, n_actions: int) -> None:
        self.world = world
        self._actions: Array = np.zeros(world.copies, np.int64)
        self._seen: list[NDArray[np.float32]] = []
        super().__init__(world.copies, space, spaces.Discrete(n_actions))

    def reset(self) -> NDArray[np.float32]:
        """Return the present observations: the copies were reset when they were made."""
        return self._now()

    def _now(self) -> NDArray[np.float32]:
        return np.array(self.world.observations[0].reshape(self.num_envs, *self._shape()))

    def _shape(self) -> tuple[int, ...]:
        return tuple(self.observation_space.shape or ())

    def step_async(self, actions: Array) -> None:
        """Take note of the actions [E]."""
        self._actions = np.asarray(actions).reshape(-1)

    def step_wait(self) -> tuple[Any, Any, Any, list[dict[str, Any]]]:
        """Step all copies; a truncated one says where it really ended, as SB3 expects."""
        self._seen.append(self.world.observations[0].copy())
        step = self.world.env.step(self._actions)
        PULSE.beats += 1
        done = step.terminated | step.truncated
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        for i in np.flatnonzero(done).tolist():
            infos[i]["terminal_observation"] = np.array(step.next_observations[i])
            infos[i]["TimeLimit.truncated"] = bool(step.truncated[i] and not step.terminated[i])
        self.world.tally.add(step.rewards, done)
        self.world.observations[0] = step.observations.reshape(self.num_envs, -1)
        return self._now(), step.rewards.astype(np.float32), done.copy(), infos

    def take_seen(self) -> NDArray[np.float32]:
        """Return the observations acted on since the last call [n * E, O], and forget them."""
        seen = np.concatenate(self._seen) if self._seen else np.zeros((0, self.world.inputs))
        self._seen = []
        return np.asarray(seen, np.float32)

    def close(self) -> None:
        """Free the environments."""
        self.world.env.close()

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """Return None for each copy: they share one program and have no attributes of their own."""
        return [None] * len(self._which(indices))

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Raise: the copies share one program."""
        raise AttributeError(f"the copies of an agent have no attribute {attr_name!r} to set")

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> Any:
        """Raise: the copies share one program."""
        raise AttributeError(f"the copies of an agent have no method {method_name!r}")

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        """No copy is wrapped."""
        return [False] * len(self._which(indices))

    def _which(self, indices: Any) -> Sequence[int]:
        return list(self._get_indices(indices))


# ---- Driving one Stable-Baselines3 model a round at a time, and keeping all of its state ----
#
# `learn` of SB3 is not called: it rounds budgets up to whole rollouts, and its progress, which
# drives every schedule, starts anew with each call. Here the same parts are called, in the same
# order, with progress over the whole run.


COUNTERS = ("num_timesteps", "_n_updates", "_n_calls", "_episode_num")
LEVELS = ("_current_progress_remaining", "exploration_rate")
SLOTS = {"Adam": ("exp_avg", "exp_avg_sq"), "RMSprop": ("square_avg",)}
"""What torch's optimizers keep for each parameter, besides a count of their steps."""
BUFFER = ("observations", "next_observations", "actions", "rewards", "dones", "timeouts")


class SteppedModel:
    """One model, its copies, its callback and its own random numbers."""

    def __init__(
        self, model: Any, copies: Copies, callback: Any, total: int, randomness: ScopedGlobalRng
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


# ---- Each agent's own randomness, although Stable-Baselines3 draws from global generators ----
#
# SB3 samples actions with torch's global generator, and shuffles and explores with NumPy's. Around
# every call that may draw, an agent's own states of both are put in place, and afterwards the
# process's are put back: agents do not disturb each other, nor anybody else.


KEY = 624
"""Words of a Mersenne Twister."""


class ScopedGlobalRng:
    """The states of torch's and NumPy's global generators that belong to one agent."""

    def __init__(self, seed: np.random.SeedSequence) -> None:
        words = seed.generate_state(2)
        self._torch = torch.Generator().manual_seed(int(words[0])).get_state()
        self._numpy: Any = np.random.MT19937(int(words[1])).state

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Put the agent's states in place while the block runs."""
        before = torch.get_rng_state(), np.random.get_state(legacy=False)  # noqa: NPY002
        torch.set_rng_state(self._torch)
        np.random.set_state(self._numpy)  # noqa: NPY002
        try:
            yield
        finally:
            self._torch = torch.get_rng_state()
            self._numpy = np.random.get_state(legacy=False)  # noqa: NPY002
            torch.set_rng_state(before[0])
            np.random.set_state(before[1])  # noqa: NPY002

    def state(self) -> dict[str, Array]:
        """Return both states as arrays."""
        inner = self._numpy["state"]
        words = np.zeros(KEY + 2, np.uint32)
        words[:KEY], words[KEY] = inner["key"], inner["pos"]
        words[KEY + 1] = int(self._numpy.get("has_gauss", 0))
        gauss = np.array(float(self._numpy.get("gauss", 0.0)))
        return {"torch": self._torch.numpy().copy(), "numpy": words, "gauss": gauss}

    def load_state(self, state: dict[str, Array]) -> None:
        """Put back what `state` returned."""
        self._torch = torch.from_numpy(np.array(state["torch"], np.uint8))
        words = np.asarray(state["numpy"], np.uint32)
        self._numpy = {
            "bit_generator": "MT19937",
            "state": {"key": words[:KEY].copy(), "pos": int(words[KEY])},
            "has_gauss": int(words[KEY + 1]),
            "gauss": float(state["gauss"]),
        }


# ---- From settings to one Stable-Baselines3 model ----


MEMORY = 50_000
"""Transitions that a DQN agent remembers unless told otherwise: they travel in its checkpoints."""


def build(settings: SB3, copies: Copies) -> tuple[Any, Any]:
    """Return a model on an agent's copies, and a callback or None."""
    if settings.start is not None and settings.model is None:
        raise FdrlError(
            "there is no model object to start from: a saved model's weights are named by "
            "agent.load (at agent.start)"
        )
    if settings.model is not None:
        return made(template_of(settings.model), copies)
    if settings.factory:
        return _made(settings.factory, copies)
    cls = getattr(stable_baselines3, settings.algorithm)
    given = dict(settings.kwargs)
    if settings.algorithm == "DQN":
        given.setdefault("buffer_size", MEMORY)
    known = set(inspect.signature(cls.__init__).parameters) - {"self", "policy", "env", "seed"}
    for name in given:
        if name not in known:
            raise FdrlError(
                f"{settings.algorithm} of Stable-Baselines3 takes no {name!r}"
                f"{nearest(name, known)} (at agent.kwargs)"
            )
    if settings.n_steps is not None:
        if "n_steps" not in known or settings.algorithm == "DQN":
            raise FdrlError("DQN has no rollouts: use agent.round_steps, not agent.n_steps")
        given["n_steps"] = settings.n_steps
    default = inspect.signature(cls.__init__).parameters["learning_rate"].default
    rate = default if settings.learning_rate is None else settings.learning_rate
    given.setdefault("learning_rate", _falling(rate) if settings.lr_schedule == "linear" else rate)
    try:
        return cls(settings.policy, copies, device="cpu", verbose=0, **given), None
    except (TypeError, ValueError, AssertionError, KeyError) as error:
        raise FdrlError(
            f"Stable-Baselines3 cannot make {settings.algorithm}({settings.policy!r}): "
            f"{short(error)}"
        ) from error


def _falling(rate: float) -> Callable[[float], float]:
    """Return SB3's form of a linear schedule, of the progress that remains."""
    return lambda remaining: rate * max(0.0, remaining)


def _made(factory: str, copies: Copies) -> tuple[Any, Any]:
    """Call the user's function; it returns a model on `copies`, perhaps with a callback."""
    made = load_object(factory)(copies)
    model, callback = made if isinstance(made, tuple) else (made, None)
    if not isinstance(model, BaseAlgorithm) or not hasattr(model, "policy"):
        raise FdrlError(
            f"{factory} must return a Stable-Baselines3 model (and perhaps a callback), not "
            f"{type(model).__name__} (at agent.factory)"
        )
    if model.get_env() is not copies:
        raise FdrlError(f"{factory} must build its model on the env it is given (at agent.factory)")
    if not isinstance(model, (stable_baselines3.PPO, stable_baselines3.A2C, stable_baselines3.DQN)):
        raise FdrlError(
            f"{factory} returned {type(model).__name__}; PPO, A2C and DQN are supported"
        )
    return model, callback
