"""Curves of several runs on one axis, and their band over seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fdrl import stats
from fdrl.core.arrays import Doubles
from fdrl.report.groups import Method, Setting
from fdrl.stats import Band

POINTS = 160


@dataclass(frozen=True, eq=False)
class Series:
    """A method's curve: x [M], and the mean over seeds with its band [M]."""

    method: str
    x: Doubles
    band: Band
    seeds: int
    finished: bool
    """Whether it is made of finished runs."""


def between(x: Doubles, values: Doubles, at: Doubles) -> Doubles:
    """Return a run's curve at other places: straight lines, NaN before its first value and after
    its last x."""
    inside = (at >= x[0] * (1 - 1e-9)) & (at <= x[-1] * (1 + 1e-9))
    return np.where(inside, np.interp(at, x, values), np.nan)


def _series(method: Method, at: Doubles, axis: str) -> Series:
    traces = method.traces
    rows = np.array([between(getattr(t, axis), t.returns, at) for t in traces])
    # Where some seeds have ended and others have not, the mean would jump from one set of seeds
    # to another: the curve is drawn where all have a value.
    rows[:, np.isnan(rows).any(0)] = np.nan
    band = stats.curve_band(rows)
    return Series(method.label, at, band, len(traces), bool(method.finished))


def steps_axis(setting: Setting) -> tuple[str, float]:
    """Return what learning curves run over, "steps" or "episodes", and how far.

    That is the budget; runs that a goal may end early reach as far as the longest of them.
    """
    run = setting.run
    axis, end = ("episodes", run.episodes) if run.episodes else ("steps", run.steps)
    if run.goal is None or not run.goal.stop:
        return axis, float(end)
    last = [float(getattr(t, axis)[-1]) for m in setting.methods for t in m.traces]
    return axis, max(last, default=float(end))


def against_steps(setting: Setting) -> list[Series]:
    """Return every method's training return against steps, or episodes, per agent."""
    axis, end = steps_axis(setting)
    at = np.linspace(0, end, POINTS + 1)[1:]
    return [_series(m, at, axis) for m in setting.methods if m.traces]


def completed(setting: Setting) -> list[Series]:
    """Return, per method, the fraction of runs of which all agents have completed the goal.

    Against steps, as far as the longest run.
    """
    if setting.run.goal is None:
        return []
    # A budget of steps that episodes or a goal end early would leave most of the axis empty.
    last = [float(t.steps[-1]) for m in setting.compared for t in m.traces]
    last += [s.all_steps for m in setting.compared for s in m.summaries if s.all_steps is not None]
    at = np.linspace(0, max(last, default=float(setting.run.steps)), 4 * POINTS + 1)
    found = []
    for m in setting.compared:
        ends = [np.inf if s.all_steps is None else s.all_steps for s in m.summaries]
        rows = [(at >= end).astype(np.float64) for end in ends]
        found.append(Series(m.label, at, stats.curve_band(rows), len(rows), True))
    return found


def against_bytes(setting: Setting) -> list[Series]:
    """Return the training return against bytes per agent, of the methods that send any."""
    found = []
    for m in setting.methods:
        sent = [t.bytes[t.bytes > 0] for t in m.traces]
        if not sent or not all(len(s) for s in sent):
            continue
        low, high = max(s[0] for s in sent), min(s[-1] for s in sent)
        found.append(_series(m, np.geomspace(low, high, POINTS), "bytes"))
    return found


def against_seconds(setting: Setting) -> list[Series]:
    """Return the training return against simulated seconds, of the methods that have any."""
    found = []
    for m in setting.methods:
        ends = [t.seconds[-1] for t in m.traces]
        if ends and min(ends) > 0:
            low = max(t.seconds[0] for t in m.traces)
            found.append(_series(m, np.linspace(low, min(ends), POINTS), "seconds"))
    return found


def last_level(method: Method) -> float:
    """Return the mean over seeds of the last training return; NaN if there is none."""
    ends = [t.returns[-1] for t in method.traces if np.isfinite(t.returns[-1])]
    return float(np.mean(ends)) if ends else float("nan")


def profile_axis(methods: Sequence[Method]) -> Doubles:
    """Return the returns at which profiles are drawn, from the lowest agent's to the highest's."""
    ends = [r for m in methods for s in m.summaries for r in s.returns if np.isfinite(r)]
    if not ends:
        return np.zeros(0)
    low, high = min(ends), max(ends)
    room = 0.02 * (high - low) or 1.0
    return np.linspace(low - room, high + room, POINTS)


def profiles(setting: Setting) -> list[Series]:
    """Return, per method, the fraction of agents whose final greedy return exceeds x.

    The band is over seeds: agents of one run depend on each other and are resampled together.
    """
    at = profile_axis(setting.compared)
    if not len(at):
        return []
    found = []
    for m in setting.compared:
        rows = [(np.array(s.returns)[:, None] > at).mean(0) for s in m.summaries if s.returns]
        if rows:
            found.append(Series(m.label, at, stats.curve_band(rows), len(rows), True))
    return found
