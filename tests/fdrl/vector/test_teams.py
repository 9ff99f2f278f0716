"""Agents that share worlds: roles, seats, learning, resuming, and what is refused."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest
from messages import fails
from shared_worlds import finished

from fdrl import FdrlError, Federation, make_run
from fdrl.checks.env import check_parallel_env
from fdrl.cli import main
from fdrl.vector.parallel import team_spec
from fdrl.vector.parallel_loop import ParallelLoop

PAIR = "shared_worlds:Pair"
PPO = {"type": "ppo", "n_envs": 2, "n_steps": 8, "batch_size": 8, "n_epochs": 1, "hidden": [8]}


def run(strategy: str = "fd", **fields: Any) -> Any:
    fields = {"steps": 64, "agent": PPO, "evaluation": {"episodes": 2}, **fields}
    return make_run(env=PAIR, strategy=strategy, **fields)


def test_roles_are_agents_of_equal_spaces_and_name() -> None:
    team = team_spec(PAIR, {})
    assert team is not None
    assert team.agents == ("caller_0", "hearer_0", "hearer_1")
    assert team.roles == ((0,), (1, 2))
    assert team_spec("shared_worlds:pair", {}) is not None
    assert team_spec("CartPole-v1", {}) is None


def test_as_many_agents_as_share_a_world_unless_more_worlds_are_asked_for() -> None:
    assert run().agents == 3
    assert run(agents=6).agents == 6
    with fails(FdrlError, "agents", "multiple of 3", 4):
        Federation(run(agents=4))


@pytest.mark.parametrize("strategy", ["local", "fd", "fedavg", "pooled"])
def test_every_strategy_runs_role_by_role_and_repeats_to_the_bit(strategy: str) -> None:
    first, second = (finished(Federation(run(strategy, agents=6))) for _ in range(2))
    assert [c.cohort.ids for c in first.clients] == [
        ("agent-00", "agent-03"),
        ("agent-01", "agent-02", "agent-04", "agent-05"),
    ]
    one, two = first.summary(), second.summary()
    assert one.returns == two.returns
    assert (one.bytes_up > 0) == (strategy != "local")
    for a, b in zip(first.clients, second.clients, strict=True):
        np.testing.assert_array_equal(a.cohort.parameters(), b.cohort.parameters())
    first.close(), second.close()


def test_how_threads_are_switched_changes_nothing() -> None:
    """Cohorts share scratch memory, so two of them must never compute at the same time."""
    expected = finished(Federation(run("local", agents=6)))
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        found = [finished(Federation(run("local", agents=6))) for _ in range(8)]
    finally:
        sys.setswitchinterval(before)
    for federation in found:
        for a, b in zip(expected.clients, federation.clients, strict=True):
            np.testing.assert_array_equal(a.cohort.parameters(), b.cohort.parameters())
        federation.close()
    expected.close()


def test_resuming_equals_never_having_stopped() -> None:
    whole = Federation(run())
    whole.round()
    saved = whole.state()
    finished(whole)
    again = Federation(run())
    again.load_state(saved)
    finished(again)
    for name, array in whole.state().items():
        if "seconds" not in name:
            np.testing.assert_array_equal(array, again.state()[name], err_msg=name)
    whole.close(), again.close()


def test_worlds_step_all_agents_and_start_again_together() -> None:
    team = team_spec(PAIR, {})
    assert team is not None
    loop = ParallelLoop(team, [{}, {}], [np.random.SeedSequence(i) for i in range(2)], ["a", "b"])
    loop.reset()
    said = {"caller_0": [1, 0], "hearer_0": [0, 0], "hearer_1": [0, 0]}
    step = loop.step({a: np.array(v) for a, v in said.items()})
    np.testing.assert_array_equal(step.observations["hearer_0"], [[0, 1, 0], [1, 0, 0]])
    step = loop.step({a: np.array(v) for a, v in said.items()})
    np.testing.assert_array_equal(step.rewards["caller_0"], [0.0, 2.0])
    for _ in range(2):
        step = loop.step({a: np.array(v) for a, v in said.items()})
    assert all(step.truncated[a].all() and step.alive[a].all() for a in team.agents)
    np.testing.assert_array_equal(step.observations["hearer_0"], [[0, 0, 1], [0, 0, 1]])
    np.testing.assert_array_equal(step.next_observations["hearer_0"], [[0, 1, 0], [1, 0, 0]])


@pytest.mark.slow
def test_a_team_learns_to_talk() -> None:
    agent = {**PPO, "n_envs": 8, "n_steps": 32, "n_epochs": 4, "batch_size": 64}
    federation = finished(Federation(run("fd", steps=8192, agent=agent)))
    # Of four steps the hearers can be right in three, two of them: random is 3.
    assert federation.evaluate(20).mean() > 5.5
    federation.close()


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("late", "hearer_1"),
        ("raises", "'shared_worlds:Pair'.*step 2.*ValueError: out of fuel .*shared_worlds.py"),
    ],
)
def test_broken_worlds_are_named_in_one_line(fault: str, words: str) -> None:
    with pytest.raises(FdrlError, match=words) as caught:  # noqa: PT012
        federation = Federation(run("local", env_kwargs={"fault": fault}))
        try:
            finished(federation)
        finally:
            federation.close()
    assert "\n" not in str(caught.value)


def test_agents_that_differ_cannot_be_forced_into_one_group() -> None:
    groups = [["caller_0", "hearer_0"], ["hearer_1"]]
    with fails(FdrlError, "caller_0", "hearer_0"):
        Federation(run(groups=groups))
    with fails(FdrlError, "groups", "caller_0", "hearer_0", "hearer_1"):
        Federation(run(groups=[["caller_0"]]))
    apart = Federation(run(groups=[["caller_0"], ["hearer_0"], ["hearer_1"]]))
    assert len(apart.clients) == 3
    apart.close()
    with fails(FdrlError, "groups", "'CartPole-v1'"):
        Federation(make_run(groups=[["a"]]))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"threads": 2}, "threads"),
        ({"episodes": 5}, "steps or iterations"),
        ({"agent": {"type": "reinforce"}}, "ppo or a2c"),
        ({"hetero": {"type": "dynamics"}}, "hetero"),
        ({"agent_kwargs": [{}, {}, {"length": 5}]}, "share a world"),
    ],
)
def test_what_a_team_cannot_have_is_said(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(FdrlError, match=words):
        Federation(run("local", **fields))


def test_teams_may_live_in_different_worlds() -> None:
    own = [{"length": 4}] * 3 + [{"length": 8}] * 3
    federation = finished(Federation(run("local", agents=6, agent_kwargs=own)))
    assert federation.labels[0].split() == ["agent", "caller_0", "length", "4"]
    federation.close()


def test_checks_say_what_is_wrong() -> None:
    assert {f.level for f in check_parallel_env(PAIR)} == {"ok"}
    seedless = check_parallel_env(PAIR, fault="seedless")
    assert any("reset(seed=...)" in f.message for f in seedless if f.level == "warning")


@pytest.mark.parametrize("agent", ["reinforce", "sb3", "classifier"])
def test_learners_that_act_one_by_one_are_refused(agent: str) -> None:
    with fails(FdrlError, agent, "ppo or a2c"):
        Federation(run(agent={"type": agent}))


def test_check_knows_parallel_environments(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "fdrl/SpectrumAccess-v0"]) == 0
    said = capsys.readouterr().out
    assert "radio_0, radio_1, radio_2, radio_3" in said
    assert "parallel_api_test passes" in said


@pytest.mark.parametrize(
    "name", ["fdrl/SpectrumAccess-v0", "fdrl.envs.spectrum:fdrl/SpectrumAccess-v0"]
)
def test_the_suites_own_worlds_train_by_their_ids(name: str) -> None:
    made = make_run(env=name, steps=512, agent={"type": "ppo", "n_steps": 64})
    federation = Federation(made)
    record = federation.round()
    federation.close()
    assert len(federation.ids) == 4
    assert record.rejected == []
