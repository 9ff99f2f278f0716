"""`hfd`: hybrid federated distillation, over mean samples (Ahn, Simeone, Kang, arXiv 1907.02745).

Before answers are exchanged agents upload, once, the mean sample (covariate) of each label that
they own; the server averages these over their owners and sends the result to all. From then on
agents answer the L mean samples with their current model, and distill the average answers there:
FD in which a label's teacher has an input of its own, the same for everybody.

From the abstract and the follow-up (2002.01337): the offline exchange of mean covariates and the
exchange of average outputs. Recalled, not looked up: that outputs are taken at the mean samples.
[choice]: agents weigh alike in a label's mean, whatever they own of it; a teacher is distilled in
gradient steps between two stretches of local learning, not as a term of the local loss; a label
that nobody reported has the mean of the others' samples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from fdrl import proxy as proxies
from fdrl.cohort import Cohort, Experience, Labeled
from fdrl.distill import DistillSettings
from fdrl.errors import BadMessage, FdrlError
from fdrl.message import Message, ProxyUpdate
from fdrl.proxy import Rollout
from fdrl.strategies import distillation_client, distillation_server
from fdrl.strategies.distillation import Distillation
from fdrl.strategy import ServerContext
from fdrl.wire import require

Array = NDArray[Any]


class HFD(Distillation, tag="hfd", tag_field="type", frozen=True, kw_only=True):
    """Distill the others' average answers on the mean sample of each label."""

    default_proxy: ClassVar[Mapping[str, Any]] = {"type": "rollout", "size": 10}

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


def average(uploads: Sequence[tuple[Array, Array]], length: int) -> NDArray[np.float32]:
    """Return the mean over owners of each label's samples [L, O], from (labels, samples) pairs."""
    width = uploads[0][1].shape[1]
    total, owners = np.zeros((length, width)), np.zeros(length)
    for labels, rows in uploads:
        total[labels] += rows
        owners[labels] += 1
    mean = total / np.maximum(owners, 1.0)[:, None]
    mean[owners == 0] = mean[owners > 0].mean(0)
    return mean.astype(np.float32)


class Client(distillation_client.Client):
    """Uploads mean samples until it has the set of all of them, then answers."""

    def client_message(
        self, cohort: Cohort, experience: Experience, round: int
    ) -> dict[str, Message]:
        """Return each agent's table, or its mean samples if it knows no set yet."""
        messages = super().client_message(cohort, experience, round)
        if len(messages) == len(self.context.ids):
            return messages
        if not isinstance(cohort, Labeled):
            raise FdrlError(
                "strategy 'hfd' needs agents with labeled samples: use --agent classifier (and "
                "--env fdrl/Digits-v0), or strategy fd"
            )
        for name, (x, y) in zip(self.context.ids, cohort.samples(), strict=True):
            if name not in messages:
                labels, rows = mean_samples(x, y)
                messages[name] = ProxyUpdate(round, "", {}, labels, rows)
        return messages


class Server(distillation_server.Server):
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
        if settings.size != context.n_actions:
            raise FdrlError(
                f"strategy 'hfd' has a mean sample for each of {context.n_actions} labels: use "
                f"--proxy.size {context.n_actions}, not {settings.size}"
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
        self.proxies = proxies.build(c.run.proxy, c.low, c.high, c.run.seed, lambda n: rows[:n])

    def load_state(self, state: Mapping[str, Array]) -> None:
        """Rebuild the set of mean samples, if there was one."""
        self.proxies = None
        if "set.states" in state:
            self._set(state["set.states"])
        super().load_state(state)
