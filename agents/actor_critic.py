"""The on-policy actor-critic cohort: K agents that act and learn together.

Shapes: K agents, E environment copies each, T steps per rollout, M = T * E rows per iteration (time
order, the copies of a moment side by side), O observation components, A actions, P parameters.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fdrl.core.arrays import Array, Metrics
from fdrl.core.cohort import CohortContext, Episodes, Experience
from fdrl.core.errors import FdrlError
from fdrl.core.settings import network_numbers

from . import train_state
from .buffer import Batch, VisitRecorder, batch_of, flat, lived_first, reordered, zeroed
from .cohort import NetworkSettings, ValueCohort
from .gaussian import answers
from .rollout import Collector, Rollout, UniformStreams
from .train_state import Generators, TrainState


class Settings(NetworkSettings, Protocol):
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


Update = Callable[[TrainState, Batch, NDArray[np.float64], Generators], Metrics]
"""Learn from a batch at learning rates [K] or [K, P], shuffling with [K] generators."""


class ActorCriticCohort(ValueCohort):
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
        optimizer: train_state.Kind,
        critic_learning_rate: float | None = None,
        fail_reward: float | None = None,
    ) -> None:
        super().__init__(settings, context, optimizer)
        self.iteration_steps = settings.n_envs * settings.n_steps
        self.settings, self._update = settings, update
        self._critic_lr, self._fail_reward = critic_learning_rate, fail_reward
        k = len(self.ids)
        self._active_sets = ActiveSets(self.learner, self.world)
        self._uniforms = UniformStreams(self._action_rngs)
        self._recorder = VisitRecorder(k, self._inputs, self.layout.outputs)
        self._progress = LearnProgress(k)

    def learn(self, steps: NDArray[np.int64], episodes: Episodes = None) -> Experience:
        """Learn locally for `steps[k]` steps, or until `episodes` have ended; see the class."""
        everyone = np.arange(len(self.ids))
        self.begin(everyone, steps, episodes)
        self.advance(lambda busy: False)
        return self.result(everyone)

    def begin(self, rows: NDArray[np.int64], steps: NDArray[np.int64], episodes: Episodes) -> None:
        """Let agents `rows` set out to learn; see `fdrl.core.cohort.Interruptible`."""
        self._progress.begin(rows, self._budget(rows, steps), episodes)

    def advance(self, enough: Callable[[NDArray[np.bool_]], bool]) -> NDArray[np.bool_]:
        """Let all busy agents learn until enough of them are through; returns who is busy [K]."""
        progress = self._progress
        busy = progress.busy
        try:
            while busy.any():
                length = np.minimum(progress.left // self.settings.n_envs, self.settings.n_steps)
                for rows in _by_length(length):
                    self._iterate(rows, int(length[rows[0]]))
                now = progress.busy
                if (now != busy).any():
                    busy = now
                    if enough(busy):
                        break
        finally:
            self._active_sets.settle()
        return busy

    def result(self, rows: NDArray[np.int64]) -> Experience:
        """Return what agents `rows` have learned from; see `fdrl.core.cohort.Interruptible`."""
        spent = self._progress.taken(rows)
        return self._experience(rows, self._progress.end(rows), spent)

    def _iterate(self, rows: NDArray[np.int64], length: int) -> None:
        """Let agents `rows` act for `length` steps and learn from them."""
        active = self._active_sets.take(rows)
        rollout = self._act(active, length)
        metrics = self._learn_from(rollout, active)
        ended = active.world.tally.count()
        learned = None if rollout.alive is None else np.any(rollout.alive, axis=(1, 2))
        self._progress.note(rows, length * self.settings.n_envs, ended, metrics, learned)

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

    def _act(self, active: ActiveAgents, steps: int, keep_following: bool = False) -> Rollout:
        """Roll out `steps` steps."""
        copies = self.settings.n_envs
        uniforms = self._uniforms.take(active.rows, steps * copies * math.prod(self._draw_shape))
        self._taken[active.rows] += steps * copies
        return active.world.act(
            active.learner.network,
            uniforms.reshape(-1, steps, copies, *self._draw_shape),
            self._fail_reward,
            keep_following,
        )

    def _learn_from(self, rollout: Rollout, active: ActiveAgents) -> Metrics:
        """Let active agents learn from their rollout; record what it saw."""
        batch, said = batch_of(
            self.settings,
            active.learner,
            rollout.observations,
            actions=rollout.actions,
            rewards=rollout.rewards,
            done=rollout.terminated | rollout.truncated,
            truncated_values=rollout.truncated_values,
            last=rollout.last,
            alive=rollout.alive,
        )
        self._recorder.add(active.rows, batch.observations, said, batch.counts)
        shuffles = [self._shuffle_rngs[k] for k in active.rows.tolist()]
        return self._update(active.learner, batch, self._rates(active.rows), shuffles)

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
        self._uniforms.give_back()
        return super().state()

    def load_state(self, state: Mapping[str, Array]) -> None:
        """Continue from what `state` returned."""
        self._uniforms.give_back()
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
        rollout = self._act(self._active_sets.take(rows), t, keep_following=True)
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


# ---- The agents of a cohort that are at work, as a smaller stack of their own ----


@dataclass
class ActiveAgents:
    """Agents `rows` [R] of a cohort, with what they learn with and act in."""

    rows: NDArray[np.int64]
    learner: TrainState
    world: Collector


class ActiveSets:
    """Hands out active agents. Whoever is not among the present ones stands still, at no cost.

    Rows are copied when the active agents change, not at every step; until `settle` has put them
    back, the cohort's own rows of those at work are out of date.
    """

    def __init__(self, learner: TrainState, world: Collector) -> None:
        rows = np.arange(len(learner.count))
        self._all = ActiveAgents(rows, learner, world)
        self._out: ActiveAgents | None = None

    def take(self, rows: NDArray[np.int64]) -> ActiveAgents:
        """Return agents `rows` as active ones, increasing."""
        if len(rows) == len(self._all.rows):
            self.settle()
            return self._all
        if self._out is None or not np.array_equal(rows, self._out.rows):
            self.settle()
            learner, world = self._all.learner.take(rows), self._all.world.take(rows)
            self._out = ActiveAgents(rows, learner, world)
        return self._out

    def settle(self) -> None:
        """Put back what is out."""
        out, self._out = self._out, None
        if out is not None:
            self._all.learner.put(out.rows, out.learner)
            self._all.world.put(out.rows, out.world)


# ---- Local training under way: what is left for each agent, and sums of what they report ----
#
# Shapes: K agents, R of them.


NEVER = np.iinfo(np.int64).max
"""More episodes than an agent will ever end."""


class LearnProgress:
    """Local training of each of K agents, none of them busy at first."""

    def __init__(self, agents: int) -> None:
        self.left = np.zeros(agents, np.int64)
        """Steps that each agent may still take; 0 once it is through."""
        self._goal = np.zeros(agents, np.int64)
        self._taken = np.zeros(agents, np.int64)
        self._iterations = np.zeros(agents)
        self._sums: Metrics = {}

    @property
    def busy(self) -> NDArray[np.bool_]:
        """Who is not through [K]."""
        return self.left > 0

    def begin(self, rows: NDArray[np.int64], steps: NDArray[np.int64], episodes: Episodes) -> None:
        """Let agents `rows` start: for `steps` [R], or until `episodes` ([R]) have ended."""
        goal = np.broadcast_to(np.int64(NEVER) if episodes is None else episodes, rows.shape)
        self.left[rows] = np.where(goal > 0, steps, 0)
        self._goal[rows] = goal

    def note(
        self,
        rows: NDArray[np.int64],
        steps: int,
        ended: NDArray[np.int64],
        metrics: Metrics,
        learned: NDArray[np.bool_] | None = None,
    ) -> None:
        """Count an iteration of agents `rows`, which have `ended` [R] episodes in it.

        Metrics of agents that had nothing to learn from (`learned` [R], all by default) are left
        out.
        """
        there = np.ones(len(rows), np.bool_) if learned is None else learned
        for name, values in metrics.items():
            if name not in self._sums:
                self._sums[name] = np.zeros(len(self.left))
            self._sums[name][rows[there]] += values[there]
        self._iterations[rows[there]] += 1
        self._taken[rows] += steps
        left = self.left[rows] - steps
        left[ended >= self._goal[rows]] = 0
        self.left[rows] = left

    def taken(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the steps that local training has taken of their budget [R], and forget them."""
        taken = self._taken[rows]
        self._taken[rows] = 0
        return taken

    def end(self, rows: NDArray[np.int64]) -> Metrics:
        """Return means over its iterations [R], none if there were none; forget them."""
        learned = self._iterations[rows]
        sums = self._sums if learned.any() else {}
        metrics = {n: v[rows] / np.maximum(learned, 1) for n, v in sums.items()}
        self._iterations[rows] = 0
        for values in self._sums.values():
            values[rows] = 0
        return metrics


def actor_critic_numbers(
    hidden: tuple[int, ...], observation: int, answer: int, rows: int
) -> dict[str, float]:
    """Return what a policy, a critic and a rollout of so many rows hold, by setting.

    See `fdrl.core.settings.LearnerSettings.numbers`.
    """
    return {
        "hidden": network_numbers(hidden, observation, answer)
        + network_numbers(hidden, observation, 1),
        "n_steps": float(rows) * (observation + answer + 6),
    }
