"""`local` and `self`: no exchange; and the compute control of distilling."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from fdrl.core.arrays import Array
from fdrl.core.cohort import Cohort, Episodes, Experience
from fdrl.core.errors import FdrlError
from fdrl.core.message import Message
from fdrl.core.settings import DistillSettings, Exchange
from fdrl.core.strategy import ClientContext, Messages
from fdrl.proxies.sets import ProxySet, build, grid_of, load_saved, refresh, refresh_every, saved
from fdrl.proxies.settings import Grid
from fdrl.strategies.base import Client as BaseClient
from fdrl.strategies.distillation.answers import VisitCounts, visited


class Local(Exchange, tag="local", tag_field="type", frozen=True, kw_only=True):
    """Every agent learns alone; `every` sets only how often a record is written."""

    sends: ClassVar[Literal["nothing"]] = "nothing"
    default_proxy: ClassVar[Mapping[str, Any]] = {"type": "sobol"}
    default_same_init: ClassVar[bool] = False

    def why_no_mean(self) -> str:
        """Nothing is combined."""
        return ""


# ---- `self`: the compute control. As many gradient steps as `fd`, toward one's own earlier
# policy


class Self(Exchange, tag="self", tag_field="type", frozen=True, kw_only=True):
    """Distill from the agent's own policy as it was one exchange ago."""

    sends: ClassVar[Literal["nothing"]] = "nothing"
    served: ClassVar[bool] = False
    default_proxy: ClassVar[Mapping[str, Any]] = {"type": "mix"}
    default_same_init: ClassVar[bool] = False

    distill: DistillSettings = DistillSettings(steps=16, batch=128, lr=1e-4)

    def why_no_mean(self) -> str:
        """Nothing is combined."""
        return ""


class Client(BaseClient):
    """Keeps each agent's earlier policy and its own proxy states; nothing is ever sent."""

    settings: Self

    def __init__(self, context: ClientContext) -> None:
        super().__init__(context)
        if context.gaussian and self.settings.distill.loss == "js":
            raise FdrlError(
                "continuous actions do not go with distill.loss = 'js': use forward or reverse "
                "(at strategy)"
            )
        run = context.run
        if isinstance(run.proxy, Grid):
            raise FdrlError('strategy "self" needs a list of proxy states: use --proxy mix')
        first = build(run.proxy, context.low, context.high, run.seed)
        self.refreshes = refresh_every(run.proxy)
        grid = grid_of(run.proxy, context.low, context.high)
        self.seen = VisitCounts(len(context.ids), grid) if grid and self.refreshes else None
        self.proxies: list[ProxySet] = [first] * len(context.ids)
        self.lagged: Array | None = None

    def learn(self, cohort: Cohort, steps: NDArray[np.int64], episodes: Episodes) -> Experience:
        """Learn locally; remember the policies of the very beginning."""
        if self.lagged is None:
            self.lagged = cohort.parameters("policy")
        return cohort.learn(steps, episodes)

    def upload(self, cohort: Cohort, experience: Experience, round: int) -> dict[str, Message]:
        """Say nothing; count where the agents have been."""
        if self.seen is not None:
            for k in range(len(self.context.ids)):
                self.seen.add(k, visited(experience, k))
        return {}

    def download(self, cohort: Cohort, messages: Messages, round: int) -> dict[str, Array]:
        """Distill, at the moment at which the others exchange."""
        if self.lagged is None:
            return {}
        states = np.stack([p.states for p in self.proxies])
        now = cohort.parameters("policy")
        cohort.load_parameters(self.lagged, "policy")
        targets = cohort.probs(states)
        cohort.load_parameters(now, "policy")
        weights = np.ones(targets.shape[:2], np.float32)
        metrics = cohort.distill(states, targets, weights, self.settings.distill)
        self.lagged = cohort.parameters("policy")
        if self.seen is not None and (round - 1) % self.refreshes == 0:
            self._refresh(self.seen)
        return dict(metrics)

    def _refresh(self, seen: VisitCounts) -> None:
        run, low, high = self.context.run, self.context.low, self.context.high
        for k, current in enumerate(self.proxies):
            cells, times = seen.take(k, run.proxy.size)
            counts = dict(zip(cells.tolist(), times.tolist(), strict=True))
            self.proxies[k] = refresh(run.proxy, current, counts, low, high, run.seed)

    def state(self) -> dict[str, Array]:
        """Everything needed to resume."""
        state = self.seen.state() if self.seen else {}
        for k, made in enumerate(self.proxies):
            state |= {f"set.{k}.{name}": array for name, array in saved(made).items()}
            state[f"version.{k}"] = np.frombuffer(made.version.encode(), dtype=np.uint8)
        if self.lagged is not None:
            state["lagged"] = self.lagged
        return state

    def load_state(self, state: Mapping[str, Array]) -> None:
        """Continue from what `state` returned."""
        run, low, high = self.context.run, self.context.low, self.context.high
        if self.seen is not None:
            self.seen.load_state(state)
        for k in range(len(self.proxies)):
            prefix = f"set.{k}."
            kept = {n[len(prefix) :]: v for n, v in state.items() if n.startswith(prefix)}
            version = state[f"version.{k}"].tobytes().decode()
            self.proxies[k] = load_saved(kept, run.proxy, low, high, run.seed, version)
        self.lagged = np.array(state["lagged"]) if "lagged" in state else None
