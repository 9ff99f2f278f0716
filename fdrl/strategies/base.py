"""Halves that do nothing, to subclass; and loading the weights that a server sends."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Literal, TypeVar, dataclass_transform

import msgspec
import numpy as np
from numpy.typing import NDArray

from fdrl.core.arrays import Array
from fdrl.core.cohort import Cohort, Episodes, Experience
from fdrl.core.errors import BadMessage
from fdrl.core.message import Message, Parameters
from fdrl.core.registry import SettingsType
from fdrl.core.settings import Exchange
from fdrl.core.strategy import (
    ClientContext,
    ClientStrategy,
    Messages,
    ServerContext,
    ServerStrategy,
)


class Client:
    """Learns, says nothing, hears nothing: override what a method does (a `ClientStrategy`).

    `context` is what the half was told, `settings` the strategy's.
    """

    settings: Any

    def __init__(self, context: ClientContext) -> None:
        self.context = context
        self.settings = context.run.strategy

    def learn(self, cohort: Cohort, steps: NDArray[np.int64], episodes: Episodes) -> Experience:
        """Learn locally for one round."""
        return cohort.learn(steps, episodes)

    def upload(self, cohort: Cohort, experience: Experience, round: int) -> dict[str, Message]:
        """Say nothing."""
        return {}

    def check(self, cohort: Cohort, message: Message, agent: str, round: int) -> None:
        """Refuse everything: nobody was asked."""
        raise BadMessage(f"strategy {self.context.run.strategy_name!r} expects no messages")

    def download(self, cohort: Cohort, messages: Messages, round: int) -> dict[str, Array]:
        """Do nothing."""
        return {}

    def state(self) -> dict[str, Array]:
        """Nothing to keep."""
        return {}

    def load_state(self, state: Mapping[str, Array]) -> None:
        """Nothing to restore."""


class Server:
    """Hears nothing, says nothing: override what a method does (a `ServerStrategy`).

    `context` is what the half was told, `settings` the strategy's.
    """

    settings: Any

    def __init__(self, context: ServerContext) -> None:
        self.context = context
        self.settings = context.run.strategy

    def announce(self) -> dict[str, Message]:
        """Say nothing before the first round."""
        return {}

    def check(self, message: Message, agent: str, round: int) -> None:
        """Refuse everything: nobody was asked."""
        raise BadMessage(f"strategy {self.context.run.strategy_name!r} expects no messages")

    def aggregate(self, round: int, messages: Mapping[str, Message]) -> dict[str, Message]:
        """Say nothing."""
        return {}

    def metrics(self) -> dict[str, float]:
        """Nothing to log."""
        return {}

    def state(self) -> dict[str, Array]:
        """Nothing to keep."""
        return {}

    def load_state(self, state: Mapping[str, Array]) -> None:
        """Nothing to restore."""


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(msgspec.field,))
class StrategySettings(
    Exchange,
    metaclass=SettingsType,
    frozen=True,
    forbid_unknown_fields=True,
    kw_only=True,
    tag_field="type",
):
    """Settings of a strategy of your own: a subclass is one, complete with its two halves.

    Its fields, each with a default, are flags, keys in TOML and lines of the help. It is known by
    where it is defined, ``--strategy my_file:MyStrategy``, or by the `tag` under which it is
    registered.

    >>> class Quiet(StrategySettings):
    ...     client = Client
    ...     server = Server
    ...     patience: int = 3
    >>> Quiet(every=2).patience
    3
    """

    client: ClassVar[type[ClientStrategy]] = Client
    """The half that runs beside a cohort, built from a `ClientContext`."""
    server: ClassVar[type[ServerStrategy]] = Server
    """The half that sees messages only, built from a `ServerContext`."""
    default_proxy: ClassVar[Mapping[str, Any]] = {"type": "sobol"}
    """The proxy table of a config that says none."""
    default_same_init: ClassVar[bool] = False
    """Whether agents start from the same weights in a config that does not say."""


# ---- A server that learns itself: what agents send may not destroy its network ----


T = TypeVar("T")


def learned(trainer: Cohort, fresh: Callable[[], Cohort], learn: Callable[[], T]) -> T:
    """Return what `learn` does, which lets the server's `trainer` learn from what agents sent.

    If its parameters are not finite after that, they and the optimizer go back to what they were,
    whatever else it keeps begins anew as in a `fresh` learner, and `BadMessage` is raised.
    """
    before, moments = trainer.parameters("all"), trainer.parameters("optimizer")
    # What becomes of the numbers is looked at below.
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        made = learn()
    if np.isfinite(trainer.parameters("all")).all():
        return made
    clean = fresh()
    try:
        trainer.load_state(clean.state())
    finally:
        clean.close()
    trainer.load_parameters(before, "all")
    trainer.load_parameters(moments, "optimizer")
    raise BadMessage("the server's network became infinite of them, so it stays as it was")


# ---- Loading the weights that a server sends to the agents of a cohort ----


def load_policies(
    cohort: Cohort,
    ids: Sequence[str],
    received: Mapping[str, Parameters],
    optimizer: Literal["keep", "reset"],
) -> dict[str, Array]:
    """Load the policy of each agent that received one; value networks stay the agents' own.

    Returns how far each policy moved [K], ``fld/drift``; nothing if nobody received anything.
    """
    if not received:
        return {}
    before = cohort.parameters("policy")
    rows, moments = before.copy(), cohort.parameters("optimizer")
    for name, message in received.items():
        k = list(ids).index(name)
        rows[k], moments[k] = message.values, 0.0
    cohort.load_parameters(rows, "policy")
    if optimizer == "reset":
        cohort.load_parameters(moments, "optimizer")
    return {"fld/drift": np.sqrt(((rows - before).astype(np.float64) ** 2).sum(1))}
