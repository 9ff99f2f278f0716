"""Which folders hold runs that may be compared, and which hold tuning runs."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from fdrl.bench.tune import is_tuning
from fdrl.rundir import CONFIG, LOCK, METRICS, SUMMARY


def is_run(folder: Path) -> bool:
    """A config alone may be somebody else's; a run has one of its other files too."""
    return (folder / CONFIG).is_file() and any(
        (folder / name).exists() for name in (LOCK, METRICS, SUMMARY)
    )


def walk(place: Path) -> Iterator[tuple[Path, list[str], list[str]]]:
    """Yield the folders in a place as `os.walk` does, but no hidden ones and no tuning folders."""
    for folder, names, files in os.walk(place):
        here = Path(folder)
        names[:] = sorted(n for n in names if not n.startswith(".") and not is_tuning(here / n))
        yield here, names, files


def below(place: Path) -> list[Path]:
    """Return the run folders that a place is or contains, tuning runs only if it is their own."""
    if is_run(place):
        return [place]
    found = []
    for here, names, _ in walk(place):
        if here != place and is_run(here):
            found.append(here)
            names.clear()
    return found


def tuning_folders(places: Sequence[str | Path]) -> list[Path]:
    """Return the folders of tuning runs inside `places`, in order of name."""
    found: set[Path] = set()
    for place in map(Path, places):
        for folder, names, _ in os.walk(place):
            names[:] = [n for n in names if not n.startswith(".")]
            found.update(Path(folder, n) for n in names if is_tuning(Path(folder, n)))
    return sorted(found)


def tuning_runs(places: Sequence[str | Path], found: Sequence[Path]) -> int:
    """Count the tuning runs inside `places` that are not among the runs `found` there."""
    own = {folder.resolve() for folder in found}
    inside = {run.resolve() for folder in tuning_folders(places) for run in below(folder)}
    return len(inside - own)
