"""Who runs the clients, how messages reach them, and what a link does to a message."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

# ---- Who runs the clients, and how messages reach them ----


@dataclass(frozen=True)
class Failure:
    """An agent's answer that did not arrive or cannot be used, and why."""

    reason: str


Reply = bytes | Failure


class Transport(Protocol):
    """Carries encoded messages between the server and the agents. It never looks inside them."""

    def members(self) -> tuple[str, ...]:
        """Return the agents' stable ids, in order."""

    def ask(self, round: int, deadline: float | None = None) -> dict[str, Reply]:
        """Let every agent learn locally for the round and return each one's upload.

        The schedule is agreed in the config, so asking costs nothing. An agent with nothing to
        send answers with an empty message.
        """

    def tell(
        self, round: int, messages: Mapping[str, bytes], deadline: float | None = None
    ) -> dict[str, Reply]:
        """End the round: hand each agent the server's message, acknowledged with an empty one.

        Agents without a message know that none is coming.
        """


# ---- What a link does to a message: cost, delay, loss ----


Direction = Literal["up", "down"]


@dataclass(frozen=True)
class Delivery:
    """The message as it arrived, or None if it was lost, and the simulated seconds it took."""

    message: bytes | None
    seconds: float = 0.0
    reason: str = ""
    """Why it was lost, if there is more to say than that."""
    size: int | None = None
    """Bytes that were transmitted, if not the message's own."""


class Channel(Protocol):
    """A link between the server and every agent."""

    def send(self, message: bytes, direction: Direction, agent: str, round: int) -> Delivery:
        """Carry one message; what it does may depend on agent, round and direction only."""


@runtime_checkable
class StatefulChannel(Protocol):
    """A channel with a memory: part of a run's state, and told what everybody starts from."""

    def agree(self, parameters: Mapping[str, Any]) -> None:
        """Note the parameters [P] of each agent that both ends know before the first round."""

    def metrics(self) -> dict[str, float]:
        """Return what is worth logging of the last round."""

    def state(self) -> dict[str, Any]:
        """Return everything needed to continue to the bit, as names and arrays."""

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Continue from what `state` returned."""


@runtime_checkable
class SharedUplink(Protocol):
    """A channel on which all uplink messages of a round meet: the server hears them together."""

    def combine(self, messages: Mapping[str, bytes], round: int) -> dict[str, Delivery]:
        """Carry a round's uploads; every sender's message arrives as the mean of all of them."""


class Ideal:
    """Everything arrives, at once."""

    def send(self, message: bytes, direction: Direction, agent: str, round: int) -> Delivery:
        """Return the message unchanged."""
        return Delivery(message)
