"""What is said where agents would exchange only a few times, and of an exported team member."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from messages import says

from fdrl import cli
from fdrl.cli.rarely import rarely
from fdrl.config import make_run

Capture = pytest.CaptureFixture[str]
UNSET = SimpleNamespace(n_steps=None)


def test_few_exchanges_by_a_default_are_told() -> None:
    note = rarely(make_run(steps=10_000), UNSET, 2048)
    says(note, "2,048 steps", "5 times", "--agent.n_steps 256")
    says(rarely(make_run(steps=64), UNSET, 2048), "once")


def test_nothing_is_said_where_the_user_chose_or_nothing_is_exchanged() -> None:
    few = make_run(steps=10_000)
    assert not rarely(few, SimpleNamespace(n_steps=2048), 2048)
    assert not rarely(few, SimpleNamespace(), 2048)
    assert not rarely(make_run(steps=20_480), UNSET, 2048)
    assert not rarely(make_run(steps=10_000, strategy="local"), UNSET, 2048)
    chosen = {"type": "fd", "every": 4_096, "unit": "steps"}
    assert not rarely(make_run(steps=10_000, strategy=chosen), UNSET, 2048)


@pytest.mark.slow
def test_train_says_it_before_it_trains(tmp_path: Path, capsys: Capture) -> None:
    words = ["train", "--env", "CartPole-v1", "--agent", "sb3", "--agents", "1", "--steps", "64"]
    assert cli.main([*words, "--out", str(tmp_path / "a")]) == 0
    says(capsys.readouterr().err, "fdrl: note:", "once")
    assert cli.main([*words, "--out", str(tmp_path / "b"), "--quiet"]) == 0
    assert "note" not in capsys.readouterr().err


@pytest.mark.slow
def test_an_exported_member_of_a_shared_world_says_which_it_is(
    tmp_path: Path, capsys: Capture
) -> None:
    pytest.importorskip("mpe2")
    world = ["--env", "mpe2:simple_speaker_listener_v4", "--steps", "256", "--quiet"]
    assert cli.main(["train", *world, "--out", str(tmp_path / "run")]) == 0
    assert cli.main(["export", str(tmp_path / "run"), "--agent", "1"]) == 0
    said = capsys.readouterr()
    assert said.out.strip().endswith("agent-01.zip")
    says(said.err, "'listener_0'", "mpe2:simple_speaker_listener_v4")
    says(said.err, "(11,)", "5 actions")
