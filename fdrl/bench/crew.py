"""The bench's end of a worker process: orders go in, events come out, its death is an event."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from fdrl.bench.grid import Cell
from fdrl.config import to_tables
from fdrl.threads import THREAD_VARIABLES

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


Events = queue.SimpleQueue[tuple["Worker", Event]]


class Worker:
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
            events.put((self, msgspec.json.decode(line, type=Event)))
        self._process.wait()
        events.put((self, Event(event="gone")))

    def order(self, cells: Sequence[Cell], out: Path) -> None:
        """Let it train a pack of cells; a worker that just died says so by its event."""
        assert self._process.stdin is not None
        self._log.seek(0)
        self._log.truncate()
        order = {"cells": [{"folder": str(out / c.folder), "run": to_tables(c.run)} for c in cells]}
        with suppress(OSError):
            self._process.stdin.write(msgspec.json.encode(order) + b"\n")
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

    def last_words(self) -> tuple[str, str]:
        """Return why a dead process died, in one line, and the end of what it wrote."""
        self._log.seek(0)
        text = self._log.read().decode(errors="replace")[-TAIL:]
        return f"its worker process {_cause(self._process.returncode)}", text


def _cause(code: int | None) -> str:
    if code is None or code >= 0:
        return f"ended (exit code {code})"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = str(-code)
    hint = {"SIGKILL": "; out of memory?", "SIGSEGV": "; a crash in compiled code"}.get(name, "")
    return f"was killed by signal {name}{hint}"
