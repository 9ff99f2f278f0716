"""Coroutines run one at a time, and what fails in one is known to whoever resumes it."""

from __future__ import annotations

import subprocess
import sys
import threading
from typing import Any

import pytest

from fdrl.core.errors import FdrlError
from fdrl.core.threads import Coroutine, present
from fdrl.vector.shared import PeerFailed, RoleThreads

FIRST_USE = """
import sys, threading, fdrl
A = {"type": "ppo", "n_envs": 2, "n_steps": 32, "batch_size": 32, "hidden": [8]}
gate, made = threading.Barrier(8), []
def work():
    gate.wait()
    made.append(fdrl.make_run(env="CartPole-v1", agents=2, steps=64, agent=A))
threads = [threading.Thread(target=work) for _ in range(8)]
sys.setswitchinterval(1e-5)
[t.start() for t in threads]; [t.join() for t in threads]
print(len(made), len({type(run) for run in made}), made.count(made[0]))
"""


def test_eight_threads_may_use_everything_for_the_first_time_at_once() -> None:
    told = subprocess.run(
        [sys.executable, "-c", FIRST_USE], capture_output=True, text=True, check=False
    )
    assert (told.returncode, told.stderr) == (0, "")
    assert told.stdout.split() == ["8", "1", "8"]  # all of one class, all equal


def me() -> Coroutine:
    found = present()
    assert found is not None
    return found


def counting(said: list[int], to: int, first: int = 0) -> Any:
    def job() -> int:
        for i in range(first, to):
            said.append(i)
            me().pause()
        return to

    return job


def test_a_job_runs_from_pause_to_pause() -> None:
    said: list[int] = []
    one = Coroutine(counting(said, 2))
    assert said == []
    for seen in ([0], [0, 1]):
        one.resume()
        assert (said, one.done, one.result) == (seen, False, None)
    one.resume()
    assert (one.done, one.result) == (True, 2)
    one.begin(counting(said, 9, 8))  # in the same thread
    one.resume()
    assert said == [0, 1, 8]
    one.resume()
    one.close()
    one.close()
    assert present() is None


def test_an_error_is_kept_and_one_can_be_raised_where_a_job_has_paused() -> None:
    def stubborn() -> None:
        for _ in range(3):
            try:
                me().pause()
            except ValueError as error:
                caught.append(str(error))
        raise KeyError("at last")

    caught: list[str] = []
    one = Coroutine(stubborn)
    one.resume()
    one.end(ValueError("enough"))
    assert caught == ["enough"] * 3
    assert isinstance(one.error, KeyError)
    one.close()


def test_a_job_that_was_not_set_out_on_ends_without_a_thread() -> None:
    before = threading.active_count()
    one = Coroutine(lambda: 1)
    one.end(KeyboardInterrupt())
    assert one.done
    assert isinstance(one.error, KeyboardInterrupt)
    one.close()
    assert threading.active_count() == before


def test_it_says_what_it_waits_for() -> None:
    flag: list[int] = []
    one = Coroutine(lambda: me().pause(lambda: bool(flag)))
    assert one.ready
    one.resume()
    assert not one.ready
    flag.append(1)
    assert one.ready
    one.resume()
    assert one.done
    assert not one.ready
    one.close()


def test_an_heir_goes_on_instead_of_the_resumer() -> None:
    said: list[str] = []
    waiting: list[Coroutine] = []

    def heir() -> Coroutine | None:
        return waiting.pop() if waiting else None

    def named(name: str) -> Any:
        def job() -> None:
            for _ in range(2):
                said.append(name)
                me().pause()

        return job

    one, other = Coroutine(named("one"), heir), Coroutine(named("other"), heir)
    waiting[:] = [other]
    one.resume()  # which pauses, and so does its heir
    assert said == ["one", "other"]
    waiting[:] = [one]
    other.resume()
    assert said == ["one", "other", "other", "one"]
    waiting[:] = [one, one]  # which ends, and has nobody else to name
    other.resume()
    assert other.done
    assert one.done
    one.close()
    other.close()


class Meeting:
    """Jobs that meet as roles of a world do, until it is abandoned."""

    def __init__(self) -> None:
        self.abandoned = False
        self.there = 0

    def job(self, wanted: int) -> Any:
        def run() -> int:
            self.there += 1
            while self.there < wanted:
                me().pause(lambda: self.there >= wanted or self.abandoned)
                if self.abandoned:
                    raise PeerFailed
            return self.there

        return run

    def abandon(self) -> None:
        self.abandoned = True


def test_roles_wait_for_each_other_again_and_again() -> None:
    meeting = Meeting()
    together = RoleThreads(3, meeting.abandon)
    assert together.run([meeting.job(3)] * 3) == [3, 3, 3]
    assert together.run([meeting.job(6)] * 3) == [6, 6, 6]
    together.close()


@pytest.mark.parametrize("failing", [0, 1, 2])
def test_a_role_that_fails_ends_the_others(failing: int) -> None:
    def broken() -> int:
        raise ZeroDivisionError("mine")

    meeting = Meeting()
    together = RoleThreads(3, meeting.abandon)
    jobs = [meeting.job(3)] * 3
    jobs[failing] = broken
    with pytest.raises(ZeroDivisionError, match="mine"):
        together.run(jobs)
    together.close()


def test_roles_that_wait_for_one_that_has_ended_fail_instead_of_waiting_for_ever() -> None:
    meeting = Meeting()
    together = RoleThreads(2, meeting.abandon)
    with pytest.raises(FdrlError, match="same steps"):
        together.run([meeting.job(3), lambda: 0])
    together.close()


def test_an_interrupt_ends_all_roles(monkeypatch: pytest.MonkeyPatch) -> None:
    """It reaches the thread that resumes them, while one of them runs."""
    meeting = Meeting()
    together = RoleThreads(2, meeting.abandon)
    settle, calls = Coroutine.settle, []

    def interrupted(role: Coroutine) -> None:
        calls.append(role)
        if len(calls) == 1:
            raise KeyboardInterrupt
        settle(role)

    monkeypatch.setattr(Coroutine, "settle", interrupted)
    with pytest.raises(KeyboardInterrupt):
        together.run([meeting.job(3)] * 2)
    assert all(role.done for role in together._roles)
    together.close()
