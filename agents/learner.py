"""What K agents learn with: their networks and the state of their optimizers, a row an agent."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import optimizers
from .masking import shares
from .network import Network
from .workspace import SHARED

Floats = NDArray[np.float32]
Generators = Sequence[np.random.Generator]


@dataclass
class Batch:
    """A rollout, flat: observations [K, M, O], everything else [K, M]; M = T * E in time order.

    Continuous actions are [K, M, D], float32, as they were drawn, not as they were clipped. With
    `counts` [K] only the first counts[k] rows of agent k are steps that it took; `part` then says
    in `shares` what each row counts in a mean.
    """

    observations: Floats
    actions: NDArray[Any]
    log_probs: Floats
    values: Floats
    advantages: Floats
    returns: Floats
    counts: NDArray[np.int64] | None = None
    shares: Floats | None = None

    def shuffled(self, order: NDArray[np.int64]) -> Batch:
        """Return rows in each agent's `order` [K, L]; the result lies in the workspace."""
        (k, m), length = self.log_probs.shape, order.shape[1]
        flat = (order + np.arange(k)[:, None] * m).reshape(-1)
        picked: dict[str, Any] = {}
        for name in ARRAYS:
            a = getattr(self, name)
            tail = a.shape[2:]
            out = SHARED.take(f"shuffled {name}", (k, length, *tail), a.dtype.type)
            # mode="raise" would buffer `out`
            rows = out.reshape(k * length, *tail)
            np.take(a.reshape(k * m, *tail), flat, axis=0, out=rows, mode="clip")
            picked[name] = out
        return Batch(**picked, counts=self.counts)

    def part(self, start: int, stop: int) -> Batch:
        """Return rows start..stop-1 of every agent, as views."""
        cut: dict[str, Any] = {n: getattr(self, n)[:, start:stop] for n in ARRAYS}
        return Batch(
            **cut, shares=None if self.counts is None else shares(self.counts, start, stop)
        )


ARRAYS = ("observations", "actions", "log_probs", "values", "advantages", "returns")
"""The fields of a `Batch` that have a row a step."""


@dataclass
class Anchor:
    """FedProx (Li et al. 2020): strength * (theta - rows) joins the gradient of local learning."""

    rows: Floats
    strength: float

    def pull(self, network: Network) -> None:
        """Add the term to `network.grad`."""
        away = SHARED.take("anchor", network.params.shape)
        np.subtract(network.params, self.rows, out=away)
        np.multiply(away, np.float32(self.strength), out=away)
        np.add(network.grad, away, out=network.grad)

    def take(self, rows: NDArray[np.int64]) -> Anchor:
        """Return the anchor of some agents."""
        return Anchor(self.rows[rows], self.strength)


@dataclass
class Learner:
    """Networks [K, P] and one optimizer: `moments` [K, slots, P], `count` [K] of its steps."""

    network: Network
    kind: optimizers.Kind
    moments: Floats
    count: NDArray[np.int64]
    anchor: Anchor | None = None

    @classmethod
    def fresh(cls, network: Network, kind: optimizers.Kind) -> Learner:
        """Return a learner whose optimizer has taken no step."""
        k, p = network.params.shape
        moments = np.zeros((k, optimizers.SLOTS[kind], p), np.float32)
        return cls(network, kind, moments, np.zeros(k, np.int64))

    def take(self, rows: NDArray[np.int64]) -> Learner:
        """Return copies of some agents' rows."""
        anchor = self.anchor.take(rows) if self.anchor else None
        network = self.network.take(rows)
        return Learner(network, self.kind, self.moments[rows], self.count[rows], anchor)

    def put(self, rows: NDArray[np.int64], part: Learner) -> None:
        """Write back what `take` returned."""
        self.network.params[rows] = part.network.params
        self.moments[rows] = part.moments
        self.count[rows] = part.count

    def descend(
        self, lr: NDArray[np.float64], max_grad_norm: float, live: NDArray[np.bool_] | None = None
    ) -> None:
        """Clip `network.grad` per agent and step; agents that are not `live` [K] stay as they are.

        `lr` is [K] or [K, P].
        """
        grad = self.network.grad
        if self.anchor is not None:
            self.anchor.pull(self.network)
        optimizers.clip_rows(grad, max_grad_norm)
        step = optimizers.STEPS[self.kind]
        step_rows(step, self.network.params, grad, self.moments, self.count, lr, live)


def step_rows(
    step: Callable[..., None],
    params: Floats,
    grad: Floats,
    moments: Floats,
    count: NDArray[np.int64],
    lr: NDArray[np.float64],
    live: NDArray[np.bool_] | None,
) -> None:
    """Apply an optimizer to the live rows [K] only; the others keep every bit."""
    if live is None or live.all():
        step(params, grad, moments, count, lr)
        return
    rows = np.flatnonzero(live)
    if not len(rows):
        return
    p, m, c = params[rows], moments[rows], count[rows]
    step(p, grad[rows], m, c, lr[rows])
    params[rows], moments[rows], count[rows] = p, m, c
