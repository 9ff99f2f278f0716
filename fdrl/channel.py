"""What a link does to a message: cost, delay, loss."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

from fdrl.channel_settings import FadingChannel, MacAnalog, MacDigital

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
    size: int | None = None
    """Bytes that were transmitted, if not the message's own."""


class Channel(Protocol):
    """A link between the server and every agent."""

    def send(self, message: bytes, direction: Direction, agent: str, round: int) -> Delivery:
        """Carry one message; what it does may depend on agent, round and direction only."""


@runtime_checkable
class Remembering(Protocol):
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
class Combining(Protocol):
    """A channel on which all uplink messages of a round meet: the server hears them together."""

    def combine(self, messages: Mapping[str, bytes], round: int) -> dict[str, Delivery]:
        """Carry a round's uploads; every sender's message arrives as the mean of all of them."""


class Ideal:
    """Everything arrives, at once."""

    def send(self, message: bytes, direction: Direction, agent: str, round: int) -> Delivery:
        """Return the message unchanged."""
        return Delivery(message)


def make_channel(run: Run, ids: tuple[str, ...]) -> Channel:
    """Build the channel that a config asks for; `FdrlError` if nothing can get through it."""
    if isinstance(run.channel, FadingChannel):
        from fdrl.fading import Fading

        return Fading(run.channel, ids, run.seed)
    if isinstance(run.channel, MacDigital | MacAnalog):
        from fdrl.mac.sums import check_strategy

        check_strategy(run)
    if isinstance(run.channel, MacDigital):
        from fdrl.mac.digital import Digital

        return Digital(run.channel, ids, run.seed, run.strategy)
    if isinstance(run.channel, MacAnalog):
        from fdrl.mac.analog import Analog

        return Analog(run.channel, ids, run.seed, run.strategy)
    return Ideal()
