"""What an environment measured is kept: one that ignores its seed costs nobody a trained run."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from forgetful import Forgetful
from messages import fails, says

from fdrl.cli.eval import load
from fdrl.cli.export import export
from fdrl.config.run import Run, make_run
from fdrl.core import errors
from fdrl.core.errors import FdrlError, Notice
from fdrl.core.records import RoundRecord, Summary
from fdrl.federation.loop import Agents
from fdrl.packs.train import train_packed
from fdrl.runs.checkpoint import checkpoint_files, load_checkpoint, save_checkpoint
from fdrl.runs.folder import read_records
from fdrl.runs.train import StopFlag, Stopped, train

PPO = {"type": "ppo", "n_envs": 2, "n_steps": 32, "hidden": [8], "n_epochs": 1}
KINDS: dict[str, dict[str, Any]] = {
    "mix": {"strategy": "fd", "proxy": {"type": "mix", "size": 16, "refresh": 1}},
    "grid": {"strategy": "frd", "proxy": {"type": "grid"}},
    "rollout": {"strategy": "fd", "proxy": {"type": "rollout", "size": 16}},
    "self": {"strategy": "self", "proxy": {"type": "visited", "size": 16, "refresh": 1}},
}


def forgetful(**fields: Any) -> Run:
    return make_run(
        env="Forgetful-v0", agents=2, steps=4 * 64, agent=PPO, evaluation={"episodes": 2},
        checkpoint_every=1, **fields,
    )  # fmt: skip


class StopAfter:
    """A tracker that asks for a stop after a round."""

    def __init__(self, number: int) -> None:
        self.number, self.flag = number, StopFlag()
        self.first_said: list[str] = []

    def start(self, *args: Any) -> None:
        pass

    def round(self, record: RoundRecord) -> None:
        self.flag.set = record.round == self.number

    def finish(self, summary: Summary) -> None:
        pass

    def close(self) -> None:
        pass


def half_trained(run: Run, folder: Path) -> list[str]:
    """Stop a run after its second round; return the notices."""
    errors._SAID.clear()
    stop = StopAfter(2)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        with pytest.raises(Stopped):
            train(run, out=folder, trackers=[stop], stop=stop.flag, curves=False)
    return [str(w.message) for w in said if w.category is Notice]


@pytest.mark.parametrize("kind", KINDS)
def test_an_environment_that_ignores_its_seed_is_resumed(kind: str, tmp_path: Path) -> None:
    run = forgetful(**KINDS[kind])
    (said,) = half_trained(run, tmp_path / "a")
    says(said, "Forgetful-v0", "seed")
    with pytest.warns(Notice, match="played again"):
        summary = train(run, out=tmp_path / "a", resume=True, curves=False)
    assert summary.rounds == len(read_records(tmp_path / "a")) == 4
    assert np.isfinite(summary.return_mean)
    kept = [load_checkpoint(f).state for f in checkpoint_files(tmp_path / "a")]
    for name in ("low", "high"):
        assert kept[0][f"measured.0.{name}"].tolist() == kept[1][f"measured.0.{name}"].tolist()


def test_a_world_that_ignores_its_seed_is_resumed_and_evaluated(tmp_path: Path) -> None:
    run = msgspec.structs.replace(forgetful(**KINDS["mix"]), env="forgetful:ForgetfulWorld")
    (said,) = half_trained(run, tmp_path / "a")
    says(said, "forgetful:ForgetfulWorld", "seed")
    with pytest.warns(Notice, match="played again"):
        summary = train(run, out=tmp_path / "a", resume=True, curves=False)
    assert summary.rounds == 4
    agents, _ = load(tmp_path / "a", trust=True)
    assert agents.evaluate(2).shape == (2, 2)
    agents.close()


def test_evaluation_measures_nothing_and_makes_no_training_copy(tmp_path: Path) -> None:
    half_trained(forgetful(**KINDS["mix"]), tmp_path / "a")
    Forgetful.opened = Forgetful.stepped = 0
    agents, round = load(tmp_path / "a")
    assert (round, Forgetful.stepped) == (2, 0)
    assert Forgetful.opened <= 2  # to look at the spaces
    returns = agents.evaluate(3)
    assert returns.shape == (2, 3)
    assert Forgetful.stepped <= 2 * 3 * 30
    agents.close()
    # no proxies are needed: not even a checkpoint that does not know what was measured minds
    without_measurements(tmp_path / "a")
    load(tmp_path / "a")[0].close()


@pytest.mark.slow  # it imports torch
def test_an_agent_of_an_environment_that_ignores_its_seed_is_exported(tmp_path: Path) -> None:
    half_trained(forgetful(**KINDS["mix"]), tmp_path / "a")
    agents, _ = load(tmp_path / "a")
    path, _ = export(agents, tmp_path / "a", None, None)
    assert path.is_file()
    agents.close()


def without_measurements(folder: Path) -> None:
    """Make checkpoints as they were before they kept what was measured."""
    for path in checkpoint_files(folder):
        made = load_checkpoint(path)
        for name in [n for n in made.state if n.startswith("measured.")]:
            del made.state[name]
        save_checkpoint(path, made)


@pytest.mark.filterwarnings("ignore::fdrl.core.errors.Notice")
def test_without_what_was_measured_a_run_is_refused_as_before(tmp_path: Path) -> None:
    half_trained(forgetful(**KINDS["mix"]), tmp_path / "a")
    without_measurements(tmp_path / "a")
    with fails(FdrlError, "proxy set"):
        train(forgetful(**KINDS["mix"]), out=tmp_path / "a", resume=True, curves=False)


def test_a_repeatable_environment_is_measured_once_and_says_nothing(tmp_path: Path) -> None:
    run = msgspec.structs.replace(forgetful(**KINDS["rollout"]), env="CartPole-v1")
    assert half_trained(run, tmp_path / "a") == []
    train(run, out=tmp_path / "a", resume=True, curves=False)
    whole = train(run, out=tmp_path / "b", curves=False)
    assert whole.server_env_steps > 0
    ours, theirs = (load_checkpoint(checkpoint_files(tmp_path / n)[-1]).state for n in "ab")
    assert ours.keys() == theirs.keys()
    assert all(ours[k].tobytes() == theirs[k].tobytes() for k in ours if k != "tally.seconds")


@pytest.mark.filterwarnings("ignore::fdrl.core.errors.Notice")
def test_runs_of_a_pack_keep_what_each_has_measured(tmp_path: Path) -> None:
    runs = [msgspec.structs.replace(forgetful(**KINDS["mix"]), seed=s) for s in range(2)]
    for run in runs:
        half_trained(run, tmp_path / f"seed-{run.seed:03d}")
    done = train_packed(runs, out=tmp_path, curves=False)
    assert [s.rounds for s in done] == [4, 4]


def test_agents_alone_evaluate_as_the_federation_does(tmp_path: Path) -> None:
    run = msgspec.structs.replace(forgetful(**KINDS["mix"]), env="CartPole-v1")
    summary = train(run, out=tmp_path / "a", curves=False)
    agents, _ = load(tmp_path / "a")
    assert isinstance(agents, Agents)
    assert agents.evaluate(2).mean(1).tolist() == summary.returns
    agents.close()
