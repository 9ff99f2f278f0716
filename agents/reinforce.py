"""REINFORCE (Williams 1992) with normalized returns, as FedHPD's published script runs it.

Shapes: K agents, n steps of an episode, M steps of a round, O observation components, A actions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from fdrl.core.arrays import Array
from fdrl.core.cohort import CohortContext, Episodes, Experience
from fdrl.core.errors import FdrlError
from fdrl.core.settings import LearnerSettings, network_numbers, sizes
from fdrl.core.watch import PULSE

from .cohort import NetworkCohort
from .episodes import Tape, any_set, returns_to_go, standardize
from .networks import Backend, make_network
from .networks.layout import Init
from .networks.numpy_network import Name as ActivationName
from .networks.policy_network import PolicyNetwork, policy_layout
from .ppo import Count, Fraction, NotNegative
from .rollout import Collector, sample
from .train_state import Anchor, TrainState

SPAN = 128
"""Steps for which uniforms are drawn ahead; those not used go back to their stream."""
METRICS = ("train/policy_gradient_loss", "train/entropy_loss", "train/learning_rate")


class Reinforce(
    LearnerSettings,
    frozen=True,
    forbid_unknown_fields=True,
    kw_only=True,
    tag="reinforce",
    tag_field="type",
):
    """REINFORCE: one gradient step an episode, no value network; Adam with epsilon 1e-5."""

    n_envs: ClassVar[int] = 1
    steps_together: ClassVar[bool] = False  # whose episode has ended learns before the next step

    learning_rate: NotNegative = 1e-3
    """Adam's step size, at first."""
    lr_step: Count = 100
    """Updates (that is, episodes) between two cuts of the learning rate."""
    lr_gamma: Annotated[float, msgspec.Meta(gt=0, le=1)] = 0.95
    """Factor by which each cut multiplies it; 1: the learning rate stays."""
    gamma: Fraction = 0.99
    """Discount factor."""
    normalize_returns: bool = True
    """Center and scale the returns-to-go of each episode."""
    reduce: Literal["sum", "mean"] = "sum"
    """Add up the loss over an episode's steps, or average it."""
    max_grad_norm: NotNegative = 0.0
    """Gradient norm at which a step is clipped, per agent; 0: never."""
    hidden: tuple[Count, ...] = (64, 64)
    """Hidden layers of the policy."""
    activation: ActivationName = "tanh"
    """What follows each hidden layer."""
    init: Init = "orthogonal"
    """Initial weights: orthogonal as in Stable-Baselines3, or torch's defaults."""
    backend: Backend = "numpy"
    """Hand-written kernels, or the torch reference."""

    @property
    def architecture(self) -> str:
        """Its hidden layers."""
        return sizes(self.hidden)

    def numbers(self, observation: int, answer: int, steps: int) -> dict[str, float]:
        """Return what a network holds."""
        return {"hidden": network_numbers(self.hidden, observation, answer)}


def make(settings: Reinforce, context: CohortContext) -> Reinforcers:
    """Build the cohort."""
    return Reinforcers(settings, context)


class Reinforcers(NetworkCohort):
    """K agents of one architecture that learn from whole episodes (a `fdrl.Cohort`).

    An iteration is an episode. All agents step together, each in one environment copy, and whose
    episode has ended learns before the next step. An agent that has used up its steps, or ended
    `episodes` of its episodes, waits untouched for the others, and its environment stands still;
    what it has done of an unfinished episode is kept for the next call.
    """

    iteration_steps = 0

    def __init__(self, settings: Reinforce, context: CohortContext) -> None:
        super().__init__(settings, context, "adam")
        self.settings = settings
        inner, layout = self.learner.network, self.layout
        if self.gaussian:
            self.close()
            raise FdrlError(
                "agent 'reinforce' has discrete actions only; for continuous ones use ppo or a2c"
            )
        self.layout = own = policy_layout(layout)
        self.learner = TrainState.fresh(PolicyNetwork(inner, own), "adam")
        # Agents learn one by one, in place: a batch of one episode each would have to be padded,
        # and copying rows to and fro costs as much as an update.
        self._policies = [
            PolicyNetwork(
                make_network(settings.backend, layout, inner.params[k : k + 1], context.device), own
            )
            for k in range(len(self.ids))
        ]
        moments, count = self.learner.moments, self.learner.count
        self._learners = [
            TrainState(policy, "adam", moments[k : k + 1], count[k : k + 1])
            for k, policy in enumerate(self._policies)
        ]
        self._updates = np.zeros(len(self.ids), np.int64)
        self._begun = Tape.nothing(len(self.ids), self._inputs)

    def learn(self, steps: NDArray[np.int64], episodes: Episodes = None) -> Experience:
        """Learn locally for `steps[k]` steps, or until `episodes` have ended; see the class."""
        left = self._budget(steps)
        limits = None if episodes is None else np.broadcast_to(episodes, left.shape)
        live = left > 0 if limits is None else (left > 0) & (limits > 0)
        tape = Tape(self._begun, self.world.tally.lengths[:, 0], self.n_actions)
        sums = np.zeros((len(METRICS), len(left)))
        taken, end = np.zeros_like(left), tape.first
        tape.observations[end] = self.world.observations
        while live.any():
            rows = np.flatnonzero(live)
            active = self.world if live.all() else self.world.take(rows)
            try:
                while live[rows].all():
                    span = min(int(left[rows].min()), SPAN)
                    tape.reserve(end + span)
                    ran = self._act(tape, end, span, rows, active, limits, sums)
                    end += ran
                    left[rows] -= ran
                    taken[rows] += ran
                    live &= left > 0
                    if limits is not None:
                        live &= self.world.tally.count() < limits
            finally:
                active.observations[...] = tape.observations[end, rows]
                if active is not self.world:
                    self.world.put(rows, active)
        self._taken += taken
        self._begun = tape.unfinished(taken, self.world.tally.lengths[:, 0])
        return self._experience(tape, taken, sums)

    def _budget(self, steps: Array) -> NDArray[np.int64]:
        """Check `steps` [K] and return a copy."""
        out = np.array(steps, dtype=np.int64)
        if out.shape != (len(self.ids),) or (out < 0).any():
            raise FdrlError(
                f"steps must be {len(self.ids)} numbers, one an agent, and not negative: {steps}"
            )
        return out

    def _act(
        self,
        tape: Tape,
        start: int,
        span: int,
        rows: NDArray[np.int64],
        active: Collector,
        limits: NDArray[np.int64] | None,
        sums: NDArray[np.float64],
    ) -> int:
        """Step agents `rows`, whose world is `active`, up to `span` times; return how often.

        Stops early once one of them, k, has ended `limits[k]` episodes in this call of `learn`.
        """
        network, env, tally = self.learner.network, active.env, active.tally
        draws = self._draws(span, rows)
        where = slice(None) if active is self.world else rows
        shape = (len(rows), *tape.observations.shape[2:])
        ran = 0
        for t in range(start, start + span):
            logits = network.policy(tape.observations[t])
            actions = sample(logits, draws[ran]).reshape(-1)
            tape.logits[t], tape.actions[t] = logits[:, :, 0], actions
            step = env.step(actions[where])
            PULSE.beats += 1
            tape.rewards[t][where] = step.rewards
            tape.observations[t + 1][where] = step.observations.reshape(shape)
            done = step.terminated | step.truncated
            tally.add(step.rewards, done)
            ran += 1
            if any_set(done):
                ended = rows[done].tolist()
                for k in ended:
                    sums[:, k] += self._learn_from(tape, k, t + 1)
                if limits is not None and any(
                    len(self.world.tally.ended[k]) >= limits[k] for k in ended
                ):
                    break
        self._give_back(span - ran, rows)
        return ran

    def _draws(self, span: int, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Draw uniforms [span, K, 1], those of agents `rows` from their own streams."""
        out = np.zeros((span, len(self.ids), 1), np.float32)
        for k in rows.tolist():
            out[:, k, 0] = self._action_rngs[k].random(span)
        return out

    def _give_back(self, count: int, rows: NDArray[np.int64]) -> None:
        """Wind the streams of agents `rows` back by `count` uniforms."""
        if count:
            for k in rows.tolist():
                self._action_rngs[k].bit_generator.advance(-count)

    def _learn_from(self, tape: Tape, k: int, end: int) -> tuple[float, float, float]:
        """Let agent k learn from the episode that ended just before row `end`; return `METRICS`."""
        s, n = self.settings, self.world.tally.ended[k][-1]
        episode = tape.episode(k, end, n)
        returns = returns_to_go(episode.rewards, s.gamma)
        gains = (standardize(returns) if s.normalize_returns else returns).astype(np.float32)
        network = self._policies[k]
        loss, entropy = network.backward_policy(episode.observations, episode.actions, gains[None])
        if s.reduce == "sum":
            np.multiply(network.grad, np.float32(n), out=network.grad)
            loss = loss * n
        rate = self._rate(k)
        self._learners[k].descend(np.array([rate]), s.max_grad_norm)
        self._updates[k] += 1
        return float(loss[0]), -float(entropy[0]), rate

    def _rate(self, k: int) -> float:
        """Return agent k's learning rate at present."""
        s = self.settings
        return float(s.learning_rate * s.lr_gamma ** (int(self._updates[k]) // s.lr_step))

    def _policy_rates(self) -> NDArray[np.float64]:
        return np.array([self._rate(k) for k in range(len(self.ids))])

    def _experience(
        self, tape: Tape, taken: NDArray[np.int64], sums: NDArray[np.float64]
    ) -> Experience:
        ended = self.world.tally.harvest()
        updates = np.array([len(r) for r in ended.returns], dtype=np.float64)
        metrics = dict(zip(METRICS, sums / np.maximum(updates, 1), strict=True))
        metrics["train/loss"] = metrics["train/policy_gradient_loss"].copy()
        metrics["train/gradient_steps"] = np.minimum(updates, 1)
        observations, probs = tape.seen(taken)
        shape = (*observations.shape[:2], *self.observation_shape)
        return Experience(
            observations.reshape(shape),
            probs,
            taken,
            ended.returns,
            ended.lengths,
            metrics,
            ended.ends,
        )

    def anchor(self, rows: Array | None, strength: float) -> None:
        """Add `strength` * (theta - rows) to the gradient of local learning; None ends it."""
        super().anchor(rows, strength)
        own = self.learner.anchor
        for k, learner in enumerate(self._learners):
            learner.anchor = None if own is None else Anchor(own.rows[k : k + 1], strength)

    def state(self) -> dict[str, Array]:
        """Everything needed for a bit-exact resume; the first axis of every array is K."""
        begun = {f"begun/{name}": array.copy() for name, array in self._begun.items()}
        return super().state() | {"updates": self._updates.copy()} | begun

    def load_state(self, state: Mapping[str, Array]) -> None:
        """Continue from what `state` returned."""
        super().load_state(state)
        self._updates[...] = state["updates"]
        longest = int(self.world.tally.lengths.max())
        self._begun = {name: state[f"begun/{name}"][:, :longest].copy() for name in self._begun}
