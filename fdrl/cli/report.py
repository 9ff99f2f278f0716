"""``fdrl report RUNS...``: compare finished runs on one page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
from tyro.conf import Positional

from fdrl.cli import options
from fdrl.cli.options import argument, counted, flag
from fdrl.core.paths import absolute
from fdrl.core.registry import STRATEGIES


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """Write one page (and its figures and tables as files) that compares runs.

    They are grouped by environment, heterogeneity, networks and budget, then by method, over seeds.
    """

    runs: Annotated[Positional[tuple[str, ...]], argument("RUNS...")]
    """Run folders, or folders that contain run folders at any depth."""
    out: Annotated[str, flag("DIR", "report")] = "report"
    """Where report.html goes."""
    reference: Annotated[str, flag("METHOD", STRATEGIES.default().name)] = ""
    """Compare the others with it."""
    archive: Annotated[str | None, flag("FILE.tar.xz", "none")] = None
    """Pack what the page rests on, to publish it."""


def main(argv: list[str]) -> int:
    """Write the page; say where it is and how many runs it rests on."""
    if not argv:
        return options.usage(Report, "report")
    asked = options.read(Report, argv, "report")
    from fdrl.report import archive
    from fdrl.report.text import notes, summary
    from fdrl.report.write import write

    runs, target = list(asked.runs), asked.archive
    if target is not None:
        archive.check_name(target)
    absolute(asked.out)  # of a deleted current folder this says so
    path, groups = write(runs, Path(asked.out), reference=asked.reference)
    print(f"{path}: {summary(groups)}")
    for note in notes(groups):
        print(note)
    if target is not None:
        packed = archive.write_archive(runs, target)
        size = Path(target).stat().st_size / 1_000
        gone = packed.left_out
        left_out = f"; {counted(gone, 'unfinished run')} left out" if gone else ""
        print(f"{target}: {counted(packed.runs, 'run')} in {size:,.0f} kB{left_out}")
    return 0
