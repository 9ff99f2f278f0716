"""What the uplinks that all agents share have in common: gains, bits, sparse changes, quantization.

After Ahn, Simeone and Kang (2019, arXiv 1907.02745; 2020, 2002.01337). What their abstracts and
introductions do not settle is marked [choice].
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fdrl.channels.settings import MacAnalog, MacDigital
from fdrl.core.arrays import Array, Doubles
from fdrl.core.errors import BadMessage
from fdrl.core.message import Message, Parameters
from fdrl.core.seeding import Purpose, generator
from fdrl.core.transport import Delivery, Direction
from fdrl.wire.codec import decode

# ---- What the digital and the analog uplink have in common: gains, time, memory, state ----


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
        self.memory = ErrorFeedback()
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
        share = uplink_bits(uses, self.snr, len(self.ids))
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


# ---- What both ends of a link know of the parameters, and what agents still owe ----


class ErrorFeedback:
    """For each agent the last parameters that both ends know, and the change not sent yet.

    What is left of a change counts only once the agent has loaded an average: before that, its
    parameters still contain it.
    """

    def __init__(self) -> None:
        self.known: dict[str, Array] = {}
        self._owed: dict[str, Array] = {}
        self._pending: dict[str, Array] = {}

    def change(self, agent: str, values: Array) -> NDArray[np.float64]:
        """Return what an agent with parameters `values` [P] has to report [P]."""
        new = np.asarray(values, np.float64)
        return new - self.known.get(agent, np.zeros_like(new)) + self._owed.get(agent, 0.0)

    def base(self, agent: str, size: int) -> NDArray[np.float64]:
        """Return what the server takes a change relative to [P]."""
        return np.asarray(self.known.get(agent, np.zeros(size)), np.float64)

    def keep(self, agent: str, rest: Array) -> None:
        """Note what could not be sent."""
        self._pending[agent] = np.asarray(rest, np.float64)

    def loaded(self, agent: str, values: Array) -> None:
        """Note that an agent has loaded an average."""
        self.known[agent] = np.array(values, np.float32)
        if agent in self._pending:
            self._owed[agent] = self._pending.pop(agent)

    def state(self) -> dict[str, Array]:
        """Return all, by kind and agent."""
        kinds = {"known": self.known, "owed": self._owed, "pending": self._pending}
        return {f"{kind}.{a}": v.copy() for kind, rows in kinds.items() for a, v in rows.items()}

    def load_state(self, state: Mapping[str, Array]) -> None:
        """Continue from what `state` returned."""
        kinds = {"known": self.known, "owed": self._owed, "pending": self._pending}
        for rows in kinds.values():
            rows.clear()
        for name, row in state.items():
            kind, _, agent = name.partition(".")
            kinds[kind][agent] = np.array(row)


# ---- How many bits an agent may send in a round, and what fits into them. Pure functions ----


WIDEST = 24
"""Bits beyond which a quantized number is as good as a float32."""
SCALE_BITS = 32
"""The largest magnitude, sent along as a float32."""


def uplink_bits(channel_uses: int, snr: float, agents: int, gain: float = 1.0) -> float:
    """Return T/K log2(1 + K g SNR): an equal share of the Gaussian MAC's sum capacity, in bits.

    T complex channel uses, K agents with equal power, `snr` of one agent alone (linear), fading
    gain g = |h|^2. Cover and Thomas, Elements of Information Theory, section 15.3.6; time division
    with the energy of the whole round in an agent's T/K uses reaches it, too.
    """
    return channel_uses / agents * math.log2(1.0 + agents * gain * snr)


def position_bits(entries: int, kept: int) -> float:
    """Return log2 of how many ways there are to choose `kept` of `entries` positions."""
    ln = math.lgamma(entries + 1) - math.lgamma(kept + 1) - math.lgamma(entries - kept + 1)
    return max(0.0, ln / math.log(2.0))


def sparse_bits(entries: int, kept: int, value_bits: int) -> float:
    """Return the bits of `kept` values with their positions, and one scale; 0 for none."""
    if not kept:
        return 0.0
    return position_bits(entries, kept) + kept * value_bits + SCALE_BITS


def plan(entries: int, budget: float, value_bits: int) -> tuple[int, int]:
    """Return how many of `entries` values fit in `budget` bits, and the bits of each.

    All of them if that leaves `value_bits` each without positions, with as many bits as fit up to
    `WIDEST`; otherwise the most that fit with their positions; (0, 0) if not even one does.
    """
    dense = int((budget - SCALE_BITS) // entries) if entries else 0
    if dense >= value_bits:
        return entries, min(dense, WIDEST)
    # Beyond half of the entries positions cost less again: search where the cost rises.
    low, high = 0, entries // 2
    while low < high:
        middle = (low + high + 1) // 2
        fits = sparse_bits(entries, middle, value_bits) <= budget
        low, high = (middle, high) if fits else (low, middle - 1)
    return (low, value_bits) if low else (0, 0)


# ---- Which entries of a change are sent, and what is kept for later. Pure functions ----


def largest(change: Array, count: int) -> NDArray[np.int64]:
    """Return where the `count` entries of largest magnitude are, in order; ties: the first ones."""
    order = np.argsort(-np.abs(change), kind="stable")
    return np.sort(order[:count]).astype(np.int64)


def common(size: int, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return `count` of `size` positions, drawn alike by everybody who has the same generator."""
    if count >= size:
        return np.arange(size)
    return np.sort(rng.choice(size, count, replace=False)).astype(np.int64)


def leftover(change: Array, at: Array, sent: Array) -> NDArray[np.float64]:
    """Return what is still owed of a change [P] once `sent` has gone out for the positions `at`.

    Added to the next change (error accumulation; Ahn et al. after Amiri and Gunduz, 2019,
    arXiv 1901.00844), so that nothing is lost for good: sent + leftover = change.
    """
    rest = np.array(change, np.float64)
    rest[at] -= sent
    return rest


# ---- Dithered uniform quantization, and back onto the simplex. Pure functions ----


def indices(x: Array, low: float, high: float, bits: int, dither: Array) -> NDArray[np.int64]:
    """Return the code 0 .. 2**bits - 1 of each x in [low, high]: floor((x - low) / step + u).

    `dither` u is uniform on [0, 1), of the shape of `x`; step = (high - low) / (2**bits - 1).
    """
    step = (high - low) / (2**bits - 1)
    if step <= 0.0:
        return np.zeros(np.shape(x), np.int64)
    code = np.floor((np.asarray(x, np.float64) - low) / step + dither)
    return np.asarray(np.clip(code, 0, 2**bits - 1), np.int64)


def values(codes: Array, low: float, high: float, bits: int, dither: Array) -> Doubles:
    """Return what the receiver makes of codes; it draws the same dither and subtracts it.

    Subtractive dither: the error is uniform on +-step/2 whatever x is, so its mean is 0 and its
    variance step**2 / 12 (Schuchman, 1964). Results may leave [low, high] by half a step.
    """
    step = (high - low) / (2**bits - 1)
    return np.asarray(low + (codes - dither + 0.5) * step) if step > 0.0 else 0.0 * codes + low


def dithered(x: Array, low: float, high: float, bits: int, dither: Array) -> Doubles:
    """Return x as it arrives: quantized with `bits` each, and reconstructed."""
    return values(indices(x, low, high, bits, dither), low, high, bits, dither)


def to_simplex(leading: Array) -> NDArray[np.float32]:
    """Return probabilities [n, A] from the first A - 1 of each row as they arrived [n, A - 1].

    The last is one minus the rest; what is negative becomes 0, and rows are divided by their sum
    [choice]. Nothing changes for rows that are on the simplex already.
    """
    p = np.asarray(leading, np.float64)
    whole = np.concatenate([p, 1.0 - p.sum(1, keepdims=True)], axis=1)
    whole = np.maximum(whole, 0.0)
    return np.asarray(whole / whole.sum(1, keepdims=True), np.float32)
