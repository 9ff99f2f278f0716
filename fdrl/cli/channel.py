"""``fdrl channel``: the link budget of a fading channel, and what messages need on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fdrl.cli import options
from fdrl.errors import FdrlError

if TYPE_CHECKING:
    from fdrl import fading
    from fdrl.channel_settings import FadingChannel

ABOUT = """Print the link budget of a fading channel, and how many slots messages need on it: means
over simulated fadings, and how many of the uploads miss the deadline. SIZE are messages in bytes.

  --agents N            agents that share the uplink (default 10)
  --channel.FIELD V     a setting of the channel, for example --channel.symmetric

settings, with their defaults:"""
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


def main(argv: list[str]) -> int:
    """Print both tables."""
    if "--help" in argv or "-h" in argv:
        print(_usage())
        return 0
    words = list(argv)
    sizes = []
    while words and not words[0].startswith("-"):
        sizes.append(_size(words.pop(0)))
    settings, agents = _settings(words)
    _print(settings, agents, [("", n) for n in sizes] or [*EXAMPLES])
    return 0


def _size(text: str) -> int:
    digits = text.replace("_", "").replace(",", "")
    if not digits.isdecimal() or int(digits) < 1:
        raise FdrlError(f"SIZE is a message's bytes, a whole number of at least 1, not {text!r}")
    return int(digits)


def _usage() -> str:
    from fdrl.channel_settings import FadingChannel
    from fdrl.cli.listing import settings_rows

    rows = settings_rows(FadingChannel, "--channel")
    lines = [f"  {flag:<36}{default or 'unset':<10} {text}" for flag, _, default, text in rows]
    return options.usage("channel", "[SIZE ...]", "\n".join([ABOUT, *lines]), {})


def _settings(words: list[str]) -> tuple[FadingChannel, int]:
    from fdrl.channel_settings import FadingChannel
    from fdrl.cli.flags import apply_flags

    run = apply_flags({"channel": {"type": "fading"}}, words)
    if not isinstance(run.channel, FadingChannel):
        raise FdrlError("only a fading channel has a link budget: use --channel fading")
    return run.channel, run.agents


def _print(settings: FadingChannel, agents: int, messages: list[tuple[str, int]]) -> None:
    from fdrl import fading
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
    from fdrl import fading

    late = fading.share_late(8 * size, up, settings.deadline_slots)
    slots = [fading.mean_slots(8 * size, link) for link in (up, down)]
    shown = [f"{n:,.0f}" if n >= 99.5 else f"{n:.3g}" for n in slots]
    return f"{size:,}", f"{8 * size:,}", shown[0], f"{late:.1%}", shown[1], name
