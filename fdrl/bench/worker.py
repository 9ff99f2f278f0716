"""A worker process: trains one cell after another, told by lines of JSON on its input.

It says how far it is by lines of JSON on its output; what environments print goes to its error
output. It ends when its input does, so nothing outlives a bench that was killed.
"""

from __future__ import annotations

import faulthandler
import os
import queue
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from fdrl import config
from fdrl.budget import spent
from fdrl.config import Run
from fdrl.errors import FdrlError
from fdrl.records import RoundRecord, Summary
from fdrl.rundir import CONFIG
from fdrl.training import Stopped, train

EVERY = 0.25
"""Seconds between two reports of progress."""
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


def play(folder: Path, run: Run, say: Say) -> None:
    """Train one cell, or continue it from its last checkpoint, and say how it ended."""
    start = time.monotonic()
    try:
        resume = (folder / CONFIG).is_file()
        reporter = Reporter(say, run)
        summary = train(run, out=folder, resume=resume, trackers=[reporter], curves=False)
    except Stopped:
        say("stopped")
    except FdrlError as error:
        say("failed", reason=str(error), trace="")
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        say("failed", reason=reason, trace=traceback.format_exc())
    else:
        seconds = max(time.monotonic() - start, summary.wall_seconds)
        returns = {"mean": _number(summary.return_mean), "worst": _number(summary.return_worst)}
        say("finished", seconds=seconds, **returns)


def _number(value: float) -> float | None:
    return value if value == value else None


def _listen(stream: BinaryIO, orders: queue.SimpleQueue[bytes]) -> None:
    """Pass orders on; leave at once, even in the middle of a cell, when the bench is gone."""
    for line in stream:
        orders.put(line)
    os._exit(0)


def main() -> int:
    """Work until the input ends."""
    # What an environment prints must not be taken for a report.
    reports = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    faulthandler.enable()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.path.append(os.getcwd())

    def say(event: str, **facts: Any) -> None:
        with suppress(OSError):
            reports.write(msgspec.json.encode({"event": event, **facts}) + b"\n")

    orders: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(sys.stdin.buffer, orders), daemon=True).start()
    say("ready")
    while True:
        order = msgspec.json.decode(orders.get())
        say("started")
        try:
            run = config.parse(order["run"])
        except FdrlError as error:
            say("failed", reason=str(error), trace="")
            continue
        play(Path(order["folder"]), run, say)


if __name__ == "__main__":
    sys.exit(main())
