"""`pooled`: an oracle that learns one network from everybody's transitions."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from fdrl.core.arrays import Array
from fdrl.core.cohort import Cohort, Episodes, Experience, Poolable
from fdrl.core.errors import FdrlError
from fdrl.core.message import Message, Parameters, Transitions
from fdrl.core.registry import able
from fdrl.core.settings import Exchange
from fdrl.core.strategy import ClientContext, Messages, ServerContext
from fdrl.strategies.base import Client as BaseClient
from fdrl.strategies.base import Server as BaseServer
from fdrl.strategies.base import learned
from fdrl.wire.checks import check_parameters, check_transitions, most_transition_bytes


class Pooled(Exchange, tag="pooled", tag_field="type", frozen=True, kw_only=True):
    """Agents only act; the server takes as many gradient steps as an agent would, on all data.

    Private data leaves the agents: this is an upper reference, not a federated method.
    """

    default_proxy: ClassVar[Mapping[str, Any]] = {"type": "sobol"}
    default_same_init: ClassVar[bool] = True


class Client(BaseClient):
    """Acts, uploads transitions, loads the server's network."""

    settings: Pooled

    def __init__(self, context: ClientContext) -> None:
        super().__init__(context)
        if self.settings.every != 1 or self.settings.unit != "iterations":
            raise FdrlError('strategy "pooled" exchanges every iteration: leave `every` at 1')
        if context.run.episodes:
            raise FdrlError(
                'strategy "pooled" learns in steps that all agents take alike: it cannot have a '
                "budget of episodes, set steps"
            )
        self._transitions: dict[str, Array] = {}

    def learn(self, cohort: Cohort, steps: NDArray[np.int64], episodes: Episodes) -> Experience:
        """Act for one iteration without learning."""
        if not isinstance(cohort, Poolable):
            raise FdrlError(
                f"agent {self.context.run.agent_name!r} cannot be pooled (it has no separate "
                f"collect and update); use {able('pooling')}"
            )
        # Who has stopped acts along with the others, unheard: all take the same steps.
        together = np.full_like(steps, steps.max(initial=0))
        experience, self._transitions = cohort.collect(together)
        return experience

    def upload(self, cohort: Cohort, experience: Experience, round: int) -> dict[str, Message]:
        """Upload every transition."""
        return {
            name: Transitions(
                round, lived({key: rows[k] for key, rows in self._transitions.items()})
            )
            for k, name in enumerate(self.context.ids)
            if experience.steps[k]
        }

    def check(self, cohort: Cohort, message: Message, agent: str, round: int) -> None:
        """Refuse parameters of another round or size."""
        size = cohort.parameters("all").shape[1]
        check_parameters(message, round=round, part="all", size=size)

    def download(self, cohort: Cohort, messages: Messages, round: int) -> dict[str, Array]:
        """Load the server's network."""
        rows = cohort.parameters("all")
        for k, name in enumerate(self.context.ids):
            message = messages.get(name)
            if isinstance(message, Parameters):
                rows[k] = message.values
        cohort.load_parameters(rows, "all")
        return {}


class Server(BaseServer):
    """Owns one learner per architecture, which never steps an environment.

    Equal initial weights are agreed through the config.
    """

    def __init__(self, context: ServerContext) -> None:
        super().__init__(context)
        if context.trainer is None:
            raise FdrlError('strategy "pooled" needs a learner at the server')
        self.trainers = [context.trainer(group) for group in range(len(context.groups))]
        for trainer in self.trainers:
            if not isinstance(trainer, Poolable):
                raise FdrlError(
                    f"agent {context.run.agent_name!r} cannot be pooled (it has no separate "
                    f"collect and update); use {able('pooling')}"
                )
        self.copies = {
            name: facts.copies
            for ids, facts in zip(context.groups, context.facts, strict=True)
            for name in ids
        }
        self._metrics: dict[str, float] = {}

    def check(self, message: Message, agent: str, round: int) -> None:
        """Refuse what is not this round's transitions."""
        check_transitions(
            message,
            round=round,
            observation_shape=self.context.low.shape,
            n_actions=self.context.n_actions,
            copies=self.copies[agent],
            most_steps=self.context.steps_of(agent),
            gaussian=self.context.gaussian,
        )

    def most_bytes(self, agent: str, round: int) -> int:
        """Return the bytes of the most transitions."""
        c = self.context
        steps = c.steps_of(agent)
        return most_transition_bytes(steps, c.low.shape, c.n_actions, c.gaussian)

    def aggregate(self, round: int, messages: Mapping[str, Message]) -> dict[str, Message]:
        """Learn from all transitions of each group and send the network back."""
        out: dict[str, Message] = {}
        metrics: dict[str, list[float]] = {}
        assert self.context.trainer is not None
        for g, (ids, trainer) in enumerate(zip(self.context.groups, self.trainers, strict=True)):
            group = _equally_long(
                [spread(m.arrays) for n in ids if isinstance(m := messages.get(n), Transitions)]
            )
            if not group:
                continue
            # All copies of all agents become the copies of one agent: [1, T, U * E, ...].
            pooled = {
                key: np.concatenate([arrays[key] for arrays in group], axis=1)[None]
                for key in group[0]
            }
            if pooled["alive"].all():
                del pooled["alive"]
            assert isinstance(trainer, Poolable)
            fresh, update = partial(self.context.trainer, g), partial(trainer.update, pooled)
            for key, value in learned(trainer, fresh, update).items():
                metrics.setdefault(key, []).append(float(value[0]))
            values = trainer.parameters("all")[0]
            message = Parameters(round, values, "all")
            out |= dict.fromkeys(ids, message)
        self._metrics = {key: float(np.mean(values)) for key, values in metrics.items()}
        return out

    def metrics(self) -> dict[str, float]:
        """Return the training metrics of the last update."""
        return self._metrics

    def state(self) -> dict[str, Array]:
        """Return the state of every learner."""
        return {
            f"{g}.{key}": value
            for g, trainer in enumerate(self.trainers)
            for key, value in trainer.state().items()
        }

    def load_state(self, state: Mapping[str, Array]) -> None:
        """Continue from what `state` returned."""
        for g, trainer in enumerate(self.trainers):
            prefix = f"{g}."
            trainer.load_state(
                {k[len(prefix) :]: v for k, v in state.items() if k.startswith(prefix)}
            )


def lived(arrays: dict[str, Array]) -> dict[str, Array]:
    """Keep of transitions [T, E, ...] the m that were taken, [m, ...], if there is `alive`."""
    alive = arrays.get("alive")
    if alive is None:
        return arrays
    return {key: a if key == "alive" else a[alive] for key, a in arrays.items()}


def spread(arrays: Mapping[str, Array]) -> dict[str, Array]:
    """Return transitions [T, E, ...] and who took them, zeros where nobody did."""
    alive = arrays.get("alive")
    if alive is None:
        return {**arrays, "alive": np.ones(arrays["rewards"].shape, np.bool_)}
    out = {"alive": alive}
    for key, rows in arrays.items():
        if key != "alive":
            out[key] = np.zeros((*alive.shape, *rows.shape[1:]), rows.dtype)
            out[key][alive] = rows
    return out


def _equally_long(group: list[dict[str, Array]]) -> list[dict[str, Array]]:
    """Keep the transitions of the most common length T: only they fit side by side."""
    lengths = [len(arrays["actions"]) for arrays in group]
    common = max(sorted({*lengths}), key=lengths.count, default=0)
    return [arrays for arrays, length in zip(group, lengths, strict=True) if length == common]
