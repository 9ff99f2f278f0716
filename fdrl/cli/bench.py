"""``fdrl bench SUITE``: compare methods in settings over seeds, resumably, on all cores."""

from __future__ import annotations

import dataclasses
import os
import re
import shlex
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
from tyro.conf import Positional

from fdrl.cli import options
from fdrl.cli.options import Switch, argument, counted, flag, spell
from fdrl.core import terminal
from fdrl.core.errors import FdrlError
from fdrl.core.paths import absolute
from fdrl.core.settings import NonNegativeFloat, PositiveInt

if TYPE_CHECKING:
    from fdrl.bench.grid import Absent, Cell
    from fdrl.bench.scheduler import Outcome
    from fdrl.bench.suite import Suite, Tuned

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
    from fdrl.bench.grid import absent, select
    from fdrl.bench.suite import find_tuned, read_text

    suite, out = request.suite, request.out
    tuned, origin = find_tuned(suite, out, read_text(asked.suite)[1])
    cells, missing = grid.cells(suite, tuned), absent(suite)
    if asked.audit:
        return _audit(suite, cells, out, tuned)
    say_tuned(suite, tuned, origin, resume_command(Bench(suite=asked.suite, tune=True), out))
    say_incomparable(cells)
    chosen = select(suite, cells, asked.only or "", read_seeds(",".join(asked.seeds)))
    if asked.dry_run:
        return _dry_run(request, chosen, missing)
    return _bench(request, cells, chosen, missing)


def _about() -> str:
    from fdrl.bench.suite import decode, suites

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
    from fdrl.bench.suite import read_suite

    suite = read_suite(asked.suite)
    out = Path(asked.out or suite.out or f"runs/{suite.name}")
    absolute(out)  # of a deleted current folder this says so
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
    from fdrl.bench.display import about, estimate
    from fdrl.bench.forecast import Forecast, calibrate
    from fdrl.bench.outputs import finished
    from fdrl.cli.listing import print_table

    out = request.out
    left = [c for c in chosen if not finished(out, c)]
    pace = Forecast.of_finished(out, chosen)
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
    from fdrl.bench.outputs import locked, write_manifest

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


# ---- Running the cells that a ``fdrl bench`` command line asks for, and what is said at the end


class Bench(msgspec.Struct, frozen=True, kw_only=True):
    """Run a suite: every method in every setting on every seed."""

    suite: Annotated[Positional[str], argument("SUITE")]
    """A suite, by its name, or a FILE.toml of your own."""
    out: Annotated[str, flag("DIR", "the suite's")] = ""
    """Folder of the runs."""
    jobs: Annotated[PositiveInt | None, flag("N", "one a core")] = None
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
    patience: Annotated[NonNegativeFloat | None, flag("SECONDS", "60")] = None
    """Name a run that has not answered for so long; 0: never."""
    patience_stop: Annotated[NonNegativeFloat | None, flag("SECONDS", "never")] = None
    """End a run that has not answered for so long, with its checkpoint."""
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
    from fdrl.bench.display import make_display
    from fdrl.bench.forecast import Forecast
    from fdrl.bench.outputs import check_folders, finished
    from fdrl.bench.scheduler import run_cells

    check_folders(out, chosen)
    left = [_patient(request.asked, c) for c in chosen if not finished(out, c)]
    already = len(chosen) - len(left)
    pace = Forecast.of_finished(out, chosen)
    display = make_display(terminal.console())
    jobs = max(1, min(request.jobs, len(left)))
    runs, workers = counted(len(chosen), "run"), counted(jobs, "job")
    display.say(f"suite {name}: {runs}, {already} finished, {workers}, in {out}")
    try:
        return run_cells(
            left, out, jobs, display, name=name, pace=pace, already=already, keep=lock,
        )  # fmt: skip
    finally:
        display.close()


def _patient(asked: Bench, cell: Cell) -> Cell:
    """Return a cell with the patience that the command line asks for."""
    given = {"patience": asked.patience, "patience_stop": asked.patience_stop}
    changed = {name: value for name, value in given.items() if value is not None}
    if not changed:
        return cell
    return dataclasses.replace(cell, run=msgspec.structs.replace(cell.run, **changed))


def conclude(request: Request, outcome: Outcome) -> int:
    """Say how to go on if not all is done; return the exit code."""
    command = resume_command(request.asked, request.out)
    if outcome.stopped:
        print(f"stopped; continue with: {command}", file=sys.stderr)
        return 130
    if outcome.failed:
        count = counted(len(outcome.failed), "run")
        print(f"{count} failed; try again with: {command}", file=sys.stderr)
        return 1
    return 0


# ---- ``fdrl bench SUITE --tune``: try the methods' grids on the tuning seeds ----


def tune(request: Request) -> int:
    """Run the grid on the tuning seeds, and write the best values to OUT/tuned.toml.

    With ``--only``, pairs that it leaves out keep the values that they have.
    """
    from fdrl.bench.grid import points, select_points
    from fdrl.bench.outputs import locked
    from fdrl.bench.suite import TUNED, write_tuned
    from fdrl.bench.tuning import choose, joined, mark, rows, tuning_folder
    from fdrl.cli.listing import print_table

    suite, folder, only = request.suite, tuning_folder(request.out), request.asked.only or ""
    found = points(suite)
    if only:
        found = select_points(suite, found, only)
        _kept(request)
    todo = [cell for point in found for cell in point.cells]
    with locked(folder) as lock:
        mark(folder, suite)
        outcome = play(request, todo, folder, f"{suite.name}, tuning", lock)
        if outcome.stopped or outcome.failed:
            code = conclude(request, outcome)
            print(f"nothing was chosen; runs are in {folder}")
            return code
        tuned = choose(suite, found, folder)
        kept, origin = _kept(request) if only else (None, "")  # as it is now, hours later
        both, count = joined(suite, tuned, kept)
        write_tuned(request.out / TUNED, both)
    print_table(("setting", "method", "values", "score"), rows(tuned))
    beside = f", beside those of {counted(count, 'other pair')} from {origin}" if count else ""
    print(f"best values written to {request.out / TUNED}{beside}")
    return 0


def _kept(request: Request) -> tuple[Tuned | None, str]:
    """Return the values that pairs have already, and where from."""
    from fdrl.bench.suite import find_tuned, read_text
    from fdrl.bench.tuning import check_kept

    kept, origin = find_tuned(request.suite, request.out, read_text(request.asked.suite)[1])
    check_kept(kept, origin, request.suite)
    return kept, origin


# ---- What ``fdrl bench`` says in words: counts, what is tuned, and the command that goes on


OURS = ("out", "audit", "dry_run")
"""Options that the command has anyway, or that run nothing."""


def resume_command(asked: Bench, out: Path) -> str:
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
