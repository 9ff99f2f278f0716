"""`local`: no exchange. Its halves are the bases of all others: each does nothing by default."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, dataclass_transform

import msgspec
import numpy as np
from numpy.typing import NDArray

from fdrl.cohort import Cohort, Episodes, Experience
from fdrl.config import Exchange
from fdrl.errors import BadMessage
from fdrl.message import Message
from fdrl.registry import SettingsType
from fdrl.strategy import ClientContext, ClientHalf, Messages, ServerContext, ServerHalf

Array = NDArray[Any]


class Client:
    """Learns, says nothing, hears nothing: override what a method does (a `ClientHalf`).

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
    """Hears nothing, says nothing: override what a method does (a `ServerHalf`).

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

    client: ClassVar[type[ClientHalf]] = Client
    """The half that runs beside a cohort, built from a `ClientContext`."""
    server: ClassVar[type[ServerHalf]] = Server
    """The half that sees messages only, built from a `ServerContext`."""
    default_proxy: ClassVar[Mapping[str, Any]] = {"type": "sobol"}
    """The proxy table of a config that says none."""
    default_same_init: ClassVar[bool] = False
    """Whether agents start from the same weights in a config that does not say."""


class Local(Exchange, tag="local", tag_field="type", frozen=True, kw_only=True):
    """Every agent learns alone; `every` sets only how often a record is written."""

    sends: ClassVar[Literal["nothing"]] = "nothing"
    default_proxy: ClassVar[Mapping[str, Any]] = {"type": "sobol"}
    default_same_init: ClassVar[bool] = False

    def why_no_mean(self) -> str:
        """Nothing is combined."""
        return ""
