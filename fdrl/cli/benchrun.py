"""Running the cells that a ``fdrl bench`` command line asks for, and what is said at the end."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fdrl.cli.benchwords import again, counted

if TYPE_CHECKING:
    from fdrl.bench.grid import Cell
    from fdrl.bench.schedule import Outcome
    from fdrl.bench.suite import Suite


@dataclass(frozen=True)
class Request:
    """What the command line asks for."""

    source: str
    suite: Suite
    out: Path
    jobs: int
    given: dict[str, str]


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
    command = again(request.source, request.out, request.given)
    if outcome.stopped:
        print(f"stopped; continue with: {command}", file=sys.stderr)
        return 130
    if outcome.failed:
        count = counted(len(outcome.failed), "run")
        print(f"{count} failed; try again with: {command}", file=sys.stderr)
        return 1
    return 0
