"""What K agents learn with: their networks [K, P] and optimizers, a row an agent."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fdrl.core.arrays import Floats

from .networks.base import Network
from .networks.workspace import SHARED

# ---- Adam, RMSprop and SGD over rows [K, P], one agent a row, and clipping per row: all in
# place


Kind = Literal["adam", "rmsprop", "sgd"]
BETA1, BETA2, ALPHA = 0.9, 0.999, 0.99
SLOTS: dict[str, int] = {"adam": 2, "rmsprop": 1, "sgd": 0}


def clip_rows(grad: Floats, limit: float) -> NDArray[np.float64]:
    """Scale each row to a norm of at most `limit` (0: never), as torch does; return the norms."""
    squares = np.matmul(grad[:, None, :], grad[:, :, None])[:, 0, 0]
    norms = np.sqrt(squares.astype(np.float64))
    if limit > 0:
        factor = np.minimum(limit / (norms + 1e-6), 1.0)
        if (factor < 1).any():
            np.multiply(grad, factor.astype(np.float32)[:, None], out=grad)
    return np.asarray(norms)


def _column(values: NDArray[np.float64]) -> Floats:
    return values.astype(np.float32)[:, None]


def adam(
    params: Floats,
    grad: Floats,
    moments: Floats,
    count: NDArray[np.int64],
    lr: NDArray[np.float64],
    eps: float = 1e-5,
) -> None:
    """One step of Adam (Kingma & Ba 2015) for every row; advances `count` [K].

    `moments` [K, 2, P] hold m / (1 - beta1) and v / (1 - beta2): the constant factors go into the
    step size, which saves two passes over memory. `lr` is [K] or, one rate a parameter, [K, P].
    """
    m, v = moments[:, 0], moments[:, 1]
    count += 1
    steps = count.astype(np.float64)
    spread = np.sqrt((1 - BETA2) / (1 - BETA2**steps))
    rate = (1 - BETA1) / (1 - BETA1**steps) / spread
    scratch = SHARED.take("optimizer", params.shape)
    np.multiply(m, np.float32(BETA1), out=m)
    np.add(m, grad, out=m)
    np.multiply(v, np.float32(BETA2), out=v)
    np.multiply(grad, grad, out=scratch)
    np.add(v, scratch, out=v)
    np.sqrt(v, out=scratch)
    np.add(scratch, _column(eps / spread), out=scratch)
    np.divide(m, scratch, out=scratch)
    _descend(params, scratch, rate, lr)


def rmsprop(
    params: Floats,
    grad: Floats,
    moments: Floats,
    count: NDArray[np.int64],
    lr: NDArray[np.float64],
    eps: float = 1e-5,
) -> None:
    """One step of RMSprop as torch and SB3's A2C have it; `moments` [K, 1, P]."""
    v = moments[:, 0]
    count += 1
    scratch = SHARED.take("optimizer", params.shape)
    np.multiply(v, np.float32(ALPHA), out=v)
    np.multiply(grad, grad, out=scratch)
    np.multiply(scratch, np.float32(1 - ALPHA), out=scratch)
    np.add(v, scratch, out=v)
    np.sqrt(v, out=scratch)
    np.add(scratch, np.float32(eps), out=scratch)
    np.divide(grad, scratch, out=scratch)
    _descend(params, scratch, np.ones(len(count)), lr)


def sgd(
    params: Floats,
    grad: Floats,
    moments: Floats,
    count: NDArray[np.int64],
    lr: NDArray[np.float64],
) -> None:
    """One step of plain gradient descent; `moments` [K, 0, P] hold nothing."""
    count += 1
    scratch = SHARED.take("optimizer", params.shape)
    np.copyto(scratch, grad)
    _descend(params, scratch, np.ones(len(count)), lr)


def _descend(
    params: Floats, direction: Floats, rate: NDArray[np.float64], lr: NDArray[np.float64]
) -> None:
    """Subtract rate [K] * lr ([K] or [K, P]) * direction; overwrites `direction`."""
    if lr.ndim == 1:
        np.multiply(direction, _column(rate * lr), out=direction)
    else:
        np.multiply(direction, (rate[:, None] * lr).astype(np.float32), out=direction)
    np.subtract(params, direction, out=params)


STEPS: dict[str, Callable[..., None]] = {"adam": adam, "rmsprop": rmsprop, "sgd": sgd}

# ---- What K agents learn with: their networks and the state of their optimizers, a row an agent


Generators = Sequence[np.random.Generator]


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
class TrainState:
    """Networks [K, P] and one optimizer: `moments` [K, slots, P], `count` [K] of its steps."""

    network: Network
    kind: Kind
    moments: Floats
    count: NDArray[np.int64]
    anchor: Anchor | None = None

    @classmethod
    def fresh(cls, network: Network, kind: Kind) -> TrainState:
        """Return a learner whose optimizer has taken no step."""
        k, p = network.params.shape
        moments = np.zeros((k, SLOTS[kind], p), np.float32)
        return cls(network, kind, moments, np.zeros(k, np.int64))

    def take(self, rows: NDArray[np.int64]) -> TrainState:
        """Return copies of some agents' rows."""
        anchor = self.anchor.take(rows) if self.anchor else None
        network = self.network.take(rows)
        return TrainState(network, self.kind, self.moments[rows], self.count[rows], anchor)

    def put(self, rows: NDArray[np.int64], part: TrainState) -> None:
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
        clip_rows(grad, max_grad_norm)
        step = STEPS[self.kind]
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
