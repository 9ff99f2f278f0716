"""Learning curves: return against environment steps, bytes, and a channel's simulated seconds."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fdrl.core.arrays import Doubles
from fdrl.core.errors import FdrlError
from fdrl.core.files import write_atomic
from fdrl.core.records import RoundRecord
from fdrl.core.registry import ENVS
from fdrl.runs.folder import read_data, read_records
from fdrl.runs.metric_names import of_env

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Panels = dict[str, "Axes"]
"""Axes by what they are against: steps, bytes, seconds."""

# Okabe and Ito's palette with three more tones, ordered so that neighbors also differ in
# lightness; with the dashes it reads in black and white.
COLORS = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00",
    "#56B4E9", "#000000", "#6B2340", "#5B4A00", "#A5A5AE",
)  # fmt: skip
DASHES = ("-", (0, (6, 2)), (0, (2, 1.5)), (0, (6, 2, 1.5, 2)), (0, (9, 3))) * 2


@dataclass(frozen=True)
class Curve:
    """The curves of one run. R rounds, K agents; NaN where an agent had ended no episode yet."""

    label: str
    env: str
    steps: Doubles
    """[R, K] environment steps so far, or training episodes."""
    returns: Doubles
    """[R, K] latest known mean return of training episodes."""
    bytes: Doubles
    """[R] bytes so far per agent, up and down together."""
    unit: str = "environment steps"
    """What `steps` counts; "episodes" where these are the budget."""
    seconds: Doubles = field(default_factory=lambda: np.zeros(0))
    """[R] simulated seconds so far; all 0 (or empty) with an ideal channel."""


def carried(rows: Doubles) -> Doubles:
    """Fill each gap of [R, K] with the value before it."""
    known = np.where(np.isnan(rows), 0, np.arange(len(rows))[:, None])
    last = np.maximum.accumulate(known, axis=0)
    return np.asarray(np.take_along_axis(rows, last, axis=0), dtype=np.float64)


def curve(label: str, env: str, records: Sequence[RoundRecord], by_episodes: bool = False) -> Curve:
    """Collect the curves from a run's records, against steps or `by_episodes`."""
    returns = np.array([[np.nan if v is None else v for v in r.returns] for r in records])
    return Curve(
        label=label,
        env=env,
        steps=np.array(
            [r.episodes if by_episodes else r.env_steps for r in records], dtype=np.float64
        ),
        unit="episodes" if by_episodes else of_env(env).env_steps,
        returns=carried(returns.astype(np.float64)),
        bytes=np.array([r.bytes_up + r.bytes_down for r in records], dtype=np.float64),
        seconds=np.array([r.sim_seconds for r in records], dtype=np.float64),
    )


def read_curve(folder: str | Path) -> Curve:
    """Read the curves of a run folder."""
    run, records = read_data(folder), read_records(folder)
    if not records:
        raise FdrlError(f"{folder} has no finished round to draw")
    label = f"{run.strategy_name}, seed {run.seed}"
    return curve(label, run.env, records, by_episodes=run.episodes > 0)


def smooth(values: Doubles, width: int) -> Doubles:
    """Return the trailing mean over `width` rounds [R, K]; rounds without a value do not count."""
    known = ~np.isnan(values)
    totals = np.cumsum(np.where(known, values, 0.0), axis=0)
    counts = np.cumsum(known, axis=0).astype(np.float64)
    totals[width:] -= totals[:-width].copy()
    counts[width:] -= counts[:-width].copy()
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(totals / counts, dtype=np.float64)


def smoothing(rounds: int) -> int:
    """Return over how many rounds a curve of so many is averaged: a twentieth of them."""
    return max(1, rounds // 20)


def mean_over_agents(values: Doubles) -> Doubles:
    """Return [R], the mean over the agents that have a value; NaN where none has."""
    known = ~np.isnan(values)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(known, values, 0.0).sum(1) / known.sum(1), dtype=np.float64)


def _draw_curve(panels: Panels, c: Curve, color: str, dash: Any, thin: bool) -> None:
    """Draw a run against steps and, where there are such panels, bytes and simulated seconds."""
    smoothed = smooth(c.returns, smoothing(len(c.returns)))
    mean = mean_over_agents(smoothed)
    all_agents = np.ones(c.steps.shape)
    for kind, axis in panels.items():
        if kind == "steps":
            x, rows = c.steps, np.ones(len(c.bytes), dtype=bool)
        else:
            own = c.bytes / 1000 if kind == "bytes" else c.seconds
            x, rows = own[:, None] * all_agents, own > 0
        if thin:
            for agent in range(c.returns.shape[1]):
                axis.plot(x[rows, agent], smoothed[rows, agent], color=color, lw=0.7, alpha=0.35)
        # A white edge keeps the mean apart from the thin lines without relying on color.
        axis.plot(x[rows].mean(1), mean[rows], color="white", lw=4.5, zorder=3)
        axis.plot(
            x[rows].mean(1), mean[rows], color=color, ls=dash, lw=2.4, zorder=4, label=c.label
        )


def _decorate(panels: Panels, curves: Sequence[Curve], threshold: float | None) -> None:
    axes = [*panels.values()]
    axes[0].xaxis.set_major_formatter("{x:,.0f}")
    axes[0].locator_params(axis="x", nbins=6)
    axes[0].set_xlabel(f"{curves[0].unit} per agent")
    axes[0].set_ylabel(of_env(curves[0].env).while_training)
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(alpha=0.25, lw=0.6)
        if threshold is not None:
            axis.axhline(threshold, color="0.35", lw=1.0, ls=(0, (1, 2)), zorder=1)
    if threshold is not None:
        axes[0].annotate(
            f"solved: {threshold:g}", (0.01, threshold), xycoords=("axes fraction", "data"),
            xytext=(0, 3), textcoords="offset points", fontsize=8, color="0.35",
        )  # fmt: skip
    if "bytes" in panels:
        _bytes_panel(panels["bytes"], curves)
    if "seconds" in panels:
        panels["seconds"].set_xlabel("simulated seconds")
        panels["seconds"].set_xlim(left=0)


def _bytes_panel(axis: Axes, curves: Sequence[Curve]) -> None:
    axis.set_xlabel("kB sent and received per agent")
    sent = [c.bytes[(c.bytes > 0) & ~np.isnan(c.returns).all(1)] for c in curves]
    if any(s.size for s in sent):
        _log_axis(axis, np.concatenate(sent) / 1000)
        return
    axis.set_xticks([])
    nothing = of_env(curves[0].env).nothing_yet
    axis.text(0.5, 0.5, nothing, transform=axis.transAxes, ha="center", color="0.35")


def _log_axis(axis: Axes, sent: Doubles) -> None:
    """Make a logarithmic axis with plain numbers, and enough of them on a short range."""
    from matplotlib.ticker import FixedLocator, NullLocator

    axis.set_xscale("log")
    axis.xaxis.set_major_formatter("{x:,g}")
    axis.xaxis.set_minor_locator(NullLocator())
    axis.xaxis.set_major_locator(FixedLocator(round_values(sent.min(), sent.max())))


def round_values(low: float, high: float) -> list[float]:
    """Return three to seven round numbers in [low, high] (0 < low) for a logarithmic axis.

    Powers of ten if there are enough, else 1-2-5 steps, else equal steps; a range of one value
    gives that value.
    """
    from matplotlib.ticker import MaxNLocator

    powers = np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)) + 1)
    inside: list[float] = []
    for factors in ((1.0,), (1.0, 3.0), (1.0, 2.0, 5.0)):
        marks = (f * 10.0**k for k in powers for f in factors)
        inside = [m for m in marks if low * (1 - 1e-9) <= m <= high * (1 + 1e-9)]
        if len(inside) >= 3:
            return inside[:: -(-len(inside) // 7)]
    # Equal steps crowd at the right end of a logarithmic axis, so they are few.
    steps = MaxNLocator(3, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
    return [float(t) for t in steps if low <= t <= high] or inside or [float(low)]


def _legend(picture: Figure, axis: Axes, curves: Sequence[Curve], thin: bool) -> None:
    """Put the legend below the panels, where it hides no curve."""
    from matplotlib.lines import Line2D

    handles, labels = axis.get_legend_handles_labels()
    if len(curves) == 1:
        labels = [f"mean of {curves[0].returns.shape[1]} agents"]
    if thin:
        handles.append(Line2D([], [], color=COLORS[0], lw=0.7, alpha=0.6))
        labels.append("one agent")
    columns = max(1, min(len(labels), int(120 * picture.get_figwidth() / 9.6) // 26))
    picture.legend(
        handles, labels, loc="outside lower center", ncols=columns, frameon=False, fontsize=8.5,
        handlelength=3.4,
    )  # fmt: skip


def _say_smoothing(axis: Axes, curves: Sequence[Curve]) -> None:
    """Say over how many rounds the lines are averaged, if they are."""
    widths = sorted({smoothing(len(c.returns)) for c in curves})
    if widths[-1] == 1:
        return
    span = f"{widths[0]}" if len(widths) == 1 else f"{widths[0]} to {widths[-1]}"
    text = f"each point: mean of the last {span} rounds"
    axis.set_title(text, loc="right", fontsize=8, color="0.35")


def figure(curves: Sequence[Curve]) -> Figure:
    """Draw curves of runs of one environment: panels that share the return axis.

    Against steps; against bytes if any are sent; against simulated seconds if the channel has any.
    """
    # No pyplot: its global state and windows have no place in a library.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    env = curves[0].env
    kinds = ["steps"]
    kinds += ["bytes"] if any((c.bytes > 0).any() for c in curves) else []
    kinds += ["seconds"] if any((c.seconds > 0).any() for c in curves) else []
    width = {1: 6.4, 2: 9.6}.get(len(kinds), 13.2)
    picture = Figure(figsize=(width, 4.3), layout="constrained")
    FigureCanvasAgg(picture)
    axes = picture.subplots(1, len(kinds), sharey=True, squeeze=False)[0]
    panels: Panels = dict(zip(kinds, axes, strict=True))
    styles = islice(cycle(zip(COLORS, DASHES, strict=True)), len(curves))
    thin = len(curves) == 1 and curves[0].returns.shape[1] > 1
    for c, (color, dash) in zip(curves, styles, strict=True):
        _draw_curve(panels, c, color, dash, thin)
    _decorate(panels, curves, ENVS.spec(env).threshold if env in ENVS else None)
    _legend(picture, panels["steps"], curves, thin)
    picture.align_xlabels([*panels.values()])
    title = f"{env}: {curves[0].label}" if len(curves) == 1 else env
    picture.suptitle(title, fontsize=11, x=0.01, ha="left")
    _say_smoothing(axes[-1], curves)
    return picture


def draw(folders: Sequence[str | Path], target: str | Path, root: Path | None = None) -> list[Path]:
    """Draw run folders of one environment to ``TARGET.png`` and ``TARGET.svg``.

    `root` is the run folder that they are in, if any: no link is followed there.
    """
    curves = [read_curve(f) for f in folders]
    others = sorted({c.env for c in curves} - {curves[0].env})
    if others:
        raise FdrlError(f"cannot draw {curves[0].env} and {others[0]} in one picture")
    picture = figure(curves)
    written = []
    for kind in ("png", "svg"):
        path = Path(f"{target}.{kind}")
        buffer = io.BytesIO()
        picture.savefig(buffer, format=kind, dpi=150)
        write_atomic(path, buffer.getvalue(), root)
        written.append(path)
    return written
