"""Running the cells that a ``fdrl bench`` command line asks for, and what is said at the end."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
from tyro.conf import Positional

from fdrl.cli.benchwords import again, counted
from fdrl.cli.options import Switch, argument, flag
from fdrl.config import Positive

if TYPE_CHECKING:
    from fdrl.bench.grid import Cell
    from fdrl.bench.schedule import Outcome
    from fdrl.bench.suite import Suite


class Bench(msgspec.Struct, frozen=True, kw_only=True):
    """Run a suite: every method in every setting on every seed."""

    suite: Annotated[Positional[str], argument("SUITE")]
    """A suite, by its name, or a FILE.toml of your own."""
    out: Annotated[str, flag("DIR", "the suite's")] = ""
    """Folder of the runs."""
    jobs: Annotated[Positive | None, flag("N", "one a core")] = None
    """Worker processes."""
    only: Annotated[str | None, flag("M/S", "all")] = None
    """Only METHOD/SETTING; * for any, several with commas."""
    seeds: Annotated[tuple[str, ...], flag("A B", "all")] = ()
    """Only these seeds of the suite; A..B for a range."""
    tune: Switch = False
    """Choose the methods' grid values on the tuning seeds."""
    audit: Switch = False
    """Re-check finished runs against the suite; run nothing."""
    dry_run: Switch = False
    """List the runs and how long they may take; run nothing."""
    no_report: Switch = False
    """Do not write OUT/report at the end."""


@dataclass(frozen=True)
class Request:
    """What the command line asks for, with the suite it names."""

    asked: Bench
    suite: Suite
    out: Path
    jobs: int


def play(request: Request, chosen: list[Cell], out: Path, name: str, lock: int | None) -> Outcome:
    """Run what is not finished."""
    from rich.console import Console

    from fdrl.bench.display import make_display
    from fdrl.bench.ledger import check_folders, finished
    from fdrl.bench.pace import Pace
    from fdrl.bench.schedule import run_cells

    check_folders(out, chosen)
    left = [c for c in chosen if not finished(out, c)]
    already = len(chosen) - len(left)
    pace = Pace.of_finished(out, chosen)
    display = make_display(Console())
    jobs = max(1, min(request.jobs, len(left)))
    runs, workers = counted(len(chosen), "run"), counted(jobs, "job")
    display.say(f"suite {name}: {runs}, {already} finished, {workers}, in {out}")
    try:
        return run_cells(
            left, out, jobs, display, name=name, pace=pace, already=already, keep=lock,
        )  # fmt: skip
    finally:
        display.close()


def conclude(request: Request, outcome: Outcome) -> int:
    """Say how to go on if not all is done; return the exit code."""
    command = again(request.asked, request.out)
    if outcome.stopped:
        print(f"stopped; continue with: {command}", file=sys.stderr)
        return 130
    if outcome.failed:
        count = counted(len(outcome.failed), "run")
        print(f"{count} failed; try again with: {command}", file=sys.stderr)
        return 1
    return 0
