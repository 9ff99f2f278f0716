"""The figures of a setting, as matplotlib figures without a window."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from fdrl.report import look, series
from fdrl.report.canvas import (
    Styles,
    blank,
    byte_axis,
    curves_of,
    name_lines,
    threshold_line,
    zero_place,
)
from fdrl.report.groups import Setting
from fdrl.report.results import SCARCE, Row
from fdrl.wording import Wording, wording

if TYPE_CHECKING:
    from matplotlib.figure import Figure


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
        axis.axvline(setting.threshold, color=look.MUTED, lw=1.0, ls=(0, (1, 2)), zorder=2)
    name_lines(picture, axis, np.mean)
    return picture


def captions(names: Wording) -> dict[str, tuple[str, str]]:
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
