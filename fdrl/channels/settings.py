"""Which channel messages travel over: one settings class a kind, told apart by ``type``."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from fdrl.core.errors import FdrlError
from fdrl.core.files import read_file
from fdrl.core.paths import absolute

Amount = Annotated[float, msgspec.Meta(gt=0.0, le=1e15)]
Share = Annotated[float, msgspec.Meta(ge=0.0, le=1e15)]
Slots = Annotated[int, msgspec.Meta(ge=0)]
KEY = 16
"""Bytes of the shortest key."""


class _Kind(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="type"
):
    """The members of the tagged union say which they are in the field ``type``."""

    key_file: str | None = None
    """A file of 16 bytes or more that the agents and the server share: every message then ends with
    16 bytes by which its receiver knows it as theirs (HMAC-SHA256), and counts as that much longer.
    Unset: none."""

    def key(self) -> bytes:
        """Return the shared key, empty if there is none; `FdrlError` if the file has no such."""
        if self.key_file is None:
            return b""
        try:
            found = read_file(absolute(self.key_file))
        except FdrlError as error:
            raise FdrlError(f"config: no key: {error} (at channel.key_file)") from None
        if len(found) < KEY:
            raise FdrlError(
                f"config: {self.key_file} has {len(found)} bytes, a key needs {KEY} (at "
                "channel.key_file)"
            )
        return found


class IdealChannel(_Kind, tag="ideal", frozen=True):
    """Everything arrives, at once; there is no simulated time."""


class _Timed(_Kind, frozen=True, kw_only=True):
    """A channel on which time passes, of sending and of computing."""

    step_seconds: Share = 0.0
    """Simulated seconds of an environment step, with the local learning that belongs to it."""
    gradient_seconds: Share = 0.0
    """Simulated seconds of a gradient step of distillation."""
    server_gradient_seconds: Share | None = None
    """The same at a server that distills too (fld); unset: as the agents'."""


class FadingChannel(_Timed, tag="fading", frozen=True, kw_only=True):
    """Radio links with Rayleigh block fading, slots and a deadline.

    The defaults are the asymmetric channel of the Mix2FLD paper (arXiv 2006.09801).
    """

    bandwidth: Amount = 10e6
    """Hz. The server broadcasts over all of it; each agent sends in an equal share (FDMA)."""
    power_up: float = 23.0
    """Power of each agent's transmitter, dBm."""
    power_down: float = 40.0
    """Power of the server's transmitter, dBm."""
    symmetric: bool = False
    """Let agents send with the server's power."""
    distance: Amount = 1000.0
    """Meters from every agent to the server."""
    distances: tuple[Amount, ...] = ()
    """Meters from each agent to the server, one an agent; unset: `distance` for all."""
    path_loss_exponent: Amount = 4.0
    """Received power falls with this power of the distance in meters: 120 dB at 1 km by default."""
    noise: float = -174.0
    """Noise power density, dBm/Hz."""
    slot_seconds: Amount = 1e-3
    """Seconds of a slot: the fading is constant in it, and independent of every other's."""
    threshold: Amount = 3.0
    """A slot with a lower signal-to-noise ratio (linear, not dB) is lost."""
    rate: Literal["adaptive", "fixed"] = "adaptive"
    """Bits per second and Hz in the other slots: log2(1 + SNR), or always log2(1 + threshold)."""
    deadline_slots: Slots = 100
    """Slots after which an upload is given up; the agent is then left out of the round."""
    down_deadline_slots: Slots = 0
    """Slots after which a broadcast is given up; 0: agents listen until they have it."""

    def __post_init__(self) -> None:
        if self.deadline_slots == 0:
            raise FdrlError(
                "config: no message can meet an uplink deadline of 0 slots: even the smallest one "
                "needs 1 slot, or more when slots are lost (at channel.deadline_slots)"
            )


class _Mac(_Timed, frozen=True, kw_only=True):
    """One uplink that all agents share (Ahn, Simeone and Kang, arXiv 1907.02745).

    The downlink is ideal, as in that paper; numbers without a source there are [choice].
    """

    channel_uses: Annotated[int, msgspec.Meta(ge=1, le=10**12)] = 10_000
    """Complex symbols of a round's uplink, for all agents together."""
    snr: Annotated[float, msgspec.Meta(ge=-100.0, le=200.0)] = 10.0
    """Signal-to-noise ratio of one agent at its average power, dB."""
    bandwidth: Amount = 1e6
    """Channel uses per second: it only decides how long a round takes."""
    fading: Literal["none", "rayleigh"] = "none"
    """A constant gain of 1 (the Gaussian channel), or one drawn anew per agent and round."""
    outage: Share = 0.1
    """With fading: an agent whose gain (mean 1) is lower stays silent in that round."""

    def __post_init__(self) -> None:
        if self.key_file is not None:
            raise FdrlError(
                "config: a shared uplink changes what it carries, so no message would be known as "
                "its sender's: leave out the key (at channel.key_file)"
            )


class MacDigital(_Mac, tag="mac-digital", frozen=True, kw_only=True):
    """Every agent gets an equal share of the capacity, and quantizes what it sends to fit."""

    value_bits: Annotated[int, msgspec.Meta(ge=1, le=24)] = 8
    """Bits of a parameter's change where not all fit: the largest are sent, with positions."""


class MacAnalog(_Mac, tag="mac-analog", frozen=True, kw_only=True):
    """All send at once, and their values add up in the air: the server receives a noisy sum."""


ChannelSettings = IdealChannel | FadingChannel | MacDigital | MacAnalog
