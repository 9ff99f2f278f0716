"""How long cells take: a rough forecast before anything was run, a better one while they run."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import mean

from fdrl.bench.grid import Cell
from fdrl.core.errors import FdrlError
from fdrl.runs.folder import read_summary
from fdrl.runs.progress import spent

# ---- How long cells take: learned from those that finished, guessed for the others ----


def size(cell: Cell) -> float:
    """Return what a cell's time is taken to be proportional to: agent steps, or agent episodes.

    Under a budget of episodes the steps are a limit that runs stay far below.
    """
    return float((cell.run.episodes or cell.run.steps) * cell.run.agents)


def _keys(cell: Cell) -> tuple[tuple[str, ...], ...]:
    """Return which cells are alike, the closest first: steps and episodes are never mixed."""
    unit = "episodes" if cell.run.episodes else "steps"
    return (unit, cell.method, cell.setting), (unit, cell.method), (unit,)


class Forecast:
    """Seconds per agent step (or episode), by method and setting, by method, and overall."""

    def __init__(self) -> None:
        self._rates: dict[tuple[str, ...], list[float]] = defaultdict(list)

    @classmethod
    def of_finished(cls, out: Path, cells: Iterable[Cell]) -> Forecast:
        """Learn from runs that finished in earlier sittings."""
        pace = cls()
        for cell in cells:
            summary = read_summary(out / cell.folder)
            if summary is not None:
                pace.add(cell, summary.wall_seconds)
        return pace

    def add(self, cell: Cell, seconds: float) -> None:
        """Learn from a cell that took so long."""
        for key in _keys(cell):
            self._rates[key].append(seconds / size(cell))

    def __bool__(self) -> bool:
        return bool(self._rates)

    def knows(self, cell: Cell) -> bool:
        """Say whether a cell of the same method and setting was timed."""
        return _keys(cell)[0] in self._rates

    def seconds(self, cell: Cell) -> float | None:
        """Return the expected time of a cell; None before anything was timed."""
        for key in _keys(cell):
            if key in self._rates:
                return mean(self._rates[key]) * size(cell)
        return None

    def longest_packs_first(self, packs: Sequence[list[Cell]]) -> list[list[Cell]]:
        """Sort packs by expected time, the largest first; equal ones keep their order."""

        def total(pack: list[Cell]) -> float:
            return sum(self.seconds(c) or size(c) for c in pack)

        return sorted(packs, key=lambda p: -total(p))

    def left(
        self, pending: Iterable[Cell], running: Mapping[Cell, float], jobs: int
    ) -> float | None:
        """Return the expected seconds to the end; `running` says which share of a cell is done."""
        parts = [(self.seconds(c), 1.0) for c in pending]
        parts += [(self.seconds(c), 1.0 - done) for c, done in running.items()]
        if not parts:
            return 0.0
        if any(seconds is None for seconds, _ in parts):
            return None
        times = [seconds * share for seconds, share in parts if seconds is not None]
        return max(sum(times) / max(1, jobs), *times)


# ---- A rough forecast before anything was run: a few rounds of every method in every setting


ROUNDS, SECONDS = 4, 2.0


def calibrate(cells: Sequence[Cell], pace: Forecast) -> list[str]:
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
    from fdrl.federation.loop import Federation

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
