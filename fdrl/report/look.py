"""The look of figures and page: colors, dashes and markers, and numbers as text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fdrl.stats import Interval

# Okabe and Ito's palette (black instead of yellow, which white paper swallows) and three more
# tones, ordered so that neighbors also differ in lightness; the second column is for dark paper.
# Dashes and markers tell methods apart in black and white, and for whom colors look alike.
COLORS = (
    ("#0072b2", "#4fb0f0"),
    ("#d55e00", "#ff8b3d"),
    ("#009e73", "#35d0a2"),
    ("#cc79a7", "#e79cc6"),
    ("#e69f00", "#f0b429"),
    ("#56b4e9", "#a9dcff"),
    ("#111116", "#ffffff"),
    ("#6b2340", "#c2456f"),
    ("#5b4a00", "#e8e25a"),
    ("#a5a5ae", "#8f8f9b"),
)
INK, MUTED, LINE, PAPER = "#1c1c21", "#5d5d68", "#d8d8e0", "#ffffff"
ROLES = {"ink": INK, "muted": MUTED, "line": LINE, "paper": PAPER}
DARK = {"ink": "#ececf1", "muted": "#a9a9b6", "line": "#3b3b45", "paper": "#18181c"}
DASHES: tuple[Any, ...] = (
    "-",
    (0, (5, 1.8)),
    (0, (1.2, 1.4)),
    (0, (6, 1.6, 1.2, 1.6)),
    (0, (6, 1.5, 1.2, 1.5, 1.2, 1.5)),
)
MARKERS = "osD^vPX<>ph"
NONE, MINUS = "\N{EN DASH}", "\N{MINUS SIGN}"


@dataclass(frozen=True)
class Style:
    """How a method is drawn."""

    color: str
    dash: Any
    marker: str


def styles(labels: Sequence[str]) -> dict[str, Style]:
    """Return a style for each method: ten colors, no two styles alike among the first 110.

    Among the first 50 no two have both color and dash in common; the dashes move on by one every
    five methods, so that the palette's two blues, and the like, differ in dash as well.
    """
    return {
        label: Style(COLORS[i % 10][0], DASHES[(i + i // 5) % 5], MARKERS[i % 11])
        for i, label in enumerate(labels)
    }


def number(value: float, sign: bool = False, beside: Sequence[float] = ()) -> str:
    """Return a number as a reader wants it; a dash if there is none.

    Three to five digits, or as many decimals as the largest of the numbers `beside` it deserves.
    """
    if not math.isfinite(value):
        return NONE
    scale = max([abs(v) for v in (value, *beside) if math.isfinite(v)])
    digits = 0 if scale >= 1000 else 1 if scale >= 10 else 2 if scale >= 1 or scale == 0 else 3
    text = f"{value:{'+' if sign else ''},.{digits}f}"
    return text.replace("-", MINUS)


def bounds(interval: Interval, sign: bool = False) -> str:
    """Return an interval's bounds; empty if it has none."""
    if not (math.isfinite(interval.low) and math.isfinite(interval.high)):
        return ""
    low, high = (number(v, sign, interval) for v in (interval.low, interval.high))
    return f"[{low}, {high}]"


def whole(value: float) -> str:
    """Return a count."""
    return f"{value:,.0f}" if math.isfinite(value) else NONE


def size(count: float) -> str:
    """Return bytes in decimal units."""
    if not math.isfinite(count):
        return NONE
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= factor:
            scaled = count / factor
            return f"{scaled:,.0f} {unit}" if scaled >= 99.95 else f"{scaled:.3g} {unit}"
    return f"{count:.0f} B"
