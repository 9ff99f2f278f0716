"""Who does not answer is named, in growing pauses; the clock is the test's own."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator

import pytest
from messages import says

from fdrl.core import watch
from fdrl.core.watch import PULSE, Wait, Watch, watched


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Return the lines that are said."""
    lines: list[str] = []
    monkeypatch.setattr(watch, "_HEARD", [lines.append])
    yield lines
    PULSE.phase("", "")


def look_every_second(seconds: int, patient: Watch) -> None:
    man = watch._Watchman()
    for now in range(1, seconds + 1):
        man.look(patient, float(now))


def test_this_process_is_named_with_its_phase_in_growing_pauses(told: list[str]) -> None:
    PULSE.phase("learn", "agents agent-0..agent-4")
    look_every_second(100, Watch(patience=10))
    assert len(told) == 4  # after 10, 20, 40 and 80 seconds
    says(told[0], "agents agent-0..agent-4", f"pid {os.getpid()}", "10 s", "learn")
    says(told[3], "80 s")


def test_somebody_elses_code_is_named_where_it_was_called(told: list[str]) -> None:
    PULSE.phase("measuring", "")
    PULSE.count(7, 1000)
    PULSE.enter(lambda: "environment 'Moor-v0'", "reset")
    look_every_second(6, Watch(patience=5))
    says(told[0], "environment 'Moor-v0'", "reset", "measuring, 7 of 1,000 steps")
    PULSE.leave()
    assert PULSE.inside is None


def test_who_comes_further_is_never_named(told: list[str]) -> None:
    man = watch._Watchman()
    for now in range(1, 100):
        PULSE.phase("learn", "agent a")
        man.look(Watch(patience=2), float(now))
    assert told == []


def test_a_process_that_was_suspended_was_not_silent(told: list[str]) -> None:
    man, patient = watch._Watchman(), Watch(patience=10, stop=20)
    PULSE.phase("learn", "agent a")
    man.look(patient, 1.0)
    man.look(patient, 500.0)
    assert told == []


@pytest.mark.parametrize("answered", [True, False])
def test_an_answer_that_is_awaited_is_named_and_then_given_up(
    told: list[str], answered: bool
) -> None:
    ended: list[str] = []
    wait = Wait("agents b..c", os.getpid(), "evaluate", lambda: answered, ended.append, since=0.0)
    watch.opened(wait)
    look_every_second(4, Watch(patience=2, stop=0 if answered else 3))
    watch.closed(wait)
    if answered:  # nobody has looked at it yet: that is not its sender's fault
        assert not any("b..c" in line for line in told)
        assert ended == []
        return
    says(told[0], "agents b..c", f"pid {os.getpid()}", "2 s", "evaluate")
    says(ended[0], "agents b..c", "3 s")
    look_every_second(4, Watch(patience=2))
    assert not any("b..c" in line for line in told[2:])


def test_who_gives_up_saves_first_and_ends_with_a_code_of_its_own(
    told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    codes: list[int] = []
    done: list[str] = []
    monkeypatch.setattr(os, "_exit", codes.append)
    monkeypatch.setattr(watch, "_LAST", [lambda: done.append("last will")])
    PULSE.phase("learn", "agent a")

    def rescue() -> str:
        done.append("saved")
        return "round 3 is saved"

    man = watch._Watchman()
    for now in (0.0, 1.0, 2.0, 3.0):
        man.look(Watch(patience=0, stop=3, rescue=rescue), now)
    assert codes == [watch.NO_ANSWER]
    assert done == ["saved", "last will"]
    says(told[0], "agent a", "learn", "round 3 is saved")


def test_a_thread_looks_as_long_as_anybody_is_watched(told: list[str]) -> None:
    PULSE.phase("building", "agent a")
    with watched(Watch(patience=0.05)), watched(Watch(patience=0.05)):
        deadline = time.monotonic() + 10
        while not told and time.monotonic() < deadline:
            time.sleep(0.01)
    says(told[0], "agent a", "building")
    assert not any(thread.name == "fdrl-watch" for thread in threading.enumerate())
    with watched(Watch(patience=0)):
        assert not any(thread.name == "fdrl-watch" for thread in threading.enumerate())


@pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="the system cannot be asked")
def test_the_system_says_what_a_process_does() -> None:
    assert watch.state_of(os.getpid()) in ("computing", "waiting")
    assert watch.state_of(2**22 + 1) == ""
