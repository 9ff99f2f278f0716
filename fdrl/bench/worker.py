"""A worker process that trains one pack of cells after another: its own end, and the bench's."""

from __future__ import annotations

import faulthandler
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from fdrl.bench.grid import Cell
from fdrl.config.run import Run, parse, to_tables
from fdrl.core import terminal, watch
from fdrl.core.errors import FdrlError
from fdrl.core.paths import absolute, current_folder, look_in
from fdrl.core.records import RoundRecord, Summary
from fdrl.core.threads import THREAD_VARIABLES, stop_signals
from fdrl.federation.workers import cause, signal_with_parent
from fdrl.packs.train import Order, Outcome, train_orders
from fdrl.runs.progress import spent

# ---- The bench's end of a worker process: orders go in, events come out, its death is an event


TAIL = 4000
COMMAND = (sys.executable, "-P", "-m", "fdrl.bench.worker")
"""-P: a module in the current folder must not shadow the standard library."""


class Event(msgspec.Struct, frozen=True):
    """What a worker says; ``gone`` is said for it when its process has ended."""

    event: str
    cell: int = 0
    """Which of the cells that it was ordered to train, from 0."""
    fraction: float = 0.0
    seconds: float = 0.0
    mean: float | None = None
    worst: float | None = None
    reason: str = ""
    trace: str = ""


EVENTS = msgspec.json.Decoder(Event)
"""Made once: each worker has a reading thread, and msgspec must be alone when it meets a class."""
Events = queue.SimpleQueue[tuple["WorkerProcess", Event]]


class WorkerProcess:
    """A process with one BLAS thread that trains packs of cells, one after another."""

    def __init__(self, events: Events, keep: int | None) -> None:
        """Start it; `keep` is a file descriptor that it holds open as long as it lives."""
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 (closed by close)
        options: dict[str, Any] = {}
        if os.name == "posix":
            # A session of its own: Ctrl-C reaches the bench alone, which then asks for a stop.
            options = {"start_new_session": True, "pass_fds": () if keep is None else (keep,)}
        self._process = subprocess.Popen(
            COMMAND,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env=os.environ | dict.fromkeys(THREAD_VARIABLES, "1"),
            **options,
        )
        self._reader = threading.Thread(target=self._read, args=(events,), daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """The process's number."""
        return self._process.pid

    def _read(self, events: Events) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            events.put((self, EVENTS.decode(line)))
        self._process.wait()
        events.put((self, Event(event="gone")))

    def order(self, cells: Sequence[Cell], out: Path) -> None:
        """Let it train a pack of cells; a worker that just died says so by its event."""
        assert self._process.stdin is not None
        self._log.seek(0)
        self._log.truncate()
        place = absolute(out)
        told = [{"folder": str(place / c.folder), "run": to_tables(c.run)} for c in cells]
        with suppress(OSError):
            self._process.stdin.write(msgspec.json.encode({"cells": told}) + b"\n")
            self._process.stdin.flush()

    def stop(self) -> None:
        """Ask for a stop after the round in progress, with a checkpoint."""
        with suppress(OSError):
            self._process.send_signal(signal.SIGTERM)

    def close(self) -> None:
        """End the process at once."""
        with suppress(OSError):
            self._process.kill()
        self._reader.join()
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdout.close()
        with suppress(OSError):
            self._process.stdin.close()
        self._log.close()

    def end(self) -> None:
        """Kill the process, which does not answer; that it is gone becomes an event."""
        with suppress(OSError):
            self._process.kill()

    @property
    def killed(self) -> bool:
        """Whether a dead process was killed by a signal: it did not end by itself."""
        return (self._process.returncode or 0) < 0

    def last_words(self) -> tuple[str, str]:
        """Return why a dead process died, in one line, and the end of what it wrote."""
        self._log.seek(0)
        text = self._log.read().decode(errors="replace")[-TAIL:]
        code = self._process.returncode
        how = f"ended (exit code {code})" if code is None or code >= 0 else cause(code)
        return f"its worker process (pid {self.pid}) {how}", text


# ---- A worker process: trains one pack of cells after another, told by lines of JSON on its
# input
#
# It says how far it is by lines of JSON on its output; what environments print goes to its error
# output. It ends when its input does, so nothing outlives a bench that was killed.


EVERY = 0.25
"""Seconds between two reports of progress."""
BREATH = 1.0
"""Seconds between two signs of life."""
Say = Callable[..., None]


class Reporter:
    """A tracker that reports the share of the budget that is used up."""

    def __init__(self, say: Say, run: Run) -> None:
        self._say, self._run = say, run
        self._said = 0.0

    def start(self, run: Run, ids: Sequence[str], labels: Sequence[str]) -> None:
        """Nothing to say yet."""

    def round(self, record: RoundRecord) -> None:
        """Report, if the last report is old."""
        now = time.monotonic()
        if now - self._said >= EVERY:
            self._said = now
            self._say("round", fraction=spent(self._run, record))

    def finish(self, summary: Summary) -> None:
        """Nothing: the cell's end is reported with its numbers."""

    def close(self) -> None:
        """Nothing is open."""


def play(orders: Sequence[Order], say: Say) -> None:
    """Train a pack, or continue it from its last checkpoints, and say how each cell ended.

    `orders` are numbered as the bench numbers its cells.
    """
    start = time.monotonic()
    numbers = [o.number for o in orders]

    def ended(place: int, outcome: Outcome) -> None:
        seconds = (time.monotonic() - start) / len(numbers)
        tell(partial(say, cell=numbers[place]), outcome, seconds)

    for order in orders:
        reporter = Reporter(partial(say, cell=order.number), order.run)
        order.trackers = [reporter]
    train_orders(orders, curves=False, ended=ended)


def tell(say: Say, outcome: Outcome, seconds: float) -> None:
    """Say how one cell ended; `seconds` is its share of the time so far."""
    if isinstance(outcome, Summary):
        returns = {"mean": _number(outcome.return_mean), "worst": _number(outcome.return_worst)}
        say("finished", seconds=max(seconds, outcome.wall_seconds), **returns)
    elif isinstance(outcome, KeyboardInterrupt):
        say("stopped")
    elif isinstance(outcome, FdrlError):
        say("failed", reason=str(outcome), trace="")
    else:
        reason = f"{type(outcome).__name__}: {outcome}".splitlines()[0]
        say("failed", reason=reason, trace="".join(traceback.format_exception(outcome)))


def _number(value: float) -> float | None:
    return value if value == value else None


def _listen(stream: BinaryIO, orders: queue.SimpleQueue[bytes]) -> None:
    """Pass orders on; leave at once, even in the middle of a cell, when the bench is gone."""
    for line in stream:
        orders.put(line)
    os._exit(0)


def _breathe(say: Say) -> None:
    """Say now and then that this process runs, whatever its cells do."""
    while True:
        time.sleep(BREATH)
        say("alive")


def main() -> int:
    """Work until the input ends."""
    # What an environment prints must not be taken for a report.
    reports = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    faulthandler.enable()
    for number in stop_signals():
        if number != signal.SIGTERM:  # with which the bench asks for a stop
            signal.signal(number, signal.SIG_IGN)
    signal_with_parent(end=True)  # the bench's thread outlives its workers
    terminal.guard()
    if here := current_folder():
        look_in(here)

    def say(event: str, **facts: Any) -> None:
        with suppress(OSError):
            reports.write(msgspec.json.encode({"event": event, **facts}) + b"\n")

    orders: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(sys.stdin.buffer, orders), daemon=True).start()
    watch.listen(lambda text: say("silent", reason=text))
    threading.Thread(target=_breathe, args=(say,), daemon=True).start()
    say("ready")
    while True:
        cells = msgspec.json.decode(orders.get())["cells"]
        say("started")
        read = (_read(number, cell, say) for number, cell in enumerate(cells))
        play([order for order in read if order is not None], say)


def _read(number: int, cell: dict[str, Any], say: Say) -> Order | None:
    try:
        run = parse(cell["run"])
    except FdrlError as error:
        say("failed", cell=number, reason=str(error), trace="")
        return None
    return Order(run, Path(cell["folder"]), number=number)


if __name__ == "__main__":
    sys.exit(main())
