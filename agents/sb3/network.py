"""The policies of Stable-Baselines3 models as one `Network`: their weights are rows [K, P].

A model's parameters are moved into a row, as views, so that what fdrl writes there the model has at
once, and the other way round. The policy's come first; what only the critic uses follows.

Shapes: K agents, B states, O observation components, A actions, P parameters.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fdrl.core.arrays import Floats
from fdrl.core.settings import Loss

from ..networks.base import Objective
from ..networks.torch_network import distill_loss

CRITIC = ("value_net", "vf_features_extractor")
"""Parts of an SB3 policy that act for its critic alone."""
LINE = 16
"""Floats in a cache line."""


@dataclass(frozen=True)
class SB3Layout:
    """How many values a row has, and how many of them are the policy's."""

    inputs: int
    n_actions: int
    policy_size: int
    size: int
    gaussian: bool = False

    @property
    def outputs(self) -> int:
        """A: an answer is a probability for each action."""
        return self.n_actions


def ordered(module: torch.nn.Module) -> tuple[list[torch.nn.Parameter], int]:
    """Return a policy's parameters, the critic's own last, and how many values the others have."""
    named = [(name, p) for name, p in module.named_parameters() if "q_net_target" not in name]
    actor = [p for name, p in named if not any(word in name for word in CRITIC)]
    critic = [p for name, p in named if any(word in name for word in CRITIC)]
    return actor + critic, sum(p.numel() for p in actor)


class SB3Network:
    """K policies over `params` [K, P] (a `Network` without values)."""

    def __init__(
        self, policies: Sequence[Any], shape: tuple[int, ...], n_actions: int, temperature: float
    ) -> None:
        self.policies, self._shape, self._temperature = list(policies), shape, temperature
        found = [ordered(policy) for policy in self.policies]
        self.parameters = [parameters for parameters, _ in found]
        size = sum(p.numel() for p in self.parameters[0])
        self.layout: Any = SB3Layout(int(np.prod(shape)), n_actions, found[0][1], size)
        # BLAS rounds differently for rows that begin elsewhere in a cache line
        self._rows = torch.zeros(len(self.policies), -(-size // LINE) * LINE)[:, :size]
        for row, parameters in zip(self._rows, self.parameters, strict=True):
            offset = 0
            for p in parameters:
                view = row[offset : offset + p.numel()].view_as(p)
                view.copy_(p.data)
                p.data = view
                offset += p.numel()
        self.params: Floats = self._rows.numpy()
        self.grad = np.zeros_like(self.params)

    def take(self, rows: NDArray[np.int64]) -> SB3Network:
        """Return a network of copies of some agents."""
        policies = [copy.deepcopy(self.policies[k]) for k in rows.tolist()]
        return SB3Network(policies, self._shape, self.layout.n_actions, self._temperature)

    def policy(self, x: Floats) -> Floats:
        """Return the logits [K, A, B] at x [K or 1, B, O]."""
        with torch.no_grad():
            found = [
                self.logits(k, x[min(k, len(x) - 1)]).T.numpy() for k in range(len(self.policies))
            ]
        return np.ascontiguousarray(np.stack(found))

    def logits(self, agent: int, x: Floats) -> Tensor:
        """Return logits [B, A]: the policy's, or values divided by the temperature."""
        policy = self.policies[agent]
        states = torch.from_numpy(np.ascontiguousarray(x)).view(len(x), *self._shape)
        if hasattr(policy, "q_net"):
            values: Tensor = policy.q_net(states) / self._temperature
            return values
        logits: Tensor = policy.get_distribution(states).distribution.logits
        return logits

    def backward_distill(
        self, x: Floats, targets: Floats, weights: Floats, loss: Loss
    ) -> tuple[NDArray[np.float64], Floats]:
        """Write the distillation gradient into the policy's part of `grad`; see `Network`."""
        k, b = weights.shape
        losses, logits = np.zeros(k), np.empty((k, self.layout.n_actions, b), np.float32)
        self.grad[...] = 0.0
        for agent in range(k):
            ours = self.logits(agent, x[min(agent, len(x) - 1)])
            own = slice(agent, agent + 1)
            goal, weight = (torch.from_numpy(np.array(a[own])) for a in (targets, weights))
            each = distill_loss(ours.T[None], goal, weight, loss)
            slopes = torch.autograd.grad(each.sum(), self.parameters[agent], allow_unused=True)
            offset = 0
            for p, slope in zip(self.parameters[agent], slopes, strict=True):
                if slope is not None:
                    self.grad[agent, offset : offset + p.numel()] = slope.numpy().ravel()
                offset += p.numel()
            losses[agent] = float(each.detach())
            logits[agent] = ours.detach().numpy().T
        return losses, logits

    def values(self, x: Floats) -> NoReturn:
        """Raise: SB3 keeps its critics to itself."""
        raise TypeError("an SB3 model learns by itself")

    def outputs(self, x: Floats) -> NoReturn:
        """Raise: SB3 keeps its critics to itself."""
        self.values(x)

    def backward_values(self, x: Floats, targets: Floats, shares: Floats) -> NoReturn:
        """Raise: SB3 keeps its critics to itself."""
        self.values(x)

    def backward(self, x: Floats, objective: Objective) -> NoReturn:
        """Raise: SB3 keeps its objective to itself."""
        self.values(x)
