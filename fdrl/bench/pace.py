"""How long cells take: learned from those that finished, guessed for the others."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import mean

from fdrl.bench.grid import Cell
from fdrl.rundir import read_summary


def size(cell: Cell) -> float:
    """Return what a cell's time is taken to be proportional to: agent steps, or agent episodes.

    Under a budget of episodes the steps are a limit that runs stay far below.
    """
    return float((cell.run.episodes or cell.run.steps) * cell.run.agents)


def _keys(cell: Cell) -> tuple[tuple[str, ...], ...]:
    """Return which cells are alike, the closest first: steps and episodes are never mixed."""
    unit = "episodes" if cell.run.episodes else "steps"
    return (unit, cell.method, cell.setting), (unit, cell.method), (unit,)


class Pace:
    """Seconds per agent step (or episode), by method and setting, by method, and overall."""

    def __init__(self) -> None:
        self._rates: dict[tuple[str, ...], list[float]] = defaultdict(list)

    @classmethod
    def of_finished(cls, out: Path, cells: Iterable[Cell]) -> Pace:
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
