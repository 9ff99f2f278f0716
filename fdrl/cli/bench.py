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
from fdrl.cli.benchrun import Bench, Request, conclude, play
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


def main(argv: list[str]) -> int:
    """Return 0 when all is well, 1 for a failed cell or a deviation, 130 when stopped."""
    if not argv:
        return options.usage(Bench, "bench", about=_about())
    request = read_command(argv)
    asked = request.asked
    if asked.tune:
        return tune(request)
    from fdrl.bench import grid
    from fdrl.bench.source import read_text
    from fdrl.bench.tuned import find_tuned

    suite, out = request.suite, request.out
    tuned, origin = find_tuned(suite, out, read_text(asked.suite)[1])
    cells, missing = grid.cells(suite, tuned), grid.absent(suite)
    if asked.audit:
        return _audit(suite, cells, out, tuned)
    say_tuned(suite, tuned, origin, again(Bench(suite=asked.suite, tune=True), out))
    say_incomparable(cells)
    chosen = grid.select(suite, cells, asked.only or "", read_seeds(",".join(asked.seeds)))
    if asked.dry_run:
        return _dry_run(request, chosen, missing)
    return _bench(request, cells, chosen, missing)


def _about() -> str:
    from fdrl.bench.source import decode, suites

    lines = [f"  {n:<20}{decode(t, n).get('about', '')}" for n, t in suites().items()]
    return ABOUT.format(suites="\n".join(lines))


def read_command(argv: Sequence[str]) -> Request:
    """Read the words; errors name the word."""
    about = _about() if options.wants_help(argv) else ""
    asked = options.read(Bench, argv, "bench", about=about)
    if asked.only == "":
        raise FdrlError("--only needs METHOD/SETTING")
    modes = {"tune": asked.tune, "audit": asked.audit, "dry-run": asked.dry_run}
    on = [name for name, switched in modes.items() if switched]
    if len(on) > 1:
        raise FdrlError(f"--{on[0]} and --{on[1]} do not go together")
    chosen = {"only": asked.only, "seeds": asked.seeds}
    for mode, names in {"audit": ("only", "seeds"), "tune": ("seeds",)}.items():
        for name in names:
            if modes[mode] and chosen[name]:
                what = "the whole suite" if mode == "audit" else "the suite's tuning_seeds"
                raise FdrlError(f"--{mode} is about {what}: leave --{name} out")
    from fdrl.bench.source import read_suite

    suite = read_suite(asked.suite)
    out = Path(asked.out or suite.out or f"runs/{suite.name}")
    return Request(asked, suite, out, asked.jobs or _cores())


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


def _cores() -> int:
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
    if not outcome.stopped and not request.asked.no_report:
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
