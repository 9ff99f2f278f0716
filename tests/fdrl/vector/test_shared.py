"""Spaces of agents that share worlds: tables, continuous actions; and what is refused."""

from __future__ import annotations

import importlib.util
import sys
from typing import Any

import numpy as np
import pytest
from messages import fails
from shared_worlds import finished

from fdrl import FdrlError, Federation, make_run
from fdrl.checks.env import check_parallel_env
from fdrl.cli import main
from fdrl.vector.parallel import random_moves, resting, team_spec
from fdrl.vector.parallel_loop import ParallelLoop

AIM, LAMPS = "shared_worlds:Aim", "shared_worlds:Lamps"
PPO = {"type": "ppo", "n_envs": 2, "n_steps": 8, "batch_size": 8, "n_epochs": 1, "hidden": [8]}
KAZ = "butterfly/knights_archers_zombies-v11"
pytestmark = pytest.mark.filterwarnings("ignore::fdrl.core.errors.Notice")
needs_butterfly = pytest.mark.skipif(
    importlib.util.find_spec("pymunk") is None, reason="needs the butterfly extra"
)


def run(strategy: str, env: str = AIM, **fields: Any) -> Any:
    fields = {"steps": 64, "agent": PPO, "evaluation": {"episodes": 2}, **fields}
    return make_run(env=env, strategy=strategy, **fields)


def test_tables_are_flattened_and_actions_reach_their_own_space() -> None:
    team = team_spec(AIM, {})
    assert team is not None
    assert [s.shape for s in team.observation_spaces] == [(2,), (2,)]
    loop = ParallelLoop(team, [{}], [np.random.SeedSequence(0)], ["world"])
    seen = loop.reset()
    bits = {a: float(seen[a][0, 0]) for a in team.agents}
    step = loop.step({"aimer_0": np.array([[0.25]]), "wide_0": np.array([[1.5, 0.5]])})
    assert step.rewards["aimer_0"].tolist() == [-((0.25 - bits["aimer_0"]) ** 2)]
    assert step.rewards["wide_0"].tolist() == [-((1.5 - bits["wide_0"]) ** 2)]
    assert loop.state()["actions"].tolist() == [[[[0.25, 0.0], [1.5, 0.5]]]]


def test_nobody_plays_what_is_nearest_to_nothing() -> None:
    team = team_spec(AIM, {})
    assert team is not None
    assert resting(team.action_spaces[0], 2).tolist() == [[0], [0]]
    assert resting(team.action_spaces[1], 1).tolist() == [[0.5, 0.5]]
    drawn = random_moves(
        dict(zip(team.agents, team.action_spaces, strict=True)), np.random.default_rng(0)
    )
    assert drawn["wide_0"].shape == (1, 2)
    assert (drawn["wide_0"] >= 0.5).all()


@pytest.mark.parametrize("strategy", ["local", "fd", "fedavg", "pooled"])
def test_continuous_worlds_resume_to_the_bit(strategy: str) -> None:
    whole = Federation(run(strategy, agents=4))
    assert whole.round().rejected == []
    saved = whole.state()
    finished(whole)
    again = Federation(run(strategy, agents=4))
    again.load_state(saved)
    finished(again)
    for name, array in whole.state().items():
        if "seconds" not in name:
            np.testing.assert_array_equal(array, again.state()[name], err_msg=name)
    assert [c.cohort.parameters().shape[0] for c in whole.clients] == [2, 2]
    whole.close(), again.close()


@pytest.mark.slow
def test_an_aimer_learns_to_aim() -> None:
    agent = {**PPO, "n_envs": 8, "n_steps": 32, "n_epochs": 4, "batch_size": 64,
             "learning_rate": 0.003}  # fmt: skip
    federation = Federation(run("fd", steps=8192, agent=agent))
    before = federation.evaluate(20).mean(1)
    finished(federation)
    after = federation.evaluate(20).mean(1)
    assert after[0] > before[0] / 4  # three steps that miss by 1/2 on average at first
    assert after[0] > -0.4
    federation.close()


def test_check_says_what_is_flattened() -> None:
    found = check_parallel_env(AIM)
    assert {f.level for f in found} == {"ok"}
    assert "flattened" in found[0].message
    assert "Box" in found[0].message


def test_gaussians_cannot_add_up_in_the_air() -> None:
    groups = [["aimer_0"], ["wide_0"]]
    with fails(FdrlError, "air"):
        Federation(run("fd", groups=groups, channel={"type": "mac-analog"}))


@pytest.mark.filterwarnings("ignore:The old environment creation API")
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("shared_worlds:Turns", "turns.*aec_to_parallel"),
        ("shared_worlds:turns", "turns.*aec_to_parallel"),
        ("pettingzoo.classic:tictactoe_v3", "turns.*cannot"),
        ("classic/tictactoe-v3", "turns.*cannot"),
    ],
)
def test_agents_that_take_turns_are_refused_in_one_line(
    name: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(FdrlError, match=words) as caught:
        team_spec(name, {})
    assert "\n" not in str(caught.value)
    assert main(["train", "--quiet", "--env", name]) == 2
    assert "take turns" in capsys.readouterr().err


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(sys.modules):
        if name.startswith("pettingzoo.butterfly"):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pymunk", None)
    monkeypatch.setitem(sys.modules, "pygame", None)
    with fails(FdrlError, "fdrl[butterfly]"):
        team_spec("pettingzoo.butterfly:pistonball_v6", {})


@needs_butterfly
def test_too_many_components_for_a_grid_are_visited_instead() -> None:
    own = {"n_envs": 2, "n_steps": 32, "type": "ppo", "hidden": [8]}
    made = run("fd", KAZ, steps=128, agent=own, env_kwargs={"max_cycles": 40})
    assert made.proxy.size == 256
    assert type(made.proxy).__struct_config__.tag == "rollout"
    federation = Federation(made)
    assert federation.round().rejected == []
    assert len(federation.clients) == 2
    federation.close()


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["fd", "pooled"])
def test_images_of_one_world_resume_to_the_bit(strategy: str) -> None:
    proxy = {"type": "rollout", "size": 16}
    whole = Federation(run(strategy, LAMPS, steps=32, proxy=proxy))
    assert whole.round().rejected == []
    saved = whole.state()
    finished(whole)
    again = Federation(run(strategy, LAMPS, steps=32, proxy=proxy))
    again.load_state(saved)
    finished(again)
    for a, b in zip(whole.clients, again.clients, strict=True):
        np.testing.assert_array_equal(a.cohort.parameters(), b.cohort.parameters())
    whole.close(), again.close()


@pytest.mark.slow
def test_several_roles_may_see_images() -> None:
    groups = [["lamp_0"], ["lamp_1"]]
    proxy = {"type": "rollout", "size": 16}
    federation = finished(Federation(run("fd", LAMPS, groups=groups, steps=32, proxy=proxy)))
    assert [c.cohort.observation_shape for c in federation.clients] == [(8, 8, 1)] * 2
    federation.close()
