"""Agents that leave a shared world before the others: every strategy, resuming, what is sent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from messages import fails, says
from shared_worlds import finished

from fdrl import FdrlError, Federation, make_run
from fdrl.checks.env import check_parallel_env
from fdrl.cli import main
from fdrl.core.env import MultiStep
from fdrl.core.errors import BadMessage
from fdrl.core.message import Transitions
from fdrl.strategies.pooled import lived, spread
from fdrl.vector.parallel import team_spec
from fdrl.vector.parallel_loop import ParallelLoop
from fdrl.vector.shared import masked
from fdrl.wire.checks import check_transitions
from fdrl.wire.codec import decode

LEAVER, DRONES = "shared_worlds:Leaver", "fdrl/DroneCorridor-v0"
PPO = {"type": "ppo", "n_envs": 2, "n_steps": 7, "batch_size": 4, "n_epochs": 2, "hidden": [8]}


def run(strategy: str, env: str = LEAVER, **fields: Any) -> Any:
    fields = {"steps": 56, "agent": PPO, "evaluation": {"episodes": 2}, **fields}
    return make_run(env=env, strategy=strategy, **fields)


@pytest.mark.parametrize("env", [LEAVER, DRONES])
@pytest.mark.parametrize("strategy", ["local", "fd", "fedavg", "pooled", "pd", "frd", "self"])
def test_resuming_equals_never_having_stopped(strategy: str, env: str) -> None:
    steps = {"steps": 224, "agent": {**PPO, "n_steps": 28}} if env == DRONES else {}
    whole = Federation(run(strategy, env, **steps))
    assert whole.round().rejected == []  # after 7 steps of 4: agent_1 is away
    saved = whole.state()
    finished(whole)
    again = Federation(run(strategy, env, **steps))
    again.load_state(saved)
    finished(again)
    for name, array in whole.state().items():
        if "seconds" not in name:
            np.testing.assert_array_equal(array, again.state()[name], err_msg=name)
    assert whole.tally.steps.tolist() == [again.run.steps] * len(whole.ids)
    whole.close(), again.close()


def test_every_strategy_gets_the_same_number_of_world_steps() -> None:
    for strategy in ("local", "fd", "fedavg", "pooled"):
        federation = Federation(run(strategy))
        alive = federation.round().metrics["rollout/alive"]
        finished(federation)
        # 7 steps of episodes of 4, of which agent_1 takes 2: all of 14, and 8 of 14
        assert alive == pytest.approx((14 + 8) / 28)
        assert federation.tally.steps.tolist() == [56, 56]
        assert federation.tally.episodes.tolist() == [14, 14]
        federation.close()


def test_returns_end_where_the_agent_left() -> None:
    federation = Federation(run("local"))
    assert federation.evaluate(3).tolist() == [[4] * 3, [20] * 3]
    record = finished(federation).summary()
    assert record.returns == [4, 20]
    federation.close()


def test_an_agent_that_has_left_sits_out_until_its_world_is_over() -> None:
    team = team_spec(LEAVER, {})
    assert team is not None
    loop = ParallelLoop(team, [{}], [np.random.SeedSequence(0)], ["world"])
    loop.reset()
    alive, ends = [], []
    for _ in range(5):
        step = loop.step({a: np.zeros(1, np.int64) for a in team.agents})
        alive.append([bool(step.alive[a][0]) for a in team.agents])
        ends.append([bool(step.terminated[a][0]) for a in team.agents])
    assert alive == [[True, True]] * 2 + [[True, False]] * 2 + [[True, True]]
    assert ends == [[False, False], [False, True], [False, False], [True, False], [False, False]]


def test_a_world_for_one_episode_takes_no_step_after_it() -> None:
    team = team_spec(LEAVER, {})
    assert team is not None
    seeds = [np.random.SeedSequence(0)]
    loop = ParallelLoop(team, [{}], seeds, ["world"], once=True)
    for _ in range(2):
        loop.reset()
        moves = {a: np.zeros(1, np.int64) for a in team.agents}
        steps = [{a: v.copy() for a, v in loop.step(moves).alive.items()} for _ in range(6)]
        assert [bool(s["agent_0"][0]) for s in steps] == [True] * 4 + [False] * 2
        assert not any(s["agent_1"][0] for s in steps[2:])
        assert loop.state()["counts"].tolist() == [4]


def test_what_a_step_holds_for_those_who_left_is_wiped() -> None:
    def rows(*values: float, dtype: Any = np.float64) -> Any:
        return {"a": np.array(values[:2], dtype), "b": np.array(values[2:], dtype)}

    nan, yes = np.nan, True
    seen = {a: np.array([[nan], [2]], np.float32) if a == "b" else np.ones((2, 1), np.float32)
            for a in "ab"}  # fmt: skip
    # world 0: b left before; world 1: both stay
    step = masked(MultiStep(
        seen, rows(1, 1, nan, 5), rows(0, 0, 1, 0, dtype=np.bool_),
        rows(0, 0, 1, 0, dtype=np.bool_), {a: s.copy() for a, s in seen.items()},
        rows(yes, yes, False, yes, dtype=np.bool_),
    ))  # fmt: skip
    assert step.rewards["b"].tolist() == [0, 5]
    assert not step.terminated["b"].any()
    assert not step.truncated["b"].any()
    assert step.observations["b"].tolist() == [[0], [2]]
    assert step.next_observations["b"].tolist() == [[0], [2]]
    assert step.observations["a"].tolist() == [[1], [1]]


def test_a_world_that_starts_again_shows_everybody() -> None:
    yes, no = np.array([True]), np.array([False])
    seen = {a: np.full((1, 1), 3, np.float32) for a in "ab"}
    zero = {a: np.zeros(1) for a in "ab"}
    flags = {"a": yes, "b": no}
    step = masked(MultiStep(seen, zero, flags, dict.fromkeys("ab", no), seen, flags))
    assert step.observations["b"].tolist() == [[3]]  # of its next episode
    assert step.next_observations["b"].tolist() == [[0]]


def test_only_steps_that_were_taken_are_uploaded() -> None:
    federation = Federation(run("pooled"))
    client = federation.clients[0]
    arrays = [decode(reply) for reply in client.learn(1).values() if isinstance(reply, bytes)]
    shapes = [m.arrays["rewards"].shape for m in arrays if isinstance(m, Transitions)]
    assert shapes == [(14,), (8,)]  # agent_0 sends `alive` too: all its steps
    federation.close()


def test_transitions_with_holes_are_checked() -> None:
    alive = np.array([[True, False], [True, True]])
    whole = {"observations": np.ones((2, 2, 3), np.float32), "actions": np.ones((2, 2), np.int64),
             "rewards": np.ones((2, 2)), "terminated": alive, "truncated": alive,
             "next_observations": np.ones((2, 2, 3), np.float32), "alive": alive}  # fmt: skip
    sent = lived(whole)
    asked: Any = {"round": 1, "observation_shape": (3,), "n_actions": 2, "copies": 2,
                  "most_steps": 4}  # fmt: skip
    assert len(check_transitions(Transitions(1, sent), **asked).arrays["actions"]) == 3
    back = spread(sent)
    np.testing.assert_array_equal(back["rewards"], alive)
    np.testing.assert_array_equal(back["observations"][0], [[1, 1, 1], [0, 0, 0]])
    for fault, words in (
        ({"alive": np.zeros((2, 2), np.bool_)}, "of nobody"),
        ({"alive": np.ones((2, 2), np.bool_)}, "not \\(4"),
        ({"alive": np.ones((2, 3), np.bool_)}, "shape"),
        ({"alive": np.ones((9, 2), np.bool_)}, "4 steps"),
        ({"alive": np.ones((2, 2))}, "alive.*type"),
        ({"alive": np.ones(4, np.bool_)}, "shape"),
        ({"rewards": np.ones((2, 2))}, "rewards.*shape"),
    ):
        with pytest.raises(BadMessage, match=words):
            check_transitions(Transitions(1, {**sent, **fault}), **asked)


def test_check_says_how_many_leave(capsys: pytest.CaptureFixture[str]) -> None:
    found = check_parallel_env(LEAVER)
    assert [f.level for f in found] == ["ok"] * 4
    said = found[-1].message
    says(said, "1 of 2 agents", "(agent_1)")
    assert main(["check", DRONES]) == 0
    says(capsys.readouterr().out, "agents", "leave")


def test_evaluating_a_finished_run_again(tmp_path: Path, capsys: Any) -> None:
    out = str(tmp_path / "run")
    words = f"train --quiet --env {LEAVER} --strategy fd --steps 64 --agent.n_envs 2 --out {out}"
    assert main(words.split()) == 0
    assert main(["eval", out, "--trust", "--episodes", "2"]) == 0
    assert "mean 12.0" in capsys.readouterr().out


@pytest.mark.parametrize("proxy", ["sobol", "rollout", "visited"])
def test_proxies_are_states_of_agents_that_are_there(proxy: str) -> None:
    federation = Federation(run("fd", proxy={"type": proxy}, env_kwargs={"how": "truncated"}))
    states = federation.envs.roles[0].visit(40)  # type: ignore[union-attr]
    own = {tuple(row) for row in states.tolist()}
    assert own <= {(t, who) for t in range(5) for who in (0, 1) if t <= 2 or who == 0}
    finished(federation).close()


def test_drones_may_differ_in_their_wind() -> None:
    made = run("local", DRONES, agents=8, steps=56, hetero={"type": "dynamics", "level": 0.5},
               env_kwargs={"gust": [0.1, 0.2, 0.3, 0.4]})  # fmt: skip
    federation = Federation(made)
    worlds = federation.envs.world_kwargs  # type: ignore[union-attr]
    # u is -1, -5/7, ..., 1 over all eight; the default of wind_y is 0.3
    np.testing.assert_allclose(worlds[0]["wind_y"], [0.3 * (1 - 0.5 + k / 7) for k in range(4)])
    np.testing.assert_allclose(worlds[1]["wind_y"], [0.3 * (1 - 0.5 + k / 7) for k in range(4, 8)])
    assert worlds[1]["gust"] == [0.1, 0.2, 0.3, 0.4]  # what is said of each agent stays
    assert federation.labels[1].split() == (
        ["agent", "drone_1", "gust", "0.2", "wind_x", "-0.0643", "wind_y", "0.193"]
    )
    federation.round()
    federation.close()
    with fails(FdrlError, "'init'", "init=(low, high, shift)"):
        Federation(run("local", DRONES, hetero={"type": "init"}))
