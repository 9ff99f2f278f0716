"""Policies without a value network, for learners that need none.

The kernels and the torch reference know two towers (`layout`); here only the policy's rows are
shown to the outside, so optimizers, checkpoints and messages carry no idle tower.

Shapes: K agents, B rows, O inputs, A actions, P parameters of a policy.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from fdrl.core.arrays import Doubles, Floats
from fdrl.core.settings import Loss

from ..losses import log_softmax, one_hot
from .base import Network, Objective
from .layout import ImageLayout, ImagePolicyLayout, Layout


@dataclass(frozen=True)
class PolicyLayout(Layout):
    """The shape of one agent's policy: the policy tower of a `Layout` is all there is."""

    @cached_property
    def size(self) -> int:
        """P: parameters of the policy."""
        return self.policy_size


def policy_layout(layout: Layout) -> Layout:
    """Return the layout of the policy tower alone."""
    kind = ImagePolicyLayout if isinstance(layout, ImageLayout) else PolicyLayout
    return kind(**{f.name: getattr(layout, f.name) for f in fields(layout)})


class PolicyNetwork:
    """K policies (a `Network` whose values may not be asked for); `params`, `grad` are [K, P]."""

    def __init__(self, inner: Network, layout: Layout) -> None:
        self.layout = layout
        self.params = inner.params[:, : layout.policy_size]
        self.grad = inner.grad[:, : layout.policy_size]
        self._inner = inner

    def policy(self, x: Floats) -> Floats:
        """Return the logits [K, A, B] at x [K or 1, B, O]."""
        return self._inner.policy(x)

    def backward_policy(
        self, x: Floats, actions: NDArray[np.int64], gains: Floats
    ) -> tuple[Doubles, Doubles]:
        """Write the gradient of -mean(gains * log pi(actions | x)) into `grad`.

        x is [K, B, O], actions and gains are [K, B]. Return this loss [K] and the entropy [K].
        It is the distillation gradient toward t = gain * one-hot: the forward loss has the slope
        p * sum(t) - t at the logits, which for this t is gain * (p - one-hot).
        """
        hot = one_hot(actions, self.layout.n_actions)
        targets = np.ascontiguousarray((hot * gains[:, None]).swapaxes(1, 2))
        _, logits = self._inner.backward_distill(x, targets, np.ones_like(gains), "forward")
        log_p = log_softmax(logits)
        log_pi = np.add.reduce(hot * log_p, axis=1)
        entropy = -np.add.reduce(np.exp(log_p) * log_p, axis=1)
        return _mean(-gains * log_pi), _mean(entropy)

    def backward_distill(
        self, x: Floats, targets: Floats, weights: Floats, loss: Loss
    ) -> tuple[Doubles, Floats]:
        """Write the distillation gradient into `grad`; see `Network`."""
        return self._inner.backward_distill(x, targets, weights, loss)

    def take(self, rows: NDArray[np.int64]) -> PolicyNetwork:
        """Return a network of copies of some agents."""
        return PolicyNetwork(self._inner.take(rows), self.layout)

    def values(self, x: Floats) -> NoReturn:
        """Raise: there is no value network."""
        raise TypeError("a policy without a value network has no values")

    def backward_values(self, x: Floats, targets: Floats, shares: Floats) -> NoReturn:
        """Raise: a policy has no value network."""
        self.values(x)

    def outputs(self, x: Floats) -> NoReturn:
        """Raise: there is no value network."""
        self.values(x)

    def backward(self, x: Floats, objective: Objective) -> NoReturn:
        """Raise: an `Objective` has a value loss; `backward_policy` takes the policy's alone."""
        self.values(x)


def _mean(rows: Floats) -> Doubles:
    """Mean of each row [K, B]: [K]."""
    return np.asarray(np.add.reduce(rows, axis=1, dtype=np.float64) / rows.shape[1])
