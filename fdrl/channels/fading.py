"""Radio links with Rayleigh block fading: how many slots a message needs, and whether it arrives.

Powers are in dBm, ratios linear unless they are said to be in dB. The link budget and its preset
are those of Mix2FLD (arXiv 2006.09801).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from fdrl.channels.settings import FadingChannel
from fdrl.core.arrays import Doubles
from fdrl.core.errors import FdrlError
from fdrl.core.seeding import Purpose, generator
from fdrl.core.transport import Delivery, Direction

Draw = Callable[[int], Doubles]
"""Returns the fading gains |h|^2 (mean 1) of the next n slots."""

BLOCK, LARGEST_BLOCK = 128, 2**16
"""Slots drawn at once, twice as many every time; changes no number."""
HOPELESS = 1e-3
"""Deadlines over the slots that a byte needs, below which a link is refused."""
MANY = 5_000
"""Slots from which a mean is computed rather than simulated: it differs by less than a slot."""
PATIENCE = 1_000
"""Slots for one byte, on average, beyond which a link without a deadline is refused."""


@dataclass(frozen=True)
class Link:
    """One transmitter's link to one receiver."""

    mean_snr: float
    """Signal-to-noise ratio without fading, linear."""
    hertz: float
    slot_seconds: float
    threshold: float
    adaptive: bool = True

    @property
    def mean_snr_db(self) -> float:
        """The same in dB."""
        return 10 * math.log10(self.mean_snr)

    @property
    def success(self) -> float:
        """Return the share of slots that are received: P(SNR >= threshold), exponential SNR."""
        return math.exp(-self.threshold / self.mean_snr)

    def bits(self, gains: Doubles) -> Doubles:
        """Return the bits that slots with these fading gains [n] carry; 0 for a lost one."""
        snr = self.mean_snr * gains
        rate = np.log2(1.0 + (snr if self.adaptive else np.full_like(snr, self.threshold)))
        return np.where(snr >= self.threshold, rate * self.hertz * self.slot_seconds, 0.0)

    def moments(self) -> tuple[float, float]:
        """Return the mean of a slot's bits, and of their square (Gauss-Laguerre quadrature)."""
        x, weight = np.polynomial.laguerre.laggauss(64)
        # Above the threshold an exponential SNR is exponential again.
        bits = self.bits(x + self.threshold / self.mean_snr * (1 + 1e-12))
        return self.success * float(weight @ bits), self.success * float(weight @ bits**2)

    def expected_slots(self, bits: float) -> float:
        """Return about how many slots a message of many slots needs on average.

        Its bits over the mean rate, plus what the last slot overshoots (renewal theory); a message
        of one or two slots is better counted by `mean_slots`.
        """
        mean, square = self.moments()
        if not mean:
            return math.inf
        return max(bits / mean + square / mean / (2 * mean), 1 / self.success)


def link(
    settings: FadingChannel, direction: Direction, agents: int, distance: float | None = None
) -> Link:
    """Return the link budget: SNR = power - path loss - noise in the band, all in dB.

    The path loss is 10 * exponent * log10(meters). Uplinks share the band (FDMA), a broadcast has
    all of it.
    """
    up = direction == "up"
    power = settings.power_up if up and not settings.symmetric else settings.power_down
    hertz = settings.bandwidth / agents if up else settings.bandwidth
    loss = 10 * settings.path_loss_exponent * math.log10(distance or settings.distance)
    snr_db = power - loss - (settings.noise + 10 * math.log10(hertz))
    adaptive = settings.rate == "adaptive"
    snr = 10 ** (min(max(snr_db, -300.0), 300.0) / 10)
    return Link(snr, hertz, settings.slot_seconds, settings.threshold, adaptive)


def count_slots(bits: int, link: Link, draw: Draw, deadline: int = 0) -> int | None:
    """Return the slots until `bits` have arrived, the last one included; None past the deadline.

    A message whose last bit arrives in the slot of the deadline is in time; 0: no deadline.
    """
    arrived, slots, block = 0.0, 0, BLOCK
    while not deadline or slots < deadline:
        count = min(block, deadline - slots) if deadline else block
        total = arrived + np.cumsum(link.bits(draw(count)))
        enough = int(np.searchsorted(total, bits))
        if enough < count:
            return slots + enough + 1
        arrived, slots, block = float(total[-1]), slots + count, min(2 * block, LARGEST_BLOCK)
    return None


def mean_slots(bits: int, link: Link) -> float:
    """Return the mean slots of a message without a deadline, over simulated fadings."""
    about = link.expected_slots(bits)
    if about > MANY:
        return about
    draws = 20_000 if about < 10 else 2_000  # the last slot matters less among many
    draw = generator(0, Purpose.CHANNEL).standard_exponential
    return float(np.mean([count_slots(bits, link, draw) for _ in range(draws)]))


def share_late(bits: int, link: Link, deadline: int, draws: int = 2000) -> float:
    """Return the share of messages that miss a deadline, over simulated fadings."""
    draw = generator(0, Purpose.CHANNEL).standard_exponential
    return sum(count_slots(bits, link, draw, deadline) is None for _ in range(draws)) / draws


class Fading:
    """The channel of K agents; every draw is a leaf of the seed tree, so order changes nothing."""

    def __init__(self, settings: FadingChannel, ids: Sequence[str], seed: int) -> None:
        self.settings, self.seed = settings, seed
        self._index = {name: k for k, name in enumerate(ids)}
        where = settings.distances or (settings.distance,) * len(ids)
        if len(where) != len(ids):
            raise FdrlError(
                f"config: {len(where)} distances for {len(ids)} agents (at channel.distances)"
            )
        self.links: dict[Direction, list[Link]] = {
            "up": [link(settings, "up", len(ids), d) for d in where],
            "down": [link(settings, "down", len(ids), d) for d in where],
        }
        self.deadlines: dict[Direction, int] = {
            "up": settings.deadline_slots,
            "down": settings.down_deadline_slots,
        }
        for direction, links in self.links.items():
            _check_reach(min(links, key=lambda x: x.mean_snr), direction, self.deadlines[direction])

    def draw(self, agent: int, direction: Direction, round: int) -> Draw:
        """Return the fading of an agent's link in a round."""
        way = ("up", "down").index(direction)
        return generator(self.seed, Purpose.CHANNEL, agent, round, way).standard_exponential

    def send(self, message: bytes, direction: Direction, agent: str, round: int) -> Delivery:
        """Carry a message in as many slots as it needs, or lose it at the deadline."""
        k, deadline = self._index[agent], self.deadlines[direction]
        way, bits = self.links[direction][k], 8 * len(message)
        slots = count_slots(bits, way, self.draw(k, direction, round), deadline)
        if slots is not None:
            return Delivery(message, slots * self.settings.slot_seconds)
        reason = (
            f"lost on the {direction}link: {len(message):,} bytes were not through after "
            f"{deadline} slots (they need {way.expected_slots(bits):,.0f} on average)"
        )
        return Delivery(None, deadline * self.settings.slot_seconds, reason)


def _check_reach(weakest: Link, direction: Direction, deadline: int) -> None:
    """Refuse a link over which even a message of one byte has no chance."""
    worst = PATIENCE if not deadline else deadline / HOPELESS
    needed = weakest.expected_slots(8)
    if needed <= worst:
        return
    within = f"the {direction}link deadline of {deadline} slots" if deadline else "any deadline"
    name = "deadline_slots" if direction == "up" else "down_deadline_slots"
    raise FdrlError(
        f"config: no message can meet {within}: at a mean SNR of {weakest.mean_snr_db:.1f} dB even "
        f"the smallest one needs {needed:.3g} slots on average (at channel.{name}; or send with "
        "more power, or over less distance)"
    )
