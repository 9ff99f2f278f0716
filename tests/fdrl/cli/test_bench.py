"""``fdrl bench`` from the outside: resumed, killed, crashing, re-checked."""

from __future__ import annotations

import os
import random
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from messages import says

from fdrl.bench.display import about, estimate
from fdrl.bench.suite import Tuning
from fdrl.cli import main
from fdrl.cli.bench import read_command, resume_command
from fdrl.core.records import WALL_CLOCK
from fdrl.report.archive import write_archive

SUITE = """
name = "mini"
seeds = [0, 1]
tuning_seeds = [50]

[grid]
"agent.learning_rate" = [1e-3, 1e-2]

[base]
agents = 2
steps = {steps}
checkpoint_every = 1
agent = {{ type = "ppo", n_envs = 2, n_steps = 32, hidden = [8], n_epochs = 2 }}
evaluation = {{ episodes = 2 }}

[[settings]]
name = "same"

[[methods]]
name = "local"
strategy = {{ type = "local" }}

[[methods]]
name = "fd"
strategy = {{ type = "fd", distill = {{ steps = 2, batch = 8 }} }}
proxy = {{ type = "mix", size = 16, refresh = 2 }}
"""
FOLDERS = [f"same/{m}/seed-00{s}" for m in ("fd", "local") for s in (0, 1)]


def write_suite(folder: Path, steps: int = 256, more: str = "", pack: int = 1) -> Path:
    path = folder / "mini.toml"
    path.write_text(f"pack = {pack}" + SUITE.format(steps=steps) + more)
    return path


def bench(suite: Path, out: Path, *words: str) -> int:
    return main(["bench", str(suite), "--out", str(out), "--jobs", "2", "--no-report", *words])


def numbers(out: Path) -> dict[str, Any]:
    """Return everything that the runs below `out` say, wall clock aside."""

    def clean(raw: dict[str, Any]) -> dict[str, Any]:
        return {k: v for k, v in raw.items() if k not in WALL_CLOCK}

    found: dict[str, Any] = {}
    for path in sorted(out.glob("*/*/seed-*/metrics.jsonl")):
        lines = [clean(msgspec.json.decode(line)) for line in path.read_bytes().splitlines()]
        summary = clean(msgspec.json.decode((path.parent / "summary.json").read_bytes()))
        config = (path.parent / "config.toml").read_text()
        found[path.parent.relative_to(out).as_posix()] = (config, lines, summary)
    found["bench.json"] = (out / "bench.json").read_text()
    return found


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``mini.toml`` and its finished runs in ``out``."""
    folder = tmp_path_factory.mktemp("bench")
    assert bench(write_suite(folder), folder / "out") == 0
    return folder


@pytest.fixture
def copy(done: Path, tmp_path: Path) -> Path:
    shutil.copytree(done, tmp_path / "copy")
    return tmp_path / "copy"


def states(out: Path) -> dict[str, str]:
    cells = msgspec.json.decode((out / "bench.json").read_bytes())["cells"]
    return {c["folder"]: c["state"] for c in cells}


def test_a_suite_runs_to_its_end_and_is_then_skipped(
    done: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sorted(numbers(done / "out"))[1:] == FOLDERS
    assert states(done / "out") == dict.fromkeys(states(done / "out"), "finished")
    written = (done / "out" / FOLDERS[0] / "summary.json").stat().st_mtime_ns
    assert bench(done / "mini.toml", done / "out") == 0
    assert "4 runs, 4 finished" in capsys.readouterr().out
    assert (done / "out" / FOLDERS[0] / "summary.json").stat().st_mtime_ns == written


def test_a_lost_run_is_made_again_the_same(copy: Path) -> None:
    before = numbers(copy / "out")
    shutil.rmtree(copy / "out" / FOLDERS[0])
    (copy / "out" / FOLDERS[2] / "summary.json").unlink()
    assert bench(copy / "mini.toml", copy / "out") == 0
    assert numbers(copy / "out") == before


def test_only_and_seeds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    suite, out = write_suite(tmp_path, steps=64), tmp_path / "out"
    assert bench(suite, out, "--only", "fd/same", "--seeds", "1") == 0
    assert states(out)["same/fd/seed-001"] == "finished"
    assert list(states(out).values()).count("unfinished") == 3
    assert bench(suite, out, "--audit", "--jobs", "1") == 1
    says(capsys.readouterr().out, "same/fd/seed-000", "not started")


def start(suite: Path, out: Path) -> subprocess.Popen[str]:
    words = ["bench", str(suite), "--out", str(out), "--jobs", "2", "--no-report"]
    return subprocess.Popen(
        [sys.executable, "-m", "fdrl", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def wait_for_round(out: Path, rounds: int) -> None:
    """Wait until the runs have logged so many rounds together, or all are finished."""
    for _ in range(400):
        logs = [p.read_bytes().count(b"\n") for p in out.glob("*/*/*/metrics.jsonl")]
        if sum(logs) >= rounds:
            return
        time.sleep(0.02)
    raise AssertionError(f"no {rounds} rounds in {out}")


def kill_often(tmp_path: Path, moments: list[int], steps: int, pack: int = 1) -> None:
    suite = write_suite(tmp_path, steps=steps)
    quiet, torn = tmp_path / "quiet", tmp_path / "torn"
    assert bench(suite, quiet) == 0
    suite = write_suite(tmp_path, steps=steps, pack=pack)
    for rounds in moments:
        process = start(suite, torn)
        wait_for_round(torn, rounds)
        time.sleep(random.Random(rounds).uniform(0.0, 0.05))
        process.kill()
        process.communicate()
    assert bench(suite, torn) == 0
    assert numbers(torn) == numbers(quiet)
    assert bench(suite, torn, "--audit") == 0


def test_killed_and_run_again_it_gives_the_same_numbers(tmp_path: Path) -> None:
    kill_often(tmp_path, [7, 30], steps=64 * 16)


def test_packs_give_the_numbers_of_cells_also_when_killed(tmp_path: Path) -> None:
    kill_often(tmp_path, [7, 30], steps=64 * 16, pack=2)


LOSSY = """
[base.goal]
mean = 500.0
stop = false

[base.channel]
type = "fading"
deadline_slots = 2
down_deadline_slots = 1
threshold = 15.0
"""


def test_audit_and_report_of_packed_lossy_runs_with_a_goal_and_episodes(tmp_path: Path) -> None:
    """Rollouts of two copies may end more than twelve episodes; slots are often lost."""
    suite, out = write_suite(tmp_path, more=LOSSY, pack=2), tmp_path / "out"
    suite.write_text(suite.read_text().replace("steps = 256", "episodes = 12"))
    assert main(["bench", str(suite), "--out", str(out), "--jobs", "1"]) == 0
    told = numbers(out)
    assert all(told[f][2]["completed"] == 0 for f in FOLDERS)
    assert sum(told[f][2]["lost_up"] for f in FOLDERS) > 0
    assert bench(suite, out, "--audit") == 0
    page = next(out.rglob("report.html")).read_text()
    says(page, "fading", "threshold=15", "deadline_slots=2", "down_deadline_slots=1")
    assert "Training episodes" in page
    assert "0 of 2" in page


@pytest.mark.slow
def test_killed_at_many_moments_it_gives_the_same_numbers(tmp_path: Path) -> None:
    kill_often(tmp_path, [1, 5, 20, 40, 60, 90, 100, 115, 125], steps=64 * 32)


@pytest.mark.parametrize("pack", [1, 2])
def test_ctrl_c_leaves_everything_resumable(tmp_path: Path, pack: int) -> None:
    suite, out = write_suite(tmp_path, steps=64 * 60, pack=pack), tmp_path / "out"
    process = start(suite, out)
    wait_for_round(out, 3)
    process.send_signal(signal.SIGINT)
    said, complaints = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "stopping" in said
    assert f"continue with: fdrl bench {suite} --out {out}" in complaints
    assert set(states(out).values()) <= {"unfinished", "finished"}
    begun = [f for f in FOLDERS if (out / f / "metrics.jsonl").is_file()]
    assert begun
    for folder in begun:
        logged = len((out / folder / "metrics.jsonl").read_bytes().splitlines())
        newest = max((out / folder / "checkpoints").iterdir()).stem
        assert int(newest.removeprefix("round-")) == logged
    assert list(out.glob("**/*.failed.json")) == []


CRASHING = """
import os, signal
import gymnasium as gym
import numpy as np

class Crash(gym.Env):
    observation_space = gym.spaces.Box(-1.0, 1.0, (2,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def __init__(self, how="fine"):
        self.how, self.count = how, 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(2, np.float32), {}

    def step(self, action):
        self.count += 1
        if self.count == 20 and self.how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.count == 20 and self.how == "raise":
            raise ValueError("the sky fell\\nand broke")
        print("noise that is no report")
        return np.zeros(2, np.float32), 1.0, self.count % 10 == 0, False, {}

gym.register("Crash-v0", entry_point=Crash, max_episode_steps=50)
"""
CRASH_SUITE = """
name = "crash"
seeds = [0]

[base]
env = "crashing_env:Crash-v0"
agents = 2
steps = 64
proxy = { type = "uniform", size = 16 }
agent = { type = "ppo", n_envs = 2, n_steps = 32, hidden = [8], n_epochs = 1 }
evaluation = { episodes = 1 }
strategy = { type = "local" }

[[settings]]
name = "one"

[[methods]]
name = "killed"
env_kwargs = { how = "kill" }

[[methods]]
name = "raised"
env_kwargs = { how = "raise" }

[[methods]]
name = "fine"
"""


def test_a_crashing_cell_is_reported_and_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "crashing_env.py").write_text(CRASHING)
    (tmp_path / "crash.toml").write_text(CRASH_SUITE)
    out = tmp_path / "out"
    assert bench(Path("crash.toml"), out) == 1
    printed = capsys.readouterr()
    says(printed.out, "killed", "one", "seed 0", "SIGKILL")
    says(printed.out, "raised", "one", "seed 0")
    assert "the sky fell" in printed.out  # as the environment says it
    says(printed.out, "one", "env_kwargs", "{'how': 'kill'}")
    says(printed.out, "fine", "one", "seed 0", "return")
    says(printed.err, "2 runs", "fdrl bench crash.toml")
    assert states(out) == {
        "one/killed/seed-000": "failed",
        "one/raised/seed-000": "failed",
        "one/fine/seed-000": "finished",
    }
    assert bench(Path("crash.toml"), out, "--audit") == 1
    audited = capsys.readouterr().out
    says(audited, "one/killed/seed-000", "failed", "killed")
    says(audited, "one", "env_kwargs", "{'how': 'kill'} (killed)")
    # What made it fail is mended: the same cells are tried again, and the rest is kept.
    (tmp_path / "crashing_env.py").write_text(CRASHING.replace("== 20", "== -1"))
    assert bench(Path("crash.toml"), out) == 0
    assert set(states(out).values()) == {"finished"}
    assert list(out.glob("**/*.failed.json")) == []


def change_json(path: Path, **changes: Any) -> None:
    path.write_bytes(msgspec.json.encode(msgspec.json.decode(path.read_bytes()) | changes))


def change_text(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def drop_line(path: Path, index: int) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    del lines[index]
    path.write_bytes(b"".join(lines))


def change_line(path: Path, index: int, **changes: Any) -> None:
    lines = path.read_bytes().splitlines()
    lines[index] = msgspec.json.encode(msgspec.json.decode(lines[index]) | changes)
    path.write_bytes(b"".join(line + b"\n" for line in lines))


RUN = FOLDERS[0]
TUNED = """
suite = "mini"
seeds = [{seed}]
score = ["auc"]
best = [{{ setting = "same", method = "fd", score = 1.0, values = {{ "agent.n_epochs" = 2 }} }}]
"""
TRIED = """
suite = "mini"
seeds = [50]
score = ["auc"]

[[best]]
setting = "same"
method = "fd"
score = 5.0
values = {{ "agent.learning_rate" = {rate} }}
tried = [
    {{ score = 5.0, values = {{ "agent.learning_rate" = 0.001 }} }},
    {{ score = 9.0, values = {{ "agent.learning_rate" = 0.01 }} }},
]
"""
BREAK: list[tuple[Callable[[Path], object], str]] = [
    (lambda o: (o / RUN / "summary.json").unlink(), f"{RUN}: not finished"),
    (lambda o: shutil.rmtree(o / RUN), f"{RUN}: not started"),
    (
        lambda o: change_text(o / RUN / "config.toml", "n_epochs = 2", "n_epochs = 3"),
        "config: agent.n_epochs is not what the suite says",
    ),
    (
        lambda o: change_json(o / RUN / "summary.json", config="0" * 16),
        "summary.json belongs to another config",
    ),
    (
        lambda o: change_json(o / RUN / "summary.json", env_steps=320),
        "320 steps per agent, but the budget is 256",
    ),
    (
        lambda o: change_json(o / RUN / "summary.json", env_steps=320),
        "320 steps per agent, but most runs of the setting have 256",
    ),
    (
        lambda o: change_json(o / RUN / "summary.json", versions={"numpy": "0.1"}),
        "made with numpy 0.1, but most runs with",
    ),
    (
        lambda o: change_json(o / RUN / "summary.json", bytes_up=1.0),
        "summary.json: bytes_up is 1.0, but metrics.jsonl says",
    ),
    (
        lambda o: change_json(o / RUN / "summary.json", seed=9),
        "summary.json: seed is 9, but config.toml says 0",
    ),
    (
        lambda o: change_json(o / RUN / "summary.json", return_worst=500.0),
        "return_worst is 500.0, but its own returns says",
    ),
    (
        lambda o: change_json(o / RUN / "summary.json", return_spread=77.0),
        "return_spread is 77.0, but its own returns says",
    ),
    (
        lambda o: change_json(o / RUN / "summary.json", returns=[9.0]),
        "summary.json: returns of 1 agents, but there are 2",
    ),
    (
        lambda o: change_json(o / RUN / "summary.json", returns=[9.0, None]),
        "summary.json: the return of agent 1 is no finite number",
    ),
    (
        lambda o: change_line(o / RUN / "metrics.jsonl", 1, bytes_up=1e9),
        "metrics.jsonl: bytes_up goes down in round 3",
    ),
    (
        lambda o: change_line(o / RUN / "metrics.jsonl", 1, env_steps=[128, 0]),
        "metrics.jsonl: env_steps goes down in round 2",
    ),
    (
        lambda o: change_line(o / RUN / "metrics.jsonl", 2, return_mean=321.0),
        "metrics.jsonl: return_mean of round 3 is 321.0, but its returns say",
    ),
    (
        lambda o: (o / "tuned.toml").write_text(TUNED.format(seed=50)),
        "no tuned values of local in same, though there is a grid and others are tuned",
    ),
    (
        lambda o: (o / "tuned.toml").write_text(TRIED.format(rate=0.001)),
        "tuned values of fd in same: agent.learning_rate = 0.001 scored 5.0, but "
        "agent.learning_rate = 0.01 scored 9.0",
    ),
    (
        lambda o: (o / "tuned.toml").write_text(TRIED.format(rate=0.003)),
        "tuned values of fd in same: agent.learning_rate = 0.003 are not among those",
    ),
    (lambda o: drop_line(o / RUN / "metrics.jsonl", 1), "rounds are missing or repeated"),
    (lambda o: drop_line(o / RUN / "metrics.jsonl", -1), "rounds is 4, but metrics.jsonl says 3"),
    (lambda o: (o / RUN / "metrics.jsonl").write_text("{}\n"), "line 1: not a round record"),
    (
        lambda o: shutil.copytree(o / RUN, o / "same/fd/seed-007"),
        "same/fd/seed-007: a run that is not in the suite",
    ),
    (
        lambda o: (o / "tuned.toml").write_text(TUNED.format(seed=1)),
        "seeds 1 were used for tuning and for evaluation",
    ),
    (
        lambda o: (o / "tuned.toml").write_text(TUNED.format(seed=50)),
        "tuned agent.n_epochs = 2 of fd in same is not in the suite's grid",
    ),
    (
        lambda o: change_text(
            o.parent / "mini.toml", 'strategy = { type = "local" }',
            'strategy = { type = "local" }\nsteps = 128',
        ),
        "in same, methods differ in steps: 128 (local), 256 (fd)",
    ),
]  # fmt: skip


def test_the_audit_passes_what_is_in_order(done: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench(done / "mini.toml", done / "out", "--audit") == 0
    assert "4 runs in" in capsys.readouterr().out


def test_an_archive_of_runs_is_audited_and_finished_like_the_runs_themselves(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Values that were tuned there, in the folder of the runs, travel with them."""
    suite, first = write_suite(tmp_path, steps=128), tmp_path / "first"
    best = {"setting": "same", "score": 1.0, "tried": []}
    rates = [best | {"method": m, "values": {"agent.learning_rate": 1e-2}} for m in ("local", "fd")]
    tuned = {"suite": "mini", "seeds": [50], "score": list(Tuning().score), "best": rates}
    first.mkdir()
    (first / "tuned.toml").write_bytes(msgspec.toml.encode(tuned))
    assert bench(suite, first) == 0
    before = numbers(first)
    shutil.rmtree(first / FOLDERS[1])
    assert write_archive([first], tmp_path / "published.tar.xz").runs == 3
    with tarfile.open(tmp_path / "published.tar.xz") as tar:
        tar.extractall(tmp_path / "again", filter="data")
    again = tmp_path / "again" / "first"
    capsys.readouterr()
    assert bench(suite, again, "--audit") == 1
    assert capsys.readouterr().out == f"{again / FOLDERS[1]}: not started\n"
    assert bench(suite, again) == 0
    assert "4 runs, 3 finished" in capsys.readouterr().out
    assert bench(suite, again, "--audit") == 0
    after = numbers(again)
    assert [after[f][2] for f in FOLDERS] == [before[f][2] for f in FOLDERS]


@pytest.mark.parametrize(("harm", "text"), BREAK, ids=[t for _, t in BREAK])
def test_the_audit_names_every_deviation(
    harm: Callable[[Path], object], text: str, copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    harm(copy / "out")
    assert bench(copy / "mini.toml", copy / "out", "--audit") == 1
    assert text in capsys.readouterr().out


def test_runs_of_a_changed_suite_are_never_overwritten(
    copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = numbers(copy / "out")
    change_text(copy / "mini.toml", "n_epochs = 2", "n_epochs = 3")
    assert bench(copy / "mini.toml", copy / "out") == 2
    error = capsys.readouterr().err
    assert "4 mistakes" in error
    says(error, RUN, "agent.n_epochs")
    assert "--out" in error
    assert numbers(copy / "out") == before


def test_tuning_writes_what_later_runs_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    suite, out = write_suite(tmp_path, steps=64), tmp_path / "out"
    assert bench(suite, out, "--tune") == 0
    assert "<- best" in capsys.readouterr().out
    tuned = msgspec.toml.decode((out / "tuned.toml").read_bytes())
    chosen = {b["method"]: b["values"]["agent.learning_rate"] for b in tuned["best"]}
    assert set(chosen) == {"local", "fd"}
    assert len(list((tmp_path / "out-tuning").glob("**/summary.json"))) == 4
    told = msgspec.json.decode((tmp_path / "out-tuning" / "tuning.json").read_bytes())
    assert told == {"suite": "mini", "seeds": [50]}
    assert bench(suite, out) == 0
    for method, rate in chosen.items():
        config = msgspec.toml.decode((out / f"same/{method}/seed-000/config.toml").read_bytes())
        assert config["agent"]["learning_rate"] == rate
    assert bench(suite, out, "--audit") == 0
    says(capsys.readouterr().out, "tuned", "2 pairs")


def test_tuning_some_pairs_keeps_the_values_of_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    suite, out = write_suite(tmp_path, steps=64), tmp_path / "out"
    kept = {"setting": "same", "method": "local", "score": 7.0, "tried": []}
    kept["values"] = {"agent.learning_rate": 1e-2}
    gone = kept | {"method": "removed"}
    before = {"suite": "mini", "seeds": [50], "score": ["return_mean"], "best": [gone, kept]}
    out.mkdir()
    (out / "tuned.toml").write_bytes(msgspec.toml.encode(before))
    assert bench(suite, out, "--tune", "--only", "fd") == 2
    says(capsys.readouterr().err, out / "tuned.toml", "score", "--only")
    before["score"] = list(Tuning().score)
    (out / "tuned.toml").write_bytes(msgspec.toml.encode(before))
    assert bench(suite, out, "--tune", "--only", "fd/*") == 0
    said = capsys.readouterr().out
    assert "local" not in said
    says(said, out / "tuned.toml", "1 other pair")
    tuned = msgspec.toml.decode((out / "tuned.toml").read_bytes())
    assert [b["method"] for b in tuned["best"]] == ["local", "fd"]
    assert tuned["best"][0] == kept
    ran = {p.parent.parent.parent.name for p in (tmp_path / "out-tuning").glob("**/summary.json")}
    assert ran == {"fd"}


def test_what_has_no_grid_cannot_be_tuned(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = '[[methods]]\nname = "plain"\nstrategy = { type = "local" }\ngrid = {}\n'
    more += '[[methods]]\nname = "like"\ntuned_as = "fd"\nstrategy = { type = "fd" }\n'
    suite = write_suite(tmp_path, more=more)
    assert bench(suite, tmp_path / "out", "--tune", "--only", "plain") == 2
    says(capsys.readouterr().err, "--only plain", "no grid")
    assert bench(suite, tmp_path / "out", "--tune", "--only", "like") == 2
    says(capsys.readouterr().err, "--only like", "no grid", "fd/same")
    assert bench(suite, tmp_path / "out", "--tune", "--only", "plane") == 2
    says(capsys.readouterr().err, "'plane'", nearest="plain")
    assert not list(tmp_path.glob("out*"))


def test_dry_run_lists_and_forecasts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    more = """
skip = { same = "it would not fit" }

[[methods]]
name = "many"
strategy = { type = "pooled", every = 3 }
"""
    suite, out = write_suite(tmp_path, more=more), tmp_path / "out"
    assert bench(suite, out, "--dry-run") == 1
    printed = capsys.readouterr().out
    assert "unpacked" not in printed
    says(printed, "fd", "same", "it would not fit")  # the suite's own reason
    says(printed, "ERROR", "many", "same", '"pooled"')
    assert re.search(r"4 of 4 runs to do, (<1 s|about 0:0\d) with", printed)
    assert "0:00" not in printed
    assert bench(write_suite(tmp_path, pack=2), out, "--dry-run") == 0
    says(capsys.readouterr().out, "2 jobs", "pack = 2")
    assert not out.exists()


def test_the_command_that_goes_on_is_the_whole_one(tmp_path: Path) -> None:
    suite = tmp_path / "my suite.toml"
    suite.write_text(SUITE.format(steps=256))
    words = ["--out", "a b", "--seeds", "0", "3", "4", "--only", "fd/*", "--jobs=2", "--no-report"]
    request = read_command([str(suite), *words])
    command = resume_command(request.asked, request.out)
    assert command == (
        f"fdrl bench '{suite}' --out 'a b' --jobs 2 --only 'fd/*' --seeds 0 3 4 --no-report"
    )
    assert read_command(shlex.split(command)[2:]) == request
    tune = read_command([str(suite), "--tune", "--jobs", "1"])
    assert resume_command(tune.asked, Path("o")) == f"fdrl bench '{suite}' --out o --jobs 1 --tune"


def test_one_is_singular(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    suite, out = write_suite(tmp_path, steps=64), tmp_path / "out"
    (tmp_path / "out").mkdir()
    tuned = TUNED.format(seed=50).replace("agent.n_epochs", "agent.learning_rate")
    (out / "tuned.toml").write_text(tuned.replace(" = 2", " = 1e-3"))
    assert bench(suite, out, "--only", "fd", "--seeds", "1", "--jobs", "1", "--dry-run") == 0
    printed = capsys.readouterr().out
    says(printed, "tuned", "1 pair")
    says(printed, "not tuned", "local", "same", f"--out {out} --tune")
    assert f"--out {out} --tune)" in printed
    assert re.search(r"1 of 1 run to do, .* with 1 job$", printed.strip())


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ([], "fdrl bench needs a suite"),
        (["smok"], "unknown suite 'smok'; did you mean 'smoke'?"),
        (["theory"], "fdrl theory --out DIR"),
        (["smoke", "--adit"], "unknown flag '--adit'; did you mean '--audit'?"),
        (["smoke", "--jobs", "0"], "a whole number of at least 1, got 0 (at --jobs)"),
        (["smoke", "--seeds", "x"], "--seeds takes numbers or A..B, not 'x'"),
        (["smoke", "--seeds", "1..0"], "1..0 is empty"),
        (["smoke", "--seeds", "0", "5"], "5 is no seed of the suite (0, 1)"),
        (["smoke", "--only", "fx"], "no method 'fx'"),
        (["smoke", "--audit", "--tune"], "--tune and --audit do not go together"),
        (["smoke", "--audit", "--only", "fd"], "leave --only out"),
        (["smoke", "--tune", "--only", ""], "--only needs METHOD/SETTING"),
        (["smoke", "--tune", "--seeds", "0"], "the suite's tuning_seeds: leave --seeds out"),
    ],
)
def test_mistakes_are_named(
    words: list[str], text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", "--out", str(tmp_path / "out"), *words]) == 2
    assert text in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_help_lists_the_suites(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--help"]) == 0
    printed = capsys.readouterr().out
    assert "headline" in printed
    assert "--dry-run" in printed


def test_a_suite_is_no_preset(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "smoke"]) == 2
    says(capsys.readouterr().err, "preset", "'smoke'")


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_nothing_keeps_running_when_the_bench_is_gone(tmp_path: Path) -> None:
    suite, out = write_suite(tmp_path, steps=64 * 400), tmp_path / "out"
    process = start(suite, out)
    wait_for_round(out, 3)
    process.kill()
    process.communicate()
    time.sleep(1.0)
    sizes = [p.stat().st_size for p in sorted(out.glob("**/metrics.jsonl"))]
    time.sleep(0.5)
    assert [p.stat().st_size for p in sorted(out.glob("**/metrics.jsonl"))] == sizes


def test_less_than_a_second_is_not_called_nothing() -> None:
    assert (estimate(0.2), estimate(7.0)) == ("<1 s", "0:07")
    assert (about(0.2), about(7.0)) == ("<1 s", "about 0:07")
