"""A rough forecast before anything was run: a few rounds of every method in every setting."""

from __future__ import annotations

import time
from collections.abc import Sequence

from fdrl.bench.grid import Cell
from fdrl.bench.pace import Pace
from fdrl.budget import spent
from fdrl.errors import FdrlError

ROUNDS, SECONDS = 4, 2.0


def calibrate(cells: Sequence[Cell], pace: Pace) -> list[str]:
    """Time a few rounds of every pair that `pace` does not know; return what cannot be built.

    Pairs that fail for the same reason share a line.
    """
    errors: dict[str, list[str]] = {}
    seen: set[tuple[str, str]] = set()
    for cell in cells:
        pair = (cell.setting, cell.method)
        if pair in seen or pace.knows(cell):
            continue
        seen.add(pair)
        try:
            pace.add(cell, _forecast(cell))
        except Exception as error:  # a plugin's fault must not hide the other forecasts
            known = isinstance(error, FdrlError)
            why = str(error) if known else f"{type(error).__name__}: {error}"
            errors.setdefault(why, []).append(f"{cell.method} in {cell.setting}")
    return [f"{_few(names)}: {why}" for why, names in errors.items()]


def _few(names: Sequence[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


def _forecast(cell: Cell) -> float:
    from fdrl.federation import Federation

    federation = Federation(cell.run)
    try:
        first = spent(cell.run, federation.round())  # warms caches and optimizers
        start, share = time.perf_counter(), first
        for _ in range(ROUNDS):
            if federation.done or time.perf_counter() - start > SECONDS:
                break
            share = spent(cell.run, federation.round())
        seconds = time.perf_counter() - start
    finally:
        federation.close()
    return seconds / (share - first) if share > first else seconds / max(first, 1e-9)
