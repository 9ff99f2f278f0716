"""``fdrl theory``: what the kernel regime predicts of distillation, beside finite networks."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import Positional

from fdrl.cli import options
from fdrl.cli.options import argument
from fdrl.config.tables import read_tables
from fdrl.core.errors import FdrlError
from fdrl.theory.problem import Theory, parse

if TYPE_CHECKING:
    from fdrl.theory.experiment import Results


class TheoryOptions(Theory, frozen=True, kw_only=True):
    """Compare knowledge distillation (KD), co-distillation (CD), CD with periodic teachers and
    FD by label: closed forms, their differential equations, and two-layer networks that are
    trained. Prints what held; writes figures, CSV files and results.json.

    FILE.toml holds the flags' names as keys (teacher_error = 0.5); flags win.
    """

    file: Annotated[Positional[str], argument("[FILE.toml]", "")] = ""
    """Settings."""


def main(argv: list[str]) -> int:
    """Run the experiment; print tables and statements. What did not hold is no error."""
    settings = read_command(argv)
    from fdrl.theory.write import prepare, write

    folder = Path(settings.out)
    prepare(folder)
    results = _run(settings)
    _print(results)
    names = write(results, folder)
    print(f"\n{folder}: {', '.join(names)}")
    return 0


def read_command(argv: Sequence[str]) -> Theory:
    """Read file and flags; errors name the word or the place."""
    found = options.named(TheoryOptions, argv, "theory", keys=True)
    tables: dict[str, Any] = {}
    if name := found.pop("file", ""):
        if not name.endswith(".toml") and not Path(name).is_file():
            raise FdrlError(f"no file {name!r} (fdrl theory takes a FILE.toml, or flags alone)")
        tables = read_tables(name)
    with options.naming_flags(argv):
        return parse({**tables, **found})


def _run(settings: Theory) -> Results:
    """Run with a bar on a terminal; standard output stays free for the tables."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    from fdrl.theory.experiment import run, work
    from fdrl.theory.problem import make_problem

    console = Console(file=sys.stderr)
    columns = (
        TextColumn("training networks"),
        BarColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as progress:
        task = progress.add_task("", total=work(settings, make_problem(settings)))
        return run(settings, lambda done: progress.advance(task, done))


def _print(r: Results) -> None:
    from fdrl.cli.listing import print_table
    from fdrl.theory.experiment import METHODS
    from fdrl.theory.statements import NAMES, slopes, statements

    s, p, found = r.settings, r.problem, slopes(r, r.gaps)
    print(
        f"{s.samples} samples, {s.workers} workers, weight {s.weight:g}, {p.steps:,} steps at "
        f"learning rate {p.eta:.4g}, {s.seeds} seeds; errors are root mean squares, "
        "and the targets have 1\n"
    )
    first, last = s.widths[0], s.widths[-1]
    headers = ("method", "ends at, theory", f"width {last:,}", f"gap at {first:,}", f"at {last:,}")
    rows = [
        (NAMES[m], f"{r.theory[i, -1, :, -1].mean():.3g}", f"{r.error[i, -1, :, -1].mean():.3g}",
         f"{r.gaps[i, 0].mean():.2g}", f"{r.gaps[i, -1].mean():.2g}", f"{found[m].value:.3f}")
        for i, m in enumerate(METHODS)
    ]  # fmt: skip
    print_table((*headers, "slope"), rows)
    print()
    checks = [(d.form, f"{d.value:.1e}") for d in r.differences]
    print_table(("closed form", "largest difference from its ODE"), checks)
    print()
    for said in statements(r):
        mark = {True: "HELD", False: "DID NOT HOLD", None: "SAYS NOTHING HERE"}[said.held]
        print(f"{mark}: {said.claim}\n    {said.numbers}")
