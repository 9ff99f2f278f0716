"""Both ends of a worker's pipe; the child's end runs here in a thread, where a debugger sees it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from multiprocessing.connection import Connection
from typing import Any

import moody
import numpy as np
import pytest
from messages import fails

from fdrl.core.cohort import CohortContext
from fdrl.core.errors import FdrlError
from fdrl.federation.shards import Local
from fdrl.federation.workers import Remote

HELD = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}


class Seen(moody.Moody):
    """A cohort that remembers being closed."""

    closed = False

    def close(self) -> None:
        self.closed = True


class Thread:
    """What `Remote` asks of a process, as a thread with an end of the pipe of its own."""

    exitcode = None

    def __init__(self, target: Any, args: tuple[Any, ...], daemon: bool) -> None:
        looked, ours, *others = args
        theirs = Connection(os.dup(ours.fileno()))

        def work() -> None:
            with theirs:
                target(looked, theirs, *others)

        self._thread = threading.Thread(target=work, daemon=daemon)

    def start(self) -> None:
        self._thread.start()

    def join(self, timeout: float | None = None) -> None:
        self._thread.join(timeout)

    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def kill(self) -> None:
        raise AssertionError("the worker did not listen")

    def close(self) -> None:
        assert not self.is_alive()


class InThreads:
    """A context of `multiprocessing` whose processes are threads."""

    Pipe = staticmethod(multiprocessing.Pipe)
    Process = Thread


@pytest.fixture
def ignored(monkeypatch: pytest.MonkeyPatch) -> set[int]:
    """Make workers threads; return the signals that they chose to ignore."""
    chosen: set[int] = set()

    def note(number: int, action: object) -> None:
        assert action is signal.SIG_IGN
        chosen.add(number)

    monkeypatch.setattr(multiprocessing, "get_context", lambda kind: InThreads())
    monkeypatch.setattr(signal, "signal", note)
    return chosen


def hired(mood: str = "fine") -> tuple[Remote, list[Seen]]:
    """Return a worker of three agents that is ready, and the cohort it has built."""
    built: list[Seen] = []

    def build(mood: str, context: CohortContext) -> Seen:
        built.append(Seen(mood, context.ids[2:]))
        return built[0]

    worker = Remote(moody.context().ids[2:], build, mood, moody.context())
    worker.ready()
    return worker, built


def test_a_worker_says_what_it_has_built_and_ignores_signals(ignored: set[int]) -> None:
    worker, (cohort,) = hired()
    assert worker.profile == Local(cohort).profile
    assert worker.profile.ids == ("agent-2", "agent-3", "agent-4")
    assert (worker.profile.abilities, worker.profile.gaussian) == ((), False)
    assert ignored == HELD
    worker.close()
    assert cohort.closed


def test_calls_are_answered_as_in_this_process(ignored: set[int]) -> None:
    worker, (cohort,) = hired()
    here = Local(cohort)
    for piece in (worker, here):
        piece.begin("learn", np.array([3, 1, 2]), episodes=1)
        got = piece.finish()
        assert got.steps.tolist() == [3, 1, 2]
        assert got.observations.shape == (3, 3, 1)
    worker.close()


def test_an_answer_nobody_waited_for_is_passed_over(ignored: set[int]) -> None:
    worker, _ = hired()
    worker.begin("learn", np.array([3, 3, 3]))
    worker.begin("learn", np.array([4, 4, 4]))
    assert worker.finish().steps.tolist() == [4, 4, 4]
    worker.close()


@pytest.mark.parametrize(
    ("mood", "kind", "facts"),
    [
        ("mendable", FdrlError, ["'agent-4'", "shoes"]),
        ("bug", RuntimeError, ["agent-2..agent-4", "ZeroDivisionError: one over none", "learn"]),
    ],
)
def test_an_error_comes_back_and_the_worker_goes_on(
    ignored: set[int], mood: str, kind: type[Exception], facts: list[str]
) -> None:
    worker, (cohort,) = hired(mood)
    for _ in range(2):
        worker.begin("learn", np.zeros(3, np.int64))
        with fails(kind, *facts):
            worker.finish()
    worker.begin("no_such_method")
    with fails(RuntimeError, "AttributeError", "'no_such_method'"):
        worker.finish()
    worker.close()
    assert cohort.closed


def test_what_cannot_be_built_ends_the_worker(ignored: set[int]) -> None:
    worker = Remote(("a",), moody.make_moody, "unborn", moody.context())
    with fails(FdrlError, "built"):
        worker.ready()
    with fails(FdrlError, "agent a", "ended"):  # whether it has gone already, or goes now
        worker.begin("learn", np.zeros(1, np.int64))
        worker.finish()
    worker.close()


def test_a_process_that_was_forked_from_its_owner_may_not_ask(ignored: set[int]) -> None:
    worker, _ = hired()
    worker._owner += 1
    with fails(FdrlError, "agents agent-2..agent-4", worker._owner):
        worker.begin("learn", np.zeros(3, np.int64))
    worker._owner -= 1
    worker.close()


def test_memory_that_a_worker_lacks_is_its_parents_error(ignored: set[int]) -> None:
    worker, _ = hired("hungry")
    worker.begin("learn", np.zeros(3, np.int64))
    with fails(MemoryError, "7 TiB", "agents agent-2..agent-4"):
        worker.finish()
    worker.close()


def test_a_pipe_that_breaks_ends_the_worker_too(
    ignored: set[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    pipes: list[Connection] = []

    def pipe() -> tuple[Any, Any]:
        ours, theirs = multiprocessing.Pipe()
        pipes.append(ours)
        return ours, theirs

    monkeypatch.setattr(InThreads, "Pipe", staticmethod(pipe))
    worker, (cohort,) = hired()
    pipes[0].close()
    with fails(FdrlError, "agents agent-2..agent-4", "ended"):
        worker.begin("learn", np.zeros(3, np.int64))
    assert cohort.closed
