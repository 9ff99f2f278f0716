"""What training episodes returned: the whole run's mean, and the last hundred."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fdrl import stats
from fdrl.report import look
from fdrl.report.csvs import to_csv
from fdrl.report.groups import Groups, Setting
from fdrl.report.look import bounds, number
from fdrl.report.results import SCARCE
from fdrl.report.tables import swatch, table
from fdrl.stats import Interval

FIELDS = {
    "episode_auc": "mean return, all episodes",
    "last_mean": "last 100, mean",
    "last_worst": "last 100, worst agent",
    "last_spread": "last 100, spread",
}
EXPLAINED = (
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


def returns_table(setting: Setting, styles: dict[str, look.Style]) -> str:
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
