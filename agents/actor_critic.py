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
from .advantages import bootstrap, gae
from .chances import Chances
from .crew import Crew, Crews
from .gaussian import answers
from .gaussian import log_probs as log_densities
from .learner import Batch, Generators, Learner
from .losses import chosen, log_softmax
from .policies import Metrics, Networks, Policies
from .recorder import Recorder
from .rollout import Rollout
from .stretches import Stretches

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


class ActorCritics(Policies):
    """K agents of one architecture (a `fdrl.Cohort`, and `Poolable`).

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
        return self._experience(rows, self._stretches.end(rows))

    def _iterate(self, rows: NDArray[np.int64], length: int) -> None:
        """Let agents `rows` act for `length` steps and learn from them."""
        crew = self._crews.take(rows)
        rollout = self._act(crew, length)
        metrics = self._learn_from(rollout, crew)
        ended = crew.world.tally.count()
        self._stretches.note(rows, length * self.settings.n_envs, ended, metrics)

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
        observations = _flat(rollout.observations)
        batch, said = self._batch(
            crew.learner,
            observations,
            actions=rollout.actions,
            rewards=rollout.rewards,
            done=rollout.terminated | rollout.truncated,
            truncated_values=rollout.truncated_values,
            last=rollout.last,
        )
        self._recorder.add(crew.rows, observations, said)
        shuffles = [self._shuffle_rngs[k] for k in crew.rows.tolist()]
        return self._update(crew.learner, batch, self._rates(crew.rows), shuffles)

    def _batch(
        self,
        learner: Learner,
        observations: Floats,
        *,
        actions: Array,
        rewards: Floats,
        done: NDArray[np.bool_],
        truncated_values: Floats,
        last: Floats,
    ) -> tuple[Batch, Floats]:
        """Return the batch of a rollout [K, T, E] and what the policies said [K, M, W]."""
        s, shape, flat = self.settings, rewards.shape, (len(rewards), -1)
        logits, values = learner.network.outputs(observations)
        taken = np.ascontiguousarray(actions).reshape(*flat, *actions.shape[3:])
        log_pi, said = _judged(logits, taken)
        advantages = gae(
            bootstrap(rewards, truncated_values, s.gamma),
            values.reshape(shape),
            done,
            learner.network.values(last),
            s.gamma,
            s.gae_lambda,
        ).reshape(flat)
        batch = Batch(
            observations=observations,
            actions=taken,
            log_probs=np.ascontiguousarray(log_pi),
            values=np.ascontiguousarray(values),
            advantages=advantages,
            returns=advantages + values,
        )
        return batch, said

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

    def _experience(self, rows: NDArray[np.int64], metrics: Metrics) -> Experience:
        ended = self.world.tally.harvest(rows.tolist())
        observations, probs, steps = self._recorder.take(rows)
        shape = (*observations.shape[:2], *self.observation_shape)
        return Experience(
            observations.reshape(shape),
            probs,
            steps,
            ended.returns,
            ended.lengths,
            metrics,
            ended.ends,
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
        flat = _flat(rollout.observations)
        self._recorder.add(rows, flat, answers(self.learner.network.policy(flat), self.gaussian))
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
        return self._experience(rows, {}), transitions

    def update(self, transitions: Mapping[str, Array]) -> Metrics:
        """Learn from transitions [1, T, E', ...]; needs a cohort of one agent.

        The learning-rate schedule moves as if the one agent had taken T steps in its own copies.
        """
        if len(self.ids) != 1:
            raise FdrlError(f"update needs a cohort of one agent, this one has {len(self.ids)}")
        kind = np.float32 if self.gaussian else np.int64
        actions = np.ascontiguousarray(transitions["actions"], dtype=kind)
        _, t, e = actions.shape[:3]
        seen = _rows(transitions["observations"], self._inputs)
        following = _rows(transitions["next_observations"], self._inputs)
        cut = transitions["truncated"] & ~transitions["terminated"]
        self._taken += t * self.settings.n_envs
        batch, _ = self._batch(
            self.learner,
            seen,
            actions=actions,
            rewards=np.asarray(transitions["rewards"], dtype=np.float32),
            done=transitions["terminated"] | transitions["truncated"],
            truncated_values=self.learner.network.values(following).reshape(1, t, e) * cut,
            last=following.reshape(1, t, e, self._inputs)[:, -1],
        )
        return self._update(self.learner, batch, self._rates(np.arange(1)), self._shuffle_rngs)


def _judged(outputs: Floats, actions: Array) -> tuple[Floats, Floats]:
    """Return log pi(a|s) [K, M] of actions [K, M] or [K, M, D], and the policies [K, M, W]."""
    if actions.ndim == 3:
        return log_densities(outputs, actions), answers(outputs, True)
    log_probs = log_softmax(outputs)
    return chosen(log_probs, actions), np.exp(log_probs).swapaxes(1, 2)


def _rows(array: Array, inputs: int) -> Floats:
    """Return transitions [1, T, E, *O] as rows [1, T * E, O]."""
    return np.ascontiguousarray(array, dtype=np.float32).reshape(1, -1, inputs)


def _flat(array: Floats) -> Floats:
    """Return [K, T, E, O] as [K, M, O], copied into order.

    BLAS rounds differently for strided rows, and their stride would depend on K.
    """
    return np.ascontiguousarray(array).reshape(len(array), -1, array.shape[-1])


def _by_length(length: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Return the agents with equal rollouts together, without those that did not act."""
    return [np.flatnonzero(length == n) for n in np.unique(length).tolist() if n > 0]
