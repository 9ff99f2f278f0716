"""Cohorts whose agents also estimate values, and can be taught other agents' estimates.

Shapes: K agents, N states, B rows of a minibatch, O observation components.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fdrl.distill import DistillSettings
from fdrl.errors import FdrlError

from . import optimizers
from .distilling import Distiller, Metrics, gather, minibatches
from .learner import step_rows
from .network import Network
from .policies import Policies

Array = NDArray[Any]
Floats = NDArray[np.float32]


class Valuing(Policies):
    """Policies with value networks beside them (a `fdrl.cohort.Valued`)."""

    late_state = ("distill/value_moments", "distill/value_count")
    _critics: Distiller | None = None
    """The optimizer that distills values, once it is needed; it shares the policies' shuffles."""

    def values(self, states: Array) -> Floats:
        """Estimate the values of `states` [N, *O] or [K, N, *O]: [K, N]."""
        return np.array(self.learner.network.values(self._states(states)))

    def distill_values(
        self, states: Array, targets: Array, weights: Array, settings: DistillSettings
    ) -> Metrics:
        """Move each agent's values toward `targets` [K, N]; see `fdrl.cohort.Valued`."""
        x, k = self._states(states), len(self.ids)
        if targets.shape != weights.shape or weights.shape != (k, x.shape[1]):
            raise FdrlError(
                f"targets {targets.shape} and weights {weights.shape} do not fit {k} agents and "
                f"{x.shape[1]} states"
            )
        t = np.ascontiguousarray(targets, dtype=np.float32)
        w = np.ascontiguousarray(weights, dtype=np.float32)
        error, steps = teach(self.learner.network, self._critic_distiller(), x, t, w, settings)
        return {"distill/value_error": error, "distill/value_steps": steps}

    def _critic_distiller(self) -> Distiller:
        if self._critics is None:
            size = self.layout.size - self.layout.policy_size
            self._critics = Distiller(len(self.ids), size, self._distiller.generators)
        return self._critics

    def _learning_state(self) -> dict[str, Array]:
        out = super()._learning_state()
        if self._critics is not None:
            out["distill/value_moments"] = self._critics.moments.copy()
            out["distill/value_count"] = self._critics.count.copy()
        return out

    def _load_learning_state(self, state: Mapping[str, Array]) -> None:
        super()._load_learning_state(state)
        self._critics = None
        if "distill/value_count" in state:
            critics = self._critic_distiller()
            critics.moments[...] = state["distill/value_moments"]
            critics.count[...] = state["distill/value_count"]


def teach(
    network: Network,
    distiller: Distiller,
    states: Floats,
    targets: Floats,
    weights: Floats,
    settings: DistillSettings,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Regress the value networks on `targets` [K, N]; return errors and steps [K].

    Errors are roots of mean squares. `states` are [K or 1, N, O]. Agents without weights [K, N]
    stay as they are. Gradients are not clipped: the size of values depends on the task, and Adam
    does not mind it.
    """
    k, n = weights.shape
    first = network.layout.policy_size
    rates = np.full(k, settings.lr)
    live = np.asarray((weights > 0).any(axis=1))
    squared, taken = np.zeros(k), np.zeros(k)
    for rows in minibatches(distiller.generators, live, n, settings):
        w = gather(weights, rows)
        active = live & (w > 0).any(axis=1)
        total = np.add.reduce(w, axis=1, keepdims=True)
        shares = (w / np.where(total > 0, total, np.float32(1))).astype(np.float32)
        loss = network.backward_values(gather(states, rows), gather(targets, rows), shares)
        params, grad = network.params[:, first:], network.grad[:, first:]
        step_rows(optimizers.adam, params, grad, distiller.moments, distiller.count, rates, active)
        squared += np.where(active, loss, 0.0)
        taken += active
    return np.sqrt(squared / np.maximum(taken, 1)), taken
