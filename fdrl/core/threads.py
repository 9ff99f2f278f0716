"""Threads: what sets how many of them NumPy starts, and threads that run one at a time; and the
signals that ask a process to stop.

Imports nothing but the standard library, because it is read before NumPy is.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from typing import Any

from fdrl.core.errors import FdrlError

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)
"""The environment variables that thread pools read when NumPy is imported."""

_CALMED: set[Callable[[int], None]] = set()


def calm_forks(set_threads: Callable[[int], None]) -> None:
    """Let a library compute with one thread in children that are forked from this process.

    The threads of its pool are not there, and it would wait for them for ever.
    """
    if set_threads not in _CALMED and hasattr(os, "register_at_fork"):
        _CALMED.add(set_threads)
        os.register_at_fork(after_in_child=lambda: set_threads(1))


_PRESENT = threading.local()


def stop_signals() -> tuple[signal.Signals, ...]:
    """Return the signals that ask for a stop: Ctrl-C, SIGTERM, and SIGHUP of a closed terminal.

    A SIGHUP that is ignored, as below ``nohup``, stays ignored.
    """
    asked = [signal.SIGINT, signal.SIGTERM]
    hangup = getattr(signal, "SIGHUP", None)  # which Windows does not have
    if hangup is not None and signal.getsignal(hangup) is not signal.SIG_IGN:
        asked.append(hangup)
    return tuple(asked)


class Coroutine:
    """A thread that runs only while it is resumed: until it pauses, or its job has ended.

    So whoever resumes some coroutines decides who runs, and of all of them, the resumer included,
    exactly one does: they may share memory, and nothing depends on which thread is faster. The job
    is ordinary code, which may `pause` anywhere below. Errors are kept, for the resumer to judge.
    `heir()`, if given, is asked when it pauses or ends: the coroutine that it names goes on at once
    instead of the resumer, which saves every second change of threads.

    >>> worker = Coroutine(lambda: 2 + 2)
    >>> worker.resume()
    >>> worker.done, worker.result
    (True, 4)
    >>> worker.close()
    """

    def __init__(
        self,
        job: Callable[[], Any] | None = None,
        heir: Callable[[], Coroutine | None] | None = None,
    ) -> None:
        self.done = True
        self.result: Any = None
        self.error: BaseException | None = None
        self._job: Callable[[], Any] | None = None
        self._begun = self._running = False
        self._raised: BaseException | None = None
        self._ready, self._heir = _always, heir or _nobody
        self._turn, self._rest = threading.Lock(), threading.Lock()
        self._turn.acquire()
        self._rest.acquire()
        self._resumer, self._owner = self._rest, 0
        self._thread = threading.Thread(target=self._serve, daemon=True)
        if job is not None:
            self.begin(job)

    def begin(self, job: Callable[[], Any]) -> None:
        """Take on a job, to be set out on at the next `resume`; the one before must be done."""
        self._job, self._begun, self._ready = job, False, _always
        self.done, self.result, self.error = False, None, None

    @property
    def ready(self) -> bool:
        """Whether there is a job, and what it paused for, if it said so, is the case."""
        return not self.done and self._ready()

    def resume(self, error: BaseException | None = None) -> None:
        """Let the job run until it pauses or ends; an `error` is raised where it had paused."""
        self._running = True
        self._go_on(self._rest, error)
        self.settle()

    def _go_on(self, resumer: threading.Lock, error: BaseException | None = None) -> None:
        if self._thread.ident is None:
            self._thread.start()
            self._owner = os.getpid()
        elif self._owner != os.getpid():
            raise FdrlError(
                f"the threads of these agents belong to process {self._owner}, from which this one "
                "was forked: build a federation of its own here"
            )
        self._begun, self._resumer, self._raised = True, resumer, error
        self._turn.release()

    def settle(self) -> None:
        """Wait until who was resumed has handed back, should the resumer have been interrupted."""
        if self._running:
            self._rest.acquire()
            self._running = False

    def end(self, error: BaseException) -> None:
        """Raise an error where the job has paused, as often as it pauses, until it has ended."""
        self.settle()
        if not self._begun and not self.done:
            self.done, self.error = True, error
        while not self.done:
            self.resume(error)

    def pause(self, ready: Callable[[], bool] | None = None) -> None:
        """Wait, from within the job, for the next turn; best when `ready()`."""
        self._ready = ready or _always
        if self._hand_over():
            self._turn.acquire()
        if self._raised is not None:
            raise self._raised

    def _hand_over(self) -> bool:
        """Let the heir or the resumer go on; return False if the heir is this one itself."""
        heir = self._heir()
        if heir is None or heir.done:
            self._resumer.release()
        elif heir is self:
            return False
        else:
            heir._go_on(self._resumer)
        return True

    def close(self) -> None:
        """End the thread, whose job must be done."""
        if self._owner not in (0, os.getpid()):
            return
        if self._thread.ident is not None and self._thread.is_alive():
            self._job = None
            self._turn.release()
            self._thread.join()

    def _serve(self) -> None:
        _PRESENT.coroutine = self
        while True:
            self._turn.acquire()
            if self._job is None:
                return
            try:
                self.result = self._job()
            except BaseException as error:
                self.error = error
            self.done = True
            self._hand_over()


def _nobody() -> None:
    return None


def _always() -> bool:
    return True


def present() -> Coroutine | None:
    """Return the coroutine that asks, if one does."""
    found: Coroutine | None = getattr(_PRESENT, "coroutine", None)
    return found
