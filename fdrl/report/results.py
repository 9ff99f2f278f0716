"""The numbers of a comparison: what the page's tables and the CSV files hold."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from fdrl import stats
from fdrl.core.arrays import Doubles
from fdrl.core.registry import STRATEGIES
from fdrl.report.collect import Trace
from fdrl.report.groups import Method, Setting
from fdrl.stats import Interval, Reached


def needed(rivals: int) -> int:
    """Return the seeds below which nothing is called better than any of `rivals` others.

    Even if all of n pairs agree, chance alone does that in 2 * (1/2)**n of the cases (two-sided
    sign test), which must be below 5% divided by the number of comparisons (Bonferroni).
    """
    return math.ceil(math.log2(2 * max(1, rivals) / (1 - stats.CONFIDENCE)))


ENOUGH = needed(1)
"""Seeds below which nothing is called better, of two methods."""
SCARCE = 3
"""Seeds below which intervals and probabilities are shown in gray: they say next to nothing."""
METRICS = ("return_mean", "return_worst", "auc")
"""What methods are compared in."""


@dataclass(frozen=True)
class Row:
    """A method's line in the verdict table."""

    method: str
    seeds: int
    started: int
    final: Interval
    """IQM over seeds of the final greedy return."""
    worst: Interval
    """IQM over seeds of the worst agent's."""
    area: Interval
    """IQM over seeds of the mean training return over the run's steps; NaN if these differ."""
    sent: float
    """Bytes per agent over the whole run, up and down: mean over seeds."""
    solved: tuple[int, int] | None
    """Seeds whose final return reaches the threshold, of how many; None without a threshold."""
    seconds: float
    """Simulated seconds of the whole run, mean over seeds; 0 with an ideal channel."""
    best: frozenset[str]
    """Of `METRICS`, those in which nothing is shown to be better while something is worse."""
    alone: frozenset[str]
    """Of those, the ones in which it is better than every other method, and all have the seeds."""


@dataclass(frozen=True)
class Difference:
    """A paired difference between two methods over the seeds that both have."""

    metric: str
    method: str
    other: str
    seeds: int
    interval: Interval
    p: float
    """Of a sign-flip test; NaN without common seeds."""
    level: float = 1 - stats.CONFIDENCE
    """What p must not exceed: 5%, divided by the number of comparisons."""

    @property
    def shown(self) -> bool:
        """Whether it is shown to differ: the interval excludes 0, and the test agrees.

        Intervals alone would claim too much: among four equal methods on six seeds they separate
        some two in 30% of all cases.
        """
        enough = self.seeds >= ENOUGH and self.interval.excludes(0.0)
        return enough and self.p <= self.level * (1 + 1e-9)


@dataclass(frozen=True)
class Speed:
    """When a method's training return first reached the threshold."""

    method: str
    steps: Reached
    bytes: Reached
    seconds: Reached
    """Simulated; without a meaning where the channel is ideal."""
    spread: Interval
    """Standard deviation of the steps, if all seeds reached it."""


@dataclass(frozen=True)
class Payload:
    """What a method sends and costs, mean over seeds, per agent."""

    method: str
    parameters: tuple[int, int]
    """The smallest and the largest network."""
    up: float
    down: float
    exchanges: float
    gradient_steps: float
    server_steps: float
    lost_up: float
    """Messages of all agents that were lost on the way."""
    lost_down: float

    @property
    def per_exchange(self) -> float:
        """Bytes up and down per exchange."""
        return (self.up + self.down) / self.exchanges if self.exchanges else 0.0


def common(a: Method, b: Method, metric: str) -> tuple[Doubles, Doubles]:
    """Return a number of both methods for the seeds that both have, in the same order."""
    one = dict(zip(a.seeds, a.values(metric), strict=True))
    two = dict(zip(b.seeds, b.values(metric), strict=True))
    seeds = sorted(one.keys() & two.keys())
    pairs = np.array([(one[s], two[s]) for s in seeds], dtype=np.float64).reshape(-1, 2)
    known = np.isfinite(pairs).all(1)
    return pairs[known, 0], pairs[known, 1]


def difference(
    a: Method,
    b: Method,
    metric: str,
    statistic: Callable[[Doubles], Doubles] = stats.mean,
    confidence: float = stats.CONFIDENCE,
    comparisons: int = 1,
) -> Difference:
    """Compare two methods seed by seed; without common seeds the numbers are NaN.

    The test allows for so many `comparisons`; the interval has the `confidence` as it is.
    """
    one, two = common(a, b, metric)
    nothing = Interval(np.nan, np.nan, np.nan)
    found = (
        stats.paired_difference(one, two, statistic, confidence=confidence) if len(one) else nothing
    )
    p = stats.sign_flip(one, two)
    level = (1 - confidence) / max(1, comparisons)
    return Difference(metric, a.label, b.label, len(one), found, p, level)


def _interval(values: Doubles) -> Interval:
    known = values[np.isfinite(values)]
    return stats.bootstrap(known) if len(known) else Interval(np.nan, np.nan, np.nan)


def leaders(methods: Sequence[Method], metric: str) -> tuple[list[str], bool]:
    """Return the methods that nothing beats in a metric, and whether one beats all others.

    The one with the highest IQM leads; others stand beside it unless their paired difference is
    shown, at a level that allows for their number (Bonferroni). Methods with too few
    seeds take no part. Nobody leads where the intervals separate nobody from the highest.
    """
    known = [m for m in methods if np.isfinite(m.values(metric)).sum() >= ENOUGH]
    ranked = sorted(known, key=lambda m: -_interval(m.values(metric)).value)
    if len(ranked) < 2:
        return [], False
    top, others = ranked[0], ranked[1:]
    confidence = 1 - (1 - stats.CONFIDENCE) / len(others)
    found = [difference(top, m, metric, stats.iqm, confidence) for m in others]
    beside = [f.other for f in found if not f.shown]
    if len(beside) == len(others):
        return [], False
    return [top.label, *beside], not beside and len(known) == len(methods)


def verdict(setting: Setting) -> list[Row]:
    """Return the setting's verdict table."""
    ahead = {metric: leaders(setting.compared, metric) for metric in metrics_of(setting)}
    return [_row(m, setting, ahead) for m in setting.methods]


def metrics_of(setting: Setting) -> list[str]:
    """Return those of `METRICS` that compare a setting's runs."""
    return [m for m in METRICS if setting.even or m != "auc"]


def _row(m: Method, setting: Setting, ahead: dict[str, tuple[list[str], bool]]) -> Row:
    threshold = setting.threshold
    finals = m.values("return_mean")
    sent = m.values("bytes_up") + m.values("bytes_down")
    best = frozenset(k for k, (labels, _) in ahead.items() if m.label in labels)
    return Row(
        method=m.label,
        seeds=len(finals),
        started=len(m.entries),
        final=_interval(finals),
        worst=_interval(m.values("return_worst")),
        area=_interval(m.values("auc")) if setting.even else Interval(np.nan, np.nan, np.nan),
        sent=float(sent.mean()) if len(sent) else np.nan,
        solved=None if threshold is None else (int((finals >= threshold).sum()), len(finals)),
        seconds=float(m.values("sim_seconds").mean()) if len(sent) else np.nan,
        best=best,
        alone=frozenset(k for k in best if ahead[k][1]),
    )


def reference(setting: Setting, wanted: str = "") -> Method | None:
    """Return the method that others are compared with.

    The one asked for, else the default strategy as it is, or with the fewest settings of its own,
    else the first in the table; None without a finished run.
    """
    methods, default = setting.compared, STRATEGIES.default().name
    for label in (wanted, default):
        for m in methods:
            if m.label == label:
                return m
    ours = [m for m in methods if m.run.strategy_name == default]
    return next(iter(sorted(ours, key=lambda m: len(m.label)) or methods), None)


def differences(setting: Setting, wanted: str = "") -> list[Difference]:
    """Return the reference minus every other method, in every metric.

    Intervals are of 95% each; whether a difference is shown allows for the number of methods.
    """
    ours = reference(setting, wanted)
    if ours is None:
        return []
    others = [m for m in setting.compared if m is not ours]
    return [
        difference(ours, m, metric, comparisons=len(others))
        for m in others
        for metric in metrics_of(setting)
    ]


def improvements(
    settings: Sequence[Setting], labels: Sequence[str]
) -> dict[tuple[str, str], Interval]:
    """Return, for two methods each, how likely a run of the first ends above one of the second.

    Mean over settings; ties count half, so (b, a) is what (a, b) leaves of 1.
    """
    by = [{m.label: m.values("return_mean") for m in s.compared} for s in settings]
    found = {}
    for a, b in combinations(labels, 2):
        p = stats.probability_of_improvement([v[a] for v in by], [v[b] for v in by], draws=4_000)
        found[a, b] = p
        found[b, a] = Interval(1 - p.value, 1 - p.high, 1 - p.low)
    return found


def _first(traces: Sequence[Trace], threshold: float, axis: str) -> Doubles:
    found = [stats.first_reach(getattr(t, axis), t.returns, threshold) for t in traces]
    return np.array(found, dtype=np.float64)


def speeds(setting: Setting) -> list[Speed]:
    """Return when every method's training return first reached the threshold, over its seeds.

    Runs without all rounds of their log are left out: nobody knows when they did.
    """
    if setting.threshold is None:
        return []
    found = []
    for m in setting.compared:
        traces = [e.trace for e in m.finished if e.trace is not None and e.whole]
        steps = _first(traces, setting.threshold, "steps")
        sent, seconds = (_first(traces, setting.threshold, axis) for axis in ("bytes", "seconds"))
        spread = Interval(np.nan, np.nan, np.nan)
        if len(steps) > 1 and np.isfinite(steps).all():
            spread = stats.bootstrap(steps, stats.std)
        when = (stats.reached(steps), stats.reached(sent), stats.reached(seconds))
        found.append(Speed(m.label, *when, spread))
    return found


def payloads(setting: Setting) -> list[Payload]:
    """Return what every method sends and costs."""
    found = []
    for m in setting.compared:
        sizes = [p for s in m.summaries for p in s.parameters] or [0]
        names = ["bytes_up", "bytes_down", "exchanges", "gradient_steps", "server_env_steps"]
        names += ["lost_up", "lost_down"]
        size = (min(sizes), max(sizes))
        found.append(Payload(m.label, size, *(float(m.values(n).mean()) for n in names)))
    return found
