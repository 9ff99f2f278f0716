"""`fedavg` and `fl`: average the agents' parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from fdrl.core.arrays import Array
from fdrl.core.cohort import Cohort, Episodes, Experience, Labeled, optimizer_squares
from fdrl.core.errors import BadMessage, FdrlError
from fdrl.core.message import Message, Parameters, parts_of
from fdrl.core.settings import Exchange
from fdrl.core.strategy import ClientContext, Messages, ServerContext
from fdrl.ops import aggregation
from fdrl.strategies.base import Client as BaseClient
from fdrl.strategies.base import Server as BaseServer
from fdrl.strategies.distillation.teacher import scores_of
from fdrl.strategies.returns import RecentReturns, known_scores
from fdrl.wire.checks import check_parameters, most_bytes
from fdrl.wire.content import Asked
from fdrl.wire.parts import OptimizerState, Score

# ---- `fedavg`: average the agents' parameters (FedAvg, arXiv 1602.05629; FedProx, 1812.06127)


class FedAvg(Exchange, tag="fedavg", tag_field="type", frozen=True, kw_only=True):
    """Average parameters after local training."""

    sends: ClassVar[Literal["parameters"]] = "parameters"
    default_proxy: ClassVar[Mapping[str, Any]] = {"type": "sobol"}
    default_same_init: ClassVar[bool] = True
    fills_up: ClassVar[bool] = False
    """Whether agents are given samples beside those they own, of every label up to the same."""

    part: Literal["all", "policy"] = "all"
    """Average policy and value networks, or policies only."""
    optimizer: Literal["keep", "reset", "average"] = "keep"
    """What becomes of the optimizer's moments when the weights under them change."""
    weights: Literal["uniform", "steps", "return", "samples"] = "uniform"
    """Weigh agents alike, by environment steps since the last exchange, by recent return, or by
    the labeled samples that they own (agents without any: by steps)."""
    beta: float = 1.0
    """Strength of return weights: softmax(beta * z-score)."""
    prox: Annotated[float, msgspec.Meta(ge=0.0)] = 0.0
    """FedProx: pull local learning toward the last average with this strength."""

    @property
    def shared_part(self) -> Literal["policy", "all"]:
        """What is averaged."""
        return self.part

    @property
    def shares_moments(self) -> bool:
        """Whether the optimizer's moments are averaged too."""
        return self.optimizer == "average"

    @property
    def weighted(self) -> bool:
        """Whether agents count by their steps or samples."""
        return self.weights != "uniform"

    def why_no_mean(self) -> str:
        """Return what is no mean, if anything is."""
        weighs = self.weights == "return"
        return "weights = 'return' weighs agents against each other" if weighs else ""


class Client(BaseClient):
    """Uploads each agent's parameters, and loads the average."""

    settings: FedAvg

    def __init__(self, context: ClientContext) -> None:
        super().__init__(context)
        if self.settings.prox and self.settings.part != "all":
            raise FdrlError('strategy.prox pulls policy and value: it needs part = "all"')
        self.recent = RecentReturns(len(context.ids))
        self.average: Array | None = None

    def learn(self, cohort: Cohort, steps: NDArray[np.int64], episodes: Episodes) -> Experience:
        """Learn locally, near the last average if FedProx is on."""
        if self.settings.prox and self.average is None:
            self.average = cohort.parameters("all")
            cohort.anchor(self.average.copy(), self.settings.prox)
        return cohort.learn(steps, episodes)

    def upload(self, cohort: Cohort, experience: Experience, round: int) -> dict[str, Message]:
        """Upload parameters and, if they are averaged too, optimizer moments."""
        self.recent.add(experience.returns)
        rows = cohort.parameters(self.settings.part)
        average = self.settings.optimizer == "average"
        moments = cohort.parameters("optimizer") if average else None
        by_return = self.settings.weights == "return"
        weight = experience.steps
        if self.settings.weights == "samples" and isinstance(cohort, Labeled):
            weight = cohort.histogram().sum(1)
        return {
            name: Parameters(
                round=round,
                values=rows[k],
                part=self.settings.part,
                steps=int(weight[k]),
                parts=parts_of(
                    self.recent.score(k) if by_return else None,
                    None if moments is None else OptimizerState(moments[k]),
                ),
            )
            for k, name in enumerate(self.context.ids)
        }

    def check(self, cohort: Cohort, message: Message, agent: str, round: int) -> None:
        """Refuse parameters of another round, part or size."""
        part, asked = self.settings.part, []
        if self.settings.optimizer == "average":
            moments = cohort.parameters("optimizer").shape[1]
            asked.append(OptimizerState.asked(size=moments, squares=optimizer_squares(cohort)))
        size = cohort.parameters(part).shape[1]
        check_parameters(message, round=round, part=part, size=size, parts=asked)

    def download(self, cohort: Cohort, messages: Messages, round: int) -> dict[str, Array]:
        """Load the average into each agent that received one."""
        received = {n: m for n, m in messages.items() if isinstance(m, Parameters)}
        if not received:
            return {}
        before = cohort.parameters(self.settings.part)
        rows = before.copy()
        optimizer = cohort.parameters("optimizer")
        for k, name in enumerate(self.context.ids):
            if name not in received:
                continue
            rows[k] = received[name].values
            moments = received[name].get(OptimizerState)
            if self.settings.optimizer == "reset":
                optimizer[k] = 0.0
            elif moments is not None:
                optimizer[k] = moments.values
            if self.average is not None:
                self.average[k] = rows[k]
        cohort.load_parameters(rows, self.settings.part)
        if self.settings.optimizer != "keep":
            cohort.load_parameters(optimizer, "optimizer")
        if self.average is not None:
            cohort.anchor(self.average.copy(), self.settings.prox)
        return {"fedavg/drift": np.sqrt(((rows - before).astype(np.float64) ** 2).sum(1))}

    def state(self) -> dict[str, Array]:
        """Everything needed to resume."""
        state: dict[str, Array] = {"recent": self.recent.state()}
        return state if self.average is None else state | {"average": self.average.copy()}

    def load_state(self, state: Mapping[str, Array]) -> None:
        """Continue from what `state` returned."""
        self.recent.load_state(state["recent"])
        self.average = np.array(state["average"]) if "average" in state else None


class Server(BaseServer):
    """Averages parameters inside each group of agents that share an architecture.

    Equal initial weights are agreed through the config, and the average lives at the agents.
    """

    settings: FedAvg

    def __init__(self, context: ServerContext) -> None:
        super().__init__(context)
        self.facts = {
            name: facts
            for ids, facts in zip(context.groups, context.facts, strict=True)
            for name in ids
        }
        if len(context.ids) > 1 and all(len(ids) == 1 for ids in context.groups):
            raise FdrlError(
                f"strategy {context.run.strategy_name!r} cannot average networks of different "
                "architectures, and no two agents share one; use fd, or networks = 'same'"
            )

    def check(self, message: Message, agent: str, round: int) -> None:
        """Refuse parameters of another round, part or size."""
        part, size = self.settings.part, self._size(agent)
        parts = self._asked(agent)
        checked = check_parameters(message, round=round, part=part, size=size, parts=parts)
        owned = self.facts[agent].samples if self.settings.weights == "samples" else None
        if owned is None:
            if checked.steps > self.context.steps_of(agent):
                raise BadMessage(f"claims {checked.steps} steps, more than a round has")
        elif checked.steps > owned * (self.context.n_actions if self.settings.fills_up else 1):
            raise BadMessage(f"claims {checked.steps} samples, more than an agent has")

    def most_bytes(self, agent: str, round: int) -> int:
        """Return the bytes of the longest upload."""
        return most_bytes(4 * self._size(agent), self._asked(agent))

    def _size(self, agent: str) -> int:
        return self.facts[agent].parameters[self.settings.part]

    def _asked(self, agent: str) -> list[Asked]:
        """Return what comes along with an agent's parameters."""
        facts, asked = self.facts[agent], [Score.asked(optional=True)]
        if self.settings.optimizer == "average":
            size, squares = facts.parameters["optimizer"], facts.optimizer_squares
            asked.append(OptimizerState.asked(size=size, squares=squares))
        return asked

    def aggregate(self, round: int, messages: Mapping[str, Message]) -> dict[str, Message]:
        """Return each group's average to all its agents."""
        out: dict[str, Message] = {}
        for ids in self.context.groups:
            group = [m for n in ids if isinstance(m := messages.get(n), Parameters)]
            if group:
                out |= dict.fromkeys(ids, self._average(round, group))
        return out

    def _average(self, round: int, group: list[Parameters]) -> Parameters:
        weights = self._weights(group)
        values = aggregation.mean_parameters(np.stack([m.values for m in group]), weights)
        moments = [own.values for m in group if (own := m.get(OptimizerState))]
        mean = aggregation.mean_parameters(np.stack(moments), weights) if moments else None
        return Parameters(
            round=round,
            values=values.astype(np.float32),
            part=self.settings.part,
            steps=sum(m.steps for m in group),
            parts=parts_of(None if mean is None else OptimizerState(mean.astype(np.float32))),
        )

    def _weights(self, group: list[Parameters]) -> Array:
        if self.settings.weights in ("steps", "samples"):
            steps = np.array([m.steps for m in group], dtype=np.float64)
            return steps if steps.sum() > 0 else np.ones(len(group))
        if self.settings.weights == "return":
            scores = known_scores(scores_of(group))
            return np.asarray(aggregation.return_weights(scores, self.settings.beta))
        return np.ones(len(group))


# ---- `fl`: federated averaging for classification, weighted by samples (arXiv 1602.05629, eq.
# 1)


class FL(FedAvg, tag="fl", tag_field="type", frozen=True, kw_only=True):
    """`fedavg` whose weights are the numbers of samples that agents own."""

    weights: Literal["uniform", "steps", "return", "samples"] = "samples"
    """Weigh agents alike, by environment steps since the last exchange, by recent return, or by
    the labeled samples that they own (agents without any: by steps)."""
