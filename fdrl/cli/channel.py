"""``fdrl channel``: the link budget of a fading channel, and what messages need on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import msgspec
from tyro.conf import Positional

from fdrl.channels.settings import FadingChannel
from fdrl.cli import options
from fdrl.cli.options import argument, flag
from fdrl.core.errors import FdrlError
from fdrl.core.settings import PositiveInt

if TYPE_CHECKING:
    from fdrl.channels import fading

EXAMPLES = (
    ("labels' mean outputs", 400),
    ("with 50 images", 39_600),
    ("12,544 parameters", 50_176),
    ("fd, 256 proxy states", 620),
    ("fedavg, 64x64 PPO", 36_733),
    ("fedavg, 96x96 PPO", 79_615),
    ("fedavg, 128x128 PPO", 138_903),
)
"""What is printed without a SIZE; the first three are the published comparison's messages."""


class ChannelOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Print the link budget of a fading channel, and how many slots messages need on it: means
    over simulated fadings, and how many of the uploads miss the deadline.
    """

    sizes: Annotated[Positional[tuple[str, ...]], argument("[SIZE ...]")] = ()
    """Messages, in bytes (default: examples)."""
    agents: Annotated[PositiveInt, flag("N", "10")] = 10
    """Agents that share the uplink."""
    channel: FadingChannel = FadingChannel()
    """The channel's settings."""


def main(argv: list[str]) -> int:
    """Print both tables."""
    named, words = options.take(argv, {"channel": str})
    if named.get("channel", "fading") != "fading":
        raise FdrlError("only a fading channel has a link budget: use --channel fading")
    asked = options.read(ChannelOptions, words, "channel", keys=True)
    sizes = [("", _size(text)) for text in asked.sizes]
    _print(asked.channel, asked.agents, sizes or [*EXAMPLES])
    return 0


def _size(text: str) -> int:
    digits = text.replace("_", "").replace(",", "")
    if not digits.isdecimal() or int(digits) < 1:
        raise FdrlError(f"SIZE is a message's bytes, a whole number of at least 1, not {text!r}")
    return int(digits)


def _print(settings: FadingChannel, agents: int, messages: list[tuple[str, int]]) -> None:
    from fdrl.channels import fading
    from fdrl.cli.listing import print_table

    # As a run would: it checks the reach in each agent's share of the band, and the distances.
    fading.Fading(settings, ["x"] * agents, seed=0)
    far = max(settings.distances, default=settings.distance)
    up, down = (fading.link(settings, way, agents, far) for way in ("up", "down"))
    rows = []
    for name, link in ((f"uplink, {agents} agents", up), ("downlink, broadcast", down)):
        mean, _ = link.moments()
        rows.append(
            (name, f"{link.hertz / 1e6:g} MHz", f"{link.mean_snr_db:.1f} dB",
             f"{link.success:.4f}", f"{mean:,.0f}")
        )  # fmt: skip
    headers = ("link", "bandwidth", "mean SNR", "slots received", "bits a slot")
    print_table(headers, rows, title=f"at {far:g} m")
    print()
    lines = [_line(settings, name, size, up, down) for name, size in messages]
    title = f"an upload has {settings.deadline_slots} slots of {settings.slot_seconds * 1e3:g} ms"
    print_table(("bytes", "bits", "slots up", "late", "slots down", ""), lines, title=title)


def _line(
    settings: FadingChannel, name: str, size: int, up: fading.Link, down: fading.Link
) -> tuple[str, ...]:
    from fdrl.channels import fading

    late = fading.share_late(8 * size, up, settings.deadline_slots)
    slots = [fading.mean_slots(8 * size, link) for link in (up, down)]
    shown = [f"{n:,.0f}" if n >= 99.5 else f"{n:.3g}" for n in slots]
    return f"{size:,}", f"{8 * size:,}", shown[0], f"{late:.1%}", shown[1], name
