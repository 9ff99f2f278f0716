"""Both halves of `fld` for agents that learn by reward: answers go up as in `fd`, weights down.

No seed samples are needed, as they are for labels: the proxy states are public.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import numpy as np

from fdrl.core.arrays import Array, subtree
from fdrl.core.cohort import Cohort
from fdrl.core.errors import BadMessage, FdrlError
from fdrl.core.message import Message, Parameters, ProbTable, parts_of
from fdrl.core.strategy import ClientContext, Messages, ServerContext
from fdrl.proxies.sets import announced
from fdrl.strategies.base import learned, load_policies
from fdrl.strategies.distillation import client, server, teacher
from fdrl.strategies.fld.settings import FLD
from fdrl.wire.checks import check_parameters
from fdrl.wire.parts import NextSet


def _check_settings(settings: FLD) -> None:
    """Refuse the switches of `fd` that have no meaning for one network at the server."""
    for name, value, only in (
        ("answer", settings.answer, "current"),
        ("leave_self_out", settings.leave_self_out, False),
        ("mixup", settings.mixup, 0.0),
        ("lr_end", settings.lr_end, 1.0),
        ("gate", settings.gate or None, None),
        ("values", settings.values or None, None),
    ):
        if value != only:
            raise FdrlError(
                f'strategy "fld" distills into one network at the server, so strategy.{name} must '
                f"stay at {only!r}, not {value!r}; --strategy fd has it"
            )


class Client(client.Client):
    """Answers like an agent of `fd`, and loads the weights that come back."""

    settings: FLD

    def __init__(self, context: ClientContext) -> None:
        _check_settings(context.run.strategy)
        super().__init__(context)

    def check(self, cohort: Cohort, message: Message, agent: str, round: int) -> None:
        """Refuse weights of another round or size; take note of a proxy set at once."""
        if isinstance(message, ProbTable):
            raise BadMessage("expected parameters or a proxy set, got ProbTable")
        if not isinstance(message, Parameters):
            return super().check(cohort, message, agent, round)
        size = cohort.parameters("policy").shape[1]
        asked = (NextSet.asked(optional=True),)
        check_parameters(message, round=round, part="policy", size=size, parts=asked)
        self.answers.check_next(self.context.ids.index(agent), message)
        return None

    def download(self, cohort: Cohort, messages: Messages, round: int) -> dict[str, Array]:
        """Load the server's policy; value networks stay the agents' own."""
        received = {n: m for n, m in messages.items() if isinstance(m, Parameters)}
        for name, message in received.items():
            self.answers.advance(self.context.ids.index(name), message)
        return load_policies(cohort, self.context.ids, received, self.settings.optimizer)


class Server(server.Server):
    """Combines answers like the server of `fd`, and distills them into a network of its own.

    One network for each architecture among the agents; they never step an environment.
    """

    settings: FLD

    def __init__(self, context: ServerContext) -> None:
        _check_settings(context.run.strategy)
        super().__init__(context)
        if context.trainer is None:
            raise FdrlError('strategy "fld" needs a learner at the server')
        self.trainers = [context.trainer(group) for group in range(len(context.groups))]

    def aggregate(self, round: int, messages: Mapping[str, Message]) -> dict[str, Message]:
        """Convert the combined answers to weights; all agents get them, heard or not."""
        self._metrics = {}
        tables = [m for n in self.context.ids if isinstance(m := messages.get(n), ProbTable)]
        if not tables or self.proxies is None:
            return self._catch_up(round, {})
        sheet = teacher.align(tables, self.settings.answer)
        weights = teacher.agent_weights(sheet, teacher.scores_of(tables), self.settings)
        combined = teacher.combine(sheet, weights, self.settings)
        self._metrics = self._describe(sheet, combined)
        self._convert(combined)
        fresh = self._refresh(tables)
        if fresh is not None:
            self.proxies = fresh
        parts = parts_of(announced(fresh))
        out: dict[str, Message] = {}
        for ids, trainer in zip(self.context.groups, self.trainers, strict=True):
            values = trainer.parameters("policy")[0]
            message = Parameters(round, values, "policy", parts=parts)
            out |= dict.fromkeys(ids, message)
        return self._catch_up(round, out)

    def _convert(self, combined: Array) -> None:
        """Distill the teacher [N, A] into each network, from where the last round left it."""
        assert self.proxies is not None
        targets = combined[None].astype(np.float32)
        ones = np.ones(targets.shape[:2], np.float32)
        found: dict[str, list[float]] = {}
        assert self.context.trainer is not None
        for g, trainer in enumerate(self.trainers):
            given = self.proxies.states, targets, ones, self.settings.distill
            fresh, distill = partial(self.context.trainer, g), partial(trainer.distill, *given)
            report = learned(trainer, fresh, distill)
            for key, value in report.items():
                found.setdefault(key.replace("distill/", "convert/"), []).append(float(value[0]))
        self._metrics |= {key: float(np.mean(values)) for key, values in found.items()}
        steps = found["convert/gradient_steps"]
        self._metrics["convert/gradient_steps"] = float(sum(steps))  # one network after another

    def state(self) -> dict[str, Array]:
        """Return the proxy set and the state of every network."""
        state = super().state()
        for g, trainer in enumerate(self.trainers):
            state |= {f"network.{g}.{key}": value for key, value in trainer.state().items()}
        return state

    def load_state(self, state: Mapping[str, Array]) -> None:
        """Continue from what `state` returned."""
        super().load_state(state)
        for g, trainer in enumerate(self.trainers):
            trainer.load_state(subtree(state, f"network.{g}."))
