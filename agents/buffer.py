"""From a rollout to the batch that an on-policy learner learns from: advantages, masks, visits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fdrl.core.arrays import Array, Bools, Floats

from .gaussian import answers
from .gaussian import log_probs as log_densities
from .losses import chosen, log_softmax
from .networks.workspace import SHARED
from .train_state import TrainState


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

# ---- Advantages from a rollout: pure functions over [K, T, E] ----


def bootstrap(rewards: Floats, truncated_values: Floats, gamma: float) -> Floats:
    """Add gamma * V(next observation) where an episode was cut off [K, T, E].

    `truncated_values` is zero wherever the episode went on or really ended: a truncated episode
    would have continued, a terminated one has no future (Pardo et al. 2018).
    """
    return np.asarray(rewards + np.float32(gamma) * truncated_values)


def gae(
    rewards: Floats,
    values: Floats,
    done: NDArray[np.bool_],
    last_values: Floats,
    gamma: float,
    gae_lambda: float,
) -> Floats:
    """Generalized advantage estimation (Schulman et al. 2016, equation 16) [K, T, E].

    `done[:, t]` says that the episode ended with step t, `last_values` [K, E] is the value of the
    observation after the last step.
    """
    going = (~done).astype(np.float32)
    following = np.concatenate([values[:, 1:], last_values[:, None]], axis=1)
    deltas = rewards + np.float32(gamma) * following * going - values
    carry = np.float32(gamma) * np.float32(gae_lambda) * going
    # the recursion runs in time order over contiguous moments
    running, carry = (np.ascontiguousarray(a.swapaxes(0, 1)) for a in (deltas, carry))
    for t in range(len(running) - 2, -1, -1):
        np.multiply(carry[t], running[t + 1], out=carry[t])
        np.add(running[t], carry[t], out=running[t])
    return np.ascontiguousarray(running.swapaxes(0, 1))


# ---- Leaving out the steps that an agent did not take, because it had left a shared world ----
#
# Shapes: K agents, T steps, E copies, M = T * E rows; `alive` [K, T, E] says which steps there
# were. What the other arrays hold elsewhere must reach nothing, be it NaN: it is set to 0 before
# anything is computed, and then sorted behind the n_k rows of each agent that count.


def zeroed(rows: Array, alive: Bools) -> Array:
    """Return [K, T, E, ...] with zeros (or False) where nobody was."""
    where = alive.reshape(*alive.shape, *[1] * (rows.ndim - alive.ndim))
    return np.where(where, rows, rows.dtype.type(0))


def zeroed_all(arrays: Sequence[Array], alive: Bools) -> list[Array]:
    """Return `zeroed` of each array."""
    return [zeroed(rows, alive) for rows in arrays]


def lived_first(alive: Bools) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the order [K, M] that puts steps that were taken first, in time order, and n [K]."""
    flat = alive.reshape(len(alive), -1)
    return np.argsort(~flat, axis=1, kind="stable"), np.count_nonzero(flat, axis=1)


def reordered(rows: Array, order: NDArray[np.int64]) -> Array:
    """Return rows [K, M, ...] in each agent's `order` [K, M], copied."""
    return np.ascontiguousarray(rows[np.arange(len(order))[:, None], order])


def shares(counts: NDArray[np.int64], start: int, stop: int) -> NDArray[np.float32]:
    """Return what each of rows start..stop-1 counts in a mean [K, stop - start].

    Agent k has counts[k] rows: of a minibatch with n of them each counts 1/n, padding 0.
    """
    there = np.arange(start, stop) < counts[:, None]
    n = np.maximum(np.count_nonzero(there, axis=1), 1).astype(np.float32)
    return np.asarray(there / n[:, None], dtype=np.float32)


# ---- From a rollout to the batch that an on-policy actor-critic learns from ----
#
# Shapes: K agents, E environment copies each, T steps, M = T * E rows, W numbers of a policy.


class Discounts(Protocol):
    """How returns are counted."""

    @property
    def gamma(self) -> float: ...
    @property
    def gae_lambda(self) -> float: ...


def batch_of(
    settings: Discounts,
    learner: TrainState,
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


# ---- What agents saw and how likely they were to act, collected over local training ----


class VisitRecorder:
    """Growing arrays [K, M, O] and [K, M, A]; agents may be at different lengths."""

    def __init__(self, agents: int, inputs: int, n_actions: int) -> None:
        self.steps = np.zeros(agents, np.int64)
        self._observations = np.zeros((agents, 0, inputs), np.float32)
        self._probs = np.zeros((agents, 0, n_actions), np.float32)

    def add(
        self,
        rows: NDArray[np.int64],
        observations: Floats,
        probs: Floats,
        counts: NDArray[np.int64] | None = None,
    ) -> None:
        """Append [R, m, O] and [R, m, A] to agents `rows` [R]; of agent rows[i] counts[i] rows."""
        if counts is not None:
            for i, n in enumerate(counts.tolist()):
                one = slice(i, i + 1)
                self.add(rows[one], observations[one, :n], probs[one, :n])
            return
        m = observations.shape[1]
        start = self.steps[rows]
        self._reserve(int(start.max()) + m)
        if len(rows) == len(self.steps) and (start == start[0]).all():
            here = slice(int(start[0]), int(start[0]) + m)
            self._observations[:, here] = observations
            self._probs[:, here] = probs
        else:
            places = rows[:, None], start[:, None] + np.arange(m)
            self._observations[places] = observations
            self._probs[places] = probs
        self.steps[rows] += m

    def _reserve(self, size: int) -> None:
        have = self._observations.shape[1]
        if size <= have:
            return
        # the first rollout sets the size; growing by halves keeps one-step rollouts cheap
        more = max(size - have, have // 2)
        pad = ((0, 0), (0, more), (0, 0))
        self._observations = np.pad(self._observations, pad)
        self._probs = np.pad(self._probs, pad)

    def take(self, rows: NDArray[np.int64]) -> tuple[Floats, Floats, NDArray[np.int64]]:
        """Return and forget agents' observations [R, M, O], probabilities [R, M, A], steps [R]."""
        steps = self.steps[rows]
        m = int(steps.max(initial=0))
        observations, probs = self._observations[rows, :m], self._probs[rows, :m]
        for i, n in enumerate(steps.tolist()):  # what was there before is not padding
            observations[i, n:], probs[i, n:] = 0, 0
        self.steps[rows] = 0
        return observations, probs, steps
