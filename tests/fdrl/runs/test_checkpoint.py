"""A run that is stopped, killed or broken at any moment ends as if nothing had happened."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from fake_federation import STEPS, FakeFederation
from hypothesis import given, settings
from hypothesis import strategies as st
from messages import fails, says
from run_folders import what_it_says

from fdrl.config.run import Run, make_run
from fdrl.core.errors import FdrlError, Notice
from fdrl.core.records import RoundRecord, Summary
from fdrl.federation.loop import Federation
from fdrl.runs import train as train_module
from fdrl.runs.folder import latest_checkpoint, read_summary
from fdrl.runs.train import StopFlag, Stopped, train

ROUNDS = 7
FAKE = make_run(agents=3, steps=ROUNDS * STEPS, checkpoint_every=3)
REAL = make_run(
    agents=2,
    steps=8 * 64,
    strategy="fd",
    agent={"type": "ppo", "n_envs": 2, "n_steps": 32, "hidden": [8], "n_epochs": 2},
    proxy={"type": "mix", "size": 16, "refresh": 2},
    evaluation={"episodes": 2},
    hetero={"type": "dynamics", "level": 0.5},
    checkpoint_every=3,
)


class Crash(BaseException):
    """Stands for a process that is gone: nothing but closing files happens after it."""


class After:
    """A tracker that does something after a given round."""

    def __init__(self, number: int, action: Callable[[], None]) -> None:
        self.number, self.action, self.seen = number, action, list[int]()

    def start(self, *args: Any) -> None:
        pass

    def round(self, record: RoundRecord) -> None:
        self.seen.append(record.round)
        if record.round == self.number:
            self.action()

    def finish(self, summary: Summary) -> None:
        pass

    def close(self) -> None:
        pass


def crash() -> None:
    raise Crash


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pictures, and no waiting for the disk: test_kill_points.py counts on what is synced."""
    monkeypatch.setattr(train_module, "draw_curves", lambda folder: None)
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


def crashed(run: Run, folder: Path, build: Any, rounds: list[int]) -> None:
    """Train with a crash after each of `rounds` (if it comes), then to the end."""
    for number in rounds:
        resume = (folder / "config.toml").exists()
        try:
            train(run, out=folder, resume=resume, trackers=[After(number, crash)], federation=build)
        except Crash:
            continue
    train(run, out=folder, resume=(folder / "config.toml").exists(), federation=build)


@settings(max_examples=25, deadline=None)
@given(
    rounds=st.lists(st.integers(1, ROUNDS), max_size=4),
    every=st.integers(0, 4),
)
def test_any_crashes_leave_the_same_run(
    rounds: list[int], every: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    run = msgspec.structs.replace(FAKE, checkpoint_every=every)
    folder = tmp_path_factory.mktemp("runs")
    train(run, out=folder / "whole", federation=FakeFederation)
    crashed(run, folder / "broken", FakeFederation, rounds)
    assert what_it_says(folder / "broken") == what_it_says(folder / "whole")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("real") / "run"
    train(REAL, out=folder)
    return folder


@pytest.mark.parametrize("number", range(1, 9))
def test_a_real_federation_resumes_to_the_bit(
    number: int, undisturbed: Path, tmp_path: Path
) -> None:
    run = msgspec.structs.replace(REAL, checkpoint_every=1 + number % 3)
    crashed(run, tmp_path / "run", Federation, [number])
    ours, theirs = what_it_says(tmp_path / "run"), what_it_says(undisturbed)
    # checkpoint_every is in config.toml and changes nothing else
    assert ours[:3] == theirs[:3]


def test_a_finished_run_is_left_alone(undisturbed: Path) -> None:
    before = {p: p.stat().st_mtime_ns for p in undisturbed.rglob("*")}
    summary = train(REAL, out=undisturbed, resume=True)
    assert summary == read_summary(undisturbed)
    assert {p: p.stat().st_mtime_ns for p in undisturbed.rglob("*")} == before


def test_a_run_killed_before_its_summary_only_evaluates(tmp_path: Path) -> None:
    train(FAKE, out=tmp_path / "a", federation=FakeFederation)
    whole = what_it_says(tmp_path / "a")
    (tmp_path / "a" / "summary.json").unlink()
    seen = After(0, crash)
    train(FAKE, out=tmp_path / "a", resume=True, trackers=[seen], federation=FakeFederation)
    assert seen.seen == []
    assert what_it_says(tmp_path / "a") == whole


def test_no_folder_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    summary = train(FAKE, federation=FakeFederation)
    assert summary.rounds == ROUNDS
    assert list(tmp_path.iterdir()) == []
    with fails(FdrlError, "resume", "out="):
        train(FAKE, resume=True, federation=FakeFederation)


def interrupt(times: int, number: int = signal.SIGINT) -> Callable[[], None]:
    def act() -> None:
        for _ in range(times):
            os.kill(os.getpid(), number)

    return act


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_one_signal_saves_the_round_in_progress(number: int, tmp_path: Path) -> None:
    before = signal.getsignal(number)
    with pytest.raises(Stopped) as stopped:
        train(
            FAKE, out=tmp_path / "a", trackers=[After(4, interrupt(1, number))],
            federation=FakeFederation,
        )  # fmt: skip
    assert (stopped.value.round, stopped.value.folder) == (4, tmp_path / "a")
    assert signal.getsignal(number) is before
    newest = latest_checkpoint(tmp_path / "a")
    assert newest is not None
    assert newest.round == 4
    train(FAKE, out=tmp_path / "a", resume=True, federation=FakeFederation)
    train(FAKE, out=tmp_path / "b", federation=FakeFederation)
    assert what_it_says(tmp_path / "a") == what_it_says(tmp_path / "b")


def test_a_second_interrupt_goes_back_to_the_last_checkpoint_if_nothing_is_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train_module, "SPARE_SHARE", 0.0)
    with pytest.raises(Stopped) as stopped:
        train(
            FAKE, out=tmp_path / "a", trackers=[After(5, interrupt(2))], federation=FakeFederation
        )
    assert stopped.value.round == 3
    train(FAKE, out=tmp_path / "a", resume=True, federation=FakeFederation)
    train(FAKE, out=tmp_path / "b", federation=FakeFederation)
    assert what_it_says(tmp_path / "a") == what_it_says(tmp_path / "b")


def test_a_hangup_that_is_ignored_stays_ignored(tmp_path: Path) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        hang_up = After(4, interrupt(2, signal.SIGHUP))
        assert train(FAKE, trackers=[hang_up], federation=FakeFederation).rounds == ROUNDS
    finally:
        signal.signal(signal.SIGHUP, before)


class Impatient(FakeFederation):
    """Rounds that take a while, and a user who does not wait for the end of one."""

    delay = 0.03

    def round(self) -> RoundRecord:
        if self.rounds_done == 4:
            interrupt(2)()
        return super().round()


def test_a_second_interrupt_saves_the_round_before_from_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train_module, "SPARE_SHARE", 1.0)  # of a busy machine as well
    run = msgspec.structs.replace(FAKE, checkpoint_every=0)
    with pytest.raises(Stopped) as stopped:
        train(run, out=tmp_path / "a", federation=Impatient)
    assert stopped.value.round == 4
    train(run, out=tmp_path / "a", resume=True, federation=FakeFederation)
    train(run, out=tmp_path / "b", federation=FakeFederation)
    assert what_it_says(tmp_path / "a") == what_it_says(tmp_path / "b")


def test_what_fails_after_a_line_of_the_log_does_not_log_it_twice(tmp_path: Path) -> None:
    def fail() -> None:
        raise FdrlError("the tracker is gone")

    with fails(FdrlError, "the tracker is gone"):
        train(FAKE, out=tmp_path / "a", trackers=[After(5, fail)], federation=Foreign)
    newest = latest_checkpoint(tmp_path / "a")
    assert newest is not None
    assert newest.round == 4
    train(FAKE, out=tmp_path / "a", resume=True, federation=FakeFederation)
    train(FAKE, out=tmp_path / "b", federation=FakeFederation)
    assert what_it_says(tmp_path / "a") == what_it_says(tmp_path / "b")


class Foreign(FakeFederation):
    foreign = True


class Panic(BaseException):
    """As compiled environments raise: no Exception."""


def test_a_panic_costs_no_round(tmp_path: Path) -> None:
    class Panics(Foreign):
        def round(self) -> RoundRecord:
            if self.rounds_done == 4:
                raise Panic
            return super().round()

    with pytest.raises(Panic):
        train(FAKE, out=tmp_path / "a", federation=Panics)
    newest = latest_checkpoint(tmp_path / "a")
    assert newest is not None
    assert newest.round == 4


def test_a_third_interrupt_ends_the_process_as_if_nobody_listened(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sent: list[tuple[int, object]] = []
    monkeypatch.setattr(os, "kill", lambda p, n: sent.append((n, signal.getsignal(n))))
    flag = StopFlag()
    flag.handle(signal.SIGTERM, None)
    before = signal.getsignal(signal.SIGTERM)
    try:
        with pytest.raises(KeyboardInterrupt):
            flag.handle(signal.SIGTERM, None)
        assert (flag.set, sent) == (True, [])
        with pytest.raises(KeyboardInterrupt):
            flag.handle(signal.SIGTERM, None)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert sent == [(signal.SIGTERM, signal.SIG_DFL)]


class Failing(FakeFederation):
    fail_at = 5


def test_an_environment_that_fails_names_the_last_checkpoint(tmp_path: Path) -> None:
    with fails(FdrlError, "the sky fell", "round 4", "round-000003.safetensors"):
        train(FAKE, out=tmp_path / "a", federation=Failing)
    train(FAKE, out=tmp_path / "a", resume=True, federation=FakeFederation)
    train(FAKE, out=tmp_path / "b", federation=FakeFederation)
    assert what_it_says(tmp_path / "a") == what_it_says(tmp_path / "b")


def crash_after(rounds: int, folder: Path) -> None:
    with pytest.raises(Crash):
        train(FAKE, out=folder, trackers=[After(rounds, crash)], federation=FakeFederation)


def test_a_damaged_checkpoint_falls_back_to_the_one_before(tmp_path: Path) -> None:
    crash_after(7, tmp_path / "a")
    damaged = tmp_path / "a" / "checkpoints" / "round-000006.safetensors"
    os.truncate(damaged, 100)
    with pytest.warns(Notice) as said:
        train(FAKE, out=tmp_path / "a", resume=True, federation=FakeFederation)
    says(said[0].message, damaged, "damaged", "round 3")
    train(FAKE, out=tmp_path / "b", federation=FakeFederation)
    assert what_it_says(tmp_path / "a") == what_it_says(tmp_path / "b")


def test_only_damaged_checkpoints_are_one_line_and_nothing_is_touched(tmp_path: Path) -> None:
    crash_after(7, tmp_path / "a")
    for name in ("round-000003", "round-000006"):
        os.truncate(tmp_path / "a" / "checkpoints" / f"{name}.safetensors", 100)
    before = {p: p.read_bytes() for p in (tmp_path / "a").rglob("*") if p.is_file()}
    with fails(FdrlError, "round-000006.safetensors", "damaged", "config.toml"):
        train(FAKE, out=tmp_path / "a", resume=True, federation=FakeFederation)
    assert {p: p.read_bytes() for p in (tmp_path / "a").rglob("*") if p.is_file()} == before


def test_a_log_that_was_changed_is_found_before_it_grows(tmp_path: Path) -> None:
    crash_after(7, tmp_path / "a")
    log = tmp_path / "a" / "metrics.jsonl"
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join(lines).replace(b"\n", b"\r\n"))
    with fails(FdrlError, log, "line endings", "CRLF"):
        train(FAKE, out=tmp_path / "a", resume=True, federation=FakeFederation)
    assert log.read_bytes().count(b"\r\n") == 7
    log.write_bytes(lines[0].replace(b"1", b"2", 1) + b"".join(lines[1:]))
    with fails(FdrlError, log, "changed", "round-000006.safetensors"):
        train(FAKE, out=tmp_path / "a", resume=True, federation=FakeFederation)
    # In a line that only the newer checkpoint rests on: the one before it does not mind.
    log.write_bytes(b"".join([*lines[:4], lines[4].replace(b"5", b"6", 1), *lines[5:]]))
    with pytest.warns(Notice) as said:
        train(FAKE, out=tmp_path / "a", resume=True, federation=FakeFederation)
    says(said[0].message, log, "changed", "round 3")
    train(FAKE, out=tmp_path / "b", federation=FakeFederation)
    assert what_it_says(tmp_path / "a") == what_it_says(tmp_path / "b")


def test_a_checkpoint_of_other_code_says_what_is_missing(tmp_path: Path) -> None:
    crash_after(4, tmp_path / "a")

    class Changed(FakeFederation):
        def load_state(self, state: Any) -> None:
            super().load_state(state)
            assert state["a new array"] is None

    with fails(FdrlError, "round-000003.safetensors", "a new array"):
        train(FAKE, out=tmp_path / "a", resume=True, federation=Changed)


class Unbuildable(FakeFederation):
    def __init__(self, run: Run) -> None:
        raise FdrlError("unknown environment 'CartPle-v1'; did you mean 'CartPole-v1'?")


def test_a_config_that_cannot_be_built_leaves_no_folder(tmp_path: Path) -> None:
    with fails(FdrlError, "CartPole-v1"):
        train(FAKE, out=tmp_path / "a", federation=Unbuildable)
    assert not (tmp_path / "a").exists()


def test_everything_is_closed_even_if_closing_fails(tmp_path: Path) -> None:
    made: list[FakeFederation] = []

    def build(run: Run) -> FakeFederation:
        made.append(FakeFederation(run))
        return made[0]

    class Bad(After):
        def close(self) -> None:
            raise RuntimeError("cannot close")

    with pytest.raises(RuntimeError, match="cannot close"):
        train(FAKE, out=tmp_path / "a", trackers=[Bad(0, crash)], federation=build)
    assert made[0].closed


KILLED = [
    "--agents", "2", "--steps", "16384", "--agent.n-envs", "2", "--agent.n-steps", "32",
    "--agent.hidden", "8", "--agent.n-epochs", "1", "--evaluation.episodes", "2",
    "--proxy.size", "16", "--checkpoint-every", "7", "--quiet",
]  # fmt: skip


def _lines(folder: Path) -> int:
    try:
        return (folder / "metrics.jsonl").read_bytes().count(b"\n")
    except FileNotFoundError:
        return 0


@pytest.mark.slow
def test_kill_9_at_random_moments(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "fdrl", "train"]
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    subprocess.run([*command, *KILLED, "--out", str(whole)], check=True, cwd=tmp_path)
    draw, kills = random.Random(0), 0
    for attempt in range(60):
        started = (broken / "config.toml").exists()
        last = ["--resume", str(broken), "--quiet"] if started else [*KILLED, "--out", str(broken)]
        process = subprocess.Popen([*command, *last], cwd=tmp_path)
        # The first one dies before its first checkpoint, the others wherever they happen to be.
        until = 3 if attempt == 0 else _lines(broken) + draw.randrange(10, 90)
        while process.poll() is None and _lines(broken) < until:
            time.sleep(0.001)
        time.sleep(draw.random() * 0.01)
        process.kill()
        kills += process.wait() == -signal.SIGKILL
        if (broken / "summary.json").exists():
            break
    assert kills >= 2
    assert what_it_says(broken) == what_it_says(whole)
    assert np.isfinite(read_summary(broken).return_mean)  # type: ignore[union-attr]
