"""The agents' half of the distillation engine: answer, and distill what comes back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import numpy as np

from fdrl.core.arrays import Array
from fdrl.core.cohort import Cohort, Experience, Valued
from fdrl.core.errors import BadMessage, FdrlError
from fdrl.core.message import AnyTable, GaussTable, Message, ProbTable, ProxyUpdate
from fdrl.core.registry import able
from fdrl.core.seeding import Purpose, generator, pack_generators, unpack_generators
from fdrl.core.strategy import ClientContext, Messages
from fdrl.ops import aggregation
from fdrl.strategies.base import Client as BaseClient
from fdrl.strategies.distillation import answers
from fdrl.strategies.distillation.answers import LabelMeans
from fdrl.strategies.distillation.settings import Distillation, check_actions
from fdrl.strategies.returns import RecentReturns, ReturnGate
from fdrl.wire.checks import check_proxy_update
from fdrl.wire.parts import Values

KINDS: dict[str, Callable[[Distillation, ClientContext], answers.AnswerKind]] = {
    "current": answers.Current,
    "cells": answers.CellMeans,
    "raw": answers.VisitedStates,
    "labels": LabelMeans,
}
"""What the setting `answer` may be."""


class Client(BaseClient):
    """Answers for each agent of a cohort, and distills what comes back."""

    settings: Distillation

    def __init__(self, context: ClientContext) -> None:
        super().__init__(context)
        check_actions(self.settings, context.gaussian)
        self.answers: answers.AnswerKind = KINDS[self.settings.answer](self.settings, context)
        self.recent = RecentReturns(len(context.ids))
        self.gate = ReturnGate(len(context.ids), self.settings.gate) if self.settings.gate else None
        self.speaks = self.listens = np.ones(len(context.ids), np.bool_)
        self.rngs = [generator(context.run.seed, Purpose.CLIENT, a) for a in context.agents]
        self.trained = np.zeros(len(context.ids))
        self.ended = np.zeros(len(context.ids))

    def check_cohort(self, cohort: Cohort) -> None:
        """Raise `FdrlError` if values are exchanged and these agents estimate none."""
        if self.settings.values and not isinstance(cohort, Valued):
            raise FdrlError(
                f"strategy {self.context.run.strategy_name!r} exchanges values, but agents "
                f"{self.context.ids[0]!r} and its like have none that fdrl can read: use agent "
                f"{able('values')}, or --strategy fd"
            )

    def upload(self, cohort: Cohort, experience: Experience, round: int) -> dict[str, Message]:
        """Answer with each agent's table and, if it matters, its return; some say nothing."""
        self.recent.add(experience.returns)
        self.trained += experience.steps
        self.ended += [len(r) for r in experience.returns]
        if self.gate:
            fresh = [r.mean() if len(r) else np.nan for r in experience.returns]
            self.speaks, self.listens = self.gate.pass_by(*self.recent.full(), np.array(fresh))
        tables = self.answers.tables(cohort, experience, round)
        messages: dict[str, Message] = {}
        for k, (name, table) in enumerate(zip(self.context.ids, tables, strict=True)):
            if table is not None and self.speaks[k]:
                score = self.recent.score(k) if self.settings.beta else None
                messages[name] = table if score is None else table.with_parts(score)
        return messages

    def check(self, cohort: Cohort, message: Message, agent: str, round: int) -> None:
        """Refuse what does not fit what this agent knows; take note of a proxy set at once."""
        k = self.context.ids.index(agent)
        if isinstance(message, ProxyUpdate):
            check_proxy_update(message, round=round)
            self.answers.open(k, message)  # rebuilding the set is what checks it
        elif isinstance(message, ProbTable | GaussTable):
            self.answers.check(k, message, round)
        else:
            raise BadMessage(f"expected a table or proxy set, got {type(message).__name__}")

    def download(self, cohort: Cohort, messages: Messages, round: int) -> dict[str, Array]:
        """Distill each agent's teacher into its policy."""
        tables = {n: m for n, m in messages.items() if isinstance(m, ProbTable | GaussTable)}
        if not tables:
            return {}
        if isinstance(self.answers, LabelMeans):
            return self.answers.teach(cohort, tables)
        metrics = self._distill(cohort, tables)
        if self.gate:
            metrics["distill/speaking"] = self.speaks.astype(np.float64)
            metrics["distill/listening"] = self.listens.astype(np.float64)
        for name, table in tables.items():
            self.answers.advance(self.context.ids.index(name), table)
        return metrics

    def _distill(self, cohort: Cohort, tables: Mapping[str, AnyTable]) -> dict[str, Array]:
        """Distill all agents at once; the server's tables of a round are about the same rows."""
        first = next(iter(tables.values()))
        states = self.answers.states(first)
        rows, width = first.answers.shape
        targets = np.full((len(self.context.ids), rows, width), 1.0 / width, np.float32)
        weights = np.zeros((len(self.context.ids), rows), np.float32)
        for k, name in enumerate(self.context.ids):
            if name in tables and self.listens[k]:
                targets[k], weights[k] = tables[name].answers, 1.0
        if self.settings.mixup and rows > 1:
            states, targets = self._mix_up(states, targets)
        metrics = dict(cohort.distill(states, targets, weights, self._schedule()))
        values = self._distill_values(cohort, tables, states, weights)
        if "distill/value_steps" in values:  # they cost what other steps cost
            own = values.pop("distill/value_steps")
            metrics["distill/gradient_steps"] = metrics.get("distill/gradient_steps", 0.0) + own
        return metrics | values

    def _distill_values(
        self,
        cohort: Cohort,
        tables: Mapping[str, AnyTable],
        states: Array,
        weights: Array,
    ) -> dict[str, Array]:
        """Distill the mean of all agents' values into those of who listens, if it came along."""
        if not self.settings.values or not isinstance(cohort, Valued):
            return {}
        targets = np.zeros(weights.shape, np.float32)
        for k, name in enumerate(self.context.ids):
            if name in tables:
                targets[k] = tables[name].need(Values).values
        return dict(cohort.distill_values(states, targets, weights, self._schedule()))

    def _mix_up(self, states: Array, targets: Array) -> tuple[Array, Array]:
        """Interpolate pairs of rows, drawn by each agent for itself (MixFRD)."""
        count, mixed_states, mixed = len(states), [], []
        near = _nearest_other(states) if self.settings.pairs == "nearest" else None
        for rng, target in zip(self.rngs, targets, strict=True):
            lam = rng.beta(self.settings.mixup, self.settings.mixup, size=count)
            other = rng.permutation(count) if near is None else near
            s, p = aggregation.mix_pairs(states, target, lam, np.arange(count), other)
            mixed_states.append(s)
            mixed.append(p)
        return np.stack(mixed_states), np.stack(mixed)

    def _schedule(self) -> Any:
        """Return the distillation settings at this point of the run."""
        settings = self.settings.distill
        run = self.context.run
        progress = float(self.trained.mean()) / max(1, run.steps)
        if run.episodes:
            progress = max(progress, float(self.ended.mean()) / run.episodes)
        progress = min(1.0, progress)
        factor = 1.0 + (self.settings.lr_end - 1.0) * progress
        return msgspec.structs.replace(settings, lr=settings.lr * factor)

    def state(self) -> dict[str, Array]:
        """Everything needed to resume."""
        own = {
            "recent": self.recent.state(),
            "trained": self.trained.copy(),
            "ended": self.ended.copy(),
            "rngs": pack_generators(self.rngs),
        }
        if self.gate:
            own["gate"] = self.gate.state()
        return own | {f"answers.{k}": v for k, v in self.answers.state().items()}

    def load_state(self, state: Mapping[str, Array]) -> None:
        """Continue from what `state` returned."""
        self.recent.load_state(state["recent"])
        self.trained = np.array(state["trained"], dtype=np.float64)
        self.ended = np.array(state["ended"], dtype=np.float64)
        unpack_generators(self.rngs, state["rngs"])
        if self.gate:
            self.gate.load_state(state["gate"])
        inner = {k[8:]: v for k, v in state.items() if k.startswith("answers.")}
        self.answers.load_state(inner)


def _nearest_other(states: Array, block: int = 512) -> Array:
    """Return for each row the index of the row closest to it, itself excluded."""
    flat = states.reshape(len(states), -1).astype(np.float64)
    flat = flat / np.maximum(flat.std(0), 1e-12)
    squares = (flat**2).sum(1)
    found = []
    for start in range(0, len(flat), block):
        some = flat[start : start + block]
        distance = squares[None, :] - 2.0 * some @ flat.T
        distance[np.arange(len(some)), np.arange(start, start + len(some))] = np.inf
        found.append(distance.argmin(1))
    return np.concatenate(found)
