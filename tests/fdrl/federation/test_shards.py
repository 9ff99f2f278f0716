"""Cutting a cohort changes no number, whatever it is cut into."""

import dataclasses
import functools
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import moody
import numpy as np
import pytest
from fdrl.agents.ppo import PPO
from messages import fails, says
from moody import K, context

from fdrl.core import watch
from fdrl.core.cohort import Cohort, Poolable
from fdrl.core.errors import FdrlError
from fdrl.core.settings import DistillSettings
from fdrl.federation import workers as workers_module
from fdrl.federation.shards import Shards, build_cohort
from fdrl.federation.workers import Remote

SETTINGS = PPO(n_envs=2, n_steps=8, batch_size=8, n_epochs=2, hidden=(8,))


def build(**cut: int) -> Cohort:
    return build_cohort("fdrl.agents.ppo:make", SETTINGS, context(), **cut)


def drive(cohort: Cohort) -> dict[str, Any]:
    """Use every method; return everything that came out."""
    rng = np.random.default_rng(0)
    states = rng.uniform(-1, 1, (12, 4)).astype(np.float32)
    targets = rng.dirichlet((1, 1), (K, 12)).astype(np.float32)
    weights = rng.random((K, 12)).astype(np.float32)
    cohort.anchor(cohort.parameters() * 0.9, 0.1)
    experience = cohort.learn(np.array([32, 16, 0, 20, 32]))
    cohort.anchor(None, 0.0)
    more = cohort.learn(np.full(K, 400), episodes=2)
    out: dict[str, Any] = {"observations": experience.observations, "steps": more.steps}
    out["returns"] = np.concatenate(more.returns)
    out |= cohort.distill(states, targets, weights, DistillSettings(steps=3, batch=5))
    cohort.load_parameters(cohort.parameters("policy")[::-1], "policy")
    out["own"] = cohort.probs(np.stack([states + k for k in range(K)]))
    out["evaluation"] = cohort.evaluate(2, 3, held_out=True, greedy=False)
    assert isinstance(cohort, Poolable)
    collected, transitions = cohort.collect(np.full(K, 16))
    out |= {f"transition {name}": a for name, a in transitions.items()}
    out |= experience.metrics | {"collected": collected.probs} | cohort.state()
    return out


@functools.cache
def uncut() -> dict[str, Any]:
    return drive(build(tile=10))


def assert_uncut(cohort: Cohort) -> None:
    got = drive(cohort)
    assert [n for n, a in uncut().items() if not np.array_equal(a, got[n])] == []
    cohort.close()


@pytest.mark.parametrize("tile", [1, 2, 3])
def test_tiles_change_nothing(tile: int) -> None:
    cohort = build(tile=tile)
    assert isinstance(cohort, Shards)
    assert cohort.ids == context().ids
    assert cohort.iteration_steps == 16
    assert_uncut(cohort)


def test_worker_processes_change_nothing() -> None:
    assert_uncut(build(threads=2, tile=2))


def test_one_tile_is_the_learners_own_cohort() -> None:
    assert not isinstance(build(tile=K), Shards)


def test_state_moves_between_cuts() -> None:
    one, other = build(tile=2), build(tile=3)
    one.learn(np.full(K, 16))
    other.load_state(one.state())
    one.learn(np.full(K, 16))
    other.learn(np.full(K, 16))
    np.testing.assert_array_equal(one.parameters(), other.parameters())


def test_a_cohort_that_was_cut_does_not_pool() -> None:
    cohort = build(tile=2)
    assert isinstance(cohort, Poolable)
    with fails(FdrlError, "update", "one agent", 5):
        cohort.update({})


def test_nonsense_is_refused() -> None:
    with fails(FdrlError, "threads", 0, 10):
        build(threads=0)
    with fails(FdrlError, "(4,)", "5 agents"):
        build(tile=2).learn(np.full(4, 16))


def build_moody(mood: str) -> Cohort:
    return build_cohort("moody:make_moody", mood, context(), threads=2)


def test_errors_of_workers_come_back() -> None:
    mendable = build_moody("mendable")
    with fails(FdrlError, "'agent-4'", "shoes"):
        mendable.learn(np.zeros(K, np.int64))
    with fails(RuntimeError, "agent-0..agent-1", "AttributeError"):
        mendable.probs(np.zeros((1, 1)))
    mendable.close()
    bug = build_moody("bug")
    with fails(RuntimeError, "ZeroDivisionError", "one over none"):
        bug.learn(np.zeros(K, np.int64))
    bug.close()
    with fails(FdrlError, "built"):
        build_moody("unborn")


def test_a_worker_that_dies_is_named() -> None:
    cohort = build_moody("exit")
    with fails(FdrlError, "agent-2..agent-4", "exit code 7"):
        cohort.learn(np.zeros(K, np.int64))
    with pytest.raises(FdrlError, match="ended"):
        cohort.learn(np.zeros(K, np.int64))
    cohort.close()


def test_shorter_experience_is_padded_and_missing_metrics_are_zero() -> None:
    cohort = build_moody("fine")
    assert not isinstance(cohort, Poolable)
    experience = cohort.learn(np.arange(K))
    assert experience.observations.shape == (5, 3, 1)  # two agents with 2 rows, three with 3
    assert experience.steps.tolist() == [0, 1, 2, 3, 4]
    assert experience.metrics == {}
    cohort.close()


def kill_one() -> None:
    """Kill one of the worker processes, as a system without memory would."""
    os.kill(multiprocessing.active_children()[-1].pid or 0, signal.SIGKILL)


def test_a_killed_worker_is_started_again_to_the_bit(capsys: pytest.CaptureFixture[str]) -> None:
    steps = np.full(K, 16)
    whole, cut = build(tile=10), build(threads=2, tile=2)
    for cohort in (whole, cut):
        cohort.learn(steps)
        if cohort is cut:
            kill_one()  # from the start: no state is known yet
        cohort.learn(steps)
        cohort.state()
        cohort.learn(steps)
        cohort.load_parameters(cohort.parameters() * 0.5)
        if cohort is cut:
            kill_one()  # from the state, and by repeating what was asked since
    assert [n for n, a in whole.state().items() if not np.array_equal(a, cut.state()[n])] == []
    told = capsys.readouterr().err
    assert told.count("SIGKILL") == told.count("\n") == 2
    says(told.splitlines()[0], "pid", "agents", "SIGKILL")
    cut.close()


@pytest.mark.slow
def test_a_worker_that_is_killed_whatever_it_does_ends_the_run(
    capsys: pytest.CaptureFixture[str],
) -> None:
    cohort = build_moody("suicide")
    with fails(FdrlError, "agents agent-2..agent-4", "SIGKILL", 3):
        cohort.learn(np.zeros(K, np.int64))
    assert capsys.readouterr().err.count("started again") == 2
    cohort.close()


@pytest.mark.slow
def test_a_worker_that_stops_answering_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []
    monkeypatch.setattr(watch, "_HEARD", [lines.append])
    worker = hired("fine")
    os.kill(worker._pid, signal.SIGSTOP)
    with watch.watched(watch.Watch(patience=0.2, stop=1.0)):
        worker.begin("learn", np.array([3]))
        with fails(watch.NoAnswer, "agent agent-4", f"pid {worker._pid}", "learn"):
            worker.finish()
    says(lines[0], "agent agent-4", "stopped by a signal", "learn")
    worker.close()


def test_worker_processes_are_refused_where_none_can_be_started(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Daemon:
        daemon = True

    class Importing:
        daemon = False
        _inheriting = True

    for process, fact in ((Daemon, "daemonic"), (Importing, "__main__")):
        with monkeypatch.context() as patched:
            patched.setattr(multiprocessing, "current_process", process)
            with fails(FdrlError, fact, "threads"):
                build_moody("fine")


UNGUARDED = """
import moody
from fdrl.core.errors import FdrlError
from fdrl.federation.shards import build_cohort
try:
    build_cohort("moody:make_moody", "fine", moody.context(), threads=2)
except FdrlError as error:
    print(error)
"""
FORKED = """
import moody, os, sys, time
import numpy as np
from fdrl.federation.shards import build_cohort
if __name__ == "__main__":
    cohort = build_cohort("moody:make_moody", "fine", moody.context(), threads=2)
    if os.fork() == 0:
        try:
            cohort.learn(np.arange(5))
        except Exception as error:
            print(error, flush=True)
        sys.exit(0)
    os.wait()
    print("parent", cohort.learn(np.arange(5)).steps.tolist(), flush=True)
"""


def script(tmp_path: Path, text: str) -> str:
    """Run a script of a user's; return what it printed, which is all that it said."""
    (tmp_path / "script.py").write_text(text)
    here = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "support")}
    done = subprocess.run(
        [sys.executable, str(tmp_path / "script.py")],
        env=here, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.mark.slow
def test_a_script_without_a_guard_is_told_of_it_in_one_line(tmp_path: Path) -> None:
    told = script(tmp_path, UNGUARDED)
    assert told.count("\n") == 1
    says(told, "__main__", "threads")


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_forked_child_leaves_its_parents_workers_alone(tmp_path: Path) -> None:
    child, parent = script(tmp_path, FORKED).splitlines()
    says(child, "process", "forked")
    assert parent == "parent [0, 1, 2, 3, 4]"


ORPHANAGE = """
import moody, multiprocessing, os, time
from fdrl.federation.shards import build_cohort
if __name__ == "__main__":
    cohort = build_cohort("moody:make_moody", "fine", moody.context(), threads=2)
    print(*[p.pid for p in multiprocessing.active_children()], flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("stopped", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_workers_die_with_their_parent(stopped: int, tmp_path: Path) -> None:
    script = tmp_path / "orphanage.py"
    script.write_text(ORPHANAGE)
    here = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "support")}
    parent = subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, text=True, env=here
    )
    assert parent.stdout is not None
    workers = [int(pid) for pid in parent.stdout.readline().split()]
    assert len(workers) == 2
    for pid in workers[:stopped]:
        os.kill(pid, signal.SIGSTOP)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 10
    while any(_alive(pid) for pid in workers) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(_alive(pid) for pid in workers)


def hired(mood: str) -> Remote:
    """Return a worker process of the last agent, ready for calls."""
    last = dataclasses.replace(context(), ids=context().ids[-1:], agents=(K - 1,))
    worker = Remote(last.ids, moody.make_moody, mood, last)
    worker.ready()
    return worker


def _alive(pid: int) -> bool:
    status = Path(f"/proc/{pid}/stat")
    try:
        return status.read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_close_ends_the_workers() -> None:
    before = {*multiprocessing.active_children()}
    cohort = build_moody("fine")
    pids = [p.pid or 0 for p in {*multiprocessing.active_children()} - before]
    assert len(pids) == 2
    cohort.close()
    assert not any(_alive(pid) for pid in pids)
    cohort.close()  # twice is harmless


def test_workers_ignore_signals_and_can_still_be_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers_module, "PATIENCE", 0.05)
    before = {*multiprocessing.active_children()}
    worker = hired("deaf")
    (process,) = {*multiprocessing.active_children()} - before
    os.kill(process.pid or 0, signal.SIGTERM)
    os.kill(process.pid or 0, signal.SIGINT)
    worker.begin("learn", np.array([7]))
    assert worker.finish().steps.tolist() == [7]
    worker.begin("learn", np.array([99]))  # which it never finishes
    worker.close()
    assert process not in multiprocessing.active_children()


def test_a_signal_to_a_worker_that_is_starting_is_ignored_too() -> None:
    before = {*multiprocessing.active_children()}
    piece = Remote(("a",), moody.make_moody, "fine", context())
    (process,) = {*multiprocessing.active_children()} - before
    for number in (signal.SIGTERM, signal.SIGINT):
        os.kill(process.pid or 0, number)
        assert number not in signal.pthread_sigmask(signal.SIG_BLOCK, [])  # the parent's own
    piece.ready()
    assert piece.profile.n_actions == 2
    piece.close()


def test_workers_nobody_closed_do_not_hold_up_the_end(tmp_path: Path) -> None:
    script = tmp_path / "careless.py"
    script.write_text(ORPHANAGE.replace("    time.sleep(60)\n", ""))
    here = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "support")}
    done = subprocess.run(
        [sys.executable, str(script)], env=here, capture_output=True, text=True, timeout=30
    )
    assert (done.returncode, done.stderr) == (0, "")
    pids = [int(pid) for pid in done.stdout.split()]
    assert len(pids) == 2
    assert not any(_alive(pid) for pid in pids)


def test_an_answer_nobody_waited_for_is_not_the_next_calls() -> None:
    worker = hired("fine")
    worker.begin("learn", np.array([3]))  # as if interrupted before the answer came
    worker.begin("learn", np.array([4]))
    assert worker.finish().steps.tolist() == [4]
    worker.close()


def test_workers_run_one_thread_each_and_the_parent_keeps_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    cohort: Any = build_cohort("moody:make_threads", None, context(), threads=2)
    assert cohort.observation_shape == (1, 1)
    assert os.environ["OMP_NUM_THREADS"] == "2"
    assert "MKL_NUM_THREADS" not in os.environ
    cohort.close()
