"""Moving policies toward a teacher: the client's half of every distillation method."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from fdrl.core.arrays import Floats, Metrics
from fdrl.core.settings import DistillSettings
from fdrl.ops import gaussian as gaussian_ops
from fdrl.ops.losses import kl

from . import train_state
from .gaussian import answers
from .networks.base import Network
from .train_state import TrainState, step_rows

WATCHED = 512
"""States at most on which the distance to the teacher is measured: on thousands of them, measuring
would take as long as learning."""


class DistillState:
    """The optimizer that distills the policies' parameters, and its shuffles.

    It is an Adam of the distillation's own, unless `borrowing` the learner's optimizer.
    """

    def __init__(
        self, agents: int, policy_size: int, generators: Sequence[np.random.Generator]
    ) -> None:
        self.moments = np.zeros((agents, 2, policy_size), np.float32)
        self.count = np.zeros(agents, np.int64)
        self.generators = list(generators)
        self.kind: train_state.Kind = "adam"

    def borrowing(self, learner: TrainState) -> DistillState:
        """Return a distiller with the same shuffles that steps with the learner's optimizer."""
        made = DistillState(0, 0, self.generators)
        made.moments = learner.moments[:, :, : self.moments.shape[2]]
        made.count, made.kind = learner.count, learner.kind
        return made

    def take(self, rows: NDArray[np.int64]) -> DistillState:
        """Return some agents' rows: copies of the moments, the generators themselves."""
        part = DistillState(0, 0, [self.generators[k] for k in rows.tolist()])
        part.moments, part.count = self.moments[rows], self.count[rows]
        part.kind = self.kind
        return part

    def put(self, rows: NDArray[np.int64], part: DistillState) -> None:
        """Write back what `take` returned."""
        self.moments[rows], self.count[rows] = part.moments, part.count


def weighted_kl(
    p: Floats, q: Floats, weights: Floats, gaussian: bool = False
) -> NDArray[np.float64]:
    """Weighted mean over N of KL(p || q), both [K, N, W]: [K]; 0 where no state has weight."""
    w = weights.astype(np.float64)
    total = np.add.reduce(w, axis=1)
    each = gaussian_ops.kl(p, q) if gaussian else kl(p, q)
    summed = np.add.reduce(np.ascontiguousarray(each) * w, axis=1)
    return np.asarray(summed / np.where(total > 0, total, 1.0))


def distill(
    network: Network,
    distiller: DistillState,
    rates: NDArray[np.float64],
    states: Floats,
    targets: Floats,
    weights: Floats,
    settings: DistillSettings,
) -> Metrics:
    """Distill every agent that has weights [K, N] toward `targets` [K, N, W].

    `rates` [K] are learning rates, `states` is [K or 1, N, O]. A pass is a fresh permutation of
    the N states, cut into minibatches (the last one smaller). With a `kl_limit`, an agent stops
    once the weighted mean KL(policy before || policy now) over the minibatch in hand exceeds it.
    """
    k = len(weights)
    names = ("distill/loss", "distill/kl_before", "distill/kl_after", "distill/gradient_steps")
    metrics = {name: np.zeros(k) for name in names}
    rows = np.flatnonzero((weights > 0).any(axis=1))
    if not len(rows):
        return metrics
    if len(rows) == k:
        return _distill(network, distiller, rates, states, targets, weights, settings)
    part, opt = network.take(rows), distiller.take(rows)
    own = states if states.shape[0] == 1 else states[rows]
    some = _distill(part, opt, rates[rows], own, targets[rows], weights[rows], settings)
    for name, values in some.items():
        metrics[name][rows] = values
    network.params[rows] = part.params
    distiller.put(rows, opt)
    return metrics


def _distill(
    network: Network,
    distiller: DistillState,
    rates: NDArray[np.float64],
    states: Floats,
    targets: Floats,
    weights: Floats,
    settings: DistillSettings,
) -> Metrics:
    k, n = weights.shape
    gaussian = network.layout.gaussian
    before = answers(network.policy(states), gaussian) if settings.kl_limit > 0 else None
    watched = _Watched(states, targets, weights, gaussian)
    kl_before = watched.distance(network)
    live = np.ones(k, np.bool_)
    loss, taken = np.zeros(k), np.zeros(k)
    step = train_state.STEPS[distiller.kind]
    size = distiller.moments.shape[2]
    for rows in minibatches(distiller.generators, live, n, settings):
        x = gather(states, rows)
        w = gather(weights, rows)
        value, logits = network.backward_distill(x, gather(targets, rows), w, settings.loss)
        if before is not None:
            moved = weighted_kl(gather(before, rows), answers(logits, gaussian), w, gaussian)
            live &= moved <= settings.kl_limit
            if not live.any():
                break
        active = live & (w > 0).any(axis=1)
        grad = network.grad[:, :size]
        train_state.clip_rows(grad, settings.max_grad_norm)
        policies = network.params[:, :size]
        step_rows(step, policies, grad, distiller.moments, distiller.count, rates, active)
        loss += np.where(active, value, 0.0)
        taken += active
    return {
        "distill/loss": loss / np.maximum(taken, 1),
        "distill/kl_before": kl_before,
        "distill/kl_after": watched.distance(network),
        "distill/gradient_steps": taken,
    }


class _Watched:
    """Where distances to the teacher are measured: all states, or `WATCHED` of them, evenly."""

    def __init__(self, states: Floats, targets: Floats, weights: Floats, gaussian: bool) -> None:
        n = weights.shape[1]
        rows = slice(None) if n <= WATCHED else np.linspace(0, n - 1, WATCHED).astype(np.int64)
        self._states, self._gaussian = states[:, rows], gaussian
        self._targets, self._weights = targets[:, rows], weights[:, rows]

    def distance(self, network: Network) -> NDArray[np.float64]:
        """Return the weighted mean KL(teacher || policy) [K]."""
        said = answers(network.policy(self._states), self._gaussian)
        return weighted_kl(self._targets, said, self._weights, self._gaussian)


def minibatches(
    generators: Sequence[np.random.Generator],
    live: NDArray[np.bool_],
    n: int,
    settings: DistillSettings,
) -> Iterator[NDArray[np.int64]]:
    """Yield row indices [K, B]; agents that have stopped draw no more."""
    size = min(settings.batch, n)
    per_pass = -(-n // size)
    steps = settings.passes * per_pass if settings.passes else settings.steps
    order = np.zeros((len(generators), n), np.int64)
    for i in range(steps):
        start = i % per_pass * size
        if start == 0:
            for k, g in enumerate(generators):
                if live[k]:
                    order[k] = g.permutation(n)
        yield order[:, start : start + size]


def gather(array: Floats, rows: NDArray[np.int64]) -> Floats:
    """Pick rows [K, B] of an array [K or 1, N, ...]."""
    agents = np.arange(len(rows))[:, None] if array.shape[0] > 1 else 0
    return np.asarray(array[agents, rows])
