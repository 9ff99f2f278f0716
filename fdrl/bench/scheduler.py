"""Run cells over worker processes: longest first, failures reported, everything resumable."""

from __future__ import annotations

import queue
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from fdrl.bench.display import Board, Display, Running, done_line
from fdrl.bench.forecast import Forecast
from fdrl.bench.grid import Cell
from fdrl.bench.outputs import Failure, clear_failure, write_failure
from fdrl.bench.worker import Event, Events, WorkerProcess
from fdrl.core import terminal, watch
from fdrl.core.threads import stop_signals

TICK = 0.25


@dataclass
class Outcome:
    """How a sitting ended."""

    finished: list[Cell] = field(default_factory=list)
    failed: dict[Cell, Failure] = field(default_factory=dict)
    stopped: bool = False


@dataclass
class _Stop:
    """How often the user asked for a stop."""

    count: int = 0

    def handle(self, number: int, frame: FrameType | None) -> None:
        self.count += 1


@contextmanager
def _signals() -> Iterator[_Stop]:
    """Count Ctrl-C, SIGTERM and SIGHUP (only the main thread may listen)."""
    stop = _Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {n: signal.signal(n, stop.handle) for n in stop_signals()}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def cut(cells: Sequence[Cell], jobs: int) -> list[list[Cell]]:
    """Cut cells into packs that differ in their seeds alone, of what a cell's `pack` allows.

    Their number is a multiple of `jobs` where it can be, so that no worker is idle at the end:
    two packs of 25 are done earlier by two workers than one of 50 by one of them.
    """
    groups: dict[tuple[str, ...], list[Cell]] = {}
    for cell in cells:
        groups.setdefault((cell.setting, cell.method, cell.note), []).append(cell)
    parts = {key: -(-len(group) // group[0].pack) for key, group in groups.items()}
    while sum(parts.values()) % jobs:
        key = max(parts, key=lambda k: len(groups[k]) / parts[k])  # the one with the largest packs
        if parts[key] == len(groups[key]):
            break
        parts[key] += 1
    places = {(c.setting, c.method, c.note, c.seed): i for i, c in enumerate(cells)}
    packs = [
        group[len(group) * i // parts[key] : len(group) * (i + 1) // parts[key]]
        for key, group in groups.items()
        for i in range(parts[key])
    ]
    # Seed by seed, as the cells come: a bench that is stopped early has whole comparisons.
    return sorted(packs, key=lambda p: places[p[0].setting, p[0].method, p[0].note, p[0].seed])


class _Sitting:
    """One invocation: who does what."""

    def __init__(
        self,
        cells: Sequence[Cell],
        out: Path,
        board: Board,
        display: Display,
        keep: int | None,
    ) -> None:
        self.out, self.board, self.display, self.keep = out, board, display, keep
        self.pending = cut(cells, board.jobs)
        self.outcome = Outcome()
        self.events: Events = queue.SimpleQueue()
        self.idle: list[WorkerProcess] = []
        self.busy: dict[WorkerProcess, Running] = {}
        self.heard = 0
        self.ready: set[WorkerProcess] = set()
        self.retried: set[str] = set()

    def run(self, stop: _Stop) -> Outcome:
        """Work until nothing is left to do, or the user has had enough."""
        try:
            while self.busy or (self.pending and not stop.count):
                if stop.count > self.heard:
                    self._ask_to_stop(stop.count)
                if stop.count > 1:
                    break
                if not stop.count:
                    self._assign()
                self._listen()
        finally:
            for worker in [*self.busy, *self.idle]:
                worker.close()
        self.outcome.stopped = stop.count > 0
        return self.outcome

    def _ask_to_stop(self, count: int) -> None:
        if not self.heard:
            self.display.say("stopping after the rounds in progress (once more: at once)")
            for worker in self.busy:
                worker.stop()
        self.heard = count

    def _assign(self) -> None:
        """Give every free worker the longest pack that is left."""
        while self.pending and len(self.busy) < self.board.jobs:
            self.pending = self.board.pace.longest_packs_first(self.pending)
            pack = self.pending.pop(0)
            for cell in pack:
                clear_failure(self.out, cell)
            worker = self.idle.pop() if self.idle else WorkerProcess(self.events, self.keep)
            self.busy[worker] = Running(pack)
            worker.order(pack, self.out)
        self._show()

    def _show(self) -> None:
        board = self.board
        board.pending = [cell for pack in self.pending for cell in pack]
        board.running = {w.pid: r for w, r in self.busy.items()}
        board.failed = len(self.outcome.failed)
        running = sum(len(r.open) for r in self.busy.values())
        board.finished = board.total - len(board.pending) - running - board.failed
        self.display.show(board)

    def _listen(self) -> None:
        """Wait a moment for something to happen."""
        for waited, running in self.busy.items():
            _look(waited, running)
        try:
            worker, event = self.events.get(timeout=TICK)
        except queue.Empty:
            self.display.show(self.board)
            return
        if worker in self.busy:
            self._take(worker, event)
        elif event.event == "gone" and worker in self.idle:
            self.idle.remove(worker)
            worker.close()

    def _take(self, worker: WorkerProcess, event: Event) -> None:
        running = self.busy[worker]
        running.heard, running.said = time.monotonic(), 0
        if event.event == "alive":
            return
        if event.event == "silent":
            running.silence = event.reason
            terminal.say(f"{event.reason} ({running})")
        elif event.event == "ready":
            self.ready.add(worker)
        elif event.event == "started":
            running.started = True
        elif event.event == "gone":
            self._lost(worker, running)
        else:
            self._hear(worker, running, event)
        self._show()

    def _hear(self, worker: WorkerProcess, running: Running, event: Event) -> None:
        """One cell of a worker's pack has come further, or has ended."""
        if event.event == "round":
            running.fractions[event.cell] = event.fraction
            running.silence = ""
            return
        cell = running.open.pop(event.cell)
        if not running.open:
            self._release(worker)
        if event.event == "finished":
            self._finished(cell, event)
        elif event.event == "failed":
            self._failed(cell, Failure(event.reason, event.trace))
        elif event.event == "stopped":
            self.pending.append([cell])

    def _lost(self, worker: WorkerProcess, running: Running) -> None:
        """A worker died: its cell's fault, unless it had not begun or was asked to stop.

        Whose fault of several cannot be told, so each is tried again alone, and the culprit fails.
        One that was killed, perhaps for want of memory that others used, is tried once more.
        """
        del self.busy[worker]
        reason, trace = worker.last_words()
        killed = worker.killed and not running.silence
        reason = running.silence or reason
        worker.close()
        left = list(running.open.values())
        if self.heard or (worker in self.ready and not running.started):
            self.pending.append(left)
            return
        if len(left) > 1:
            self.display.say(f"{running}: {reason}; each is tried again alone")
            self.pending += [[cell] for cell in left]
            self.retried |= {cell.folder for cell in left}
            return
        if killed and left and left[0].folder not in self.retried:
            self.display.say(f"{left[0]}: {reason}; it is tried once more")
            self.retried.add(left[0].folder)
            self.pending.append(left)
            return
        for cell in left:
            self._failed(cell, Failure(reason, trace))

    def _release(self, worker: WorkerProcess) -> None:
        del self.busy[worker]
        self.idle.append(worker)

    def _finished(self, cell: Cell, event: Event) -> None:
        self.outcome.finished.append(cell)
        self.board.pace.add(cell, event.seconds)
        self.display.say(done_line(cell, event.mean, event.worst, event.seconds))

    def _failed(self, cell: Cell, failure: Failure) -> None:
        self.outcome.failed[cell] = failure
        write_failure(self.out, cell, failure)
        self.display.say(f"FAILED {cell}: {failure.reason}", style="bold red")


def _look(worker: WorkerProcess, running: Running) -> None:
    """Say of a worker that it shows no sign of life; end one that has shown none for too long."""
    run, quiet = running.cells[0].run, time.monotonic() - running.heard
    if quiet < 2 * TICK:
        return
    doing = "training" if running.started else "starting"
    line = watch.line_of(str(running), worker.pid, doing, quiet)
    if watch.due(quiet, run.patience, running.said):
        running.said += 1
        terminal.say(f"fdrl: {line}")
    if run.patience_stop and quiet >= run.patience_stop and not running.given_up:
        running.silence, running.given_up = line, True
        worker.end()


def run_cells(
    cells: Sequence[Cell],
    out: Path,
    jobs: int,
    display: Display,
    *,
    name: str,
    pace: Forecast,
    already: int,
    keep: int | None,
) -> Outcome:
    """Train all cells over `jobs` processes.

    A cell whose run raises, or whose process dies, is reported as failed while the others go on.
    Ctrl-C or SIGTERM let the rounds in progress end with a checkpoint; a second one stops at once.
    `already` cells were finished before; `keep` is a lock that the workers hold too.
    """
    board = Board(name, already + len(cells), max(1, min(jobs, len(cells))), pace)
    with _signals() as stop:
        return _Sitting(cells, out, board, display, keep).run(stop)
