"""The multi-agent environments: PettingZoo's checkers, both forms against each other, by hand."""

from __future__ import annotations

import subprocess
import sys
import warnings
from typing import Any

import numpy as np
import pettingzoo
import pytest
from fdrl.envs import drones, spectrum
from fdrl.envs.spectrum import Spectrum, SpectrumAccess, SpectrumView
from fdrl.envs.worlds import SharedWorlds, SingleWorld, Worlds
from messages import fails

import fdrl
from fdrl.core.errors import FdrlError
from fdrl.vector.parallel import team_spec
from fdrl.vector.parallel_loop import ParallelLoop, make_worlds
from fdrl.vector.shared import StepBarrier
from fdrl.vector.teams import SharedEnvFactory

KINDS: list[type[SingleWorld]] = [spectrum.SpectrumAccess, drones.DroneCorridor]
HEURISTICS: dict[type[SingleWorld], Any] = {
    spectrum.SpectrumAccess: spectrum.heuristic,
    drones.DroneCorridor: drones.heuristic,
}


def seeds(count: int) -> list[np.random.SeedSequence]:
    return [np.random.SeedSequence(i) for i in range(count)]


def make(kind: type[SingleWorld], count: int = 3, **params: Any) -> Worlds:
    return kind.worlds(count, params, seeds(count), kind.max_steps)


def set_state(world: Worlds, **values: Any) -> None:
    world.reset()
    world.load_state({**world.state(), **values})


@pytest.mark.parametrize("kind", KINDS)
def test_pettingzoos_own_checkers_pass(kind: type[SingleWorld]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # importing them warns about PettingZoo's own games
        from pettingzoo.test import parallel_api_test, parallel_seed_test
    parallel_api_test(kind(), 250)
    parallel_seed_test(kind, 120)


@pytest.mark.parametrize("kind", KINDS)
def test_many_worlds_equal_one_at_a_time_to_the_bit(kind: type[SingleWorld]) -> None:
    """Several episodes of random and of skilled play, with physics of each agent's own."""
    name = next(iter(kind.worlds.defaults))
    own = [0.01, 0.04, 0.09, 0.2]
    many, ones = make(kind, **{name: own}), [kind(**{name: own}) for _ in range(3)]
    seen = many.reset()
    firsts = [env.reset(seed=i)[0] for i, env in enumerate(ones)]
    draw = np.random.default_rng(0)
    n_actions, ended = int(kind.worlds.action_space.n), 0
    for w, first in enumerate(firsts):
        np.testing.assert_array_equal(seen[w], list(first.values()))
    for _ in range(260):
        actions = HEURISTICS[kind](seen)
        chance = draw.random(actions.shape) < 0.2
        actions[chance] = draw.integers(n_actions, size=int(chance.sum()))
        step = many.step(actions)
        seen = step.observations
        for w, env in enumerate(ones):
            acting = dict(zip(env.possible_agents, actions[w].tolist(), strict=True))
            got = env.step({a: acting[a] for a in env.agents})
            alive = [env.possible_agents.index(a) for a in got[0]]
            assert alive == np.flatnonzero(step.active[w]).tolist()
            np.testing.assert_array_equal(step.next_observations[w, alive], [*got[0].values()])
            np.testing.assert_array_equal(step.rewards[w, alive], [*got[1].values()])
            np.testing.assert_array_equal(step.terminated[w, alive], [*got[2].values()])
            np.testing.assert_array_equal(step.truncated[w, alive], [*got[3].values()])
            if not env.agents:
                ended += 1
                np.testing.assert_array_equal(seen[w], [*env.reset()[0].values()])
    assert ended >= 6


@pytest.mark.parametrize("kind", KINDS)
def test_saved_worlds_continue_to_the_bit(kind: type[SingleWorld]) -> None:
    many, again = make(kind), make(kind)
    many.reset()
    actions = np.random.default_rng(1).integers(4, size=(90, 3, 4))
    for a in actions[:45]:
        many.step(a)
    again.load_state({k: v.copy() for k, v in many.state().items()})
    for a in actions[45:]:
        for x, y in zip(many.step(a), again.step(a), strict=True):
            np.testing.assert_array_equal(x, y)
    with fails(FdrlError, "3 worlds", 2):
        make(kind, 2).load_state(many.state())


@pytest.mark.parametrize("kind", KINDS)
def test_an_unknown_argument_and_an_early_step_are_errors(kind: type[SingleWorld]) -> None:
    with fails(FdrlError, "'gravity'"):
        kind(gravity=1.0)
    with fails(FdrlError, "reset", "step"):
        make(kind).step(np.zeros((3, 4), int))


@pytest.mark.parametrize("kind", KINDS)
def test_pettingzoo_makes_it_by_its_id_and_it_draws(kind: type[SingleWorld]) -> None:
    name = f"fdrl/{kind.__name__}-v0"
    env: Any = pettingzoo.make("parallel", name, render_mode="rgb_array")
    env.reset(seed=0)
    before = env.render()
    env.step(dict.fromkeys(env.agents, 1))
    assert before.dtype == np.uint8
    assert before.shape[2] == 3
    assert not np.array_equal(before, env.render())


def test_one_slot_of_spectrum_access_by_hand() -> None:
    """Radios 0 and 1 collide; 2 is alone on a good link; 3 sends with an empty queue."""
    params = {"arrival": np.zeros((1, 4)), "luck": np.zeros((1, 4)), "energy": np.full((1, 4), 0.2)}
    world = spectrum.Spectrum(1, params, seeds(1), 100)
    set_state(world, _good=np.ones((1, 4, 3), bool), _queue=np.array([[1, 1, 2, 0]]))
    step = world.step(np.array([[1, 1, 2, 3]]))
    np.testing.assert_allclose(step.rewards, [[-0.2, -0.2, 0.8, -0.2]])
    assert world.state()["_queue"].tolist() == [[1, 1, 1, 0]]
    assert step.observations[0, :, 0].tolist() == [-1, -1, 1, -1]
    assert step.observations[0, 2, 1:5].tolist() == [0, 0, 1, 0]
    np.testing.assert_allclose(step.observations[0, :, -1], [1 / 8, 1 / 8, 1 / 8, 0])


def test_a_bad_link_loses_the_packet_and_fairness_shares_the_reward() -> None:
    params = {"arrival": np.zeros((1, 4)), "luck": np.zeros((1, 4)), "fairness": np.ones((1, 4))}
    world = spectrum.Spectrum(1, {**params, "energy": np.zeros((1, 4))}, seeds(1), 100)
    good = np.ones((1, 4, 3), bool)
    good[0, 0, 0] = False
    set_state(world, _good=good, _queue=np.ones((1, 4), int))
    step = world.step(np.array([[1, 2, 0, 0]]))
    assert step.observations[0, :, 0].tolist() == [-1, 1, 0, 0]
    np.testing.assert_allclose(step.rewards, np.full((1, 4), 0.25))


def test_links_are_good_as_often_as_their_chain_says() -> None:
    world = make(spectrum.SpectrumAccess, 200, worsen=[0.1, 0.1, 0.3, 0.3], recover=0.3)
    world.reset()
    share = np.zeros(4)
    for _ in range(50):
        world.step(np.zeros((200, 4), int))
        share += world.state()["_good"].mean((0, 2)) / 50
    np.testing.assert_allclose(share, [0.75, 0.75, 0.5, 0.5], atol=0.02)


def calm(at: list[list[float]], goal: list[list[float]], **params: float) -> drones.Drones:
    still = {name: np.zeros((1, 4)) for name in drones.Drones.defaults}
    given = {name: np.full((1, 4), value) for name, value in params.items()}
    world = drones.Drones(1, {**still, **given}, seeds(1), 100)
    set_state(world, _at=np.array([at]), _goal=np.array([goal]), _speed=np.zeros((1, 4, 2)))
    return world


FAR = [[10.0, y] for y in (-1.2, -0.4, 0.4, 1.2)]


def test_drones_land_crash_into_walls_and_into_each_other(monkeypatch: Any) -> None:
    monkeypatch.setattr(drones, "TURBULENCE", 0.0)
    goal = [[3.0, 0.0], *FAR[1:]]
    world = calm([[2.7, 0.0], [5.0, 2.01], [7.0, 0.0], [7.2, 0.0]], goal)
    step = world.step(np.zeros((1, 4), int))
    assert step.terminated.tolist() == [[True] * 4]
    np.testing.assert_allclose(step.rewards, [[0.995, -1.005, -1.005, -1.005]])
    assert step.observations[0, 0, 0] < -0.8  # all have left: the next episode has begun


def test_one_thrust_and_the_wind_by_hand(monkeypatch: Any) -> None:
    """Speed 0.2 * 1.5 to the right and 0.2 * 0.5 with the wind, then 0.2 of it further."""
    monkeypatch.setattr(drones, "TURBULENCE", 0.0)
    world = calm([[1.0, y] for _, y in FAR], FAR, wind_y=0.5)
    step = world.step(np.array([[1, 0, 0, 0]]))
    state = world.state()
    np.testing.assert_allclose(state["_speed"][0, 0], [0.3, 0.1])
    np.testing.assert_allclose(state["_at"][0, 0], [1.06, -1.18])
    way = np.hypot(10 - 1.06, -1.2 + 1.18)
    np.testing.assert_allclose(step.rewards[0, 0], (9.0 - way) / 10 - 0.005)
    np.testing.assert_allclose(step.next_observations[0, 0, 6:9], [-0.03, 0.4, 1], atol=1e-6)


def test_a_drone_that_left_rests_and_is_not_seen() -> None:
    world = calm([[1.0, -3.0], [1.0, -0.4], [1.0, 0.4], [1.0, 1.2]], FAR)
    world.step(np.zeros((1, 4), int))
    step = world.step(np.zeros((1, 4), int))
    assert step.active.tolist() == [[False, True, True, True]]
    assert step.rewards[0, 0] == 0
    assert not step.next_observations[0, 0].any()
    assert step.next_observations[0, 1, 8] == 1


def test_seats_are_the_worlds_agent_by_agent() -> None:
    kind = SpectrumView
    params = {n: np.full(8, v) for n, v in kind.worlds.defaults.items()}
    seats, world = kind(8, params, seeds(8), 40), kind.worlds(2, {}, seeds(2), 40)
    seen = seats.reset()
    np.testing.assert_array_equal(seen.reshape(4, 2, -1), world.reset().swapaxes(0, 1))
    for actions in np.random.default_rng(2).integers(4, size=(60, 4, 2)):
        mine, theirs = seats.step(actions.ravel()), world.step(actions.T)
        np.testing.assert_array_equal(mine.rewards.reshape(4, 2), theirs.rewards.T)
        finished = (mine.terminated | mine.truncated).reshape(4, 2)
        assert (finished == finished[0]).all()  # nobody starts again before the world does
    with pytest.raises(FdrlError, match="--agents 4"):
        kind(6, params, seeds(6), 40)


@pytest.mark.slow
def test_seats_train_from_the_command_line(tmp_path: Any) -> None:
    for name in ("fdrl.envs.spectrum:SPECTRUM", "fdrl/DroneCorridor-v0"):
        words = f"train --quiet --env {name} --agents 4 --strategy local"
        out = ["--steps", "1024", "--out", str(tmp_path / name[-6:])]
        done = subprocess.run(
            [sys.executable, "-m", "fdrl", *words.split(), *out], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr


# ---- Many worlds together, as a federation steps them, against the worlds themselves ----


WORLDS = 3


def seeds_shared() -> list[np.random.SeedSequence]:
    return [np.random.SeedSequence(7, spawn_key=(w,)) for w in range(WORLDS)]


def test_each_agent_gets_its_own_column_of_its_own_worlds() -> None:
    kwargs = [{"worsen": 0.02 * (w + 1)} for w in range(WORLDS)]
    shared = SharedWorlds(SpectrumAccess, kwargs, seeds_shared())
    worsen = np.array([0.02, 0.04, 0.06])[:, None]
    plain = Spectrum(WORLDS, {"worsen": worsen}, seeds_shared(), SpectrumAccess.max_steps)
    first, expected = shared.reset(), plain.reset()
    draw = np.random.default_rng(0)
    for _ in range(SpectrumAccess.max_steps + 3):
        for i, agent in enumerate(shared.agents):
            np.testing.assert_array_equal(first[agent], expected[:, i])
        actions = draw.integers(4, size=(WORLDS, 4))
        told = shared.step({a: actions[:, i] for i, a in enumerate(shared.agents)})
        wanted = plain.step(actions)
        for i, agent in enumerate(shared.agents):
            np.testing.assert_array_equal(told.rewards[agent], wanted.rewards[:, i])
            np.testing.assert_array_equal(told.truncated[agent], wanted.truncated[:, i])
            np.testing.assert_array_equal(
                told.next_observations[agent], wanted.next_observations[:, i]
            )
        first, expected = told.observations, wanted.observations


def test_worlds_of_one_federation_end_at_the_same_step() -> None:
    with pytest.raises(fdrl.FdrlError, match="one max_cycles"):
        SharedWorlds(SpectrumAccess, [{"max_cycles": 5}, {"max_cycles": 6}], seeds_shared()[:2])
    short = SharedWorlds(SpectrumAccess, [{"max_cycles": 2}], seeds_shared()[:1])
    short.reset()
    idle = {a: np.zeros(1, np.int64) for a in short.agents}
    assert not short.step(idle).truncated["radio_0"].any()
    assert short.step(idle).truncated["radio_0"].all()


def federation(**fields: Any) -> fdrl.Federation:
    agent = {"type": "ppo", "n_envs": 2, "n_steps": 16, "n_epochs": 1, "hidden": [8]}
    options: dict[str, Any] = {"env": "fdrl/SpectrumAccess-v0", "steps": 128, "agent": agent}
    return fdrl.Federation(fdrl.make_run(**(options | fields)))


def test_a_federation_trains_in_them_and_resumes_to_the_bit() -> None:
    team = team_spec("fdrl/SpectrumAccess-v0", {})
    assert team is not None
    assert isinstance(make_worlds(team, [{}], seeds_shared()[:1], ["world"]), SharedWorlds)
    whole, first, second = (federation(agents=8) for _ in range(3))
    assert isinstance(whole.envs, SharedEnvFactory)
    assert all(
        isinstance(j, StepBarrier) and isinstance(j.env, SharedWorlds) for j in whole.envs.joints
    )
    records = [whole.round() for _ in range(3)]
    first.round()
    second.load_state(first.state())
    assert [second.round().returns for _ in range(2)] == [r.returns for r in records[1:]]
    for a, b in zip(whole.clients, second.clients, strict=True):
        np.testing.assert_array_equal(a.cohort.parameters(), b.cohort.parameters())
    for each in (whole, first, second):
        each.close()


def test_only_a_class_method_makes_many_worlds() -> None:
    team = team_spec("shared_worlds:Boastful", {})
    assert team is not None
    worlds = make_worlds(team, [{}], seeds_shared()[:1], ["world"])
    assert isinstance(worlds, ParallelLoop)
    many = team_spec("fdrl/SpectrumAccess-v0", {})
    assert many is not None
    assert isinstance(make_worlds(many, [{}], seeds_shared()[:1], ["world"]), SharedWorlds)
