"""A worker process: trains one pack of cells after another, told by lines of JSON on its input.

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
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from fdrl import config
from fdrl.budget import spent
from fdrl.config import Run
from fdrl.errors import FdrlError
from fdrl.pack.train import Order, Outcome, train_orders
from fdrl.records import RoundRecord, Summary

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
        cells = msgspec.json.decode(orders.get())["cells"]
        say("started")
        read = (_read(number, cell, say) for number, cell in enumerate(cells))
        play([order for order in read if order is not None], say)


def _read(number: int, cell: dict[str, Any], say: Say) -> Order | None:
    try:
        run = config.parse(cell["run"])
    except FdrlError as error:
        say("failed", cell=number, reason=str(error), trace="")
        return None
    return Order(run, Path(cell["folder"]), number=number)


if __name__ == "__main__":
    sys.exit(main())
