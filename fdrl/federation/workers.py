"""Some agents of a cohort in a worker process of their own."""

from __future__ import annotations

import atexit
import contextlib
import multiprocessing
import os
import signal
import threading
import traceback
import warnings
import weakref
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any

from fdrl.core.abilities import Profile, profile
from fdrl.core.cohort import Cohort
from fdrl.core.errors import FdrlError, one_line
from fdrl.core.threads import THREAD_VARIABLES

PATIENCE = 5.0
"""Seconds that a worker gets to finish when it is closed."""
SIGNALS = (signal.SIGINT, signal.SIGTERM)
"""Signals that reach a whole process group: the parent alone decides when to stop."""


class Remote:
    """Agents in a worker process with one BLAS thread.

    `build(*args)` makes the cohort there. Calls are numbered, so that an answer nobody waited for
    (the user interrupted) is not taken for the next call's.
    """

    def __init__(self, ids: Sequence[str], build: Callable[..., Cohort], *args: Any) -> None:
        self._name = f"agents {ids[0]}..{ids[-1]}" if len(ids) > 1 else f"agent {ids[0]}"
        spawn = multiprocessing.get_context("spawn")
        self._pipe, theirs = spawn.Pipe()
        self._process: SpawnProcess = spawn.Process(
            target=_work, args=(theirs, build, args), daemon=True
        )
        with _one_thread_each(), _signals_held():
            self._process.start()
        theirs.close()
        self._number = 0
        _OPEN.add(self)

    def ready(self) -> None:
        """Wait until the cohort is built."""
        self.profile: Profile = self.finish()

    def begin(self, method: str, *args: Any, **kwargs: Any) -> None:
        """Send the call."""
        self._number += 1
        try:
            self._pipe.send((self._number, method, args, kwargs))
        except OSError as error:
            raise self._gone() from error

    def finish(self) -> Any:
        """Wait for the answer."""
        number = -1
        while number != self._number:
            try:
                number, ok, value = self._pipe.recv()
            except (EOFError, OSError) as error:
                raise self._gone() from error
        if ok:
            return value
        mendable, message, trace = value
        if mendable:
            raise FdrlError(message)
        raise RuntimeError(f"the worker of {self._name} failed: {message}\n{trace}")

    def _gone(self) -> FdrlError:
        self._process.join(1)
        return FdrlError(
            f"the worker process of {self._name} ended (exit code {self._process.exitcode})"
        )

    def close(self) -> None:
        """Let the worker finish, then join it; kill it if it does not listen."""
        _OPEN.discard(self)
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


_OPEN: weakref.WeakSet[Remote] = weakref.WeakSet()


@atexit.register
def _kill_all() -> None:
    """End the workers that nobody closed.

    multiprocessing asks them with a SIGTERM, which they ignore, and would wait for ever. Functions
    run at exit in the reverse order of their registration, so this one comes first.
    """
    for remote in list(_OPEN):
        remote.kill()


@contextlib.contextmanager
def _one_thread_each() -> Iterator[None]:
    """Set the thread counts that a child reads before it imports NumPy."""
    before = {name: os.environ.get(name) for name in THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, "1"))
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
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _ignore_signals() -> None:
    """Ignore what the parent decides about, also what arrived while this process started."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


def _work(pipe: Connection, build: Callable[..., Cohort], args: tuple[Any, ...]) -> None:
    """Build a cohort and serve calls until the pipe closes or says None."""
    _ignore_signals()
    _die_with_parent()
    warnings.formatwarning = one_line  # as the command line does
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
        known = isinstance(error, FdrlError)
        text = str(error) if known else f"{type(error).__name__}: {error}"
        pipe.send((number, False, (known, text, traceback.format_exc())))
    else:
        pipe.send((number, True, result))


def _die_with_parent() -> None:
    """End this process at once when the parent is gone, even in the middle of a call."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
