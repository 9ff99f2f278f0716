"""A strategy and learners of one's own, as a user writes them: one plain file."""

import math

import numpy as np

import fdrl
from fdrl.core.learner import clipped
from fdrl.core.message import Parameters
from fdrl.ops import gaussian
from fdrl.ops.losses import kl, loss_and_gradient
from fdrl.wire.checks import check_parameters


class Client(fdrl.Client):
    """Uploads parameters, and goes part of the way to their median."""

    def upload(self, cohort, experience, round):
        rows = cohort.parameters()
        return {
            a: Parameters(round=round, values=row) for a, row in zip(cohort.ids, rows, strict=True)
        }

    def check(self, cohort, message, agent, round):
        size = cohort.parameters().shape[1]
        check_parameters(message, round=round, part="all", size=size)

    def download(self, cohort, messages, round):
        rows = cohort.parameters()
        for k, agent in enumerate(cohort.ids):
            if agent in messages:
                rows[k] += self.settings.share * (messages[agent].values - rows[k])
        cohort.load_parameters(rows)
        return {}


class Server(fdrl.Server):
    """Takes the median of parameters."""

    def check(self, message, agent, round):
        size = self.context.facts[0].parameters["all"]
        check_parameters(message, round=round, part="all", size=size)

    def aggregate(self, round, messages):
        if not messages:
            return {}
        rows = np.stack([messages[agent].values for agent in sorted(messages)])
        return dict.fromkeys(self.context.ids, Parameters(round=round, values=np.median(rows, 0)))


class Median(fdrl.StrategySettings):
    """Move all agents toward the median of their parameters."""

    client = Client
    server = Server
    default_same_init = True

    share: float = 0.5
    """How far, between 0 and 1."""


class Learners(fdrl.Learner):
    """Linear softmax policies that do again what they did."""

    divergence = kl

    def __init__(self, settings, context):
        super().__init__(settings, context)
        shape = (math.prod(self.observation_shape), self.n_actions)
        self.weights = self.initial(lambda rng: rng.normal(0, 0.01, shape))

    def answer(self, k, states):
        odds = np.exp(states @ self.weights[k])
        return odds / odds.sum(1, keepdims=True)

    def improve(self, k, rollout):
        error = rollout.answers.copy()
        error[np.arange(len(error)), rollout.actions] -= 1
        gradient = rollout.observations.T @ error / len(error) + self.pull(k, "weights")
        self.weights[k] -= self.settings.rate * clipped(gradient, 1.0)
        return {"train/loss": float((error**2).mean())}

    def teach(self, k, states, targets, weights, settings):
        logits = (states @ self.weights[k])[None]
        loss, slope = loss_and_gradient(logits, targets[None], weights[None], settings.loss)
        self.weights[k] -= 10 * settings.lr * states.T @ slope[0]
        return float(loss[0])


class Habit(fdrl.AgentSettings):
    """Do again what was done."""

    cohort = Learners

    rate: float = 0.1
    """Step size."""


class Walkers(fdrl.Learner):
    """Gaussian policies with linear means, and constants that estimate values."""

    policy = ("weights", "std")
    value = ("baseline",)
    memory = ("iterations",)
    divergence = gaussian.kl

    def __init__(self, settings, context):
        super().__init__(settings, context)
        shape = (math.prod(self.observation_shape), self.n_actions)
        self.weights = self.initial(lambda rng: rng.normal(0, 0.01, shape))
        self.std = self.initial(lambda rng: np.full(self.n_actions, 0.5))
        self.baseline = np.zeros((len(self.ids), 1), np.float32)
        self.iterations = np.zeros(len(self.ids), np.int64)

    def answer(self, k, states):
        means = states @ self.weights[k]
        return np.concatenate([means, np.broadcast_to(self.std[k], means.shape)], axis=1)

    def improve(self, k, rollout):
        self.iterations[k] += 1
        self.baseline[k] += 0.1 * (rollout.rewards.mean() - self.baseline[k])
        means = rollout.answers[:, : self.n_actions]
        gradient = rollout.observations.T @ (means - rollout.actions) / len(means)
        step = clipped(gradient + self.pull(k, "weights"), 1.0)
        self.weights[k] -= self.settings.rate * step
        self.baseline[k] -= self.settings.rate * clipped(self.pull(k, "baseline"), 1.0)
        self.std[k] -= self.settings.rate * clipped(self.pull(k, "std"), 1.0)
        return {}

    def teach(self, k, states, targets, weights, settings):
        apart = states @ self.weights[k] - targets[:, : self.n_actions]
        share = weights[:, None] / weights.sum()
        self.weights[k] -= 100 * settings.lr * states.T @ (share * apart)
        return float((share * apart**2).sum())


class Walk(fdrl.AgentSettings):
    """Walk on an episode at a time."""

    cohort = Walkers

    n_steps: int = 0
    rate: float = 0.1
