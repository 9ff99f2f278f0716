"""``fdrl theory``: what the kernel regime predicts of distillation, beside finite networks."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fdrl.cli import options
from fdrl.errors import FdrlError

if TYPE_CHECKING:
    from fdrl.theory.experiment import Results
    from fdrl.theory.settings import Theory

ABOUT = """Compare knowledge distillation (KD), co-distillation (CD), CD with periodic teachers and
FD by label: closed forms, their differential equations, and two-layer networks that are
trained. Prints what held; writes figures, CSV files and results.json.

FILE.toml holds the flags' names as keys (teacher_error = 0.5); flags win."""
WHOLE = ("samples", "inputs", "seeds", "workers", "period", "steps", "seed")
REAL = ("weight", "teacher-error", "lr")
METAVARS = {"widths": "N N ...", "out": "DIR"}
HELP = {
    "samples": "training inputs, random directions (32)",
    "inputs": "dimension of an input (16)",
    "widths": "hidden units of the finite networks (64 .. 8192)",
    "seeds": "how many times each width is trained (8)",
    "weight": "weight b of the distillation loss (1)",
    "workers": "workers that co-distill (3)",
    "period": "steps between two looks at the others (30)",
    "teacher-error": "RMS error of KD's teacher; the targets have RMS 1 (1)",
    "steps": "gradient steps (until a thousandth is left of the slowest error)",
    "lr": "learning rate (a quarter of the largest stable one)",
    "seed": "root of all randomness (0)",
    "out": "folder of the results (theory)",
}
OPTIONS = {
    n: options.Option(METAVARS.get(n, "X" if n in REAL else "N"), h) for n, h in HELP.items()
}


def main(argv: list[str]) -> int:
    """Run the experiment; print tables and statements. What did not hold is no error."""
    if "--help" in argv or "-h" in argv:
        print(options.usage("theory", "[FILE.toml]", ABOUT, OPTIONS))
        return 0
    settings = read_command(argv)
    from fdrl.theory import write

    folder = Path(settings.out)
    write.prepare(folder)
    results = _run(settings)
    _print(results)
    names = write.write(results, folder)
    print(f"\n{folder}: {', '.join(names)}")
    return 0


def read_command(argv: Sequence[str]) -> Theory:
    """Read file and flags; errors name the word or the place."""
    words = options.read(_join_widths(argv), OPTIONS, most=1)
    from fdrl.config import read_tables
    from fdrl.theory.settings import parse

    tables: dict[str, Any] = {}
    if words.positional:
        name = words.positional[0]
        if not name.endswith(".toml") and not Path(name).is_file():
            raise FdrlError(f"no file {name!r} (fdrl theory takes a FILE.toml, or flags alone)")
        tables = read_tables(name)
    for name, text in words.options.items():
        tables[name.replace("-", "_")] = _value(name, text)
    return parse(tables)


def _join_widths(argv: Sequence[str]) -> list[str]:
    """Make ``--widths 64 128`` one value: ``--widths 64,128``."""
    out: list[str] = []
    for word in argv:
        if len(out) > 1 and out[-2] == "--widths" and re.fullmatch(r"-?[\d_.e]+", word):
            out[-1] += f",{word}"
        else:
            out.append(word)
    return out


def _value(name: str, text: str) -> Any:
    from fdrl.cli.wholes import whole

    if name == "widths":
        return [int(whole("--widths", w.strip())) for w in text.split(",")]
    if name in WHOLE:
        return int(whole(f"--{name}", text)) if text.lower() != "none" else None
    if name not in REAL or text.lower() == "none":
        return text if name not in REAL else None
    try:
        return float(text)
    except ValueError:
        raise FdrlError(f"flags: --{name} needs a number such as 0.5, got {text!r}") from None


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
    from fdrl.theory.statements import NAMES, say, slopes, statements

    s, p, found = r.settings, r.problem, slopes(r, r.gaps)
    print(
        f"{s.samples} samples, {s.workers} workers, weight {s.weight:g}, {p.steps:,} steps at "
        f"learning rate {p.eta:.4g}, {s.seeds} seeds; errors are root mean squares, "
        "and the targets have 1\n"
    )
    first, last = s.widths[0], s.widths[-1]
    headers = ("method", "theory ends at", f"width {last:,}", f"gap {first:,}", f"gap {last:,}")
    rows = [
        (NAMES[m], f"{r.theory[i, -1, :, -1].mean():.3g}", f"{r.error[i, -1, :, -1].mean():.3g}",
         f"{r.gaps[i, 0].mean():.2g}", f"{r.gaps[i, -1].mean():.2g}", say(found[m]))
        for i, m in enumerate(METHODS)
    ]  # fmt: skip
    print_table((*headers, "slope of the gap (95%)"), rows)
    print()
    checks = [(d.form, f"{d.value:.1e}") for d in r.differences]
    print_table(("closed form", "largest difference from its ODE"), checks)
    print()
    for found_one in statements(r):
        mark = {True: "HELD", False: "DID NOT HOLD", None: "SAYS NOTHING"}[found_one.held]
        print(f"{mark}: {found_one.claim}\n    {found_one.numbers}")
