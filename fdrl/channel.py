"""What a link does to a message: cost, delay, loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from fdrl.channel_settings import FadingChannel

if TYPE_CHECKING:
    from fdrl.config import Run

Direction = Literal["up", "down"]


@dataclass(frozen=True)
class Delivery:
    """The message as it arrived, or None if it was lost, and the simulated seconds it took."""

    message: bytes | None
    seconds: float = 0.0
    reason: str = ""
    """Why it was lost, if there is more to say than that."""


class Channel(Protocol):
    """A link between the server and every agent."""

    def send(self, message: bytes, direction: Direction, agent: str, round: int) -> Delivery:
        """Carry one message; what it does may depend on agent, round and direction only."""


class Ideal:
    """Everything arrives, at once."""

    def send(self, message: bytes, direction: Direction, agent: str, round: int) -> Delivery:
        """Return the message unchanged."""
        return Delivery(message)


def make_channel(run: Run, ids: tuple[str, ...]) -> Channel:
    """Build the channel that a config asks for; `FdrlError` if nothing can get through it."""
    if not isinstance(run.channel, FadingChannel):
        return Ideal()
    from fdrl.fading import Fading

    return Fading(run.channel, ids, run.seed)
