"""``fdrl report RUNS...``: compare finished runs on one page."""

from __future__ import annotations

from pathlib import Path

from fdrl.cli import options
from fdrl.cli.benchwords import counted
from fdrl.errors import FdrlError
from fdrl.registry import STRATEGIES

ABOUT = """Write one page (and its figures and tables as files) that compares runs: grouped by
environment, heterogeneity, networks and budget, then by method, over seeds. RUNS are
run folders, or folders that contain run folders at any depth."""
OPTIONS = {
    "out": options.Option("DIR", "where report.html goes (default: report)"),
    "reference": options.Option(
        "METHOD", f"compare the others with it (default: {STRATEGIES.default().name})"
    ),
    "archive": options.Option("FILE.tar.xz", "pack what the page rests on, to publish it"),
}
MANY = 1_000_000


def main(argv: list[str]) -> int:
    """Write the page; say where it is and how many runs it rests on."""
    if not argv or "--help" in argv or "-h" in argv:
        print(options.usage("report", "RUNS...", ABOUT, OPTIONS))
        return 0 if argv else 2
    words = options.read(argv, OPTIONS, most=MANY)
    if not words.positional:
        raise FdrlError("fdrl report needs run folders: fdrl report RUNS...")
    from fdrl.report import archive, write
    from fdrl.report.notes import notes
    from fdrl.report.verdict import summary

    out, target = Path(words.options.get("out", "report")), words.options.get("archive")
    if target is not None:
        archive.check_name(target)
    path, groups = write(words.positional, out, reference=words.options.get("reference", ""))
    print(f"{path}: {summary(groups)}")
    for note in notes(groups):
        print(note)
    if target is not None:
        packed = archive.write_archive(words.positional, target)
        size = Path(target).stat().st_size / 1_000
        gone = packed.left_out
        left_out = f"; {counted(gone, 'unfinished run')} left out" if gone else ""
        print(f"{target}: {counted(packed.runs, 'run')} in {size:,.0f} kB{left_out}")
    return 0
