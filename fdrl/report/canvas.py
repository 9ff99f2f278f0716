"""What the figures of a page have in common: size, line names, curves, an axis of bytes."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fdrl.curves import round_values
from fdrl.report import look
from fdrl.report.groups import Setting
from fdrl.report.look import Style
from fdrl.report.results import SCARCE
from fdrl.report.series import Floats, Series
from fdrl.wording import wording

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Styles = Mapping[str, Style]
RC: dict[Any, Any] = {
    "svg.fonttype": "none",
    # Element ids come from this salt, so the same runs give the same files.
    "svg.hashsalt": "fdrl",
    "font.size": 9.5,
    "text.color": look.INK,
    "axes.labelcolor": look.INK,
    "axes.edgecolor": look.MUTED,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": look.LINE,
    "grid.linewidth": 0.6,
    "xtick.color": look.MUTED,
    "ytick.color": look.MUTED,
    "xtick.labelcolor": look.INK,
    "ytick.labelcolor": look.INK,
}


NAME_GAP = 12.0
"""Points between the names of two lines."""
SAMPLE = 28.0
"""Points of a line that stand before its name: the longest dash fits in."""


def _inside(height: float) -> float:
    """Return the height of a picture's axis in points; the rest is numbers and the x axis' name."""
    return 72 * height - 48


def blank(setting: Setting) -> tuple[Figure, Axes]:
    """Return an empty picture with room for the names of the setting's methods, and its axis."""
    # No pyplot: its global state and windows have no place in a library.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    height = max(3.2, (NAME_GAP * len(setting.methods) + 48) / 72)
    picture = Figure(figsize=(5.4, height), layout="constrained", facecolor="none")
    FigureCanvasAgg(picture)
    axis = picture.subplots()
    axis.set_facecolor("none")
    axis.set_axisbelow(True)
    return picture, axis


def spread(levels: Sequence[float], gap: float) -> list[float]:
    """Return places near `levels` [N], rising as they do, `gap` apart, within 0 and 1.

    The least sum of squared moves (pool adjacent violators); too many for the gap stand evenly.
    """
    if not levels:
        return []
    gap = min(gap, 1 / max(1, len(levels) - 1))
    pools: list[tuple[float, int]] = []
    for i, level in enumerate(levels):
        mean, count = level - i * gap, 1
        while pools and pools[-1][0] > mean:
            other, more = pools.pop()
            mean, count = (mean * count + other * more) / (count + more), count + more
        pools.append((mean, count))
    top = 1 - (len(levels) - 1) * gap
    flat = [min(max(mean, 0.0), top) for mean, count in pools for _ in range(count)]
    return [place + i * gap for i, place in enumerate(flat)]


def name_lines(picture: Figure, axis: Axes, level: Callable[[Floats], Any] | None = None) -> None:
    """Write each line's name at the right, behind a piece of it, as high as the line ends.

    Call it last: the limits of the axis must be final. Where most lines end near the right edge, a
    thin one joins each end there with its name. `level` says of a line's values at which of them it
    is named; unset: the last.
    """
    from matplotlib.lines import Line2D
    from matplotlib.transforms import Affine2D, ScaledTranslation

    handles, labels = axis.get_legend_handles_labels()
    lines = {n: h for n, h in zip(labels, handles, strict=True) if isinstance(h, Line2D)}
    ends: list[tuple[float, float, str]] = []
    # matplotlib finds limits when they are asked for, and would move them for the lines below.
    axis.set_xlim(axis.get_xlim())
    axis.set_ylim(axis.get_ylim())
    to_share = axis.transData + axis.transAxes.inverted()
    for label, line in lines.items():
        xy = np.asarray(line.get_xydata(), dtype=float)
        # What is drawn of a line may end before it does.
        xy = xy[np.isfinite(xy).all(1) & (xy[:, 0] <= axis.get_xlim()[1])]
        if not len(xy):
            continue
        at = (xy[-1, 0], xy[-1, 1] if level is None else level(xy[:, 1]))
        right, up = to_share.transform(at)
        ends.append((min(max(float(up), 0.0), 1.0), float(right), label))
    ends.sort(key=lambda e: e[0])
    joined = level is None and sum(e[1] > 0.9 for e in ends) > len(ends) / 2
    gap = NAME_GAP / _inside(picture.get_size_inches()[1])
    points = Affine2D().scale(1 / 72) + picture.dpi_scale_trans
    shares: Any = axis.transAxes  # typed more widely than it is
    for (up, right, label), place in zip(ends, spread([e[0] for e in ends], gap), strict=True):
        sample = Line2D([], [])
        sample.update_from(lines[label])
        sample.set_label("")
        # Its mark at the left, where it hides no dash; a mark alone stands at its name.
        marked = sample.get_marker() not in ("None", None)
        sample.set_markevery([int(sample.get_linestyle() == "None")] if marked else None)
        sample.set_data([2, 2 + SAMPLE], [0, 0])
        sample.set_transform(points + ScaledTranslation(1.02, place, shares))
        sample.set_clip_on(False)
        axis.add_artist(sample)
        axis.annotate(
            label, (1.02, place), xycoords="axes fraction", xytext=(SAMPLE + 7, 0),
            textcoords="offset points", va="center", fontsize=8.5, annotation_clip=False,
        )  # fmt: skip
        if joined and right > 0.9:
            axis.plot(
                [right, 1.02], [up, place], transform=axis.transAxes, clip_on=False, lw=0.6,
                color=lines[label].get_color(), zorder=1,
            )  # fmt: skip


def _curve(axis: Axes, s: Series, style: Style, index: int) -> None:
    """Draw a band, then the mean with markers that no two methods put at the same places."""
    if np.isfinite(s.band.low).any():
        color = style.color if s.seeds >= SCARCE else look.MUTED
        axis.fill_between(s.x, s.band.low, s.band.high, color=color, alpha=0.16, lw=0, zorder=1)
    every = max(1, len(s.x) // 6)
    axis.plot(
        s.x, s.band.value, color=style.color, ls=style.dash, lw=1.9, marker=style.marker, ms=4.6,
        markevery=((3 + 4 * index) % every, every), markeredgecolor=look.PAPER, mew=0.6,
        label=s.method if s.finished else f"{s.method} (unfinished)", zorder=3,
    )  # fmt: skip


def threshold_line(axis: Axes, value: float | None) -> None:
    """Draw the return from which the environment counts as solved, if there is one."""
    if value is None:
        return
    low, high = axis.get_ylim()
    if value > high + 0.6 * (high - low) or value < low:
        # A line far off the curves would flatten them.
        axis.set_ylim(low, high)
        return
    axis.axhline(value, color=look.MUTED, lw=1.0, ls=(0, (1, 2)), zorder=2)
    axis.annotate(
        f"solved: {value:g}", (0.01, value), xycoords=("axes fraction", "data"),
        xytext=(0, 3), textcoords="offset points", fontsize=8, color=look.MUTED,
    )  # fmt: skip


def curves_of(curves: Sequence[Series], styles: Styles, setting: Setting) -> tuple[Figure, Axes]:
    """Draw curves with their bands."""
    picture, axis = blank(setting)
    order = list(styles)
    for s in curves:
        _curve(axis, s, styles[s.method], order.index(s.method))
    axis.set_ylabel(wording(setting.run).while_training)
    return picture, axis


def zero_place(sent: Sequence[float]) -> float:
    """Return where 0 B stands on a logarithmic axis: well left of everything that was sent."""
    if not sent:
        return 1.0
    low, high = min(sent), max(sent)
    return float(low / max(2.0, (high / low) ** 0.3))


def byte_axis(axis: Axes, sent: Sequence[float], zero: bool) -> None:
    """Make a logarithmic axis of bytes in words; `zero` gives 0 B a place left of all others."""
    from matplotlib.ticker import FixedLocator, NullLocator

    at = zero_place(sent)
    low, high = (min(sent), max(sent)) if sent else (at, at)
    first = at if zero else low
    # The same share of the axis stays free at both ends, so that marks are whole.
    room = max((high / first) ** 0.08, 1.05)
    left, right = first / room, high * room
    marks = [*([at] if zero else []), *(round_values(low, high) if sent else [])]
    axis.set_xscale("log")
    axis.xaxis.set_major_locator(FixedLocator(_apart(marks, 0.15 * math.log(right / left))))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.xaxis.set_major_formatter(lambda x, _: "0 B" if zero and x == at else look.size(x))
    axis.set_xlim(left, right)


def _apart(marks: Sequence[float], gap: float) -> list[float]:
    """Return the marks, rising, whose logarithms lie `gap` apart: their labels do not touch."""
    kept: list[float] = []
    for m in marks:
        if not kept or math.log(m / kept[-1]) >= gap:
            kept.append(m)
    return kept


def style_context() -> contextlib.AbstractContextManager[None]:
    """Return the context in which figures must be drawn and saved."""
    import matplotlib

    context: contextlib.AbstractContextManager[None] = matplotlib.rc_context(RC)
    return context
