"""What ``fdrl bench`` says in words: counts, what is tuned, and the command that goes on."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fdrl.cli.options import spell

if TYPE_CHECKING:
    from fdrl.bench.grid import Cell
    from fdrl.bench.suite import Suite
    from fdrl.bench.tuned import Tuned
    from fdrl.cli.benchrun import Bench

OURS = ("out", "audit", "dry_run")
"""Options that the command has anyway, or that run nothing."""


def counted(count: int, noun: str) -> str:
    """Return ``1 run`` or ``2 runs``."""
    return f"{count} {noun}{'s' * (count != 1)}"


def again(asked: Bench, out: Path) -> str:
    """Return the command that goes on with what a command line asked for, quoted for a shell."""
    return shlex.join(["fdrl", "bench", asked.suite, "--out", str(out), *spell(asked, OURS)])


def say_tuned(suite: Suite, tuned: Tuned | None, origin: str, command: str) -> None:
    """Print whose values are tuned, whose are not, and the `command` that tunes them."""
    from fdrl.bench.grid import untuned

    if tuned is not None:
        print(f"tuned values of {counted(len(tuned.best), 'pair')} from {origin}")
        if where := "; ".join(untuned(suite, tuned)):
            print(f"not tuned: {where}, with the suite's own values (tune all with: {command})")
    elif any(suite.grid_of(s, m) for s in suite.settings for m in suite.methods):
        print(f"not tuned: the suite's own values are used (tune with: {command})")


def say_incomparable(cells: Sequence[Cell]) -> None:
    """Print, before hours of runs, in which settings the methods could not be compared fairly."""
    from fdrl.bench.audit import incomparable

    for what in incomparable(cells):
        print(f"not comparable: {what}")
