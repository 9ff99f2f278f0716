"""Strategies and learners in a plain file: by command, from Python, and what goes wrong."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import own_file
import pytest
from messages import says
from newcomer import Machine

import fdrl
from fdrl import cli
from fdrl.config.run import parse, to_tables, to_toml
from fdrl.core.errors import FdrlError
from fdrl.core.learner import clipped
from fdrl.core.records import WALL_CLOCK
from fdrl.federation.loop import Federation
from fdrl.runs.folder import new_path

Capture = pytest.CaptureFixture[str]
SMALL = ["--agents", "3", "--steps", "512", "--env", "CartPole-v1", "--evaluation.episodes", "2"]
OWN = ["--strategy", "my_file:Median", "--agent", "my_file:Habit", "--agent.n_steps", "64"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A user's folder: their file, and nothing installed."""
    shutil.copy(str(own_file.__file__), tmp_path / "my_file.py")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    for name in ("my_file", "broken", "tagged"):
        sys.modules.pop(name, None)


def records(run: str) -> list[dict[str, Any]]:
    lines = (Path(run) / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(n).items() if k not in WALL_CLOCK} for n in lines]


def stop_after(round: int) -> Callable[[Federation], Any]:
    learn = Federation.round

    def stop(self: Federation) -> Any:
        if self.rounds_done == round - 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return learn(self)

    return stop


@pytest.mark.usefixtures("folder")
def test_the_command_line_trains_resumes_and_evaluates(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    words = ["train", *SMALL, *OWN, "--strategy.every", "2", "--strategy.share", "0.25", "--quiet"]
    assert cli.main([*words, "--out", "whole"]) == 0
    kept = tomllib.loads(Path("whole/config.toml").read_text())
    share = {"type": "my_file:Median", "every": 2, "unit": "iterations", "share": 0.25}
    assert kept["strategy"] == share
    assert kept["agent"] == {"type": "my_file:Habit", "n_steps": 64, "rate": 0.1}
    assert kept["same_init"] is True
    with monkeypatch.context() as patch:
        patch.setattr(Federation, "round", stop_after(2))
        assert cli.main([*words, "--out", "stopped"]) == 130
    assert len(records("stopped")) == 2
    told = capsys.readouterr().err
    says(told, "fdrl train --resume stopped")
    assert "--trust" not in told  # it was begun here
    assert cli.main(["train", "--resume", "stopped", "--quiet"]) == 0
    assert records("stopped") == records("whole")
    assert len(records("whole")) == 512 // 64 // 2
    assert cli.main(["train", "whole/config.toml", "--out", "again", "--quiet"]) == 0
    assert records("again") == records("whole")
    capsys.readouterr()
    assert cli.main(["eval", "whole", "--trust", "--episodes", "2"]) == 0
    assert "my_file:Median on CartPole-v1 after round 4" in capsys.readouterr().out


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("verb", "name", "field"),
    [("strategies", "my_file:Median", "share"), ("agents", "my_file:Habit", "rate")],
)
def test_their_settings_are_listed(verb: str, name: str, field: str, capsys: Capture) -> None:
    assert cli.main([verb, name]) == 0
    assert f".{field}" in capsys.readouterr().out


def test_python_takes_classes_and_objects() -> None:
    run = fdrl.make_run(agents=2, steps=256, strategy=own_file.Median, agent=own_file.Habit)
    assert run.strategy == own_file.Median()
    assert run.agent == own_file.Habit()
    assert (run.strategy_name, run.agent_name) == ("own_file:Median", "own_file:Habit")
    every = own_file.Median(every=2, share=1.0)
    other = fdrl.make_run(agents=2, steps=256, strategy=every, agent=own_file.Habit(n_steps=64))
    assert other.strategy == every
    assert type(other.strategy) is own_file.Median
    assert parse(tomllib.loads(to_toml(other))) == other
    mixed = fdrl.make_run(
        steps=256,
        strategy="local",
        cohorts=[
            {"agents": 1, "agent": own_file.Habit},
            {"agents": 1, "agent": {"type": "reinforce"}},
        ],
    )
    assert to_tables(mixed)["cohorts"][0]["agent"]["type"] == "own_file:Habit"
    assert new_path(run).name == "CartPole-v1-own_file-Median-0"
    assert fdrl.make_run(strategy=type(fdrl.make_run().strategy)).strategy_name == "fdv"


def test_a_median_is_what_agents_go_toward() -> None:
    run = fdrl.make_run(
        agents=3, steps=64, strategy=own_file.Median(share=1.0), agent=own_file.Habit(n_steps=64)
    )
    federation = Federation(run)
    try:
        record = federation.round()
        (client,) = federation.clients
        rows = client.cohort.parameters()
        np.testing.assert_array_equal(rows[0], rows[1])
        np.testing.assert_array_equal(rows[0], rows[2])
        assert record.bytes_up > 0
    finally:
        federation.close()


def test_own_parts_keep_the_rules() -> None:
    fdrl.check_strategy(own_file.Median)
    fdrl.check_strategy("own_file:Median", agent=own_file.Habit(n_steps=64))
    fdrl.check_cohort(lambda context: own_file.Learners(own_file.Habit(n_steps=64), context))


def test_a_base_for_gaussians_and_whole_episodes_keeps_the_rules() -> None:
    fdrl.check_cohort(lambda context: own_file.Walkers(own_file.Walk(), context), "Pendulum-v1")


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("flag", "name", "facts"),
    [
        ("strategy", "my_file:Client", ["my_file:Client", "fdrl.StrategySettings", "'Median'"]),
        ("strategy", "my_file:Medain", ["'my_file'", "'Medain'", "did you mean 'Median'?"]),
        ("strategy", "my_file:Habit", ["no strategy", "--agent my_file:Habit"]),
        ("agent", "my_file:Median", ["no agent", "--strategy my_file:Median"]),
        ("agent", "my_file:Learners", ["fdrl.AgentSettings", "cohort", "known: Habit, Walk"]),
        ("agent", "my_file.py:Habit", ["did you mean 'my_file:Habit'?"]),
        ("agent", "my_file:np", ["'my_file:np'", "fdrl.AgentSettings"]),
        ("strategy", "nowhere:X", ["cannot import 'nowhere'"]),
        ("strategy", "broken:X", ["'broken:X'", "ZeroDivisionError: division by zero"]),
        ("strategy", "tagged:Other", ["'tagged:Other'", "'other_name'"]),
        ("strategy", "tagged:Median", ["did you mean 'my_file:Median'?"]),
    ],
)
def test_a_wrong_object_is_one_line(
    flag: str, name: str, facts: list[str], folder: Path, capsys: Capture
) -> None:
    (folder / "broken.py").write_text("1 / 0\n")
    (folder / "tagged.py").write_text(
        "from my_file import Median\n\nclass Other(Median, tag='other_name'):\n    pass\n"
    )
    assert cli.main(["train", f"--{flag}", name, *SMALL]) == 2
    told = capsys.readouterr().err
    assert told.startswith("fdrl: error: ")
    assert told.count("\n") == 1
    for fact in facts:
        assert fact in told


@pytest.mark.parametrize(
    ("given", "fact"),
    [
        ({"strategy": own_file.Client}, "did you mean 'Median'?"),
        ({"agent": own_file.Learners}, "known: Habit, Walk"),
        ({"strategy": 3}, "not 3"),
        ({"strategy": own_file.Habit}, "--agent own_file:Habit"),
    ],
)
def test_a_wrong_object_in_python(given: dict[str, Any], fact: str) -> None:
    with pytest.raises(FdrlError) as error:
        fdrl.make_run(**given)
    assert fact in str(error.value)


def test_what_nobody_can_import_again_is_refused() -> None:
    class Hidden(own_file.Median):
        pass

    with pytest.raises(FdrlError, match="'Hidden' is defined inside a function"):
        fdrl.make_run(strategy=Hidden)


def test_clipping() -> None:
    np.testing.assert_allclose(clipped(np.array([3.0, 4.0]), 1.0), [0.6, 0.8])
    np.testing.assert_array_equal(clipped(np.array([3.0, 4.0]), 5.0), [3.0, 4.0])
    np.testing.assert_array_equal(clipped(np.array([3.0, 4.0]), 0.0), [3.0, 4.0])


SCRIPT = """
import fdrl
from my_file import Habit, Median


class Whole(Median):
    share: float = 1.0


class Fast(Habit):
    rate: float = 0.2


if __name__ == "__main__":
    run = fdrl.make_run(
        agents=2, steps=512, strategy=Whole(every=2), agent=Fast, threads=2,
        evaluation={"episodes": 2},
    )
    assert type(run.strategy) is Whole
    fdrl.train(run, out="from_python")
"""

SUITE = """
name = "own"
seeds = [0]
base = { agents = 2, steps = 512, evaluation = { episodes = 2 } }
settings = [{ name = "plain" }]

[[methods]]
name = "median"
strategy = { type = "my_file:Median", share = 0.25 }
agent = { type = "my_file:Habit", n_steps = 64 }
"""


@pytest.mark.slow
def test_a_script_defines_trains_and_is_found_again(folder: Path) -> None:
    machine = Machine(folder)
    (folder / "script.py").write_text(SCRIPT)
    machine.python("script.py")
    kept = tomllib.loads((folder / "from_python/config.toml").read_text())
    assert kept["strategy"]["type"] == "script:Whole"
    assert kept["agent"]["type"] == "script:Fast"
    assert "mean" in machine.fdrl("eval", "from_python", "--trust", "--episodes", "1")


@pytest.mark.slow
def test_a_suite_compares_own_parts(folder: Path) -> None:
    machine = Machine(folder)
    (folder / "suite.toml").write_text(SUITE)
    machine.fdrl("bench", "suite.toml")
    assert (folder / "runs/own/plain/median/seed-000/summary.json").is_file()
