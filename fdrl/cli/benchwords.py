"""What ``fdrl bench`` says in words: counts, what is tuned, and the command that goes on."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fdrl.bench.grid import Cell
    from fdrl.bench.suite import Suite
    from fdrl.bench.tuned import Tuned

OURS = ("out", "audit", "dry-run")
"""Options that the command has anyway, or that run nothing."""


def counted(count: int, noun: str) -> str:
    """Return ``1 run`` or ``2 runs``."""
    return f"{count} {noun}{'s' * (count != 1)}"


def again(source: str, out: Path, given: Mapping[str, str]) -> str:
    """Return the command that goes on with what a command line asked for, quoted for a shell."""
    words = ["fdrl", "bench", source, "--out", str(out)]
    for name, value in given.items():
        if name not in OURS:
            words += [f"--{name}", value] if value else [f"--{name}"]
    return shlex.join(words)


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
