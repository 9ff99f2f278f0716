"""Protocols of a network of K agents, and of what it is trained for."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fdrl.core.arrays import Doubles, Floats
from fdrl.core.settings import Loss

from .layout import Layout


class Network(Protocol):
    """What a backend provides. `params` and `grad` [K, P] are NumPy arrays owned by the network."""

    layout: Layout
    params: Floats
    grad: Floats

    def policy(self, x: Floats) -> Floats:
        """Return the logits [K, A, B] at x [K or 1, B, O]."""

    def values(self, x: Floats) -> Floats:
        """Return the values [K, B]."""

    def outputs(self, x: Floats) -> tuple[Floats, Floats]:
        """Return logits [K, A, B] and values [K, B]."""

    def backward(self, x: Floats, objective: Objective) -> NDArray[np.float64]:
        """Write the objective's gradient at x [K, B, O] into `grad`; return its metrics [n, K]."""

    def backward_distill(
        self, x: Floats, targets: Floats, weights: Floats, loss: Loss
    ) -> tuple[NDArray[np.float64], Floats]:
        """Write the distillation gradient into the policy's part of `grad`.

        `targets` [K, B, A], `weights` [K, B]. Return the loss [K] and the logits [K, A, B].
        """

    def backward_values(self, x: Floats, targets: Floats, shares: Floats) -> NDArray[np.float64]:
        """Write the gradient of the values' squared errors into their part of `grad`.

        `targets` [K, B]; row b of agent k counts `shares` [k, b]. Return the weighted sums [K].
        """

    def take(self, rows: NDArray[np.int64]) -> Network:
        """Return a network of copies of some agents."""


class Objective(Protocol):
    """A loss over one minibatch of every agent."""

    def gradient(self, logits: Floats, values: Floats, rows: slice) -> Doubles:
        """Overwrite logits [K, A, b] and values [K, b] of `rows` by the loss's slopes there.

        Return the metrics [n, K] of `METRICS`, as sums over rows divided by B.
        """
