"""Tuning: every choice of a method's grid on the tuning seeds, which did best, and its check."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from fdrl.bench.grid import Point, described, pairs, untuned
from fdrl.bench.outputs import LOCK, MANIFEST
from fdrl.bench.suite import Best, Suite, Tried, Tuned, listed
from fdrl.core.errors import FdrlError
from fdrl.core.files import write_atomic
from fdrl.core.records import Summary
from fdrl.runs.folder import read_summary

# ---- Tuning: every choice of a method's grid on the tuning seeds, and which did best ----


MARK = "tuning.json"
"""What ``--tune`` writes into the folder of its runs."""


def tuning_folder(out: Path) -> Path:
    """Return where tuning runs go: beside the suite's folder, so that no report takes them in."""
    out = out if out.name not in ("", "..") else out.resolve()  # `.` has no name
    return out.with_name(f"{out.name}-tuning")


def mark(folder: Path, suite: Suite) -> None:
    """Say in a folder that its runs are tuning runs, whatever it is called later."""
    told = {"suite": suite.name, "seeds": listed(suite.tuning_seeds)}
    write_atomic(
        folder / MARK, msgspec.json.format(msgspec.json.encode(told), indent=1) + b"\n", folder
    )


def is_tuning(folder: Path) -> bool:
    """Say whether ``--tune`` made a folder; one without the mark is told by name and content."""
    if (folder / MARK).is_file():
        return True
    if not folder.name.endswith("-tuning") or (folder / MANIFEST).is_file():
        return False
    return (folder / LOCK).is_file() or any(folder.glob("*/*/point-*"))


def score(summaries: Sequence[Summary], fields: Sequence[str]) -> float:
    """Return the mean over runs of the sum of some fields; -inf if one of them is NaN."""
    total = math.fsum(getattr(s, name) for s in summaries for name in fields) / len(summaries)
    return -math.inf if math.isnan(total) else total


def choose(suite: Suite, points: Sequence[Point], folder: Path) -> Tuned:
    """Return the best values of every pair; all tuning runs must be finished.

    Ties go to the larger area under the learning curve, then to the earlier choice.
    """
    grouped: dict[tuple[str, str], list[tuple[float, float, dict[str, Any]]]] = {}
    for point in points:
        found = [read_summary(folder / cell.folder) for cell in point.cells]
        summaries = [s for s in found if s is not None]
        row = (score(summaries, suite.tuning.score), score(summaries, ("auc",)), point.values)
        grouped.setdefault((point.setting, point.method), []).append(row)
    best = []
    for (setting, method), rows in grouped.items():
        top = max(rows, key=lambda r: r[:2])
        tried = tuple(Tried(round(value, 6), values) for value, _, values in rows)
        best.append(
            Best(setting=setting, method=method, score=round(top[0], 6), values=top[2], tried=tried)
        )
    seeds = listed(suite.tuning_seeds)
    return Tuned(suite=suite.name, seeds=seeds, score=suite.tuning.score, best=tuple(best))


def check_kept(kept: Tuned | None, origin: str, suite: Suite) -> None:
    """Raise if values of some pairs cannot stand beside newly tuned ones of the others."""
    same = kept is None or (
        {*kept.seeds} == {*listed(suite.tuning_seeds)} and {*kept.score} == {*suite.tuning.score}
    )
    if not same:
        raise FdrlError(
            f"{origin} was tuned on other seeds or by another score than the suite says now: "
            "tune the whole suite, without --only"
        )


def joined(suite: Suite, new: Tuned, kept: Tuned | None) -> tuple[Tuned, int]:
    """Return new values, with those that other pairs have from before; and how many these are.

    Values that the suite does not tune over any more are dropped.
    """
    old = {(b.setting, b.method): b for b in kept.best} if kept else {}
    fresh = {(b.setting, b.method): b for b in new.best}
    best, count = [], 0
    for s, m in pairs(suite):
        grid, pair = suite.grid_of(s, m), (s.name, m.name)
        if pair in fresh:
            best.append(fresh[pair])
        elif (
            grid and pair in old and all(v in grid.get(k, ()) for k, v in old[pair].values.items())
        ):
            best.append(old[pair])
            count += 1
    return msgspec.structs.replace(new, best=tuple(best)), count


def rows(tuned: Tuned) -> list[tuple[str, str, str, str]]:
    """Return (setting, method, values, score) of every choice; the best ones are marked."""
    out = []
    for best in tuned.best:
        for tried in best.tried:
            mark = " <- best" if tried.values == best.values else ""
            values = described(tried.values)
            out.append((best.setting, best.method, values, f"{tried.score:.1f}{mark}"))
    return out


# ---- Whether tuned values belong to their suite, and are the best of those that were tried ----


def check_tuned(suite: Suite, tuned: Tuned) -> Iterator[str]:
    """Yield what makes tuned values an unfair choice."""
    both = sorted({*tuned.seeds} & {*suite.evaluation_seeds})
    if both:
        yield f"seeds {', '.join(map(str, both))} were used for tuning and for evaluation"
    if {*tuned.seeds} != {*listed(suite.tuning_seeds)}:
        yield "the values were tuned on other seeds than the suite's tuning_seeds"
    for where in untuned(suite, tuned):
        yield f"no tuned values of {where}, though there is a grid and others are tuned"
    grids = {(s.name, m.name): suite.grid_of(s, m) for s in suite.settings for m in suite.methods}
    for best in tuned.best:
        grid = grids.get((best.setting, best.method))
        for name, value in best.values.items():
            if grid is not None and value not in grid.get(name, ()):
                where = f"{best.method} in {best.setting}"
                yield f"tuned {name} = {value} of {where} is not in the suite's grid"
        yield from _check_best(best)


def _check_best(best: Best) -> Iterator[str]:
    """Yield if others of the values that were tried did better than the ones chosen."""
    if not best.tried:
        return
    where = f"tuned values of {best.method} in {best.setting}: {described(best.values)}"
    own = [t.score for t in best.tried if t.values == best.values]
    top = max(best.tried, key=lambda t: t.score)
    if not own:
        yield f"{where} are not among those that were tried"
    elif max(own) < top.score:
        yield f"{where} scored {max(own)}, but {described(top.values)} scored {top.score}"
