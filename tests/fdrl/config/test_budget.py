"""Budgets of episodes and goals: what ends an agent's learning, and a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import msgspec
import pytest
from messages import fails

import fdrl
from fdrl.cli.flags import apply_flags
from fdrl.cli.train import read_command
from fdrl.config.budget import UNKNOWN_LENGTH, longest_episode
from fdrl.config.run import parse, to_toml
from fdrl.core.errors import FdrlError
from fdrl.core.records import RoundRecord, Summary
from fdrl.runs.folder import read_summary
from fdrl.runs.progress import spent
from fdrl.runs.train import train

A2C = {"type": "a2c", "n_envs": 1, "n_steps": 1, "hidden": (8,)}


def play(run: fdrl.Run) -> tuple[list[RoundRecord], Summary]:
    federation = fdrl.Federation(run)
    found = []
    while not federation.done:
        found.append(federation.round())
    summary = federation.summary()
    federation.close()
    return found, summary


def small(**fields: Any) -> fdrl.Run:
    return fdrl.make_run(**{"agents": 2, "agent": A2C, "evaluation": {"episodes": 1}} | fields)


def test_rounds_of_episodes_end_with_the_budget() -> None:
    frd = {"type": "frd", "every": 25, "unit": "episodes"}
    records, summary = play(small(episodes=60, strategy=frd))
    assert [r.episodes for r in records] == [[25, 25], [50, 50], [60, 60]]
    assert summary.episodes == [60, 60]


@pytest.mark.parametrize("learner", ["a2c", "reinforce"])
def test_rounds_of_steps_keep_each_agents_budget(learner: str) -> None:
    agent = A2C if learner == "a2c" else {"type": "reinforce", "hidden": (8,)}
    local = {"type": "local", "every": 100, "unit": "steps"}
    records, _ = play(small(agents=3, episodes=20, agent=agent, strategy=local))
    assert records[-1].episodes == [20, 20, 20]
    assert len({r.episodes[0] - r.episodes[1] for r in records}) > 1  # they end at different times


def test_steps_may_be_used_up_first() -> None:
    records, _ = play(small(steps=150, episodes=1000, strategy={"type": "fd", "every": 100}))
    assert records[-1].env_steps == [150, 150]


def test_agents_in_several_processes_keep_their_own_budgets() -> None:
    fields: dict[str, Any] = {"episodes": 8, "strategy": {"type": "fd", "every": 50}}
    one, two = (play(small(agents=3, **fields, threads=t))[0] for t in (1, 2))
    assert [r.episodes for r in one] == [r.episodes for r in two]
    assert [r.returns for r in one] == [r.returns for r in two]


@pytest.mark.parametrize("strategy", ["fedavg", "self", "pd", "mixfrd", "fedhpd"])
def test_every_method_keeps_the_budget(strategy: str) -> None:
    proxy = {"proxy": {"type": "uniform", "size": 8}} if strategy == "fedhpd" else {}
    records, _ = play(small(episodes=7, strategy={"type": strategy, "every": 60}, **proxy))
    assert records[-1].episodes == [7, 7]


def test_pooled_learners_have_no_episodes_of_their_own() -> None:
    with fails(FdrlError, "episodes", "steps"):
        fdrl.Federation(small(episodes=5, strategy="pooled"))


def test_completion_is_exact_and_ends_the_run() -> None:
    local = {"type": "local", "every": 10, "unit": "episodes"}
    # CartPole never returns less than 8, so every agent completes with its third episode.
    goal = {"mean": 1.0, "window": 3}
    records, summary = play(small(episodes=60, strategy=local, goal=goal))
    assert [r.completed for r in records] == [2]
    assert summary.completed == 2
    assert summary.completion_episodes == [3, 3]
    assert (summary.first_episodes, summary.all_episodes) == (3, 3)
    steps = [s for s in summary.completion_steps if s is not None]
    assert (summary.first_steps, summary.all_steps) == (min(steps), max(steps))
    # the third episode ends at the sum of three returns, a step being worth 1
    alone, _ = play(small(episodes=3, strategy=local))
    assert alone[-1].env_steps == summary.completion_steps


def test_completion_steps_count_all_copies() -> None:
    ppo = {"type": "ppo", "n_envs": 4, "n_steps": 64, "hidden": (8,), "n_epochs": 1}
    goal = {"mean": 1.0, "window": 1}
    _, summary = play(small(agent=ppo, steps=512, strategy="local", goal=goal))
    assert summary.completion_episodes == [1, 1]
    for steps in summary.completion_steps:
        assert steps is not None
        assert steps % 4 == 0
        assert 32 <= steps <= 4 * 60  # no episode is shorter than 8 steps


def test_without_stop_the_run_goes_on_and_censored_agents_are_none() -> None:
    local = {"type": "local", "every": 5, "unit": "episodes"}
    _, summary = play(small(episodes=10, strategy=local, goal={"mean": 1e3, "stop": False}))
    assert summary.episodes == [10, 10]
    assert (summary.completed, summary.completion_steps) == (0, [None, None])
    assert summary.first_steps is summary.all_steps is None
    assert summary.episode_auc == pytest.approx(summary.last_mean)  # fewer than 100 episodes


def test_completion_survives_a_resume(tmp_path: Path) -> None:
    fields: dict[str, Any] = {"episodes": 12, "checkpoint_every": 1}
    fields |= {"strategy": {"type": "fd", "every": 4, "unit": "episodes"}}
    run = small(**fields, goal={"mean": 15.0, "window": 5, "stop": False})
    whole = train(run, out=tmp_path / "whole", curves=False)

    class Crash(BaseException):
        pass

    class After:
        def __getattr__(self, name: str) -> Any:
            return lambda *_: None

        def round(self, record: RoundRecord) -> None:
            if record.round == 2:
                raise Crash

    with pytest.raises(Crash):
        train(run, out=tmp_path / "cut", curves=False, trackers=[After()])
    again = train(run, out=tmp_path / "cut", curves=False, resume=True)
    clock = {"wall_seconds", "steps_per_second"}
    one, two = (
        {k: v for k, v in msgspec.to_builtins(s).items() if k not in clock} for s in (whole, again)
    )
    assert one == two
    assert read_summary(tmp_path / "cut") == again


def test_steps_follow_from_episodes_if_they_are_not_given() -> None:
    assert small(episodes=60).steps == 61 * 500
    assert fdrl.make_run(episodes=60).steps == (60 + 8) * 500  # eight copies
    assert small(episodes=60, steps=700).steps == 700
    assert small(episodes=60, env="LunarLander-v3").steps == 61 * 1000
    assert small(episodes=60, env_kwargs={"max_episode_steps": 30}).steps == 61 * 30
    cohorts = [{"agents": 1, "agent": A2C}, {"agents": 1, "agent": {"type": "ppo", "n_envs": 3}}]
    assert fdrl.make_run(episodes=1, cohorts=cohorts).steps == 2001  # shared by 1 and by 3 copies


def test_a_falling_learning_rate_needs_a_budget_of_steps_alone() -> None:
    agent = {**A2C, "lr_schedule": "linear"}
    for budget in ({"episodes": 3}, {"episodes": 3, "steps": 100}):
        with fails(FdrlError, "lr_schedule", "'a2c'"):
            fdrl.Federation(small(agent=agent, **budget))
    play(small(agent=agent, steps=20, strategy="local"))


def test_limits_of_environments_that_modules_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [
        "from gymnasium.envs.registration import register",
        "from fdrl.core.registry import EnvSpec",
        "register('Short-v0', 'nowhere:Env', max_episode_steps=7)",
        "spec = EnvSpec('short', gym_id='CartPole-v1', max_steps=9)",
    ]
    (tmp_path / "limits_of_envs.py").write_text("\n".join(lines))
    monkeypatch.syspath_prepend(tmp_path)
    assert longest_episode("limits_of_envs:Short-v0", {}) == 7
    assert longest_episode("limits_of_envs:spec", {}) == 9
    gymnasium.registry.pop("Short-v0")


def test_limits_of_environments() -> None:
    assert longest_episode("CliffWalking-v1", {}) == UNKNOWN_LENGTH
    assert longest_episode("Pendulum-v1", {}) == 200
    assert longest_episode("nowhere:Env", {}) == UNKNOWN_LENGTH
    assert longest_episode("nowhere-v0", {}) == UNKNOWN_LENGTH


def test_the_limit_of_an_environment_that_its_module_registers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_limit.py").write_text(
        "import gymnasium\n"
        "gymnasium.register('OwnLimit-v0', 'own_limit:Env', max_episode_steps=37)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert longest_episode("own_limit:OwnLimit-v0", {}) == 37


@pytest.mark.parametrize(
    ("words", "steps"),
    [
        ("--episodes 60", 68 * 500),  # the preset's steps give way
        ("--episodes 60 --steps 800", 800),
        ("--env LunarLander-v3 --episodes 5", 13_000),
        ("--episodes 60 --agent.n_envs 1", 61 * 500),
        ("", 40_960),
    ],
)
def test_flags_of_a_budget(words: str, steps: int) -> None:
    assert read_command([*words.split(), "--out", "x"]).run.steps == steps


def test_flags_of_a_goal() -> None:
    words = "--goal 490 --goal.window 5 --goal.stop false --out x"
    run = read_command(words.split()).run
    assert run.goal is not None
    assert (run.goal.mean, run.goal.window, run.goal.stop) == (490.0, 5, False)
    with fails(FdrlError, "'meen'", nearest="mean"):
        read_command(["--goal.meen", "490"])


def test_a_goal_that_is_no_table_is_named_under_flags_too() -> None:
    for words in (["--goal.window", "5"], ["--goal", "3"], []):
        with pytest.raises(FdrlError, match=r"^config: .*(goal.*490|490.*goal)"):
            apply_flags({"goal": 490.0}, words)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({"episodes": -1}, "episodes"),
        ({"episodes": "many"}, "got 'many'"),
        ({"goal": {"window": 3}}, "mean"),
        ({"goal": {"mean": 1, "window": 0}}, "goal.window"),
        ({"goal": {"mean": float("nan")}}, "finite"),
        ({"episodes": 3, "agent": {"type": "pppo"}}, "pppo"),
        ({"episodes": 3, "cohorts": [{"agents": 1}]}, "agent"),
    ],
)
def test_mistakes_are_named(raw: dict[str, Any], message: str) -> None:
    with pytest.raises(FdrlError, match=message):
        parse(raw)


def test_goals_survive_toml() -> None:
    run = fdrl.make_run(steps=7, goal={"mean": 3.0})
    assert parse(msgspec.toml.decode(to_toml(run))) == run


def record(**fields: Any) -> RoundRecord:
    rest = {"round": 1, "returns": [], "return_mean": None, "bytes_up": 0.0, "bytes_down": 0.0}
    return RoundRecord(**rest | {"exchanged": False} | fields)


def test_the_share_that_is_spent_is_the_last_agents() -> None:
    run = small(steps=1000, episodes=10, goal={"mean": 1.0})
    assert spent(run, record(env_steps=[500, 100], episodes=[2, 3])) == 0.3
    assert spent(run, record(env_steps=[500, 100], episodes=[2, 3], completed=2)) == 1.0
    assert spent(small(steps=1000), record(env_steps=[500, 100], episodes=[2, 3])) == 0.1


def test_summaries_of_earlier_versions_can_be_read(tmp_path: Path) -> None:
    train(small(steps=60, strategy="local"), out=tmp_path / "a", curves=False)
    path = tmp_path / "a" / "summary.json"
    raw = msgspec.json.decode(path.read_bytes())
    for name in [*raw][[*raw].index("versions") + 1 :]:
        del raw[name]
    path.write_bytes(msgspec.json.encode(raw))
    summary = read_summary(tmp_path / "a")
    assert summary is not None
    assert summary.completed is None
    assert summary.episode_auc != summary.episode_auc
