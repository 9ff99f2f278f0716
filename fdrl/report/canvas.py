"""What the figures of a page have in common: size, legend, curves, an axis of bytes."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fdrl.curves import round_values
from fdrl.report import look
from fdrl.report.groups import Setting
from fdrl.report.look import Style
from fdrl.report.results import SCARCE
from fdrl.report.series import Series
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
    "legend.frameon": False,
}


def _columns(setting: Setting) -> int:
    return 3 if max(len(m.label) for m in setting.methods) <= 16 else 2


def _legend_rows(setting: Setting) -> int:
    return math.ceil(len(setting.methods) / _columns(setting))


def blank(setting: Setting) -> tuple[Figure, Axes]:
    """Return an empty picture with room for the setting's legend, and its axis."""
    # No pyplot: its global state and windows have no place in a library.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    height = 3.0 + 0.2 * _legend_rows(setting)
    picture = Figure(figsize=(4.7, height), layout="constrained", facecolor="none")
    FigureCanvasAgg(picture)
    axis = picture.subplots()
    axis.set_facecolor("none")
    axis.set_axisbelow(True)
    return picture, axis


def legend(picture: Figure, axis: Axes, setting: Setting) -> None:
    """Put the legend below, as high in every figure of a setting: their axes end level."""
    from matplotlib.lines import Line2D

    handles, labels = axis.get_legend_handles_labels()
    unique = dict(zip(labels, handles, strict=True))
    columns, rows = _columns(setting), _legend_rows(setting)
    shown = [*unique.items()]
    while -(-len(shown) // columns) < rows:
        shown.append(("", Line2D([], [], ls="")))
    picture.legend(
        [h for _, h in shown], [n for n, _ in shown], loc="outside lower center", ncols=columns,
        fontsize=8.5, handlelength=3.4, columnspacing=1.2,
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
