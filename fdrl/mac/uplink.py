"""What the digital and the analog uplink have in common: gains, time, memory, state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fdrl.channel import Delivery, Direction
from fdrl.channel_settings import MacAnalog, MacDigital
from fdrl.errors import BadMessage
from fdrl.mac import budget
from fdrl.mac.memory import Memory
from fdrl.message import Message, Parameters, decode
from fdrl.seeding import Purpose, generator

Array = NDArray[Any]
FADE, DITHER, NOISE, CHOICE = 2, 3, 4, 5
"""What a random number is for; 0 and 1 are the directions of fading links."""


class Uplink:
    """A multiple-access uplink of K agents under an ideal downlink; `send` is the subclass's."""

    def __init__(
        self, settings: MacDigital | MacAnalog, ids: Sequence[str], seed: int, strategy: Any
    ) -> None:
        self.settings, self.ids, self.seed, self.strategy = settings, tuple(ids), seed, strategy
        self.index = {name: k for k, name in enumerate(ids)}
        self.snr = 10.0 ** (settings.snr / 10.0)
        self.memory = Memory()
        self._metrics: dict[str, float] = {}

    @property
    def seconds(self) -> float:
        """Simulated seconds of a round's uplink, shared by all."""
        return self.settings.channel_uses / self.settings.bandwidth

    def draw(self, agent: int, round: int, what: int) -> np.random.Generator:
        """Return the generator of one thing in one round."""
        return generator(self.seed, Purpose.CHANNEL, agent, round, what)

    def gain(self, agent: str, round: int) -> float:
        """Return |h|^2 of an agent in a round; 0 stands for a fade too deep to send in."""
        if self.settings.fading == "none":
            return 1.0
        found = float(self.draw(self.index[agent], round, FADE).standard_exponential())
        return found if found >= self.settings.outage and found > 0.0 else 0.0

    def faded(self) -> Delivery:
        """Return what becomes of a message in a deep fade: it is not sent."""
        reason = f"lost on the uplink: gain below channel.outage = {self.settings.outage:g}"
        return Delivery(None, self.seconds, reason, size=0)

    def offline(self, message: bytes) -> Delivery:
        """Carry what is exchanged once, before answers are (`hfd`'s mean samples), whole.

        The papers leave that phase out of a round's budget; it takes as many rounds' time as the
        agent's share of the rate needs [choice].
        """
        uses = self.settings.channel_uses
        share = budget.uplink_bits(uses, self.snr, len(self.ids))
        return Delivery(message, 8 * len(message) / share * self.seconds)

    def down(self, message: bytes, agent: str) -> Delivery:
        """Carry a message to an agent, and note the parameters that it now has."""
        found = _read(message)
        if isinstance(found, Parameters):
            self.memory.loaded(agent, found.values)
        return Delivery(message)

    def send(self, message: bytes, direction: Direction, agent: str, round: int) -> Delivery:
        """Carry one message."""
        return self.down(message, agent) if direction == "down" else self.up(message, agent, round)

    def up(self, message: bytes, agent: str, round: int) -> Delivery:
        """Carry one upload."""
        raise NotImplementedError

    def agree(self, parameters: Mapping[str, Array]) -> None:
        """Note the parameters [P] from which every agent starts."""
        for agent, row in parameters.items():
            self.memory.loaded(agent, row)

    def metrics(self) -> dict[str, float]:
        """Return what the last round's uplink was like."""
        return dict(self._metrics)

    def state(self) -> dict[str, Array]:
        """Return what agents owe, and what is known of them."""
        return self.memory.state()

    def load_state(self, state: Mapping[str, Array]) -> None:
        """Continue from what `state` returned."""
        self.memory.load_state(state)


def _read(message: bytes) -> Message | None:
    try:
        return decode(message)
    except BadMessage:
        return None
