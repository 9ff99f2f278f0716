"""What a person sees while a suite runs: live bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from fdrl.bench.forecast import Forecast
from fdrl.bench.grid import Cell
from fdrl.core import terminal
from fdrl.runs.progress import human_return, human_seconds


@dataclass
class Running:
    """A pack of cells that a worker trains."""

    cells: Sequence[Cell]
    since: float = field(default_factory=time.monotonic)
    started: bool = False
    """Whether the worker has acknowledged it."""
    heard: float = field(default_factory=time.monotonic)
    """When its worker last said anything."""
    said: int = 0
    """How often it was said that it does not answer."""
    silence: str = ""
    """What was said of an answer that did not come, last."""
    given_up: bool = False
    """Whether its worker was ended because of that."""
    open: dict[int, Cell] = field(init=False)
    """The cells that have not ended, by their place."""
    fractions: dict[int, float] = field(init=False)
    """Share of each cell that is done."""

    def __post_init__(self) -> None:
        self.open = dict(enumerate(self.cells))
        self.fractions = dict.fromkeys(self.open, 0.0)

    @property
    def fraction(self) -> float:
        """Share of the pack that is done."""
        done = sum(self.fractions[i] if i in self.open else 1.0 for i in self.fractions)
        return done / max(1, len(self.cells))

    def __str__(self) -> str:
        if len(self.cells) == 1:
            return str(self.cells[0])
        first = self.cells[0]
        note = f", {first.note}" if first.note else ""
        seeds = f"{len(self.cells)} seed{'s' * (len(self.cells) != 1)}"
        return f"{first.method} in {first.setting}{note}, {seeds}"


@dataclass
class Board:
    """How far the suite is."""

    name: str
    total: int
    jobs: int
    pace: Forecast
    finished: int = 0
    failed: int = 0
    pending: Sequence[Cell] = ()
    running: dict[int, Running] = field(default_factory=dict)
    start: float = field(default_factory=time.monotonic)

    @property
    def fraction(self) -> float:
        """Share of the cells that are done, those that run counted by their share."""
        done = float(self.finished + self.failed)
        done += sum(r.fractions[i] for r in self.running.values() for i in r.open)
        return done / max(1, self.total)

    def _guess(self) -> Forecast:
        """Before any run has ended: how long those take that are well under way."""
        pace, now = Forecast(), time.monotonic()
        for r in self.running.values():
            if r.fraction > 0.05:
                pace.add(r.cells[0], (now - r.since) / r.fraction / len(r.cells))
        return pace

    def facts(self) -> str:
        """Return the state in one line."""
        shares = {c: r.fractions[i] for r in self.running.values() for i, c in r.open.items()}
        pace = self.pace if self.pace else self._guess()
        left = pace.left(self.pending, shares, self.jobs)
        parts = [f"{self.finished} of {self.total} run{'s' * (self.total != 1)} finished"]
        parts += [f"{self.failed} failed"] if self.failed else []
        parts.append(f"{human_seconds(time.monotonic() - self.start)} elapsed")
        parts.append(f"{about(left)} left" if left is not None else "- left")
        return " · ".join(parts)


def estimate(seconds: float) -> str:
    """Return a guessed duration: ``<1 s`` instead of a ``0:00`` that says nothing."""
    return "<1 s" if seconds < 1 else human_seconds(seconds)


def about(seconds: float) -> str:
    """Return ``about 12:34``, or ``<1 s``."""
    return f"about {estimate(seconds)}" if seconds >= 1 else estimate(seconds)


class Display(Protocol):
    """Shows a board, and says what happens."""

    def show(self, board: Board) -> None:
        """The board has changed."""

    def say(self, text: str, style: str = "") -> None:
        """Say one line that stays."""

    def close(self) -> None:
        """Give the terminal back."""


def done_line(cell: Cell, mean: float | None, worst: float | None, seconds: float) -> str:
    """Return the line that a finished run leaves."""
    returns = f"return {human_return(mean)}, worst {human_return(worst)}"
    return f"{cell}: {returns} ({human_seconds(seconds)})"


NARROW = 45
"""Columns; with fewer nothing is laid out side by side."""


def render(board: Board, width: int = 100) -> RenderableType:
    """Draw the board for a terminal of `width` characters; long names are cut, no line wraps.

    Where bars have no room, each worker is a line of words, folded.
    """
    if width < NARROW:
        said = [f"{running} {running.fraction:.0%}" for running in board.running.values()]
        lines = [f"suite {board.name}", *said, f"{board.fraction:.0%} {board.facts()}"]
        return Text("\n".join(lines), overflow="fold")
    title = Text(f"suite {board.name}", style="bold")
    grid = Table.grid(padding=(0, 1))
    bar_width = 20 if width >= 80 else 8
    grid.add_column(no_wrap=True, overflow="ellipsis")
    for _ in range(3):
        grid.add_column(no_wrap=True)
    for running in board.running.values():
        elapsed = human_seconds(time.monotonic() - running.since)
        bar = ProgressBar(total=1.0, completed=running.fraction, width=bar_width)
        grid.add_row(str(running), bar, f"{running.fraction:4.0%}", elapsed)
    total = Table.grid(padding=(0, 1))
    bar = ProgressBar(total=1.0, completed=board.fraction, width=min(40, width - 8))
    total.add_row(bar, f"{board.fraction:4.0%}")
    return Group(title, grid, total, Text(board.facts(), overflow="ellipsis", no_wrap=True))


class LiveBoard:
    """Redraws the board on a terminal; what is said scrolls above it."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._board: Board | None = None
        self._live = Live(
            console=console, refresh_per_second=2, get_renderable=self._render,
            redirect_stderr=sys.stderr.isatty(),
        )  # fmt: skip
        self._live.start()

    def _render(self) -> RenderableType:
        return Text() if self._board is None else render(self._board, self._console.width)

    def show(self, board: Board) -> None:
        """The next redraw shows it."""
        self._board = board

    def say(self, text: str, style: str = "") -> None:
        """Print a line above the board."""
        self._live.console.print(Text(text, style=style), highlight=False)

    def close(self) -> None:
        """Leave the last board on the screen."""
        self._live.stop()


class PlainBoard:
    """Prints a line for everything that happens, and one with the state now and then."""

    def __init__(self, console: Console, seconds: float = 15.0) -> None:
        self._console, self._seconds = console, seconds
        self._printed = time.monotonic()

    def show(self, board: Board) -> None:
        """Print the state if the last line with it is old."""
        if time.monotonic() - self._printed >= self._seconds:
            self._printed = time.monotonic()
            self.say(f"{board.fraction:4.0%} · {board.facts()}")

    def say(self, text: str, style: str = "") -> None:
        """Print a line."""
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)
        self._console.file.flush()

    def close(self) -> None:
        """Nothing is open."""


def make_display(console: Console) -> Display:
    """Return live bars for a terminal, and lines for anything else."""
    return LiveBoard(console) if terminal.live(console) else PlainBoard(console)
