"""Advantage actor-critic, synchronous (Mnih et al. 2016), as Stable-Baselines3 runs it."""

from __future__ import annotations

from functools import partial
from typing import Literal

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
from .ppo import Count, Fraction, NotNegative
from .train_state import Generators, TrainState


class A2C(
    LearnerSettings,
    frozen=True,
    forbid_unknown_fields=True,
    kw_only=True,
    tag="a2c",
    tag_field="type",
):
    """Advantage actor-critic: one gradient step a rollout; the names are Stable-Baselines3's."""

    learning_rate: NotNegative = 7e-4
    """The optimizer's step size."""
    critic_learning_rate: NotNegative | None = None
    """The value's own step size; none: the same."""
    lr_schedule: Literal["constant", "linear"] = "constant"
    """Keep the learning rate, or let it fall to zero over the run's steps, which must be its only
    budget."""
    optimizer: Literal["rmsprop", "adam"] = "rmsprop"
    """RMSprop (alpha 0.99) or Adam, both with epsilon 1e-5."""
    n_envs: Count = 8
    """Copies of its environment that an agent steps together."""
    n_steps: Count = 5
    """Steps in each copy before an update."""
    gamma: Fraction = 0.99
    """Discount factor."""
    gae_lambda: Fraction = 1.0
    """Bias against variance in generalized advantage estimation."""
    normalize_advantage: bool = False
    """Center and scale advantages in each rollout."""
    ent_coef: float = 0.0
    """Weight of the entropy bonus."""
    vf_coef: float = 0.5
    """Weight of the value loss."""
    max_grad_norm: NotNegative = 0.5
    """Gradient norm at which a step is clipped, per agent; 0: never."""
    fail_reward: float | None = None
    """What the learner sees as the reward of a step that terminates, e.g. -100; none: the true one.
    Reported returns stay the true ones."""
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


def make(settings: A2C, context: CohortContext) -> ActorCriticCohort:
    """Build the cohort."""
    return ActorCriticCohort(
        settings,
        context,
        partial(update, settings=settings),
        settings.optimizer,
        settings.critic_learning_rate,
        settings.fail_reward,
    )


def update(
    learner: TrainState,
    batch: Batch,
    lr: NDArray[np.float64],
    shuffles: Generators,
    settings: A2C,
) -> Metrics:
    """Take one gradient step on the whole batch; metrics [K]."""
    whole = batch.part(0, batch.log_probs.shape[1])
    live = np.ones(len(whole.actions), np.bool_) if batch.counts is None else batch.counts > 0
    metrics = learner.network.backward(whole.observations, objective(whole, settings))
    learner.descend(lr, settings.max_grad_norm, live)
    named = dict(zip(METRICS[:3], metrics[:3], strict=True))
    named["train/loss"] = total_loss(metrics, settings.ent_coef, settings.vf_coef)
    named["train/learning_rate"] = lr if lr.ndim == 1 else lr[:, 0]
    named["train/gradient_steps"] = live.astype(np.float64)
    return named


def objective(batch: Batch, settings: A2C) -> ActorCriticLoss:
    """Return the loss of one rollout."""
    advantages = batch.advantages
    return objective_of(batch.actions)(
        actions=batch.actions,
        advantages=normalize(advantages, batch.shares)
        if settings.normalize_advantage
        else advantages,
        targets=batch.returns,
        old_log_probs=batch.log_probs,
        old_values=batch.values,
        clip_range=None,
        clip_range_vf=None,
        ent_coef=settings.ent_coef,
        vf_coef=settings.vf_coef,
        shares=batch.shares,
    )
