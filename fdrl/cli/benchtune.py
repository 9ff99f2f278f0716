"""``fdrl bench SUITE --tune``: try the methods' grids on the tuning seeds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fdrl.cli.benchrun import Request, conclude, play
from fdrl.cli.benchwords import counted

if TYPE_CHECKING:
    from fdrl.bench.tuned import Tuned


def tune(request: Request) -> int:
    """Run the grid on the tuning seeds, and write the best values to OUT/tuned.toml.

    With ``--only``, pairs that it leaves out keep the values that they have.
    """
    from fdrl.bench.grid import points, select_points
    from fdrl.bench.ledger import locked
    from fdrl.bench.tune import choose, joined, mark, rows, tuning_folder
    from fdrl.bench.tuned import TUNED, write_tuned
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
    from fdrl.bench.source import read_text
    from fdrl.bench.tune import check_kept
    from fdrl.bench.tuned import find_tuned

    kept, origin = find_tuned(request.suite, request.out, read_text(request.asked.suite)[1])
    check_kept(kept, origin, request.suite)
    return kept, origin
