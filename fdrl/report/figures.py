"""The figures of a setting, as matplotlib figures without a window."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fdrl.core.arrays import Doubles
from fdrl.report import series, theme
from fdrl.report.groups import Setting
from fdrl.report.results import SCARCE, Row
from fdrl.report.series import Series
from fdrl.report.theme import Style
from fdrl.runs.curves import round_values
from fdrl.runs.metric_names import MetricNames, wording

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# ---- What the figures of a page have in common: size, line names, curves, an axis of bytes ----


Styles = Mapping[str, Style]


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


def name_lines(picture: Figure, axis: Axes, level: Callable[[Doubles], Any] | None = None) -> None:
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
        color = style.color if s.seeds >= SCARCE else theme.MUTED
        axis.fill_between(s.x, s.band.low, s.band.high, color=color, alpha=0.16, lw=0, zorder=1)
    every = max(1, len(s.x) // 6)
    axis.plot(
        s.x, s.band.value, color=style.color, ls=style.dash, lw=1.9, marker=style.marker, ms=4.6,
        markevery=((3 + 4 * index) % every, every), markeredgecolor=theme.PAPER, mew=0.6,
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
    axis.axhline(value, color=theme.MUTED, lw=1.0, ls=(0, (1, 2)), zorder=2)
    axis.annotate(
        f"solved: {value:g}", (0.01, value), xycoords=("axes fraction", "data"),
        xytext=(0, 3), textcoords="offset points", fontsize=8, color=theme.MUTED,
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
    axis.xaxis.set_major_formatter(lambda x, _: "0 B" if zero and x == at else theme.size(x))
    axis.set_xlim(left, right)


def _apart(marks: Sequence[float], gap: float) -> list[float]:
    """Return the marks, rising, whose logarithms lie `gap` apart: their labels do not touch."""
    kept: list[float] = []
    for m in marks:
        if not kept or math.log(m / kept[-1]) >= gap:
            kept.append(m)
    return kept


# ---- The figures of a setting, as matplotlib figures without a window ----


def steps_figure(setting: Setting, styles: Styles) -> Figure | None:
    """Draw training return against environment steps."""
    curves = [c for c in series.against_steps(setting) if np.isfinite(c.band.value).any()]
    if not curves:
        return None
    picture, axis = curves_of(curves, styles, setting)
    axis.xaxis.set_major_formatter("{x:,.0f}")
    axis.locator_params(axis="x", nbins=5)
    # Room at the right: no marker or line end is cut by the frame.
    unit, end = series.steps_axis(setting)
    axis.set_xlim(0, 1.03 * end)
    counted = wording(setting.run).env_steps if unit == "steps" else "episodes"
    axis.set_xlabel(f"{counted} per agent")
    threshold_line(axis, setting.threshold)
    name_lines(picture, axis)
    return picture


def bytes_figure(setting: Setting, styles: Styles) -> Figure | None:
    """Draw training return against bytes; what sends nothing has a mark at its last level."""
    curves = [c for c in series.against_bytes(setting) if np.isfinite(c.band.value).any()]
    if not curves:
        return None
    picture, axis = curves_of(curves, styles, setting)
    sent = [float(v) for c in curves for v in c.x[np.isfinite(c.band.value)]]
    drawn, silent = {c.method for c in curves}, 0
    for m in setting.methods:
        level = series.last_level(m)
        if m.label in drawn or not math.isfinite(level):
            continue
        style, silent = styles[m.label], silent + 1
        axis.plot(
            [zero_place(sent)], [level], color=style.color, marker=style.marker, ms=6.5, ls="",
            label=m.label, zorder=4,
        )  # fmt: skip
    byte_axis(axis, sent, silent > 0)
    axis.set_xlabel("bytes sent and received per agent")
    threshold_line(axis, setting.threshold)
    name_lines(picture, axis)
    return picture


def completion_figure(setting: Setting, styles: Styles) -> Figure | None:
    """Draw which fraction of runs has completed the goal, all agents, after so many steps."""
    curves = series.completed(setting)
    if not curves:
        return None
    picture, axis = curves_of(curves, styles, setting)
    axis.set_ylim(-0.03, 1.03)
    axis.yaxis.set_major_formatter("{x:.0%}")
    axis.xaxis.set_major_formatter("{x:,.0f}")
    axis.locator_params(axis="x", nbins=5)
    # Nothing is to be seen beyond the last completion, unless some run never got there.
    full = [float(c.x[c.band.value >= 1][0]) for c in curves if (c.band.value >= 1).any()]
    end = max(full) if len(full) == len(curves) else float(curves[0].x[-1])
    axis.set_xlim(0, 1.03 * end)
    axis.set_xlabel(f"{wording(setting.run).env_steps} per agent")
    axis.set_ylabel("runs completed, all agents")
    name_lines(picture, axis)
    return picture


def seconds_figure(setting: Setting, styles: Styles) -> Figure | None:
    """Draw training return against the simulated seconds of a channel."""
    curves = [c for c in series.against_seconds(setting) if np.isfinite(c.band.value).any()]
    if not curves:
        return None
    picture, axis = curves_of(curves, styles, setting)
    axis.set_xlim(0, 1.03 * max(float(c.x[-1]) for c in curves))
    axis.set_xlabel("simulated seconds of computing and sending")
    threshold_line(axis, setting.threshold)
    name_lines(picture, axis)
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
    picture, axis = blank(setting)
    sent = [r.sent for r in known if r.sent > 0]
    zero = zero_place(sent)
    at = {r.method: r.sent if r.sent > 0 else zero for r in known}
    front = _front([(at[r.method], r.final.value) for r in known])
    axis.plot(*zip(*front, strict=True), color=theme.MUTED, lw=1, drawstyle="steps-post", zorder=1)
    for index, r in enumerate(known):
        style, x, y = styles[r.method], at[r.method], r.final.value
        if math.isfinite(r.final.low):
            color = style.color if r.seeds >= SCARCE else theme.LINE
            axis.vlines(x, r.final.low, r.final.high, color=color, lw=1.4, zorder=2)
        axis.plot(
            [x], [y], color=style.color, marker=style.marker, ls="", label=r.method,
            # Smaller and smaller: two methods at one place are both seen.
            ms=10 - 4.5 * index / len(known), markeredgecolor=theme.PAPER, mew=0.7, zorder=3,
        )  # fmt: skip
    byte_axis(axis, sent, any(r.sent == 0 for r in known))
    axis.set_xlabel("bytes sent and received per agent, whole run")
    axis.set_ylabel(f"{wording(setting.run).final_greedy} (IQM)")
    threshold_line(axis, setting.threshold)
    name_lines(picture, axis)
    return picture


def profile_figure(setting: Setting, styles: Styles) -> Figure | None:
    """Draw which fraction of agents ends above each return."""
    curves = series.profiles(setting)
    if not curves:
        return None
    picture, axis = curves_of(curves, styles, setting)
    axis.set_ylim(-0.03, 1.03)
    axis.yaxis.set_major_formatter("{x:.0%}")
    axis.set_xlabel(wording(setting.run).final_greedy)
    axis.set_ylabel("agents above it")
    if setting.threshold is not None and curves[0].x[0] < setting.threshold < curves[0].x[-1]:
        axis.axvline(setting.threshold, color=theme.MUTED, lw=1.0, ls=(0, (1, 2)), zorder=2)
    name_lines(picture, axis, np.mean)
    return picture


def captions(names: MetricNames) -> dict[str, tuple[str, str]]:
    """Return title and caption of each figure, in the words of a setting."""
    return {
        "steps": (
            "Learning curves",
            "Mean over seeds; the band is a 95% bootstrap interval over seeds. Each seed is a "
            "trailing mean over a twentieth of its rounds, over all agents.",
        ),
        "completion": (
            "Time to completion",
            "How many of the runs have completed the goal, all agents, after so many "
            f"{names.steps}; a run that never does keeps its curve below 100%. The band is a 95% "
            "bootstrap interval over seeds.",
        ),
        "bytes": (
            "Learning curves against bytes",
            "The same curves against every byte sent and received, headers and proxy sets "
            "included. Methods that send nothing are marked at 0 B, at the level they end on.",
        ),
        "seconds": (
            "Learning curves against simulated seconds",
            "The same curves against the time that computing and the channel would have taken, "
            "with the waiting for uploads that missed their deadline.",
        ),
        "pareto": (
            f"{names.value.capitalize()} for bytes",
            f"{names.final_greedy.capitalize()} (IQM, bar: 95% interval) against bytes per agent. "
            "The gray steps join what nothing beats in both.",
        ),
        "profile": (
            "Performance profile",
            f"How many of the agents end above {names.a_value}; higher is better. Agents of one "
            "run are resampled together, so the band is over seeds.",
        ),
    }


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
