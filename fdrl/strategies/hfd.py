"""`hfd`: hybrid federated distillation, over mean samples (Ahn, Simeone, Kang, arXiv 1907.02745).

Before answers are exchanged agents upload, once, the mean sample (covariate) of each label that
they own; the server averages these over their owners and sends the result to all. From then on
agents answer the L mean samples with their current model, and distill the average answers there:
FD in which a label's teacher has an input of its own, the same for everybody.

From the abstract and the follow-up (2002.01337): the offline exchange of mean covariates and the
exchange of average outputs. Recalled, not looked up: that outputs are taken at the mean samples.
[choice]: agents weigh alike in a label's mean, whatever they own of it; a teacher is distilled in
gradient steps between two local trainings, not as a term of the local loss; a label
that nobody reported has the mean of the others' samples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from fdrl.core.arrays import Array
from fdrl.core.cohort import Cohort, Experience, Labeled
from fdrl.core.errors import BadMessage, FdrlError
from fdrl.core.message import Message, ProxyUpdate
from fdrl.core.settings import DistillSettings
from fdrl.core.strategy import ClientContext, ServerContext
from fdrl.proxies.sets import given
from fdrl.proxies.settings import Rollout
from fdrl.strategies.distillation import answers, client, server
from fdrl.strategies.distillation.settings import Distillation, check_discrete
from fdrl.wire.checks import most_bytes
from fdrl.wire.content import check_near
from fdrl.wire.safetensors import require


class HFD(Distillation, tag="hfd", tag_field="type", frozen=True, kw_only=True):
    """Distill the others' average answers on the mean sample of each label."""

    default_proxy: ClassVar[Mapping[str, Any]] = {"type": "rollout"}

    answer: Literal["current", "cells", "raw", "labels"] = "current"
    """What agents upload: the current model on the mean samples; nothing else works here."""
    leave_self_out: bool = True
    """Teach each agent by the others only."""
    distill: DistillSettings = DistillSettings(steps=16, batch=10, lr=1e-2)


def mean_samples(x: Array, y: Array) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the labels [m] among y [M], in order, and the mean of each one's x [M, O]: [m, O]."""
    labels = np.unique(y)
    rows = [x[y == label].mean(0, dtype=np.float64) for label in labels]
    return labels.astype(np.int64), np.stack(rows).astype(np.float32)


def mean_states(states: Array, probs: Array) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return actions [m] and the mean of states [M, *O] weighted by their probability [M, A].

    What stands for labels in reinforcement learning [choice]: where an agent takes an action, on
    average. Actions that were never likely are left out.
    """
    p = np.asarray(probs, np.float64)
    total = p.sum(0)
    actions = np.flatnonzero(total > 1e-6)
    flat = np.asarray(states, np.float64).reshape(len(p), -1)
    rows = (p[:, actions].T @ flat) / total[actions][:, None]
    shape = (len(actions), *np.shape(states)[1:])
    return actions.astype(np.int64), rows.reshape(shape).astype(np.float32)


def average(uploads: Sequence[tuple[Array, Array]], length: int) -> NDArray[np.float32]:
    """Return the mean over owners of each label's samples [L, *O], from (labels, samples) pairs."""
    shape = uploads[0][1].shape[1:]
    total, owners = np.zeros((length, int(np.prod(shape)))), np.zeros(length)
    for labels, rows in uploads:
        total[labels] += rows.reshape(len(rows), -1)
        owners[labels] += 1
    mean = total / np.maximum(owners, 1.0)[:, None]
    mean[owners == 0] = mean[owners > 0].mean(0)
    return mean.reshape(length, *shape).astype(np.float32)


class MeanSamples(answers.Current):
    """Answers about the mean samples; their number is that of the labels, not `proxy.size`."""

    def open(self, agent: int, update: ProxyUpdate) -> None:
        """Take the set as it comes; `BadMessage` if its hash differs."""
        context, shape = self.context, self.context.low.shape
        if update.states is None or update.states.shape != (context.n_actions, *shape):
            raise BadMessage(f"expected {context.n_actions} mean samples of shape {shape}")
        run = context.run
        made = given(run.proxy, update.states, context.low, context.high, run.seed)
        if made.version != update.version:
            raise BadMessage(f"proxy set {update.version!r} was rebuilt as {made.version!r}")
        self._use(agent, made)


class Client(client.Client):
    """Uploads mean samples until it has the set of all of them, then answers."""

    def __init__(self, context: ClientContext) -> None:
        check_discrete(context.run.strategy_name, context.gaussian)
        super().__init__(context)
        self.answers = MeanSamples(self.settings, context)

    def upload(self, cohort: Cohort, experience: Experience, round: int) -> dict[str, Message]:
        """Return each agent's table, or its mean samples if it knows no set yet."""
        messages = super().upload(cohort, experience, round)
        for k, name in enumerate(self.context.ids):
            if name not in messages and experience.steps[k]:
                labels, rows = self._means(cohort, experience, k)
                messages[name] = ProxyUpdate(round, "", {}, labels, rows)
        return messages

    def _means(self, cohort: Cohort, experience: Experience, k: int) -> tuple[Array, Array]:
        if isinstance(cohort, Labeled):
            return mean_samples(*cohort.samples()[k])
        steps = int(experience.steps[k])
        return mean_states(answers.visited(experience, k), experience.probs[k, :steps])


class Server(server.Server):
    """Averages the mean samples once, then answers about them every round."""

    def __init__(self, context: ServerContext) -> None:
        self.context = context
        self.settings = context.run.strategy
        self.proxies = None
        self.cells_below = None
        self.stale, self.heard = set(), set()
        self._metrics = {}
        settings = context.run.proxy
        if self.settings.answer != "current" or not isinstance(settings, Rollout):
            raise FdrlError(
                "strategy 'hfd' answers about mean samples: leave strategy.answer and proxy.type"
            )

    def check(self, message: Message, agent: str, round: int) -> None:
        """Refuse mean samples that are not of this round, our labels and our shape."""
        if not isinstance(message, ProxyUpdate):
            if self.proxies is None:
                raise BadMessage("a table came before any mean samples")
            super().check(message, agent, round)
            return
        require(message.round == round, f"message of round {message.round} in round {round}")
        cells, states = message.cells, message.states
        if cells is None or states is None:
            raise BadMessage("mean samples without labels")
        require(0 < len(cells) == len(states), f"{len(cells)} labels for {len(states)} samples")
        require(cells[-1] < self.context.n_actions, "a mean sample of a label that is none")
        shape = self.context.low.shape
        require(states.shape[1:] == shape, f"mean samples of {states.shape[1:]}, not {shape}")
        check_near("a mean sample", states)

    def most_bytes(self, agent: str, round: int) -> int:
        """Return the bytes of the longest table, or of a mean sample for each label."""
        label = 9 + 4 * int(np.prod(self.context.low.shape))
        samples = most_bytes(self.context.n_actions * label)
        return samples if self.proxies is None else max(samples, super().most_bytes(agent, round))

    def aggregate(self, round: int, messages: Mapping[str, Message]) -> dict[str, Message]:
        """Average the mean samples and send them, or combine the answers about them."""
        updates = {a: m for a, m in messages.items() if isinstance(m, ProxyUpdate)}
        if self.proxies is None and updates:
            pairs = [(u.cells, u.states) for u in updates.values()]
            rows = average(pairs, self.context.n_actions)  # type: ignore[arg-type]
            self._set(rows)
        self.stale |= updates.keys()
        rest = {a: m for a, m in messages.items() if a not in updates}
        return super().aggregate(round, rest)

    def _set(self, rows: Array) -> None:
        c = self.context
        self.proxies = given(c.run.proxy, rows, c.low, c.high, c.run.seed)

    def load_state(self, state: Mapping[str, Array]) -> None:
        """Rebuild the set of mean samples, if there was one."""
        self.proxies = None
        if "set.states" in state:
            self._set(state["set.states"])
        super().load_state(state)
