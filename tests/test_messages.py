"""The messages that users meet first, word for word: here the sentence is the contract.

Everywhere else tests hold a message to its class and facts (tests/support/messages.py). A sentence
that changes here is a change that users see: say so in CHANGELOG.md.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from fake_federation import STEPS, FakeFederation

from fdrl import cli
from fdrl.federation import loop as loop_module

Capture = pytest.CaptureFixture[str]
SMALL = ["train", "--agents", "2", "--steps", str(3 * STEPS), "--quiet"]

ENDLESS = """
import gymnasium

class Endless(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(0, 1, (2,))
    action_space = gymnasium.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        return self.observation_space.low, {}

    def step(self, action):
        return self.observation_space.low, 0.0, False, False, {}
"""


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "betta.toml").write_text('[strategy]\ntype = "fd"\nbetta = 2\n')
    (tmp_path / "four.toml").write_text('agents = "four"\n')


def error_of(capsys: Capture, *argv: str) -> str:
    """Run a command that must fail; return all that it said, which is one line."""
    assert cli.main(argv) == 2
    out, err = capsys.readouterr()
    assert out == ""
    return err


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        ("trian", "unknown verb 'trian'; did you mean 'train'? (see fdrl --help)"),
        ("train --agnets 3", "unknown flag '--agnets'; did you mean '--agents'?"),
        (
            "train --agents many",
            "flags: --agents needs a whole number such as 100000, got 'many'",
        ),
        (
            "train quickstrat",
            "unknown preset 'quickstrat'; did you mean 'quickstart'? (or FILE.toml)",
        ),
        (
            "train betta.toml",
            "betta.toml: unknown field 'betta'; did you mean 'beta'? (at strategy)",
        ),
        ("train four.toml", "four.toml: expected a whole number, got 'four' (at agents)"),
        ("train --strategy fedavgg", "unknown strategy 'fedavgg'; did you mean 'fedavg'?"),
        ("eval runs", "runs is not a run folder: no such folder"),
    ],
)
def test_a_mistake_is_one_sentence(command: str, sentence: str, capsys: Capture) -> None:
    assert error_of(capsys, *command.split()) == f"fdrl: error: {sentence}\n"


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        ("--env CartPle-v1", "unknown environment 'CartPle-v1'; did you mean 'CartPole-v1'?"),
        (
            "--env endless_world:Endless",
            "environment 'endless_world:Endless' has no limit on the length of an episode: an agent"
            " that never ends one cannot be evaluated; set one with --env_kwargs.max_episode_steps"
            " N, or where the environment is registered (max_episode_steps in gymnasium.register)",
        ),
        (
            "--steps 513",
            "config: 513 steps cannot be shared by the 8 environment copies of agent 'ppo' "
            "(agent.n_envs): use 512 or 520 (at steps)",
        ),
    ],
)
def test_what_cannot_be_trained_is_one_sentence(
    command: str, sentence: str, capsys: Capture
) -> None:
    Path("endless_world.py").write_text(ENDLESS)
    assert error_of(capsys, "train", *command.split()) == f"fdrl: error: {sentence}\n"


def test_a_run_that_stopped_and_one_that_is_there(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    learn = FakeFederation.round

    def stop(federation: FakeFederation) -> object:
        if federation.rounds_done == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return learn(federation)

    monkeypatch.setattr(loop_module, "Federation", FakeFederation)
    monkeypatch.setattr(FakeFederation, "round", stop)
    assert cli.main([*SMALL, "--out", "a"]) == 130
    assert capsys.readouterr().err == (
        "stopping after this round (once more: at once)\n"
        "stopped after round 2; continue with: fdrl train --resume a\n"
    )
    assert error_of(capsys, *SMALL, "--out", "a") == (
        "fdrl: error: a holds a run already: delete it, choose another --out, or continue it with "
        "fdrl train --resume a\n"
    )
    assert error_of(capsys, "train", "--resume", "a", "--seed", "9") == (
        "fdrl: error: a is a run of another config: seed differs; a run's config cannot change; "
        "start a new run with these flags and another --out\n"
    )


def test_a_usable_environment(capsys: Capture) -> None:
    assert cli.main(["check", "CartPole-v1"]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == "CartPole-v1 is usable: 0 errors, 0 warnings"
