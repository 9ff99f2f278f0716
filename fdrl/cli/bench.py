"""``fdrl bench SUITE``: compare methods in settings over seeds, resumably, on all cores."""

from __future__ import annotations

import os
import re
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fdrl.cli import options
from fdrl.cli.benchrun import Request, conclude, play
from fdrl.cli.benchtune import tune
from fdrl.cli.benchwords import again, counted, say_incomparable, say_tuned
from fdrl.errors import FdrlError

if TYPE_CHECKING:
    from fdrl.bench.grid import Absent, Cell
    from fdrl.bench.suite import Suite
    from fdrl.bench.tuned import Tuned

ABOUT = """Run a suite: every method in every setting on every seed. Finished runs are skipped,
stopped ones continue from their last checkpoint, failed ones are tried again.

suites that ship with fdrl (or name your own FILE.toml):
{suites}
"""
OPTIONS = {
    "out": options.Option("DIR", "folder of the runs (default: the suite's)"),
    "jobs": options.Option("N", "worker processes (default: one a core)"),
    "only": options.Option("M/S", "only METHOD/SETTING; * for any, several with commas"),
    "seeds": options.Option("A B", "only these seeds of the suite; A..B for a range"),
    "tune": options.Option("", "choose the methods' grid values on the tuning seeds"),
    "audit": options.Option("", "re-check finished runs against the suite; run nothing"),
    "dry-run": options.Option("", "list the runs and how long they may take; run nothing"),
    "no-report": options.Option("", "do not write OUT/report at the end"),
}


def main(argv: list[str]) -> int:
    """Return 0 when all is well, 1 for a failed cell or a deviation, 130 when stopped."""
    if not argv or "--help" in argv or "-h" in argv:
        print(_usage())
        return 0 if argv else 2
    request = read_command(argv)
    if "tune" in request.given:
        return tune(request)
    from fdrl.bench import grid
    from fdrl.bench.source import read_text
    from fdrl.bench.tuned import find_tuned

    suite, out = request.suite, request.out
    tuned, origin = find_tuned(suite, out, read_text(request.source)[1])
    cells, missing = grid.cells(suite, tuned), grid.absent(suite)
    if "audit" in request.given:
        return _audit(suite, cells, out, tuned)
    say_tuned(suite, tuned, origin, again(request.source, out, {"tune": ""}))
    seeds = read_seeds(request.given.get("seeds", ""))
    say_incomparable(cells)
    chosen = grid.select(suite, cells, request.given.get("only", ""), seeds)
    if "dry-run" in request.given:
        return _dry_run(request, chosen, missing)
    return _bench(request, cells, chosen, missing)


def _usage() -> str:
    from fdrl.bench.source import decode, suites

    lines = [f"  {n:<20}{decode(t, n).get('about', '')}" for n, t in suites().items()]
    return options.usage("bench", "SUITE", ABOUT.format(suites="\n".join(lines)), OPTIONS)


def read_command(argv: Sequence[str]) -> Request:
    """Read the words; errors name the word."""
    words = options.read(_join_seeds(argv), OPTIONS, most=1)
    given = words.options
    if not words.positional:
        raise FdrlError("fdrl bench needs a suite: fdrl bench SUITE (see fdrl bench --help)")
    if given.get("only") == "":
        raise FdrlError("--only needs METHOD/SETTING")
    modes = [name for name in ("tune", "audit", "dry-run") if name in given]
    if len(modes) > 1:
        raise FdrlError(f"--{modes[0]} and --{modes[1]} do not go together")
    for mode, names in {"audit": ("only", "seeds"), "tune": ("seeds",)}.items():
        for name in names:
            if mode in given and name in given:
                what = "the whole suite" if mode == "audit" else "the suite's tuning_seeds"
                raise FdrlError(f"--{mode} is about {what}: leave --{name} out")
    from fdrl.bench.source import read_suite

    source = words.positional[0]
    suite = read_suite(source)
    out = Path(given.get("out") or suite.out or f"runs/{suite.name}")
    return Request(source, suite, out, _jobs(given), given)


def _join_seeds(argv: Sequence[str]) -> list[str]:
    """Make ``--seeds 0 3 7`` one value: ``--seeds 0,3,7``."""
    out: list[str] = []
    for word in argv:
        if len(out) > 1 and out[-2] == "--seeds" and re.fullmatch(r"\d+", word):
            out[-1] += f",{word}"
        else:
            out.append(word)
    return out


def read_seeds(text: str) -> list[int]:
    """Return the seeds in ``0,3,7`` or ``0..9``, in any mixture."""
    seeds: list[int] = []
    for part in text.split(",") if text else ():
        match = re.fullmatch(r"(\d+)(?:\.\.(\d+))?", part.strip())
        if match is None:
            raise FdrlError(f"--seeds takes numbers or A..B, not {part.strip()!r}")
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first:
            raise FdrlError(f"--seeds: {part.strip()} is empty")
        seeds += range(first, last + 1)
    return seeds


def _jobs(given: dict[str, str]) -> int:
    if "jobs" in given:
        return options.whole_number("jobs", given["jobs"])
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _audit(suite: Suite, cells: list[Cell], out: Path, tuned: Tuned | None) -> int:
    from fdrl.bench.audit import audit

    deviations = audit(suite, cells, out, tuned)
    for deviation in deviations:
        print(deviation)
    if deviations:
        count = counted(len(deviations), "deviation")
        print(f"{count} from suite {suite.name!r}", file=sys.stderr)
        return 1
    verb = "is" if len(cells) == 1 else "are"
    print(f"{counted(len(cells), 'run')} in {out} {verb} as suite {suite.name!r} says")
    return 0


def _dry_run(request: Request, chosen: list[Cell], missing: list[Absent]) -> int:
    """List what would be run; return 1 if some of it cannot be."""
    from fdrl.bench.calibrate import calibrate
    from fdrl.bench.display import about, estimate
    from fdrl.bench.ledger import finished
    from fdrl.bench.pace import Pace
    from fdrl.cli.listing import print_table

    out = request.out
    left = [c for c in chosen if not finished(out, c)]
    pace = Pace.of_finished(out, chosen)
    errors = calibrate(left, pace)
    counts = Counter((c.setting, c.method) for c in chosen)
    todo = Counter((c.setting, c.method) for c in left)
    first = {(c.setting, c.method): c for c in reversed(chosen)}
    rows = []
    for pair, count in counts.items():
        seconds = pace.seconds(first[pair]) if pace.knows(first[pair]) else None
        each = "-" if seconds is None else estimate(seconds)
        rows.append((*pair, str(count), str(todo[pair]), each))
    print_table(("setting", "method", "runs", "to do", "time each"), rows)
    _say_gaps(missing)
    for error in errors:
        print(f"ERROR {error}")
    total = pace.left(left, {}, request.jobs)
    forecast = "unknown" if total is None else about(total)
    pack = max((c.pack for c in left), default=1)
    unpacked = f" (timed unpacked, without pack = {pack})" if pack > 1 else ""
    runs, jobs = counted(len(chosen), "run"), counted(request.jobs, "job")
    print(f"{len(left)} of {runs} to do, {forecast} with {jobs}{unpacked}")
    return 1 if errors else 0


def _say_gaps(missing: list[Absent]) -> None:
    from fdrl.bench.grid import gap_lines

    for line in gap_lines(missing):
        print(f"not applicable: {line}")


def _bench(request: Request, cells: list[Cell], chosen: list[Cell], missing: list[Absent]) -> int:
    from fdrl.bench.ledger import locked, write_manifest

    out = request.out
    _say_gaps(missing)
    with locked(out) as lock:
        write_manifest(out, request.suite, cells, missing)
        try:
            outcome = play(request, chosen, out, request.suite.name, lock)
        finally:
            write_manifest(out, request.suite, cells, missing)
    if not outcome.stopped and "no-report" not in request.given:
        _report(out)
    return conclude(request, outcome)


def _report(out: Path) -> None:
    """Write the page; a report that fails must not make finished runs look failed."""
    try:
        from fdrl.cli.report import main as report
    except ModuleNotFoundError:
        return
    try:
        report([str(out), "--out", str(out / "report")])
    except Exception as error:
        print(f"no report: {type(error).__name__}: {error}", file=sys.stderr)
