"""The figures of `fdrl theory`: theory as lines, finite networks as markers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fdrl.core.arrays import Doubles
from fdrl.report import theme
from fdrl.report.theme import MINUS, Style
from fdrl.theory.experiment import METHODS, Results
from fdrl.theory.statements import NAMES, floor, say, slopes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STYLES = theme.styles([NAMES[m] for m in METHODS])
MARKS = 14
"""Markers along a curve."""


def _canvas(columns: int, width: float, height: float, **shared: Any) -> tuple[Figure, list[Axes]]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    picture = Figure(figsize=(width, height), layout="constrained", facecolor=theme.PAPER)
    FigureCanvasAgg(picture)
    axes = picture.subplots(1, columns, squeeze=False, **shared)[0]
    for axis in axes:
        axis.set_axisbelow(True)
        axis.tick_params(which="minor", length=0)
    return picture, list(axes)


def _legend(axis: Axes, columns: int = 1) -> None:
    """Put the legend under the axes, where no curve is."""
    axis.legend(
        loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=columns, fontsize=8.5, handlelength=3
    )


def _line(axis: Axes, x: Any, y: Any, style: Style, label: str, **more: Any) -> None:
    axis.plot(x, y, color=style.color, ls=style.dash, lw=1.7, label=label, zorder=2, **more)


def _points(axis: Axes, x: Any, rows: Doubles, style: Style, label: str, full: bool = True) -> None:
    """Draw the mean over the rows [R, X] as markers, and bars from the lowest to the highest."""
    middle = rows.mean(0)
    axis.vlines(x, rows.min(0), rows.max(0), color=style.color, lw=1, zorder=3)
    axis.plot(
        x, middle, ls="", marker=style.marker, ms=5, label=label, zorder=4,
        color=style.color, mfc=style.color if full else theme.PAPER, mew=1.1,
    )  # fmt: skip


def _at(steps: int) -> Any:
    """Return the steps at which networks are marked: dense at first, where most happens."""
    share = np.linspace(0, 1, MARKS) ** 1.5
    return np.unique(np.rint(steps * share).astype(int))


def _time(axis: Axes, r: Results) -> None:
    axis.set_xlabel("time t (gradient steps)")
    axis.set_xlim(-0.02 * r.problem.steps, 1.02 * r.problem.steps)


def error_figure(r: Results) -> Figure:
    """Draw error against time for KD, CD and periodic CD: theory, narrowest, widest networks."""
    picture, axes = _canvas(3, 9.6, 3.7, sharey=True)
    times, at, widths = np.arange(r.problem.steps + 1), _at(r.problem.steps), r.settings.widths
    for i, (method, axis) in enumerate(zip(METHODS, axes, strict=True)):
        style = STYLES[NAMES[method]]
        axis.plot(times, r.theory[i, -1].mean(0), color=style.color, lw=1.7, label="theory")
        _points(axis, at, r.error[i, 0][:, at], style, f"networks of width {widths[0]:,}", False)
        _points(axis, at, r.error[i, -1][:, at], style, f"networks of width {widths[-1]:,}")
        axis.set_yscale("log")
        axis.set_title(_title(r, method), fontsize=10)
        _time(axis, r)
        _legend(axis)
    if floor(r) > 0:
        axes[0].axhline(floor(r), color=theme.MUTED, lw=1, ls=(0, (1, 2)))
        axes[0].annotate(
            f"floor b/(1+b)|φ{MINUS}y| = {floor(r):.3g}", (0.97, floor(r)),
            xycoords=("axes fraction", "data"), xytext=(0, -5), textcoords="offset points",
            ha="right", va="top", fontsize=8.5, color=theme.MUTED,
        )  # fmt: skip
    axes[0].set_ylabel(f"error |F {MINUS} y| (RMS, unit: RMS of y)")
    return picture


def _title(r: Results, method: str) -> str:
    s = r.settings
    if method == "kd":
        return f"KD, weight {s.weight:g}"
    if method == "cd":
        return f"CD, {s.workers} workers"
    return f"periodic CD, period {s.period} steps"


def limit_figure(r: Results) -> Figure:
    """Draw limits against the weight: of KD and CD; of FD with missing labels counted as zeros."""
    picture, (left, right) = _canvas(2, 9.6, 4.4)
    fine = np.linspace(0, float(r.weights[-1]), 200)
    expected = {"kd": np.array([floor(r, b) for b in fine]), "cd": np.zeros_like(fine)}
    for i, (method, curve) in enumerate(expected.items()):
        style = STYLES[NAMES[method]]
        _line(
            left, fine, curve, style, f"{NAMES[method]}, theory: {(f'b/(1+b)|φ{MINUS}y|', '0')[i]}"
        )
        name = f"{NAMES[method]}, networks of width {r.limit_width:,}"
        _points(left, r.weights, r.limits[i].T, style, name)
    left.set_ylabel("error at the end (RMS, unit: RMS of y)")
    left.set_title("distillation", fontsize=10)
    m = r.label_problem.workers
    styles = [*theme.styles([str(o) for o in range(m)]).values()]
    for owners, style in zip(range(1, m + 1), styles, strict=True):
        curve = fine * (m - owners) / (m - 1 + fine * (m - owners))
        who = f"zeros sent, {owners} of {m} own the label"
        _line(right, fine, curve, style, who, marker=style.marker, markevery=[0], ms=0)
        right.plot(
            r.weights, r.label_bias["zero"][:, owners - 1], ls="", marker=style.marker, ms=5,
            color=style.color, zorder=4,
        )  # fmt: skip
    plain = r.label_bias["renormalize"].max(1)
    right.plot(
        r.weights, plain, ls="", marker="x", ms=8, color=theme.INK, zorder=5,
        label="averaged over owners only (any number of owners)",
    )  # fmt: skip
    right.set_ylabel("error of the limit (unit: norm of the target)")
    right.set_title("FD by label: missing labels", fontsize=10)
    for axis in (left, right):
        axis.set_xlabel("weight b of the distillation loss")
        _legend(axis)
    return picture


def energy_figure(r: Results) -> Figure:
    """Draw consensus and disagreement energy of CD against time."""
    picture, (axis,) = _canvas(1, 5.6, 4.6)
    times, at, width = np.arange(r.problem.steps + 1), _at(r.problem.steps), r.settings.widths[-1]
    names = f"consensus |mean F {MINUS} y|²", f"disagreement |F {MINUS} mean F|²"
    styles = theme.styles([*names, "alone"])
    for i, name in enumerate(names):
        _line(axis, times, r.energy[1, i, -1].mean(0), styles[name], f"{name}, theory")
        label = f"the same, networks of width {width:,}"
        _points(axis, at, r.energy[0, i, -1][:, at], styles[name], label)
    middle = r.energy[2, 1, -1].mean(0)
    label = "disagreement, theory with the networks' own kernels"
    axis.plot(times, middle, color=theme.INK, lw=1, label=label, zorder=2)
    label = "disagreement by theory if nothing is exchanged (b = 0)"
    _line(axis, times, r.alone.mean(0), styles["alone"], label)
    axis.set_yscale("log")
    # Theory for equal kernels falls on and on; the picture ends a decade below the networks.
    lowest = r.energy[0, :, -1][:, :, at]
    axis.set_ylim(bottom=float(lowest[lowest > 0].min(initial=1.0)) / 10)
    axis.set_ylabel("energy (mean square, unit: mean square of y)")
    axis.set_title(f"CD, {r.settings.workers} workers, weight {r.settings.weight:g}", fontsize=10)
    _time(axis, r)
    _legend(axis)
    return picture


def gap_figure(r: Results) -> Figure:
    """Draw gaps and kernels' errors against width, with fitted slopes and their intervals."""
    picture, axes = _canvas(3, 10.8, 4.4)
    widths = np.array(r.settings.widths, dtype=np.float64)
    panels = (r.gaps, "kernel of infinite width"), (r.own_gaps, "each network's own first kernel")
    for axis, (gaps, title) in zip(axes, panels, strict=False):
        for i, (method, found) in enumerate(slopes(r, gaps).items()):
            style = STYLES[NAMES[method]]
            _power(
                axis,
                widths,
                gaps[i].T,
                style,
                f"{NAMES[method]}: slope {say(found)}".replace("-", MINUS),
            )
        axis.set_title(f"theory with {title}", fontsize=10)
        axis.set_ylabel("gap (RMS over time, unit: RMS of y)")
    names = (
        f"first kernel {MINUS} infinite width's",
        f"last kernel {MINUS} first kernel (CD)",
    )
    for rows, name, style in zip(r.kernel_errors, names, [*STYLES.values()][:2], strict=True):
        _power(axes[2], widths, rows.T, style, name)
    axes[2].set_title("why: kernels are off, and move", fontsize=10)
    axes[2].set_ylabel("difference of kernels (relative)")
    low = min(a.get_ylim()[0] for a in axes[:2])
    high = max(a.get_ylim()[1] for a in axes[:2])
    for axis in axes[:2]:
        axis.set_ylim(low, high)
    return picture


def _power(axis: Axes, widths: Doubles, rows: Doubles, style: Style, label: str) -> None:
    """Draw values [R, W] against width, with the least-squares line of their logarithms."""
    axis.set_xscale("log", base=2)
    axis.set_yscale("log")
    shown = np.where(np.isfinite(rows) & (rows > 0), rows, np.nan)
    _points(axis, widths, shown, style, label)
    if np.isfinite(shown).all():
        fitted = np.polyfit(np.log(widths), np.log(shown).mean(0), 1)
        _line(axis, widths, np.exp(np.polyval(fitted, np.log(widths))), style, "_")
    axis.xaxis.set_major_formatter("{x:.0f}")
    axis.set_xlabel("width m (hidden units)")
    _legend(axis)


FIGURES = {
    "error": error_figure,
    "limit": limit_figure,
    "energy": energy_figure,
    "gap": gap_figure,
}
"""File name and maker of each figure."""
