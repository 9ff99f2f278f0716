"""The cohort of on-policy actor-critics: K agents that act and learn together.

Shapes: K agents, E environment copies each, T steps per rollout, M = T * E rows per iteration (time
order, the copies of a moment side by side), O observation components, A actions, P parameters.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fdrl.cohort import CohortContext, Episodes, Experience
from fdrl.errors import FdrlError

from . import optimizers
from .batches import batch_of, flat
from .chances import Chances
from .crew import Crew, Crews
from .gaussian import answers
from .learner import Batch, Generators, Learner
from .masking import lived_first, reordered, zeroed
from .policies import Metrics, Networks
from .recorder import Recorder
from .rollout import Rollout
from .stretches import Stretches
from .valuing import Valuing

Array = NDArray[Any]
Floats = NDArray[np.float32]


class Settings(Networks, Protocol):
    """What the settings of an on-policy actor-critic have in common."""

    @property
    def learning_rate(self) -> float: ...
    @property
    def lr_schedule(self) -> str: ...
    @property
    def n_steps(self) -> int: ...
    @property
    def gamma(self) -> float: ...
    @property
    def gae_lambda(self) -> float: ...


Update = Callable[[Learner, Batch, NDArray[np.float64], Generators], Metrics]
"""Learn from a batch at learning rates [K] or [K, P], shuffling with [K] generators."""


class ActorCritics(Valuing):
    """K agents of one architecture (a `fdrl.Cohort`, `Poolable` and `Valued`).

    With `episodes`, an agent stops at the end of the first iteration in which the last of its
    episodes ends: an iteration is `n_steps` steps in each of its `n_envs` copies, or less if its
    steps run out. Agents that have stopped wait, untouched, for the others.
    """

    def __init__(
        self,
        settings: Settings,
        context: CohortContext,
        update: Update,
        optimizer: optimizers.Kind,
        critic_learning_rate: float | None = None,
        fail_reward: float | None = None,
    ) -> None:
        super().__init__(settings, context, optimizer)
        self.iteration_steps = settings.n_envs * settings.n_steps
        self.settings, self._update = settings, update
        self._critic_lr, self._fail_reward = critic_learning_rate, fail_reward
        k = len(self.ids)
        self._crews = Crews(self.learner, self.world)
        self._chances = Chances(self._action_rngs)
        self._recorder = Recorder(k, self._inputs, self.layout.outputs)
        self._stretches = Stretches(k)

    def learn(self, steps: NDArray[np.int64], episodes: Episodes = None) -> Experience:
        """Learn locally for `steps[k]` steps, or until `episodes` have ended; see the class."""
        everyone = np.arange(len(self.ids))
        self.begin(everyone, steps, episodes)
        self.advance(lambda busy: False)
        return self.result(everyone)

    def begin(self, rows: NDArray[np.int64], steps: NDArray[np.int64], episodes: Episodes) -> None:
        """Let agents `rows` set out to learn; see `fdrl.cohort.Staggered`."""
        self._stretches.begin(rows, self._budget(rows, steps), episodes)

    def advance(self, enough: Callable[[NDArray[np.bool_]], bool]) -> NDArray[np.bool_]:
        """Let all busy agents learn until enough of them are through; returns who is busy [K]."""
        stretches = self._stretches
        busy = stretches.busy
        try:
            while busy.any():
                length = np.minimum(stretches.left // self.settings.n_envs, self.settings.n_steps)
                for rows in _by_length(length):
                    self._iterate(rows, int(length[rows[0]]))
                now = stretches.busy
                if (now != busy).any():
                    busy = now
                    if enough(busy):
                        break
        finally:
            self._crews.settle()
        return busy

    def result(self, rows: NDArray[np.int64]) -> Experience:
        """Return what agents `rows` have learned from; see `fdrl.cohort.Staggered`."""
        spent = self._stretches.taken(rows)
        return self._experience(rows, self._stretches.end(rows), spent)

    def _iterate(self, rows: NDArray[np.int64], length: int) -> None:
        """Let agents `rows` act for `length` steps and learn from them."""
        crew = self._crews.take(rows)
        rollout = self._act(crew, length)
        metrics = self._learn_from(rollout, crew)
        ended = crew.world.tally.count()
        learned = None if rollout.alive is None else np.any(rollout.alive, axis=(1, 2))
        self._stretches.note(rows, length * self.settings.n_envs, ended, metrics, learned)

    def _budget(self, rows: NDArray[np.int64], steps: Array) -> NDArray[np.int64]:
        """Check the `steps` [R] of agents `rows` and return a copy."""
        out = np.array(steps, dtype=np.int64)
        if out.shape != rows.shape or (out < 0).any():
            raise FdrlError(
                f"steps must be {len(rows)} numbers, one an agent, and not negative: {steps}"
            )
        odd = np.flatnonzero(out % self.settings.n_envs)
        if len(odd):
            k = int(odd[0])
            raise FdrlError(
                f"{out[k]} steps for agent {self.ids[rows[k]]!r} cannot be shared by its n_envs = "
                f"{self.settings.n_envs} environment copies: make it a multiple"
            )
        return out

    def _act(self, crew: Crew, steps: int, keep_following: bool = False) -> Rollout:
        """Roll out `steps` steps."""
        copies = self.settings.n_envs
        uniforms = self._chances.take(crew.rows, steps * copies * math.prod(self._chance))
        self._taken[crew.rows] += steps * copies
        return crew.world.act(
            crew.learner.network,
            uniforms.reshape(-1, steps, copies, *self._chance),
            self._fail_reward,
            keep_following,
        )

    def _learn_from(self, rollout: Rollout, crew: Crew) -> Metrics:
        """Let a crew learn from its rollout; record what it saw."""
        batch, said = batch_of(
            self.settings,
            crew.learner,
            rollout.observations,
            actions=rollout.actions,
            rewards=rollout.rewards,
            done=rollout.terminated | rollout.truncated,
            truncated_values=rollout.truncated_values,
            last=rollout.last,
            alive=rollout.alive,
        )
        self._recorder.add(crew.rows, batch.observations, said, batch.counts)
        shuffles = [self._shuffle_rngs[k] for k in crew.rows.tolist()]
        return self._update(crew.learner, batch, self._rates(crew.rows), shuffles)

    def _rates(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return learning rates [K], or [K, P] where the critic has its own."""
        rate = np.full(len(rows), self.settings.learning_rate)
        total = self._context.total_steps
        decay = np.ones(len(rows))
        if self.settings.lr_schedule == "linear" and total > 0:
            decay = np.maximum(1.0 - self._taken[rows] / total, 0.0)
        if self._critic_lr is None:
            return np.asarray(rate * decay)
        per_parameter = np.full(self.layout.size, self.settings.learning_rate)
        per_parameter[self.layout.policy_size :] = self._critic_lr
        return np.asarray(per_parameter * decay[:, None])

    def _policy_rates(self) -> NDArray[np.float64]:
        rates = self._rates(np.arange(len(self.ids)))
        return rates if rates.ndim == 1 else np.ascontiguousarray(rates[:, 0])

    def _experience(
        self, rows: NDArray[np.int64], metrics: Metrics, spent: NDArray[np.int64]
    ) -> Experience:
        ended = self.world.tally.harvest(rows.tolist())
        observations, probs, steps = self._recorder.take(rows)
        left = not np.array_equal(steps, spent)
        if left:
            metrics = metrics | {"rollout/alive": steps / np.maximum(spent, 1)}
        shape = (*observations.shape[:2], *self.observation_shape)
        return Experience(
            observations.reshape(shape),
            probs,
            steps,
            ended.returns,
            ended.lengths,
            metrics,
            ended.ends,
            spent=spent if left else None,
        )

    def state(self) -> dict[str, Array]:
        """Everything needed for a bit-exact resume; the first axis of every array is K."""
        self._chances.give_back()
        return super().state()

    def load_state(self, state: Mapping[str, Array]) -> None:
        """Continue from what `state` returned."""
        self._chances.give_back()
        super().load_state(state)

    def collect(self, steps: NDArray[np.int64]) -> tuple[Experience, dict[str, Array]]:
        """Act for one iteration of at most `steps` (the same for all) without learning."""
        rows = np.arange(len(self.ids))
        budget = self._budget(rows, steps)
        if (budget != budget[0]).any():
            raise FdrlError(f"collect needs the same number of steps for all agents, not {steps}")
        t = min(int(budget[0]) // self.settings.n_envs, self.settings.n_steps)
        if t == 0:
            raise FdrlError(f"collect needs at least n_envs = {self.settings.n_envs} steps")
        rollout = self._act(self._crews.take(rows), t, keep_following=True)
        self._record(rows, rollout)
        tail, lead = self.observation_shape, rollout.rewards.shape
        assert rollout.following is not None
        transitions: dict[str, Array] = {
            "observations": rollout.observations.reshape(*lead, *tail).copy(),
            "actions": rollout.actions.copy(),
            "rewards": rollout.rewards.copy(),
            "terminated": rollout.terminated.copy(),
            "truncated": rollout.truncated.copy(),
            "next_observations": rollout.following.reshape(*lead, *tail).copy(),
        }
        if rollout.alive is not None:
            transitions["alive"] = rollout.alive.copy()
        return self._experience(rows, {}, np.full(len(rows), t * self.settings.n_envs)), transitions

    def _record(self, rows: NDArray[np.int64], rollout: Rollout) -> None:
        """Record what agents saw in a rollout that they do not learn from, and their answers."""
        seen, counts = flat(rollout.observations), None
        said = answers(self.learner.network.policy(seen), self.gaussian)
        if rollout.alive is not None:
            order, counts = lived_first(rollout.alive)
            seen, said = reordered(seen, order), reordered(said, order)
        self._recorder.add(rows, seen, said, counts)

    def update(self, transitions: Mapping[str, Array]) -> Metrics:
        """Learn from transitions [1, T, E', ...]; needs a cohort of one agent.

        With `alive` among them, only from those where it says so. The learning-rate schedule
        moves as if the one agent had taken T steps in its own copies.
        """
        if len(self.ids) != 1:
            raise FdrlError(f"update needs a cohort of one agent, this one has {len(self.ids)}")
        kind = np.float32 if self.gaussian else np.int64
        actions = np.ascontiguousarray(transitions["actions"], dtype=kind)
        (_, t, e), alive = actions.shape[:3], transitions.get("alive")
        seen, following = (
            np.ascontiguousarray(transitions[name], dtype=np.float32).reshape(1, t, e, -1)
            for name in ("observations", "next_observations")
        )
        if alive is not None:
            following = zeroed(following, alive)
        cut = transitions["truncated"] & ~transitions["terminated"]
        self._taken += t * self.settings.n_envs
        batch, _ = batch_of(
            self.settings,
            self.learner,
            seen,
            actions=actions,
            rewards=np.asarray(transitions["rewards"], dtype=np.float32),
            done=transitions["terminated"] | transitions["truncated"],
            truncated_values=self.learner.network.values(flat(following)).reshape(1, t, e) * cut,
            last=following[:, -1],
            alive=alive,
        )
        return self._update(self.learner, batch, self._rates(np.arange(1)), self._shuffle_rngs)


def _by_length(length: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Return the agents with equal rollouts together, without those that did not act."""
    return [np.flatnonzero(length == n) for n in np.unique(length).tolist() if n > 0]
