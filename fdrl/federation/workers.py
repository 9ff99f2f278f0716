"""Some agents of a cohort in a worker process of their own."""

from __future__ import annotations

import atexit
import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
import warnings
import weakref
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from multiprocessing.reduction import ForkingPickler
from typing import Any

import numpy as np

from fdrl.core import terminal, watch
from fdrl.core.abilities import Profile, profile
from fdrl.core.cohort import Cohort
from fdrl.core.errors import FdrlError, one_line
from fdrl.core.paths import looked_in
from fdrl.core.threads import THREAD_VARIABLES, stop_signals

PATIENCE = 5.0
"""Seconds that a worker gets to finish when it is closed."""
RESTARTS = 2
"""How often a worker is started again in one round: who is killed a third time always will be."""
SHARE = 50
"""Times as long as calls must have taken as asking for the state does, before it is asked for."""
MOST_BYTES = 2**28
"""Bytes of calls that are kept at most before the state is asked for."""
UNGUARDED = 64
"""The exit code of a worker whose main script starts workers when it is imported."""
MARK, MAIN = "FDRL_WORKER", "main"
"""Set in the environment of worker processes; its value if a main thread started them."""


class Remote:
    """Agents in a worker process with one BLAS thread.

    `build(*args)` makes the cohort there. Calls are numbered, so that an answer nobody waited for
    (the user interrupted) is not taken for the next call's.

    A worker that is killed is started again: from the state that `keep` asked for last, or that
    anybody did, and by repeating the calls since, which gives the same numbers to the bit.
    """

    def __init__(self, ids: Sequence[str], build: Callable[..., Cohort], *args: Any) -> None:
        _check_startable()
        self._name = f"agents {ids[0]}..{ids[-1]}" if len(ids) > 1 else f"agent {ids[0]}"
        self._owner = os.getpid()
        self._work = (build, args)
        self._calls: list[Any] = []
        """Everything that was sent since the last known state, as bytes."""
        self._state: Any = None
        self._number, self._deaths = 0, 0
        self._busy, self._keeping = 0.0, 0.0
        """Seconds of calls since the last known state, and what it took to ask for that."""
        self._method, self._ended = "building", ""
        self._wait: watch.Wait | None = None
        self._start()
        _OPEN.add(self)
        self._expect()

    def _start(self) -> None:
        spawn = multiprocessing.get_context("spawn")
        self._pipe, theirs = spawn.Pipe()
        self._process: SpawnProcess = spawn.Process(
            target=_work, args=(looked_in(), theirs, *self._work), daemon=True
        )
        with _one_thread_each(), _signals_held():
            self._process.start()
        self._pid = getattr(self._process, "pid", None) or 0
        theirs.close()

    def _expect(self) -> None:
        """Let the watch know that an answer is awaited from now on."""
        phase = watch.PULSE.doing
        doing = self._method if phase in ("", self._method) else f"{self._method} ({phase})"
        self._wait = watch.Wait(
            self._name, self._pid, doing, answered=self._answered, end=self._give_up
        )
        watch.opened(self._wait)

    def _answered(self) -> bool:
        try:
            return self._pipe.poll()
        except (OSError, ValueError):
            return True

    def _give_up(self, why: str) -> None:
        """End the worker from another thread; who waits for it hears why."""
        self._ended = why
        self._process.kill()

    def ready(self) -> None:
        """Wait until the cohort is built."""
        self.profile: Profile = self.finish()

    def begin(self, method: str, *args: Any, **kwargs: Any) -> None:
        """Send the call."""
        if os.getpid() != self._owner:
            raise FdrlError(
                f"the worker process of {self._name} belongs to process {self._owner}, from which "
                "this one was forked: build a federation of its own here"
            )
        self._number += 1
        self._method = method
        call = ForkingPickler.dumps((self._number, method, args, kwargs))
        self._calls.append(call)
        self._begun = time.monotonic()
        self._expect()
        try:
            self._pipe.send_bytes(call)
        except OSError as error:
            try:
                self._again(error)
            except BaseException:
                self._heard()
                raise

    def _heard(self) -> None:
        if self._wait is not None:
            watch.closed(self._wait)

    def finish(self) -> Any:
        """Wait for the answer."""
        try:
            ok, value = self._receive(self._number)
        finally:
            self._heard()
        if self._number:
            self._busy += time.monotonic() - self._begun
        if ok:
            if self._method == "state":
                self._known(value)
            return value
        kind, message, trace = value
        if kind == "mendable":
            raise FdrlError(message)
        if kind == "memory":
            raise MemoryError(f"{message} (in the worker process of {self._name})")
        raise RuntimeError(f"the worker of {self._name} failed: {message}\n{trace}")

    def _receive(self, wanted: int) -> tuple[bool, Any]:
        number = -1
        while number != wanted:
            try:
                number, ok, value = self._pipe.recv()
            except (EOFError, OSError) as error:
                self._again(error)
        return ok, value

    def _known(self, state: Any) -> None:
        """Remember a state that the worker may be started again from."""
        self._state, self._calls = state, []
        self._keeping = time.monotonic() - self._begun
        self._busy, self._deaths = 0.0, 0

    @property
    def due(self) -> bool:
        """Whether asking for the state costs little beside what would have to be repeated."""
        return self._busy > SHARE * self._keeping or sum(map(len, self._calls)) > MOST_BYTES

    def _again(self, error: Exception) -> None:
        """Start a worker that was killed again, and let it catch up; raise if that is no use."""
        self._process.join(PATIENCE)
        code = self._process.exitcode
        if self._ended:
            raise watch.NoAnswer(self._ended) from None
        if code is None or code >= 0:
            raise self._gone(code) from None
        self._deaths += 1
        how = f"the worker process of {self._name} (pid {self._pid}) {cause(code)}"
        if self._deaths > RESTARTS:
            raise FdrlError(f"{how}, {self._deaths} times in one round") from None
        self._pipe.close()
        self._start()
        terminal.say(f"fdrl: note: {how}; started again from its last round (pid {self._pid})")
        self._keeping = 0.0  # so that the state is asked for as soon as the round is over
        self._heard()
        self._expect()
        self._catch_up()

    def _catch_up(self) -> None:
        """Send a new worker the last known state, and all calls since; the last is not awaited."""
        try:
            if not self._number:
                return  # that it is built is what is waited for
            self._pipe.recv()
            calls = list(self._calls)
            if self._state is not None:
                load: Any = (-2, "load_state", (self._state,), {})
                calls.insert(0, ForkingPickler.dumps(load))
            for i, call in enumerate(calls):
                self._pipe.send_bytes(call)
                if i < len(calls) - 1:
                    self._pipe.recv()
        except (EOFError, OSError) as error:
            self._again(error)

    def _gone(self, code: int | None) -> FdrlError:
        if code == UNGUARDED:
            return FdrlError(
                "worker processes import the main script again, which starts them outside of "
                'if __name__ == "__main__": put the call below that line, or use threads = 1'
            )
        return FdrlError(
            f"the worker process of {self._name} (pid {self._pid}) ended (exit code {code})"
        )

    def close(self) -> None:
        """Let the worker finish, then join it; kill it if it does not listen."""
        _OPEN.discard(self)
        self._heard()
        if os.getpid() != self._owner:
            return
        with contextlib.suppress(OSError):
            self._pipe.send(None)
        self._process.join(PATIENCE)
        self.kill()
        self._pipe.close()
        self._process.close()

    def kill(self) -> None:
        """End the worker at once."""
        if self._process.is_alive():
            self._process.kill()
            self._process.join()


def _check_startable() -> None:
    """Raise where worker processes cannot be started."""
    process = multiprocessing.current_process()
    if process.daemon:
        raise FdrlError(
            "worker processes cannot be started here: this process is a daemonic one of "
            "multiprocessing, which may have no children; threads = 1 works"
        )
    if getattr(process, "_inheriting", False):
        # A worker that imports the main script, which has no guard: who started it says so.
        if os.environ.get(MARK):
            os._exit(UNGUARDED)
        raise FdrlError(
            "worker processes cannot be started while a process imports its main script: put the "
            'call below if __name__ == "__main__":, or use threads = 1'
        )


def cause(code: int) -> str:
    """Say which signal killed a process of a negative exit code."""
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = str(-code)
    hint = {"SIGKILL": " (out of memory?)", "SIGSEGV": " (a crash in compiled code)"}.get(name, "")
    return f"was killed by signal {name}{hint}"


_OPEN: weakref.WeakSet[Remote] = weakref.WeakSet()


@watch.last_will
@atexit.register
def _kill_all() -> None:
    """End the workers that nobody closed.

    multiprocessing asks them with a SIGTERM, which they ignore, and would wait for ever. Functions
    run at exit in the reverse order of their registration, so this one comes first.
    """
    for remote in list(_OPEN):
        remote.kill()


def _forget() -> None:
    """Leave the parent its workers: a forked child may neither ask nor end them."""
    for remote in list(_OPEN):
        with contextlib.suppress(OSError, AttributeError):
            remote._pipe.close()
            # or multiprocessing would wait for them when this process ends, and complain
            multiprocessing.process._children.discard(remote._process)  # type: ignore[attr-defined]
    _OPEN.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


@contextlib.contextmanager
def _one_thread_each() -> Iterator[None]:
    """Set the thread counts that a child reads before it imports NumPy."""
    before = {name: os.environ.get(name) for name in (*THREAD_VARIABLES, MARK)}
    os.environ.update(dict.fromkeys(before, "1"))
    if threading.current_thread() is threading.main_thread():
        os.environ[MARK] = MAIN
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextlib.contextmanager
def _signals_held() -> Iterator[None]:
    """Start a child with its signals held back, until it has said that it ignores them."""
    if not hasattr(signal, "pthread_sigmask"):  # not a POSIX system: no signals to groups either
        yield
        return
    # The first worker starts the resource tracker, which would let the signals through again.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, stop_signals())
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _ignore_signals() -> None:
    """Ignore what the parent decides about, also what arrived while this process started.

    These signals reach a whole process group, and the parent alone decides when to stop.
    """
    numbers = stop_signals()
    for number in numbers:
        signal.signal(number, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)


def _work(
    looked: object, pipe: Connection, build: Callable[..., Cohort], args: tuple[Any, ...]
) -> None:
    """Build a cohort and serve calls until the pipe closes or says None.

    `looked` comes first: received, it lets the modules be found that `args` are made of.
    """
    _ignore_signals()
    np.seterr(over="ignore", invalid="ignore", divide="ignore")  # whose numbers die is looked at
    warnings.formatwarning = one_line  # as the command line does
    if multiprocessing.parent_process() is not None:
        _die_with_parent()
        terminal.guard()
    built: list[Cohort] = []

    def start() -> Profile:
        built.append(build(*args))
        return profile(built[0])

    with contextlib.suppress(EOFError, OSError):
        _answer(pipe, 0, start)
        while built and (call := pipe.recv()) is not None:
            number, method, positional, named = call
            _answer(pipe, number, partial(_call, built[0], method, *positional, **named))
    for cohort in built:
        cohort.close()


def _call(cohort: Cohort, method: str, *args: Any, **kwargs: Any) -> Any:
    return getattr(cohort, method)(*args, **kwargs)


def _answer(pipe: Connection, number: int, call: Callable[[], Any]) -> None:
    """Send a call's result, or what went wrong."""
    try:
        result = call()
    except Exception as error:
        kind = "mendable" if isinstance(error, FdrlError) else "bug"
        kind = "memory" if isinstance(error, MemoryError) else kind
        text = f"{type(error).__name__}: {error}" if kind == "bug" else str(error)
        pipe.send((number, False, (kind, text, traceback.format_exc())))
    else:
        pipe.send((number, True, result))


def _die_with_parent() -> None:
    """End this process at once when the parent is gone, even in the middle of a call."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def look() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=look, daemon=True).start()
    signal_with_parent(os.environ.get(MARK) == MAIN)


def signal_with_parent(end: bool) -> None:
    """Let the system signal this process when the thread that started it is gone (Linux).

    It is ended then, even if it is stopped or compiled code holds it; or, without `end`, only
    woken, so that it can notice what became of its parent.
    """
    if sys.platform != "linux":
        return
    number = signal.SIGKILL if end else signal.SIGCONT
    with contextlib.suppress(OSError, AttributeError, ImportError):
        import ctypes

        ctypes.CDLL(None).prctl(1, int(number), 0, 0, 0)  # 1: PR_SET_PDEATHSIG
