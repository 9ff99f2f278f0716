"""Environments that fail in the middle of training: one clear line, and nothing is lost."""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bad_worlds
import gymnasium
import numpy as np
import pytest
import zoo
from messages import fails, says

from fdrl import cli, make_run, train
from fdrl.core.errors import FdrlError, Notice
from fdrl.core.registry import EnvSpec
from fdrl.runs.folder import latest_checkpoint, read_summary
from fdrl.vector.factory import limited, make_factory
from fdrl.vector.gym import longest
from fdrl.vector.heterogeneity import Nothing

AGENT = {"type": "ppo", "n_envs": 2, "n_steps": 32, "batch_size": 32, "n_epochs": 1, "hidden": [8]}
PLAIN = {"agents": 2, "steps": 640, "agent": AGENT, "evaluation": {"episodes": 1}}


@pytest.fixture(autouse=True)
def _fresh_counters() -> Iterator[None]:
    yield
    for kind in vars(bad_worlds).values():
        if isinstance(kind, type) and issubclass(kind, bad_worlds.Good):
            kind.steps_of_all = 0


def run_of(kind: str, **fields: Any) -> Any:
    return make_run(env=f"bad_worlds:bad/{kind}-v0", **(PLAIN | fields))


def test_a_reset_without_a_seed_is_told_what_to_take(tmp_path: Path) -> None:
    with fails(
        FdrlError, "reset(self, *, seed=None, options=None)", "bad/NoSeed-v0", "agent 0 copy 0"
    ) as error:
        train(run_of("NoSeed"), out=tmp_path / "a")
    assert "bad/NoSeed-v0', agent 0 copy 0" in str(error.value)


def test_nan_names_agent_copy_and_step_and_the_round_before_is_saved(tmp_path: Path) -> None:
    with pytest.raises(FdrlError) as error:
        train(run_of("NaN"), out=tmp_path / "a")
    text = str(error.value)
    # step 300 of all: two agents step two copies each, in turn, so it is the last one's 75th;
    # episodes are 25 steps long, and a round takes 64 of each agent
    says(error.value, "agent 1 copy 1", "step 25", "seed")
    assert "observation [nan nan]" in text
    says(error.value, "round 2", f"fdrl train --resume {tmp_path / 'a'}")
    assert "\n" not in text
    newest = latest_checkpoint(tmp_path / "a")
    assert newest is not None
    assert newest.round == 2


def metrics(folder: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    clock = ("wall_seconds", "seconds", "steps_per_second")
    return [{k: v for k, v in line.items() if k not in clock} for line in lines]


@pytest.mark.parametrize("threads", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_what_raises_after_a_thousand_steps_resumes_to_the_bit(
    threads: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    steps = 640 * threads  # each worker's copies count for themselves
    run, folder = run_of("Breaks", steps=steps, threads=threads), tmp_path / "a"
    with pytest.raises(FdrlError) as error:
        train(run, out=folder)
    text = str(error.value)
    assert "the wheel came off" in text  # as the environment says it
    assert "agent " in text
    assert " step " in text
    done = 7 if threads == 1 else 15  # 1,000 steps are 250 (or 500) a copy, a round is 32
    says(error.value, f"round {done}", f"fdrl train --resume {folder}")
    assert f"fdrl train --resume {folder}" in text
    assert len(metrics(folder)) == done
    monkeypatch.setenv("FDRL_TEST_MENDED", "yes")
    bad_worlds.Breaks.steps_of_all = 0
    assert cli.main(["train", "--resume", str(folder), "--trust", "--quiet"]) == 0
    assert read_summary(folder) is not None
    bad_worlds.Breaks.steps_of_all = 0
    train(run, out=tmp_path / "whole", curves=False)
    assert metrics(folder) == metrics(tmp_path / "whole")


def test_agents_with_other_actions_are_named() -> None:
    run = run_of("Wide", agent_kwargs=({"actions": 2}, {"actions": 3}))
    with fails(FdrlError, "agent 1", "Discrete(3)", "agent 0"):
        train(run)


def test_two_rewards_are_no_reward() -> None:
    with fails(FdrlError, "agent 0 copy 0", "(2,)", "weighted sum"):
        train(run_of("TwoRewards"))


def test_what_cannot_be_flattened_says_what_mends_it() -> None:
    with fails(FdrlError, "gymnasium.ObservationWrapper"):
        train(run_of("Sequences"))


@pytest.mark.filterwarnings("ignore::fdrl.core.errors.Notice")
def test_an_observation_outside_its_dictionary_is_named() -> None:
    with fails(FdrlError, "agent 0 copy 0", "observation_space"):
        train(run_of("Unlike"))


@pytest.mark.filterwarnings("ignore::fdrl.core.errors.Notice")
def test_a_nested_dictionary_trains() -> None:
    summary = train(run_of("Nested"))
    assert summary.rounds == 10


class Short(zoo.Cart):
    """Limits itself, as its maker is told."""

    limited = False

    def __init__(self, max_steps: int = 0, max_episode_steps: int = 4) -> None:
        self.most = max_steps or max_episode_steps

    def step(self, action: Any) -> Any:
        seen, reward, *_, info = super().step(action)
        return seen, reward, False, self.t >= self.most, info


def lengths(kwargs: dict[str, Any]) -> tuple[int, int]:
    """Return the steps of an evaluation episode, and those after which it would be cut."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Notice)
        envs = make_factory(f"{__name__}:Short", 1, Nothing(), 0, kwargs)
    env = envs.evaluation(1, 0)
    env.reset()
    for t in range(1, 100):
        step = env.step(np.zeros(1, np.int64))
        if step.truncated[0]:
            return t, envs.spec.max_steps
    raise AssertionError("it never ended")


def test_a_makers_own_limit_is_honored() -> None:
    assert lengths({}) == (4, 10_000)
    assert lengths({"max_steps": 7}) == (7, 10_000)
    assert lengths({"max_steps": 7, "max_episode_steps": 9}) == (7, 9)
    assert lengths({"max_episode_steps": 9}) == (9, 9)  # the maker is told too
    spec = EnvSpec("short", gym_id=f"{__name__}:Short")
    assert limited(spec, {"max_steps": 20_000}, 0)[0].max_steps == 20_000


def test_the_maker_of_a_registered_environment_is_told_its_limit() -> None:
    gymnasium.register("own/Short-v0", entry_point=Short, max_episode_steps=50)
    try:
        envs = make_factory("own/Short-v0", 1, Nothing(), 0, {"max_episode_steps": 9})
        env = envs.open(0)
        assert env.unwrapped.most == 9  # type: ignore[attr-defined]
        assert longest(env) == 9
        assert longest(make_factory("own/Short-v0", 1, Nothing(), 0).open(0)) == 50
    finally:
        del gymnasium.registry["own/Short-v0"]


def test_an_evaluation_ends_though_a_wrapper_hides_the_limit() -> None:
    def hidden() -> Any:
        class Deaf(gymnasium.Wrapper):  # type: ignore[type-arg]
            def step(self, action: Any) -> Any:
                seen, reward, *_, info = self.env.step(action)
                return seen, reward, False, False, info

        return Deaf(gymnasium.wrappers.TimeLimit(zoo.Cart(), 3))

    sys.modules[__name__].hidden = hidden
    env = make_factory(f"{__name__}:hidden", 1, Nothing(), 0).evaluation(1, 0)
    env.reset()
    with fails(FdrlError, "hidden", "limit of 3 steps", "truncated"):
        for _ in range(10):
            env.step(np.zeros(1, np.int64))


@pytest.mark.parametrize("threads", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_what_close_raises_costs_nothing(
    threads: int, tmp_path: Path, capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("fdrl.core.errors._SAID", set())
    words = "train --env zoo:CloseRaises --env_kwargs.max_episode_steps 9 --agents 2 --steps 64 "
    words += "--agent.n_envs 2 --agent.n_steps 32 --agent.hidden 4 --evaluation.episodes 1 --quiet"
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert cli.main([*words.split(), f"--threads={threads}", f"--out={tmp_path / 'a'}"]) == 0
    assert read_summary(tmp_path / "a") is not None
    err = capfd.readouterr().err.splitlines()  # of worker processes
    assert all(line.startswith("fdrl: note: ") for line in err)
    notes = "\n".join([*err, *(str(w.message) for w in caught if w.category is Notice)])
    says(notes, "'zoo:CloseRaises'", "close() raised RuntimeError", "zoo.py")
