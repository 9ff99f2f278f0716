"""What ``fdrl bench`` says in words: counts, and the command that goes on."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path

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
