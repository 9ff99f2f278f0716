"""The figures of a setting, as matplotlib figures without a window."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fdrl.curves import round_values
from fdrl.report import look, series
from fdrl.report.groups import Setting
from fdrl.report.look import Style
from fdrl.report.results import SCARCE, Row
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


def _blank(setting: Setting) -> tuple[Figure, Axes]:
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


def _legend(picture: Figure, axis: Axes, setting: Setting) -> None:
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


def _threshold(axis: Axes, value: float | None) -> None:
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


def _curves(curves: Sequence[Series], styles: Styles, setting: Setting) -> tuple[Figure, Axes]:
    picture, axis = _blank(setting)
    order = list(styles)
    for s in curves:
        _curve(axis, s, styles[s.method], order.index(s.method))
    axis.set_ylabel(wording(setting.run).said("return of training episodes"))
    return picture, axis


def steps_figure(setting: Setting, styles: Styles) -> Figure | None:
    """Draw training return against environment steps."""
    curves = [c for c in series.against_steps(setting) if np.isfinite(c.band.value).any()]
    if not curves:
        return None
    picture, axis = _curves(curves, styles, setting)
    axis.xaxis.set_major_formatter("{x:,.0f}")
    axis.locator_params(axis="x", nbins=5)
    # Room at the right: no marker or line end is cut by the frame.
    unit, end = series.steps_axis(setting)
    axis.set_xlim(0, 1.03 * end)
    said = wording(setting.run).said
    axis.set_xlabel(
        said("environment steps per agent") if unit == "steps" else "episodes per agent"
    )
    _threshold(axis, setting.threshold)
    _legend(picture, axis, setting)
    return picture


def _zero_place(sent: Sequence[float]) -> float:
    """Return where 0 B stands on a logarithmic axis: well left of everything that was sent."""
    if not sent:
        return 1.0
    low, high = min(sent), max(sent)
    return float(low / max(2.0, (high / low) ** 0.3))


def _byte_axis(axis: Axes, sent: Sequence[float], zero: bool) -> None:
    """Make a logarithmic axis of bytes in words; `zero` gives 0 B a place left of all others."""
    from matplotlib.ticker import FixedLocator, NullLocator

    at = _zero_place(sent)
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


def bytes_figure(setting: Setting, styles: Styles) -> Figure | None:
    """Draw training return against bytes; what sends nothing has a mark at its last level."""
    curves = [c for c in series.against_bytes(setting) if np.isfinite(c.band.value).any()]
    if not curves:
        return None
    picture, axis = _curves(curves, styles, setting)
    sent = [float(v) for c in curves for v in c.x[np.isfinite(c.band.value)]]
    drawn, silent = {c.method for c in curves}, 0
    for m in setting.methods:
        level = series.last_level(m)
        if m.label in drawn or not math.isfinite(level):
            continue
        style, silent = styles[m.label], silent + 1
        axis.plot(
            [_zero_place(sent)], [level], color=style.color, marker=style.marker, ms=6.5, ls="",
            label=m.label, zorder=4,
        )  # fmt: skip
    _byte_axis(axis, sent, silent > 0)
    axis.set_xlabel("bytes sent and received per agent")
    _threshold(axis, setting.threshold)
    _legend(picture, axis, setting)
    return picture


def completion_figure(setting: Setting, styles: Styles) -> Figure | None:
    """Draw which fraction of runs has completed the goal, all agents, after so many steps."""
    curves = series.completed(setting)
    if not curves:
        return None
    picture, axis = _curves(curves, styles, setting)
    axis.set_ylim(-0.03, 1.03)
    axis.yaxis.set_major_formatter("{x:.0%}")
    axis.xaxis.set_major_formatter("{x:,.0f}")
    axis.locator_params(axis="x", nbins=5)
    # Nothing is to be seen beyond the last completion, unless some run never got there.
    full = [float(c.x[c.band.value >= 1][0]) for c in curves if (c.band.value >= 1).any()]
    end = max(full) if len(full) == len(curves) else float(curves[0].x[-1])
    axis.set_xlim(0, 1.03 * end)
    axis.set_xlabel(wording(setting.run).said("environment steps per agent"))
    axis.set_ylabel("runs completed, all agents")
    _legend(picture, axis, setting)
    return picture


def seconds_figure(setting: Setting, styles: Styles) -> Figure | None:
    """Draw training return against the simulated seconds of a channel."""
    curves = [c for c in series.against_seconds(setting) if np.isfinite(c.band.value).any()]
    if not curves:
        return None
    picture, axis = _curves(curves, styles, setting)
    axis.set_xlim(0, 1.03 * max(float(c.x[-1]) for c in curves))
    axis.set_xlabel("simulated seconds of computing and sending")
    _threshold(axis, setting.threshold)
    _legend(picture, axis, setting)
    return picture


def _front(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the points that no other beats in both bytes (fewer) and return (more)."""
    kept: list[tuple[float, float]] = []
    for x, y in sorted(points, key=lambda p: (p[0], -p[1])):
        if not kept or y > kept[-1][1]:
            kept.append((x, y))
    return kept


def pareto_figure(rows: Sequence[Row], setting: Setting, styles: Styles) -> Figure | None:
    """Draw final return against bytes of the whole run; zero bytes stand at the left edge."""
    known = [r for r in rows if r.seeds and math.isfinite(r.final.value)]
    if not known:
        return None
    picture, axis = _blank(setting)
    sent = [r.sent for r in known if r.sent > 0]
    zero = _zero_place(sent)
    at = {r.method: r.sent if r.sent > 0 else zero for r in known}
    front = _front([(at[r.method], r.final.value) for r in known])
    axis.plot(*zip(*front, strict=True), color=look.MUTED, lw=1, drawstyle="steps-post", zorder=1)
    for index, r in enumerate(known):
        style, x, y = styles[r.method], at[r.method], r.final.value
        if math.isfinite(r.final.low):
            color = style.color if r.seeds >= SCARCE else look.LINE
            axis.vlines(x, r.final.low, r.final.high, color=color, lw=1.4, zorder=2)
        axis.plot(
            [x], [y], color=style.color, marker=style.marker, ls="", label=r.method,
            # Smaller and smaller: two methods at one place are both seen.
            ms=10 - 4.5 * index / len(known), markeredgecolor=look.PAPER, mew=0.7, zorder=3,
        )  # fmt: skip
    _byte_axis(axis, sent, any(r.sent == 0 for r in known))
    axis.set_xlabel("bytes sent and received per agent, whole run")
    axis.set_ylabel(wording(setting.run).said("final greedy return (IQM)"))
    _threshold(axis, setting.threshold)
    _legend(picture, axis, setting)
    return picture


def profile_figure(setting: Setting, styles: Styles) -> Figure | None:
    """Draw which fraction of agents ends above each return."""
    curves = series.profiles(setting)
    if not curves:
        return None
    picture, axis = _curves(curves, styles, setting)
    axis.set_ylim(-0.03, 1.03)
    axis.yaxis.set_major_formatter("{x:.0%}")
    axis.set_xlabel(wording(setting.run).said("final greedy return"))
    axis.set_ylabel("agents above it")
    if setting.threshold is not None and curves[0].x[0] < setting.threshold < curves[0].x[-1]:
        axis.axvline(setting.threshold, color=look.MUTED, lw=1.0, ls=(0, (1, 2)), zorder=2)
    _legend(picture, axis, setting)
    return picture


KINDS: dict[str, tuple[str, str]] = {
    "steps": (
        "Learning curves",
        "Mean over seeds; the band is a 95% bootstrap interval over seeds. Each seed is a trailing "
        "mean over a twentieth of its rounds, over all agents.",
    ),
    "completion": (
        "Time to completion",
        "How many of the runs have completed the goal, all agents, after so many steps; a run that "
        "never does keeps its curve below 100%. The band is a 95% bootstrap interval over seeds.",
    ),
    "bytes": (
        "Learning curves against bytes",
        "The same curves against every byte sent and received, headers and proxy sets included. "
        "Methods that send nothing are marked at 0 B, at the level they end on.",
    ),
    "seconds": (
        "Learning curves against simulated seconds",
        "The same curves against the time that computing and the channel would have taken, with "
        "the waiting for uploads that missed their deadline.",
    ),
    "pareto": (
        "Return for bytes",
        "Final greedy return (IQM, bar: 95% interval) against bytes per agent. The gray steps "
        "join what nothing beats in both.",
    ),
    "profile": (
        "Performance profile",
        "How many of the agents end above a return; higher is better. Agents of one run are "
        "resampled together, so the band is over seeds.",
    ),
}
"""Title and caption of each figure."""


def draw(setting: Setting, rows: Sequence[Row], styles: Styles) -> dict[str, Figure]:
    """Return the setting's figures by kind; those without anything to draw are left out."""
    makers: dict[str, Callable[[], Figure | None]] = {
        "steps": lambda: steps_figure(setting, styles),
        "completion": lambda: completion_figure(setting, styles),
        "bytes": lambda: bytes_figure(setting, styles),
        "seconds": lambda: seconds_figure(setting, styles),
        "pareto": lambda: pareto_figure(rows, setting, styles),
        "profile": lambda: profile_figure(setting, styles),
    }
    found = {}
    for kind, make in makers.items():
        picture = make()
        if picture is not None:
            found[kind] = picture
    return found


def style_context() -> contextlib.AbstractContextManager[None]:
    """Return the context in which figures must be drawn and saved."""
    import matplotlib

    context: contextlib.AbstractContextManager[None] = matplotlib.rc_context(RC)
    return context
