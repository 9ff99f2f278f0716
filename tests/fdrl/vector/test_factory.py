from __future__ import annotations

import pickle
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from messages import fails

from fdrl.core.errors import FdrlError
from fdrl.core.registry import ENVS, EnvSpec
from fdrl.vector.factory import make_factory
from fdrl.vector.gym import check_spaces, find_env, has_limit, render_env
from fdrl.vector.heterogeneity import Dynamics, Init, Nothing, Outlier

MODULE = '''
import gymnasium
import numpy as np
from gymnasium import spaces
from fdrl.core.registry import ENVS, EnvSpec


class Line(gymnasium.Env):
    """Walk along a line without bounds."""

    high = np.array([np.inf, 9, np.inf], np.float32)
    observation_space = spaces.Box(high * np.float32([-1, 0, -1]), high)
    action_space = spaces.Discrete(2)

    def __init__(self, step_size=1.0, start=None):
        self.step_size = step_size

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.at = np.array([self.np_random.uniform(), 4, 2.0], np.float32)
        return self.at.copy(), {}

    def step(self, action):
        self.at[0] += self.step_size * (2 * action - 1)
        return self.at.copy(), 0.0, False, False, {}


gymnasium.register("%(id)s", entry_point=Line, max_episode_steps=7, reward_threshold=3.0)
SPEC = EnvSpec("a spec", gym_id="%(name)s:Line")
NOT_AN_ENV = dict


def wrapped():
    return gymnasium.wrappers.TimeLimit(Line(), 5)
'''


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Any:
    """A user's module that registers an environment when it is imported."""
    name = f"user_module_{abs(hash(request.node.name))}"
    (tmp_path / f"{name}.py").write_text(MODULE % {"id": f"{name}/Line-v0", "name": name})
    monkeypatch.syspath_prepend(tmp_path)
    yield name
    sys.modules.pop(name, None)
    gymnasium.registry.pop(f"{name}/Line-v0", None)


def test_registered_names_win_over_gymnasiums() -> None:
    spec = find_env("CartPole-v1")
    assert spec.vector == "fdrl.envs.classic_control.cartpole:CartPole"
    assert spec.threshold == 475.0


def test_any_gymnasium_id() -> None:
    spec = find_env("CartPole-v0")
    assert (spec.gym_id, spec.vector, spec.max_steps) == ("CartPole-v0", "", 200)
    assert spec.threshold == 195.0


def test_module_and_id(module: str) -> None:
    name = f"{module}:{module}/Line-v0"
    assert f"{module}/Line-v0" not in gymnasium.registry
    spec = find_env(name)
    assert (spec.name, spec.max_steps, spec.threshold) == (name, 7, 3.0)
    env = make_factory(name, 2, Nothing(), 0).vector(1)
    assert env.reset().shape == (2, 3)
    ends = [env.step(np.array([0, 1])).truncated.all() for _ in range(7)]
    assert ends == [False] * 6 + [True]


def test_module_and_callable(module: str) -> None:
    sizes = [{"step_size": 1.0}, {"step_size": 3.0}]
    limit = {"max_episode_steps": 9}
    envs = make_factory(f"{module}:Line", 2, Nothing(), 0, limit, per_agent=sizes)
    assert envs.spec.max_steps == 9
    env = envs.vector(1)
    start = env.reset()[:, 0].copy()
    moved = env.step(np.array([1, 1])).observations[:, 0] - start
    np.testing.assert_allclose(moved, [1.0, 3.0], rtol=1e-6)
    assert envs.held_out == ({"step_size": 2.0},)
    assert envs.public == {"step_size": 2.0}


def test_an_environment_without_a_time_limit_is_refused(module: str) -> None:
    name = f"{module}:Line"
    with fails(FdrlError, "max_episode_steps N"):
        make_factory(name, 1, Nothing(), 0)
    assert make_factory(name, 1, Nothing(), 0, unlimited=True).spec.max_steps == 0
    assert make_factory(f"{module}:wrapped", 1, Nothing(), 0).spec.max_steps == 0  # has its own
    blind = EnvSpec("blind", vector="fdrl.envs.classic_control.cartpole:CartPole")
    assert not has_limit(blind, {})
    assert has_limit(replace(blind, max_steps=3), {})


@pytest.mark.parametrize("name", ["CartPole-v1", "CartPole-v0"])
def test_a_time_limit_is_given_as_an_argument(name: str) -> None:
    envs = make_factory(name, 2, Dynamics(0.5) if name.endswith("1") else Nothing(), 0,
                        {"max_episode_steps": 4})  # fmt: skip
    assert all("max_episode_steps" not in k for k in (*envs.kwargs, *envs.held_out, envs.public))
    for env in (envs.vector(1), envs.evaluation(1, 0), envs.evaluation(1, 0, held_out=True)):
        env.reset()
        ends = [env.step(np.full(env.count, t % 2)).truncated.all() for t in range(4)]
        assert ends == [False] * 3 + [True]
        env.close()
    assert render_env(envs.spec, envs.kwargs[0]).spec.max_episode_steps == 4  # type: ignore[union-attr]


@pytest.mark.parametrize("value", [0, -1, 2.5, True, "long"])
def test_a_time_limit_is_a_whole_number(value: object) -> None:
    with fails(FdrlError, "max_episode_steps", "at least 1"):
        make_factory("CartPole-v1", 1, Nothing(), 0, {"max_episode_steps": value})


def test_a_time_limit_is_the_same_for_all_agents() -> None:
    with fails(FdrlError, "max_episode_steps", "all agents"):
        make_factory("CartPole-v1", 1, Nothing(), 0, per_agent=[{"max_episode_steps": 5}])


def test_module_and_spec(module: str) -> None:
    assert find_env(f"{module}:SPEC").name == "a spec"


def test_mistakes_in_a_module_are_named(module: str) -> None:
    with fails(FdrlError, "'Lime'", nearest="Line"):
        find_env(f"{module}:Lime")
    with fails(FdrlError, "dict", "gymnasium.Env"):
        make_factory(f"{module}:NOT_AN_ENV", 1, Nothing(), 0).n_actions  # noqa: B018
    with fails(FdrlError, "no_such_module:X", "'no_such_module'"):
        find_env("no_such_module:X")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("CartPol-v1", "did you mean 'CartPole-v1'"),
        ("LunarLander", "did you mean 'LunarLander-v"),
        ("FrozenLake-v9", "did you mean 'FrozenLake-v1'"),
        ("!?", "`fdrl envs` lists"),
    ],
)
def test_unknown_names_get_the_nearest(name: str, words: str) -> None:
    with pytest.raises(FdrlError, match=words):
        find_env(name)


def test_unknown_arguments_are_named_with_the_known_ones(module: str) -> None:
    with fails(FdrlError, "'CartPole-v1'", "'lenght'", nearest="length"):
        make_factory("CartPole-v1", 1, Nothing(), 0, {"lenght": 1.0})
    with fails(FdrlError, "'sise'", "start, step_size"):
        make_factory(f"{module}:Line", 1, Nothing(), 0, {"sise": 1.0})
    with fails(FdrlError, "'zz'", "start, step_size"):
        make_factory(f"{module}:{module}/Line-v0", 2, Nothing(), 0, per_agent=[{}, {"zz": 1}])


@pytest.mark.parametrize("value", ["long", float("nan"), True, None])
def test_physics_must_be_numbers(value: object) -> None:
    with fails(FdrlError, "length", "finite"):
        make_factory("CartPole-v1", 1, Nothing(), 0, {"length": value})


def test_physics_must_be_in_range() -> None:
    with fails(FdrlError, "length", 0, "[0.01, inf]"):
        make_factory("CartPole-v1", 1, Nothing(), 0, {"length": 0})


def test_numbers_of_agents() -> None:
    with pytest.raises(FdrlError, match="agents is 0"):
        make_factory("CartPole-v1", 0, Nothing(), 0)
    with fails(FdrlError, "1 sets", "2 agents"):
        make_factory("CartPole-v1", 2, Nothing(), 0, per_agent=[{}])


def test_heterogeneity_spreads_around_what_all_are_given() -> None:
    envs = make_factory("CartPole-v1", 3, Dynamics(0.5), 0, {"length": 1.0})
    assert [k["length"] for k in envs.kwargs] == pytest.approx([0.5, 1.0, 1.5])
    assert envs.public == {"length": 1.0}
    assert len(envs.held_out) == 5
    trained = [k["length"] for k in envs.kwargs]
    assert not {h["length"] for h in envs.held_out} & set(trained)


def test_an_agents_own_arguments_override() -> None:
    envs = make_factory("CartPole-v1", 2, Outlier(2.0), 0, per_agent=[{}, {"masspole": 0.3}])
    assert envs.kwargs == ({}, {"length": 1.0, "masspole": 0.3})


@pytest.mark.parametrize(
    ("observations", "actions", "words"),
    [
        (spaces.Box(0, 1, (2,)), spaces.Box(-1, np.inf, (3,)), "low and high"),
        (spaces.Box(0, 1, (2,)), spaces.Box(-1, 1, (3, 2)), "flat Box"),
        (spaces.Box(0, 1, (2,)), spaces.Box(0, 9, (3,), np.int64), "flat Box"),
        (spaces.Box(0, 1, (2,)), spaces.MultiDiscrete([2, 3]), "MultiDiscrete"),
        (spaces.Box(0, 1, (2,)), spaces.MultiBinary(2), r"MultiBinary\(2\)"),
        (spaces.Dict({"a": spaces.Discrete(2)}), spaces.Discrete(2), "Dict"),
        (spaces.Box(0, 1, (2, 8, 8, 3)), spaces.Discrete(2), r"shape \(2, 8, 8, 3\); flattened"),
    ],
)
def test_unsupported_spaces(observations: Any, actions: Any, words: str) -> None:
    with pytest.raises(FdrlError, match=words):
        check_spaces("e", observations, actions)


def test_spaces_of_a_gymnasium_environment() -> None:
    envs = make_factory("CartPole-v0", 1, Nothing(), 0)
    assert (envs.observation_shape, envs.n_actions) == ((4,), 2)
    assert not envs.gaussian
    envs = make_factory("Pendulum-v1", 1, Nothing(), 0)
    assert (envs.observation_shape, envs.n_actions, envs.gaussian) == ((3,), 1, True)


def test_random_actions_fill_the_space() -> None:
    draw = np.random.default_rng(0)
    assert set(make_factory("Acrobot-v1", 1, Nothing(), 0).random_actions(draw, 50)) == {0, 1, 2}
    drawn = make_factory("Pendulum-v1", 1, Nothing(), 0).random_actions(draw, 500)
    assert drawn.shape == (500, 1)
    assert drawn.dtype == np.float32
    assert drawn.min() < -1.9 < 1.9 < drawn.max() <= 2.0


@pytest.mark.parametrize("name", ["CartPole-v1", "CartPole-v0"])
def test_copies_have_streams_of_their_own_and_keep_them(name: str) -> None:
    envs = make_factory(name, 3, Nothing(), 7)
    starts = envs.vector(2).reset().copy()
    assert len(np.unique(starts[:, 0])) == 6
    np.testing.assert_array_equal(envs.vector(3).reset()[[0, 1, 3, 4, 6, 7]], starts)
    np.testing.assert_array_equal(envs.subset([2, 0]).vector(2).reset(), starts[[4, 5, 0, 1]])
    assert envs.subset([2, 0]).agents == (2, 0)
    other = make_factory(name, 3, Nothing(), 8).vector(2).reset()
    assert not np.isin(other[:, 0], starts[:, 0]).any()


@pytest.mark.parametrize("name", ["CartPole-v1", "CartPole-v0"])
def test_evaluation_episodes_are_the_same_for_every_agent(name: str) -> None:
    envs = make_factory(name, 2, Nothing(), 7)
    starts = envs.evaluation(3, seed=1).reset().reshape(2, 3, 4).copy()
    np.testing.assert_array_equal(starts[0], starts[1])
    assert len(np.unique(starts[0, :, 0])) == 3
    np.testing.assert_array_equal(envs.evaluation(2, seed=1).reset()[:2], starts[0, :2])
    assert not np.isin(envs.evaluation(3, seed=2).reset()[:, 0], starts[..., 0]).any()
    unseen = envs.evaluation(3, seed=1, held_out=True).reset()
    assert unseen.shape == (6, 4)
    assert not np.isin(unseen[:, 0], starts[..., 0]).any()


def test_held_out_copies_are_ordered_agent_environment_episode() -> None:
    envs = make_factory("MountainCar-v0", 2, Init(1.0), 0)
    starts = envs.evaluation(4, seed=0, held_out=True).reset()[:, 0].reshape(2, 5, 4)
    np.testing.assert_array_equal(starts[0], starts[1])
    centers = [(h["init_low"] + h["init_high"]) / 2 for h in envs.held_out]
    assert np.abs(starts[0] - np.array(centers)[:, None]).max() <= 0.1001


@pytest.mark.parametrize("name", ["CartPole-v1", "CartPole-v0"])
def test_a_factory_survives_the_way_to_a_worker(name: str) -> None:
    envs = make_factory(name, 2, Nothing(), 0)
    envs.proxy_box()
    sent = pickle.loads(pickle.dumps(envs))
    np.testing.assert_array_equal(sent.vector(2).reset(), envs.vector(2).reset())
    assert sent.observation_space == envs.observation_space


def test_proxy_box_registered_and_bounded() -> None:
    envs = make_factory("CartPole-v1", 1, Nothing(), 0)
    low, high = envs.proxy_box()
    np.testing.assert_array_equal(high, np.array([2.4, 3.0, 0.2095, 3.5], np.float32))
    np.testing.assert_array_equal(low, -high)
    assert envs.proxy_box_steps == 0
    low[:] = 0  # a copy: the factory keeps its own
    assert envs.proxy_box()[0][0] == np.float32(-2.4)


def test_proxy_box_measures_what_is_unbounded(module: str) -> None:
    envs = make_factory(f"{module}:{module}/Line-v0", 2, Nothing(), 0)
    low, high = envs.proxy_box()
    assert envs.proxy_box_steps == 1000
    assert (low[1], high[1]) == (0, 9)  # the space's own
    assert (low[2], high[2]) == (1.5, 2.5)  # never moved from 2
    assert -9 < low[0] < -1
    assert 2 < high[0] < 10
    assert low.dtype == np.float32
    assert "_box" in vars(envs.subset([1]))  # not measured twice
    narrow_low, narrow_high, steps = envs.measure_proxy_box(steps=1)
    assert steps == 1
    assert narrow_high[0] - narrow_low[0] == pytest.approx(1.2, rel=1e-5)


def test_a_registered_box_of_the_wrong_size_is_an_error() -> None:
    envs = make_factory("CartPole-v0", 1, Nothing(), 0)
    spec = EnvSpec("x", gym_id="CartPole-v0", proxy_low=(0.0,), proxy_high=(1.0,))
    bad = type(envs)(spec, envs.kwargs, envs.held_out, envs.agents, 0)
    with fails(FdrlError, "'x'", "proxy_low", "proxy_high", "4 components"):
        bad.proxy_box()


def test_rendering_has_the_agents_own_physics() -> None:
    env = render_env(find_env("CartPole-v1"), {"length": 1.5, "masspole": 0.3, "init_low": 0.04})
    inner: Any = env.unwrapped
    assert (inner.length, inner.total_mass, inner.polemass_length) == (1.5, 1.3, 0.3 * 1.5)
    seen, _ = env.reset(seed=0)
    assert 0.04 <= seen.min() <= seen.max() <= 0.05
    frame: Any = env.render()
    assert frame.shape == (400, 600, 3)
    env.close()
    arm: Any = render_env(find_env("Acrobot-v1"), {"link_length_1": 0.5}).unwrapped
    assert (arm.LINK_LENGTH_1, arm.LINK_LENGTH_2) == (0.5, 1.0)
    old = render_env(find_env("CartPole-v0"), {})
    assert old.render_mode == "rgb_array"


def test_rendering_what_has_no_picture_is_an_error() -> None:
    with fails(FdrlError, "'blind'", "Gymnasium id"):
        render_env(EnvSpec("blind", vector="fdrl.envs.classic_control.cartpole:CartPole"), {})


def test_a_registered_name_wins_over_a_class_of_that_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "walking.py").write_text(
        "from fdrl.core.registry import register_env\n"
        "class Walk: pass\n"
        "register_env('Walk', gym_id='CartPole-v1', max_steps=9)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    try:
        assert find_env("walking:Walk").max_steps == 9
    finally:
        sys.modules.pop("walking", None)
        ENVS.forget("Walk")


def test_visited_states_follow_each_other_and_cost_a_step_each() -> None:
    envs = make_factory("CartPole-v1", 2, Nothing(), 7)
    seen = envs.visit(50)
    assert seen.shape == (50, 4)
    np.testing.assert_array_equal(seen[:20], envs.visit(20))
    # position moves by velocity times 0.02 seconds until the pole has fallen
    np.testing.assert_allclose(seen[1:6, 0], seen[:5, 0] + 0.02 * seen[:5, 1], atol=1e-5)
