"""What a report leaves out, or cannot use whole, in sentences."""

from __future__ import annotations

from fdrl.report.groups import Groups
from fdrl.rundir import METRICS


def notes(groups: Groups) -> list[str]:
    """Return what was left out without being a run that failed."""
    return [*_tuning(groups), *_differing(groups), *_partial(groups)]


def _differing(groups: Groups) -> list[str]:
    twice = dict(groups.duplicates)
    return [
        f"{path} and {twice[path]} have the same config and seed, but other results ({what}): "
        f"{twice[path]} was kept."
        for path, what in groups.differing
    ]


def _partial(groups: Groups) -> list[str]:
    count = len(groups.partial)
    if not count:
        return []
    runs = "1 finished run" if count == 1 else f"{count} finished runs"
    return [
        f"Left out of learning curves and times until a threshold: {runs} without a whole "
        f"{METRICS} (listed at the end of the page). Final returns count."
    ]


def _tuning(groups: Groups) -> list[str]:
    if not groups.tuning:
        return []
    runs = "1 tuning run" if groups.tuning == 1 else f"{groups.tuning} tuning runs"
    return [f"{runs} left out: settings were chosen on them. Name their folder to compare them."]
