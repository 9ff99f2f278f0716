"""From a rollout to the batch that an on-policy actor-critic learns from.

Shapes: K agents, E environment copies each, T steps, M = T * E rows, W numbers of a policy.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from .advantages import bootstrap, gae
from .gaussian import answers
from .gaussian import log_probs as log_densities
from .learner import ARRAYS, Batch, Learner
from .losses import chosen, log_softmax
from .masking import lived_first, reordered, zeroed_all

Array = NDArray[Any]
Floats = NDArray[np.float32]


class Discounts(Protocol):
    """How returns are counted."""

    @property
    def gamma(self) -> float: ...
    @property
    def gae_lambda(self) -> float: ...


def batch_of(
    settings: Discounts,
    learner: Learner,
    observations: Floats,
    *,
    actions: Array,
    rewards: Floats,
    done: NDArray[np.bool_],
    truncated_values: Floats,
    last: Floats,
    alive: NDArray[np.bool_] | None = None,
) -> tuple[Batch, Floats]:
    """Return the batch of a rollout [K, T, E] and what the policies said [K, M, W].

    With `alive`, the steps that agents took come first in both.
    """
    if alive is not None:
        rows = (observations, actions, rewards, truncated_values)
        observations, actions, rewards, truncated_values = zeroed_all(rows, alive)
        done = done | ~alive
    shape, flattened = rewards.shape, (len(rewards), -1)
    seen = flat(observations)
    logits, values = learner.network.outputs(seen)
    taken = np.ascontiguousarray(actions).reshape(*flattened, *actions.shape[3:])
    log_pi, said = _judged(logits, taken)
    rewards = bootstrap(rewards, truncated_values, settings.gamma)
    after = learner.network.values(last)
    advantages = gae(
        rewards, values.reshape(shape), done, after, settings.gamma, settings.gae_lambda
    ).reshape(flattened)
    batch = Batch(
        observations=seen,
        actions=taken,
        log_probs=np.ascontiguousarray(log_pi),
        values=np.ascontiguousarray(values),
        advantages=advantages,
        returns=advantages + values,
    )
    return (batch, said) if alive is None else _lived(batch, said, alive)


def _judged(outputs: Floats, actions: Array) -> tuple[Floats, Floats]:
    """Return log pi(a|s) [K, M] of actions [K, M] or [K, M, D], and the policies [K, M, W]."""
    if actions.ndim == 3:
        return log_densities(outputs, actions), answers(outputs, True)
    log_probs = log_softmax(outputs)
    return chosen(log_probs, actions), np.exp(log_probs).swapaxes(1, 2)


def _lived(batch: Batch, said: Floats, alive: NDArray[np.bool_]) -> tuple[Batch, Floats]:
    """Put the rows of steps that agents took first, and say how many they are."""
    order, counts = lived_first(alive)
    parts = {name: reordered(getattr(batch, name), order) for name in ARRAYS}
    return Batch(**parts, counts=counts), reordered(said, order)


def flat(array: Floats) -> Floats:
    """Return [K, T, E, O] as [K, M, O], copied into order.

    BLAS rounds differently for strided rows, and their stride would depend on K.
    """
    return np.ascontiguousarray(array).reshape(len(array), -1, array.shape[-1])
