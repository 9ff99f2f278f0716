"""Time to a goal, and what training episodes returned; runs that never got there count too."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from fdrl import stats
from fdrl.core.arrays import Doubles
from fdrl.core.registry import STRATEGIES
from fdrl.report import theme
from fdrl.report.groups import Groups, Method, Setting
from fdrl.report.results import ENOUGH, SCARCE, reference
from fdrl.report.tables import Cell, swatch, table, to_csv
from fdrl.report.theme import bounds, number, whole
from fdrl.runs.metric_names import wording
from fdrl.stats import Interval, Reached, SpreadRatio

# ---- Time to completion of a goal: numbers, tables and the CSV; runs that never got there count
# too
#
# A run that ended without completing counts as later than every one that did, in medians and in
# comparisons alike: it is never left out of an average.


WHO = {"all": "all agents", "first": "first agent"}
UNITS = ("steps", "episodes")


@dataclass(frozen=True)
class Times:
    """When a method's runs completed the goal, over its seeds, in one unit."""

    median: Interval
    """NaN unless more than half of the runs completed; the upper bound may be infinite."""
    reached: Reached
    """k of n, median and quartiles."""
    spread: Interval
    """Standard deviation, if all completed."""


@dataclass(frozen=True)
class Completion:
    """A method's time to completion of its first agent, or of all agents."""

    method: str
    who: str
    steps: Times
    episodes: Times


@dataclass(frozen=True)
class Comparison:
    """A method's time to completion of all agents against another's."""

    method: str
    other: str
    seeds: int
    """The smaller number of runs of the two."""
    earlier: Interval
    """How likely a run of the method completes before one of the other."""
    spread: SpreadRatio
    unit: str = "steps"
    """What the times are counted in: what ends runs that never complete, so that all of them are
    watched equally long."""

    @property
    def lower_spread(self) -> bool | None:
        """Whether the times are shown to vary less (True) or more (False); None if neither."""
        if self.seeds < ENOUGH or not self.spread.ratio.excludes(1.0):
            return None
        return self.spread.ratio.high < 1.0


def has_goal(setting: Setting) -> bool:
    """Say whether the setting's runs have a goal, so that completion can be told."""
    return setting.run.goal is not None


def times(method: Method, who: str, unit: str) -> Doubles:
    """Return when each finished run's first agent, or all, completed [R]; NaN if never."""
    found = [getattr(s, f"{who}_{unit}") for s in method.summaries]
    return np.array([np.nan if v is None else v for v in found], dtype=np.float64)


def _summarize(values: Doubles) -> Times:
    spread = Interval(math.nan, math.nan, math.nan)
    if len(values) > 1 and np.isfinite(values).all():
        spread = stats.bootstrap(values, stats.std)
    return Times(stats.censored_bootstrap(values), stats.reached(values), spread)


def completions(setting: Setting) -> list[Completion]:
    """Return every method's times to completion; nothing without a goal."""
    if not has_goal(setting):
        return []
    return [
        Completion(m.label, who, *(_summarize(times(m, who, unit)) for unit in UNITS))
        for who in WHO
        for m in setting.compared
    ]


def compare(a: Method, b: Method) -> Comparison:
    """Compare two methods' times until all agents have completed, in episodes if these are their
    budget: by steps, whose episodes are short would be watched for less time.
    """
    unit = "episodes" if a.run.episodes else "steps"
    one, two = times(a, "all", unit), times(b, "all", unit)
    seeds = min(len(one), len(two))
    return Comparison(
        a.label, b.label, seeds, stats.earlier(one, two), stats.spread_ratio(one, two), unit
    )


def comparisons(setting: Setting, wanted: str = "") -> list[Comparison]:
    """Return every other method against the reference, and each variant against what it varies."""
    if not has_goal(setting):
        return []
    ours = reference(setting, wanted)
    found = [compare(m, ours) for m in setting.compared if ours is not None and m is not ours]
    done = {(c.method, c.other) for c in found}
    return found + [c for c in mixed(setting) if (c.method, c.other) not in done]


def mixed(setting: Setting) -> list[Comparison]:
    """Return the comparisons of variants (as mixfrd of frd) with the method that they refine."""
    if not has_goal(setting):
        return []
    by: dict[str, list[Method]] = {}
    for m in setting.compared:
        by.setdefault(m.run.strategy_name, []).append(m)
    pairs = [(name, STRATEGIES.spec(name).variant_of) for name in by if name in STRATEGIES]
    return [compare(a, b) for name, of in pairs for a in by[name] for b in by.get(of, [])]


def sentences(setting: Setting) -> list[str]:
    """Say whether variants lower the variance of the time to completion."""
    text = []
    for c in mixed(setting):
        kind, ratio = c.spread
        if not kind:
            text.append(
                f"{c.method} against {c.other}: too few runs completed to tell whether it lowers "
                "the variance of the time to completion."
            )
            continue
        verb = {True: "lowers", False: "raises", None: "is not shown to lower or raise"}
        shown = f"ratio {number(ratio.value)} {_range(ratio, number)}".rstrip()
        text.append(
            f"{c.method} {verb[c.lower_spread]} the {kind} of the time to completion against "
            f"{c.other}: {shown} in {c.unit}, {c.seeds} seeds."
        )
    return text


def _range(interval: Interval, say: Callable[[float], str]) -> str:
    """Return an interval's bounds; an infinite one was not reached."""
    if not math.isfinite(interval.low):
        return ""
    high = say(interval.high) if math.isfinite(interval.high) else "not reached"
    return f"[{say(interval.low)}, {high}]"


def _quartiles(r: Reached) -> str:
    low, high = (whole(v) if math.isfinite(v) else "not reached" for v in (r.low, r.high))
    return theme.NONE if not math.isfinite(r.low) else f"{low} to {high}"


def _cells(t: Times, seeds: int) -> list[Cell]:
    few = ' class="few"' if seeds < SCARCE else ""
    bounds = _range(t.median, whole)
    small = f" <small{few}>{bounds}</small>" if bounds and math.isfinite(t.median.value) else ""
    return [f"<span>{whole(t.median.value)}</span>{small}", _quartiles(t.reached),
            whole(t.spread.value)]  # fmt: skip


def completion_table(setting: Setting, who: str, styles: dict[str, theme.Style]) -> str:
    """Return when the methods completed the goal: a line a method, in steps and episodes."""
    lines = []
    for c in completions(setting):
        if c.who == who:
            done = c.steps.reached
            line = [swatch(c.method, styles), f"{done.k} of {done.n}", *_cells(c.steps, done.n)]
            lines.append([*line, *_cells(c.episodes, done.n)])
    steps = wording(setting.run).steps
    headers = ["method", "completed", f"{steps}, median", f"{steps}, quartiles", f"{steps}, std"]
    headers += ["episodes, median", "episodes, quartiles", "episodes, std"]
    return table(headers, lines, "cards") if lines else ""


def comparison_table(found: Sequence[Comparison], styles: dict[str, theme.Style]) -> str:
    """Return who completes earlier, and whose times vary less."""
    lines = []
    for c in found:
        p, (kind, ratio) = c.earlier, c.spread
        strong = c.seeds >= ENOUGH and p.excludes(0.5)
        text = f"<b>{p.value:.2f}</b>" if strong else f"{p.value:.2f}"
        span = f" <small>{p.low:.2f} to {p.high:.2f}</small>" if math.isfinite(p.low) else ""
        spread = theme.NONE
        if kind:
            value = number(ratio.value)
            bold = f"<b>{value}</b>" if c.lower_spread is not None else value
            spread = f"<span>{bold}</span> <small>{_range(ratio, number)}</small> {kind}"
        lines.append([swatch(c.method, styles), c.other, f"<span>{text}</span>{span}", spread])
    unit = found[0].unit if found else ""
    headers = ["method", "against", f"completes in fewer {unit}", "spread ratio"]
    return table(headers, lines, "cards") if lines else ""


def completion_csv(groups: Groups) -> bytes:
    """Return all times to completion as one table."""
    rows = [
        [s.title, c.method, WHO[c.who], unit, t.reached.k, t.reached.n, t.median.value,
         *map(_finite, t.median[1:]), t.reached.low, t.reached.high, *t.spread]
        for s in groups.settings
        for c in completions(s)
        for unit, t in zip(UNITS, (c.steps, c.episodes), strict=True)
    ]  # fmt: skip
    headers = ["setting", "method", "who", "unit", "completed", "of", "median", "median_low"]
    headers += ["median_high", "q25", "q75", "std", "std_low", "std_high"]
    return to_csv(headers, rows)


def comparison_csv(found: Sequence[tuple[Setting, Sequence[Comparison]]]) -> bytes:
    """Return all comparisons of times to completion as one table."""
    rows = [
        [s.title, c.method, c.other, c.seeds, c.unit, *c.earlier, c.spread.kind,
         *map(_finite, c.spread.ratio)]
        for s, own in found
        for c in own
    ]  # fmt: skip
    headers = ["setting", "method", "against", "seeds", "unit", "earlier", "earlier_low"]
    return to_csv([*headers, "earlier_high", "spread_of", "ratio", "ratio_low", "ratio_high"], rows)


def _finite(value: float) -> float:
    return value if math.isfinite(value) else math.nan


EXPLAINED = (
    "When the goal was completed, over all seeds: the median with its 95% bootstrap interval, "
    "quartiles, and the standard deviation. A run that never completed counts as later than all "
    "others: a median stands only where more than half completed, the standard deviation only "
    "where all did. \u201cnot reached\u201d: beyond what was watched."
)
COMPARED = (
    "How likely a run of the method completes, all agents, before one of the other, in steps, or "
    "in episodes where these are the budget: all runs are watched equally long in it (Gehan's "
    "generalized Wilcoxon statistic: two that never complete are a tie; bold where the 95% "
    "interval excludes 0.5 on at least 6 seeds), and the ratio of the spread of both methods' "
    "times: of variances if all runs completed, else of interquartile ranges; below 1 the method "
    "varies less (bold where the interval excludes 1)."
)

# ---- What training episodes returned: the whole run's mean, and the last hundred ----


FIELDS = {
    "episode_auc": "mean return, all episodes",
    "last_mean": "last 100, mean",
    "last_worst": "last 100, worst agent",
    "last_spread": "last 100, spread",
}
EPISODES_EXPLAINED = (
    "Returns of training episodes, each counting alike: their mean over the whole run (FedHPD's "
    "AUC), and over each agent's last 100: the mean over agents, the lowest agent, and the "
    "standard deviation between agents. Mean over seeds with a 95% bootstrap interval."
)


@dataclass(frozen=True)
class Returns:
    """A method's training returns, means over seeds."""

    method: str
    seeds: int
    values: tuple[Interval, ...]
    """One for each of `FIELDS`."""


def returns(setting: Setting) -> list[Returns]:
    """Return every method's training returns, where the budget is one of episodes."""
    if not setting.run.episodes:
        return []
    found = []
    for m in setting.compared:
        rows = [m.values(name) for name in FIELDS]
        if np.isfinite(rows).all():
            own = tuple(stats.bootstrap(values, stats.mean) for values in rows)
            found.append(Returns(m.label, len(m.seeds), own))
    return found


def returns_table(setting: Setting, styles: dict[str, theme.Style]) -> str:
    """Return the training returns, a line a method."""
    lines = []
    for r in returns(setting):
        few = ' class="few"' if r.seeds < SCARCE else ""
        lines.append([swatch(r.method, styles), *(_cell(v, few) for v in r.values), str(r.seeds)])
    return table(["method", *FIELDS.values(), "seeds"], lines, "cards") if lines else ""


def _cell(value: Interval, few: str) -> str:
    text = f"<span>{number(value.value, beside=value)}</span>"
    return f"{text} <small{few}>{bounds(value)}</small>" if bounds(value) else text


def returns_csv(groups: Groups) -> bytes:
    """Return all training returns as one table."""
    rows: Sequence[Sequence[object]] = [
        [s.title, r.method, r.seeds, *(v for interval in r.values for v in interval)]
        for s in groups.settings
        for r in returns(s)
    ]
    ends = ("", "_low", "_high")
    return to_csv(["setting", "method", "seeds", *(f"{n}{e}" for n in FIELDS for e in ends)], rows)
