"""Proximal policy optimization (Schulman et al. 2017), as Stable-Baselines3 runs it."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from fdrl.core.arrays import Metrics
from fdrl.core.cohort import CohortContext
from fdrl.core.settings import LearnerSettings, sizes

from .actor_critic import ActorCriticCohort, actor_critic_numbers
from .buffer import Batch
from .gaussian import objective_of
from .losses import METRICS, ActorCriticLoss, normalize, total_loss
from .networks import Backend
from .networks.layout import Init
from .networks.numpy_network import Name as ActivationName
from .train_state import Generators, TrainState

Count = Annotated[int, msgspec.Meta(ge=1)]
Positive = Annotated[float, msgspec.Meta(gt=0)]
NotNegative = Annotated[float, msgspec.Meta(ge=0)]
Fraction = Annotated[float, msgspec.Meta(ge=0, le=1)]


class PPO(
    LearnerSettings,
    frozen=True,
    forbid_unknown_fields=True,
    kw_only=True,
    tag="ppo",
    tag_field="type",
):
    """PPO with a clipped ratio; the names are Stable-Baselines3's."""

    learning_rate: NotNegative = 3e-4
    """Adam's step size."""
    lr_schedule: Literal["constant", "linear"] = "constant"
    """Keep the learning rate, or let it fall to zero over the run's steps, which must be its only
    budget."""
    n_envs: Count = 8
    """Copies of its environment that an agent steps together."""
    n_steps: Count = 32
    """Steps in each copy before an update."""
    batch_size: Count = 64
    """Rows in a minibatch; the last one of a pass may be smaller."""
    n_epochs: Count = 10
    """Passes over each rollout."""
    gamma: Fraction = 0.99
    """Discount factor."""
    gae_lambda: Fraction = 0.95
    """Bias against variance in generalized advantage estimation."""
    clip_range: Positive = 0.2
    """How far the probability ratio may move from 1 before its gradient vanishes."""
    clip_range_vf: Positive | None = None
    """The same for the value, in units of the return; none: not clipped."""
    normalize_advantage: bool = True
    """Center and scale advantages in each minibatch."""
    ent_coef: float = 0.0
    """Weight of the entropy bonus."""
    vf_coef: float = 0.5
    """Weight of the value loss."""
    max_grad_norm: NotNegative = 0.5
    """Gradient norm at which a step is clipped, per agent; 0: never."""
    target_kl: Positive | None = None
    """Stop an update once the approximate KL exceeds 1.5 times this; none: never."""
    hidden: tuple[Count, ...] = (64, 64)
    """Hidden layers of the policy, and of the value."""
    activation: ActivationName = "tanh"
    """What follows each hidden layer."""
    init: Init = "orthogonal"
    """Initial weights: orthogonal as in Stable-Baselines3, or torch's defaults."""
    log_std_init: float | None = None
    """Continuous actions: logarithm of the standard deviations at the start; unset: 0."""
    backend: Backend = "numpy"
    """Hand-written kernels, or the torch reference."""

    @property
    def copies(self) -> int:
        """Environment copies that an agent steps together."""
        return self.n_envs

    @property
    def needs_steps(self) -> bool:
        """Whether the learning rate falls over the run's steps."""
        return self.lr_schedule == "linear"

    @property
    def architecture(self) -> str:
        """Its hidden layers."""
        return sizes(self.hidden)

    def numbers(self, observation: int, answer: int, steps: int) -> dict[str, float]:
        """Return what a policy, a critic and a rollout hold."""
        rows = min(steps, self.n_envs * self.n_steps)
        return actor_critic_numbers(self.hidden, observation, answer, rows)

    def for_pool(self, agents: int) -> PPO:
        """Return settings with minibatches of so many agents."""
        return msgspec.structs.replace(self, batch_size=self.batch_size * agents)

    def quick(self) -> PPO:
        """Return settings that pass over a rollout once."""
        return msgspec.structs.replace(self, n_epochs=1)


def make(settings: PPO, context: CohortContext) -> ActorCriticCohort:
    """Build the cohort."""
    return ActorCriticCohort(settings, context, partial(update, settings=settings), "adam")


def update(
    learner: TrainState, batch: Batch, lr: NDArray[np.float64], shuffles: Generators, settings: PPO
) -> Metrics:
    """Run `n_epochs` passes of minibatches over a batch; metrics [K] are means over minibatches.

    With `target_kl`, an agent that has moved too far stops where it is and draws no more shuffles,
    while the others go on. An agent with fewer rows than others takes as many steps as they fill.
    """
    (k, m), size = batch.log_probs.shape, settings.batch_size
    counts = np.full(k, m) if batch.counts is None else batch.counts
    length = m if batch.counts is None else _padded(counts, size)
    live = counts > 0
    sums, seen = np.zeros((len(METRICS), k)), np.zeros(k)
    order = np.zeros((k, length), np.int64)
    before = learner.count.copy()
    for _ in range(settings.n_epochs):
        for i in np.flatnonzero(live).tolist():
            order[i, : counts[i]] = shuffles[i].permutation(int(counts[i]))
        shuffled = batch.shuffled(order)
        for start in range(0, length, size):
            part, here = shuffled.part(start, min(start + size, length)), live & (counts > start)
            metrics = learner.network.backward(part.observations, objective(part, settings))
            sums += np.where(here, metrics, 0.0)
            seen += here
            if settings.target_kl is not None:
                live &= ~here | (metrics[3] <= 1.5 * settings.target_kl)
                if not live.any():
                    break
            learner.descend(lr, settings.max_grad_norm, live & here)
        if not live.any():
            break
    mean = sums / np.maximum(seen, 1)
    named = dict(zip(METRICS, mean, strict=True))
    named["train/loss"] = total_loss(mean, settings.ent_coef, settings.vf_coef)
    named["train/learning_rate"] = lr if lr.ndim == 1 else lr[:, 0]
    named["train/gradient_steps"] = (learner.count - before).astype(np.float64)
    return named


def _padded(counts: NDArray[np.int64], size: int) -> int:
    """Return the rows of full minibatches: then BLAS rounds alike, whichever agent has how many."""
    return -(-int(counts.max()) // size) * size


def objective(part: Batch, settings: PPO) -> ActorCriticLoss:
    """Return the clipped loss of one minibatch."""
    advantages = part.advantages
    return objective_of(part.actions)(
        actions=part.actions,
        advantages=normalize(advantages, part.shares)
        if settings.normalize_advantage
        else advantages,
        targets=part.returns,
        old_log_probs=part.log_probs,
        old_values=part.values,
        clip_range=settings.clip_range,
        clip_range_vf=settings.clip_range_vf,
        ent_coef=settings.ent_coef,
        vf_coef=settings.vf_coef,
        shares=part.shares,
    )
