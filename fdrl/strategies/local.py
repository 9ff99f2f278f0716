"""`local`: no exchange. Its halves are also what other methods without a server use."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from fdrl.cohort import Cohort, Episodes, Experience
from fdrl.config import Exchange
from fdrl.errors import BadMessage
from fdrl.message import Message
from fdrl.strategy import ClientContext, Messages, ServerContext

Array = NDArray[Any]


class Local(Exchange, tag="local", tag_field="type", frozen=True, kw_only=True):
    """Every agent learns alone; `every` sets only how often a record is written."""

    sends: ClassVar[Literal["nothing"]] = "nothing"
    default_proxy: ClassVar[Mapping[str, Any]] = {"type": "sobol"}
    default_same_init: ClassVar[bool] = False

    def why_no_mean(self) -> str:
        """Nothing is combined."""
        return ""


class Client:
    """Learns, says nothing, hears nothing."""

    def __init__(self, context: ClientContext) -> None:
        self.context = context

    def learn(self, cohort: Cohort, steps: NDArray[np.int64], episodes: Episodes) -> Experience:
        """Learn locally for one round."""
        return cohort.learn(steps, episodes)

    def client_message(
        self, cohort: Cohort, experience: Experience, round: int
    ) -> dict[str, Message]:
        """Say nothing."""
        return {}

    def check(self, cohort: Cohort, message: Message, agent: str, round: int) -> None:
        """Refuse everything: nobody was asked."""
        raise BadMessage(f"strategy {self.context.run.strategy_name!r} expects no messages")

    def apply(self, cohort: Cohort, messages: Messages, round: int) -> dict[str, Array]:
        """Do nothing."""
        return {}

    def state(self) -> dict[str, Array]:
        """Nothing to keep."""
        return {}

    def load_state(self, state: Mapping[str, Array]) -> None:
        """Nothing to restore."""


class Server:
    """Hears nothing, says nothing."""

    def __init__(self, context: ServerContext) -> None:
        self.context = context

    def opening(self) -> dict[str, Message]:
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
