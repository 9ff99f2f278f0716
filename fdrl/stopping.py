"""How a run is asked to stop: after the round in progress, so that nothing is lost."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType


class Stopped(KeyboardInterrupt):
    """A run was stopped by Ctrl-C or SIGTERM and resumes from round `round`."""

    def __init__(self, round: int, folder: Path | None) -> None:
        super().__init__(f"stopped after round {round}")
        self.round = round
        self.folder = folder


@dataclass
class StopFlag:
    """Set by the first signal; the second one, or one while `at_once`, interrupts right there."""

    set: bool = False
    at_once: bool = False

    def handle(self, number: int, frame: FrameType | None) -> None:
        if self.set or self.at_once:
            raise KeyboardInterrupt
        self.set = True
        # A signal may arrive inside another print to the same stream, which Python refuses.
        with suppress(RuntimeError, OSError):
            print("stopping after this round (once more: at once)", file=sys.stderr)


@contextmanager
def heeded(given: StopFlag | None = None) -> Iterator[StopFlag]:
    """Let Ctrl-C and SIGTERM ask for a stop between rounds (only the main thread may listen).

    A `given` flag is set by its owner instead.
    """
    flag = given or StopFlag()
    if given is not None or threading.current_thread() is not threading.main_thread():
        yield flag
        return
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {n: signal.signal(n, flag.handle) for n in numbers}
    try:
        yield flag
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
