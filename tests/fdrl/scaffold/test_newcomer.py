"""A newcomer's path: a new project, installed, checked, trained in and compared, fdrl untouched."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from messages import says
from newcomer import Machine

from fdrl.scaffold.project import KINDS

SMALL = ["--agent.n_envs", "2", "--agent.n_steps", "64", "--agent.batch_size", "32"]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_new_project_passes_its_own_tests_at_once(kind: str, machine: Machine) -> None:
    machine.fdrl("new", kind, "sea_lion")
    said = machine.python("-m", "pytest", "-q", cwd=machine.home / "sea_lion")
    assert " passed" in said


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "verb"), [("agent", "agents"), ("strategy", "strategies")])
def test_a_new_learner_or_strategy_is_installed_and_trains(
    kind: str, verb: str, machine: Machine
) -> None:
    machine.fdrl("new", kind, "sea_lion")
    machine.install(machine.home / "sea_lion")
    elsewhere = machine.home / "elsewhere"
    elsewhere.mkdir()
    assert "sea_lion" in machine.fdrl(verb, "sea_lion", cwd=elsewhere)
    toml = str(machine.home / "sea_lion/train.toml")
    machine.fdrl("train", toml, "--steps", "512", "--out", "run", cwd=elsewhere)
    summary = json.loads((elsewhere / "run/summary.json").read_text())
    assert summary["bytes_up"] > 0


@pytest.mark.slow
def test_a_new_environment_is_installed_checked_and_trained_in(machine: Machine) -> None:
    machine.fdrl("new", "env", "sea_lion")
    project = machine.home / "sea_lion"
    machine.install(project)
    elsewhere = machine.home / "elsewhere"
    elsewhere.mkdir()
    assert "SeaLion-v0" in machine.fdrl("envs", cwd=elsewhere)
    said = machine.fdrl("check", "SeaLion-v0", cwd=elsewhere)
    says(said, "SeaLion-v0", "0 errors", "0 warnings")
    train = ["train", str(project / "train.toml"), "--steps", "512", "--out", "run", *SMALL]
    machine.fdrl(*train, cwd=elsewhere)
    summary = json.loads((elsewhere / "run/summary.json").read_text())
    assert summary["bytes_up"] > 0


@pytest.mark.slow
def test_a_new_environment_is_compared_with_a_suite(machine: Machine) -> None:
    machine.fdrl("new", "env", "sea_lion")
    project = machine.home / "sea_lion"
    machine.install(project)
    suite = project / "suite.toml"
    suite.write_text(
        suite.read_text().replace("4_096", "1_024").replace("agents = 4", "agents = 2")
    )
    machine.fdrl("bench", "suite.toml", cwd=project)
    assert len(list(project.glob("runs/sea_lion/**/summary.json"))) == 4
