"""Who is waited for, and what is said when no answer comes.

Whoever begins something that may never end says so: a call to a worker process as an open `Wait`,
what this process does itself on its `PULSE`. A thread looks at both now and then. Who has not
answered for the patience of a run is named in one line, with growing pauses; after `stop` seconds
the run is ended. A beat of the pulse costs as much as two assignments, so it may stand in a loop
over single environments.

Imports nothing but the standard library.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from fdrl.core.errors import FdrlError
from fdrl.core.terminal import say, show_cursor

NO_ANSWER = 75
"""The exit code of a run that was ended because nobody answered (``EX_TEMPFAIL``: try again)."""
LOOKS = 20
"""Looks in the time of the shortest patience; each costs microseconds."""
GRACE = 5.0
"""Seconds that compiled code may hold back every thread of this process before help comes from
outside the interpreter."""


class NoAnswer(FdrlError):
    """Somebody has not answered for as long as the user wanted to wait."""

    exit_code = NO_ANSWER


@dataclass(eq=False)
class Wait:
    """An answer that is waited for: whose, and what it is about.

    `answered` says whether it has come already, and nobody looked yet; `end` makes the one who
    waits go on with an error.
    """

    who: str
    pid: int
    doing: str
    answered: Callable[[], bool]
    end: Callable[[str], None]
    since: float = field(default_factory=time.monotonic)
    said: int = 0


class Pulse:
    """What this process does: `beats` counts up whenever it comes further.

    `doing` is a phase of a run, `who` are its agents; `inside` is somebody else's code that is
    being called, and in what, or nothing.
    """

    def __init__(self) -> None:
        self.beats = 0
        self.who, self.doing = "", ""
        self.done, self.total = 0, 0
        self.inside: tuple[Callable[[], str], str] | None = None

    def phase(self, doing: str, who: str | None = None) -> None:
        """Begin something that takes its time."""
        self.doing, self.inside = doing, None
        self.total = 0
        self.who = self.who if who is None else who
        self.beats += 1

    def count(self, done: int, total: int) -> None:
        """Say how many steps of the phase are done."""
        self.done, self.total = done, total
        self.beats += 1

    def enter(self, name: Callable[[], str], call: str) -> None:
        """Call somebody else's code; `name()` says whose, should it not return."""
        self.inside = (name, call)
        self.beats += 1

    def leave(self) -> None:
        """It has returned."""
        self.inside = None
        self.beats += 1

    def where(self) -> tuple[str, str]:
        """Return who does what."""
        inside, doing = self.inside, self.doing or "starting"
        if self.total:
            doing += f", {self.done:,} of {self.total:,} steps"
        if inside is None:
            return self.who or "this run", doing
        name, call = inside
        with contextlib.suppress(Exception):
            return name(), f"{call} ({doing})"
        return self.who or "an environment", f"{call} ({doing})"


PULSE = Pulse()
_WAITS: dict[int, Wait] = {}


def opened(wait: Wait) -> None:
    """Begin to wait for an answer."""
    _WAITS[id(wait)] = wait


def closed(wait: Wait) -> None:
    """The answer has come, or will not be waited for."""
    _WAITS.pop(id(wait), None)
    PULSE.beats += 1


@dataclass(eq=False)
class Watch:
    """How patient a run is.

    `rescue` saves what can be saved, from another thread, before this process is ended; it returns
    a few words about where to go on.
    """

    patience: float
    stop: float = 0.0
    rescue: Callable[[], str] = str


_HEARD: list[Callable[[str], None]] = [say]


def listen(heard: Callable[[str], None]) -> None:
    """Let lines be told to `heard` from now on, instead of the error output."""
    _HEARD.append(heard)


class _Watchman:
    """The thread that looks; there is one, as long as any run is being watched."""

    def __init__(self) -> None:
        self.watches: list[Watch] = []
        self._lock = threading.Lock()
        self._done = threading.Event()
        self._thread: threading.Thread | None = None
        self._beats, self._since, self._said = -1, 0.0, 0
        self._looked = 0.0

    def add(self, watch: Watch) -> None:
        with self._lock:
            self.watches.append(watch)
            self._beats, self._looked = -1, 0.0
            if self._thread is None:
                self._done = threading.Event()
                self._thread = threading.Thread(
                    target=self._serve, args=(self._done,), name="fdrl-watch", daemon=True
                )
                self._thread.start()

    def remove(self, watch: Watch) -> None:
        with self._lock:
            self.watches.remove(watch)
            if self.watches:
                return
            thread, self._thread = self._thread, None
            self._done.set()
        if thread is not None:
            thread.join()
        _disarm()

    def _serve(self, done: threading.Event) -> None:
        while True:
            watches = list(self.watches)
            if not watches:
                return
            first = watches[-1]  # the one that says most exactly what is done
            limits = [limit for w in watches for limit in (w.patience, w.stop) if limit > 0]
            _arm(first)
            if done.wait(min(1.0, min(limits) / LOOKS)):
                return
            self.look(first, time.monotonic())

    def look(self, watch: Watch, now: float) -> None:
        """Say who has not answered; end what has lasted too long."""
        asleep = now - self._looked - 5.0 if self._looked else 0.0
        self._looked = now
        if asleep > 0:  # this whole process was suspended, which is nobody's silence
            self._since += asleep
            for wait in list(_WAITS.values()):
                wait.since += asleep
        waits = [w for w in list(_WAITS.values()) if not w.answered()]
        for wait in waits:
            quiet = now - wait.since
            if due(quiet, watch.patience, wait.said):
                wait.said += 1
                _HEARD[-1](f"fdrl: {line_of(wait.who, wait.pid, wait.doing, quiet)}")
            if watch.stop and quiet >= watch.stop:
                wait.end(line_of(wait.who, wait.pid, wait.doing, quiet))
        if waits or PULSE.beats != self._beats:
            self._beats, self._since, self._said = PULSE.beats, now, 0
            return
        quiet = now - self._since
        who, doing = PULSE.where()
        if due(quiet, watch.patience, self._said):
            self._said += 1
            _HEARD[-1](f"fdrl: {line_of(who, os.getpid(), doing, quiet, own=True)}")
        if watch.stop and quiet >= watch.stop:
            _give_up(watch, line_of(who, os.getpid(), doing, quiet, own=True))


_WATCHMAN = _Watchman()
_LAST: list[Callable[[], None]] = []


def last_will(act: Callable[[], None]) -> Callable[[], None]:
    """Let something be done before this process is ended from another thread; for a decorator."""
    _LAST.append(act)
    return act


def due(quiet: float, patience: float, said: int) -> bool:
    """Say whether a line is due: after once the patience, then twice, four times ... as long."""
    return patience > 0 and quiet >= patience * 2.0**said


def line_of(who: str, pid: int, doing: str, quiet: float, own: bool = False) -> str:
    """Return the line that names who has not answered, without who says it."""
    state = "this process" if own else state_of(pid)
    where = f"pid {pid}, {state}" if state else f"pid {pid}"
    return f"no answer from {who} ({where}) for {quiet:.0f} s in {doing}"


STATES = {"T": "stopped by a signal", "t": "held by a debugger", "D": "waiting for a disk",
          "Z": "dead", "R": "computing", "S": "waiting"}  # fmt: skip


def state_of(pid: int) -> str:
    """Return what the system says a process does; empty where it cannot be asked."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            letter = file.read().rpartition(b")")[2].split()[0].decode()
    except (OSError, IndexError):
        return ""
    return STATES.get(letter, "")


def _give_up(watch: Watch, line: str) -> None:
    """Save what there is and end the process: its main thread will not come back."""
    kept = ""
    for each in list(_WATCHMAN.watches) or [watch]:
        try:
            kept = each.rescue() or kept
        except Exception as error:
            kept = f"nothing more could be saved: {error}"
    show_cursor()
    _HEARD[-1](f"fdrl: error: {line}: stopped{'; ' + kept if kept else ''}")
    for last in _LAST:
        with contextlib.suppress(Exception):
            last()
    os._exit(NO_ANSWER)


def _arm(watch: Watch) -> None:
    """Let the interpreter's own alarm help where compiled code keeps every thread from running.

    It prints where that is, and, if the run is to be stopped, ends the process.
    """
    limit = 2 * (watch.stop or watch.patience) + GRACE
    with contextlib.suppress(OSError, ValueError, AttributeError, RuntimeError):
        file = sys.__stderr__
        if file is not None:
            faulthandler.dump_traceback_later(limit, exit=watch.stop > 0, file=file)


def _disarm() -> None:
    with contextlib.suppress(RuntimeError, ValueError):
        faulthandler.cancel_dump_traceback_later()


@contextlib.contextmanager
def watched(watch: Watch) -> Iterator[None]:
    """Look after whoever is waited for meanwhile; a patience and stop of 0 look at nothing."""
    if watch.patience <= 0 and watch.stop <= 0:
        yield
        return
    _WATCHMAN.add(watch)
    try:
        yield
    finally:
        _WATCHMAN.remove(watch)


def _after_fork() -> None:
    """A child that was forked has none of our threads, and waits for nobody yet."""
    global _WATCHMAN
    _WATCHMAN = _Watchman()
    _WAITS.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
