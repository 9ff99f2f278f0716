"""The vectorized environments against Gymnasium's own, step for step."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
from gym_twins import factory, twin

import fdrl
from fdrl.vector.factory import EnvFactory
from fdrl.vector.gym import find_env
from fdrl.vector.heterogeneity import Dynamics, Heterogeneity, Init, Nothing

CLASSIC = ["CartPole-v1", "Acrobot-v1", "MountainCar-v0"]
# The order of Gymnasium's state in the rows that fdrl saves.
ORDER = {"CartPole-v1": [0, 2, 1, 3], "Acrobot-v1": [0, 1, 2, 3], "MountainCar-v0": [0, 1]}
WIDE = {
    "CartPole-v1": ([-2.6, -3, -0.23, -3], [2.6, 3, 0.23, 3]),
    "Acrobot-v1": ([-3.14, -3.14, -12.5, -28], [3.14, 3.14, 12.5, 28]),
    "MountainCar-v0": ([-1.2, -0.07], [0.6, 0.07]),
}
# Gymnasium squares Acrobot's velocities with pow, which may be off by one unit in the last place.
TOLERANCE = {"CartPole-v1": 0.0, "Acrobot-v1": 1e-12, "MountainCar-v0": 0.0}


def compare(envs: EnvFactory, agents: list[int], copies: int) -> None:
    """Set both to the same random states, step both, compare everything that comes back."""
    name, order = envs.spec.name, ORDER[envs.spec.name]
    draw = np.random.default_rng(3)
    vector = envs.vector(copies)
    vector.reset()
    start = vector.state()
    states = draw.uniform(*WIDE[name], (vector.count, len(order)))
    actions = draw.integers(envs.n_actions, size=vector.count)
    vector.load_state({**start, "state": states[:, order]})
    step = vector.step(actions)
    after = vector.state()["state"][:, order]
    twins = [twin(envs, k) for k in agents]
    finished = 0
    for i, (state, action) in enumerate(zip(states, actions, strict=True)):
        env = twins[i // copies]
        env.state = state.copy()
        env.steps_beyond_terminated = None
        seen, reward, terminated, _, _ = env.step(int(action))
        assert step.terminated[i] == terminated
        assert step.rewards[i] == reward
        assert seen.dtype == step.next_observations.dtype
        if TOLERANCE[name]:
            np.testing.assert_allclose(step.next_observations[i], seen, rtol=3e-7, atol=3e-7)
        else:
            np.testing.assert_array_equal(step.next_observations[i], seen)
        if not terminated:
            np.testing.assert_allclose(after[i], env.state, rtol=0, atol=TOLERANCE[name])
        finished += terminated
    assert 0 < finished < vector.count


@pytest.mark.parametrize("name", CLASSIC)
def test_random_transitions_equal_gymnasiums(name: str) -> None:
    compare(factory(name, 1), [0], 3000)


@pytest.mark.parametrize("name", CLASSIC)
def test_random_transitions_with_an_agents_own_physics(name: str) -> None:
    compare(factory(name, 3, Dynamics(0.8)), [0, 1, 2], 400)


@pytest.mark.parametrize("name", CLASSIC)
def test_resets_draw_what_gymnasium_draws_from_the_same_stream(name: str) -> None:
    vector = factory(name, 1).evaluation(3, seed=11)
    env = gymnasium.make(name).unwrapped
    for j, first in enumerate(vector.reset()):
        seed = np.random.SeedSequence(11, spawn_key=(6, j))
        env.np_random = np.random.Generator(np.random.PCG64(seed))
        np.testing.assert_array_equal(first, env.reset()[0])


@pytest.mark.parametrize("name", CLASSIC)
def test_whole_episodes_equal_gymnasiums_with_its_time_limit(name: str) -> None:
    """Three episodes, resets drawn ahead included; Acrobot's last bits are compared loosely."""
    envs = factory(name, 1)
    vector = envs.vector(1)
    env = gymnasium.make(name)
    env.reset(seed=0)
    seed = np.random.SeedSequence(5, spawn_key=(1, 0, 0))
    env.unwrapped.np_random = np.random.Generator(np.random.PCG64(seed))
    seen, _ = env.reset()
    np.testing.assert_array_equal(vector.reset()[0], seen)
    draw = np.random.default_rng(0)
    ended = 0
    while ended < 3:
        action = int(draw.integers(envs.n_actions))
        step = vector.step(np.array([action]))
        seen, reward, terminated, truncated, _ = env.step(action)
        np.testing.assert_allclose(step.next_observations[0], seen, rtol=0, atol=1e-4)
        if not TOLERANCE[name]:
            np.testing.assert_array_equal(step.next_observations[0], seen)
        assert (step.rewards[0], step.terminated[0]) == (reward, terminated)
        assert step.truncated[0] == (truncated and not terminated)
        if terminated or truncated:
            seen, _ = env.reset()
            ended += 1
        np.testing.assert_allclose(step.observations[0], seen, rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", CLASSIC)
def test_spaces_and_defaults_are_gymnasiums(name: str) -> None:
    envs = factory(name, 1)
    env = gymnasium.make(name)
    assert envs.observation_space == env.observation_space
    assert envs.action_space == env.action_space
    assert env.spec is not None
    assert envs.spec.max_steps == env.spec.max_episode_steps
    for parameter, physics in envs.spec.physics.items():
        names = (parameter, parameter.upper())
        assert physics.default in [getattr(env.unwrapped, n, None) for n in names], parameter


def test_one_cartpole_step_by_hand() -> None:
    """At rest, upright, pushed right: thetaacc = -temp / (0.5 * (4/3 - 0.1/1.1))."""
    vector = factory("CartPole-v1", 1).vector(1)
    vector.reset()
    vector.load_state({**vector.state(), "state": np.zeros((1, 4))})
    step = vector.step(np.array([1]))
    temp = 10 / 1.1
    thetaacc = -temp / (0.5 * (4 / 3 - 0.1 / 1.1))
    xacc = temp - 0.05 * thetaacc / 1.1
    np.testing.assert_allclose(
        step.next_observations[0], [0, 0.02 * xacc, 0, 0.02 * thetaacc], rtol=1e-6
    )


def test_mountain_car_stops_at_its_left_wall() -> None:
    vector = factory("MountainCar-v0", 1).vector(1)
    vector.reset()
    vector.load_state({**vector.state(), "state": np.array([[-1.19, -0.07]])})
    step = vector.step(np.array([0]))
    np.testing.assert_array_equal(step.next_observations[0], np.array([-1.2, 0.0], np.float32))
    assert step.rewards[0] == -1.0
    assert not step.terminated[0]


def test_acrobot_wraps_its_angles_by_whole_turns() -> None:
    """One step from angles several turns apart ends in the same place, within one turn."""
    ends = []
    for turns in ([0, 0], [1, 0], [-1, 2]):
        env = factory("Acrobot-v1", 1).vector(1)
        env.reset()
        start = env.state()
        start["state"] = np.array([[1.0 + 2 * np.pi * turns[0], 2 * np.pi * turns[1], 0.3, -0.2]])
        env.load_state(start)
        env.step(np.array([2]))
        ends.append(env.state()["state"][0])
    assert (np.abs(ends[0][:2]) <= np.pi).all()
    for end in ends[1:]:
        np.testing.assert_allclose(end, ends[0], rtol=1e-12, atol=1e-12)


# ---- Pendulum and continuous MountainCar against Gymnasium's own, step for step ----


NAMES = ["Pendulum-v1", "MountainCarContinuous-v0"]
WIDE_CONTINUOUS_PARITY = {
    "Pendulum-v1": ([-9.0, -8.0], [9.0, 8.0]),
    "MountainCarContinuous-v0": ([-1.2, -0.07], [0.6, 0.07]),
}


def start(name: str, count: int) -> Any:
    """Random states; but for an episode's first one, continuous MountainCar's are float32."""
    states = np.random.default_rng(3).uniform(*WIDE_CONTINUOUS_PARITY[name], (count, 2))
    return states.astype(np.float32).astype(float) if name.startswith("Mountain") else states


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("hetero", [Nothing(), Dynamics(0.5)])
def test_random_transitions_equal_gymnasiums_continuous_parity(
    name: str, hetero: Heterogeneity
) -> None:
    envs, copies = factory(name, 3, hetero), 300
    vector = envs.vector(copies)
    vector.reset()
    before = vector.state()
    states = start(name, vector.count)
    steps = np.full(vector.count, 7)
    vector.load_state({**before, "state": states, "steps": steps})
    space: Any = envs.action_space
    drawn = np.random.default_rng(4).uniform(space.low, space.high, (vector.count, 1))
    actions = drawn.astype(np.float32)
    step = vector.step(actions)
    after = vector.state()["state"]
    twins = [twin(envs, k) for k in range(3)]
    for i, (state, action) in enumerate(zip(states, actions, strict=True)):
        env = twins[i // copies]
        env.state = state.astype(np.float32) if name.startswith("Mountain") else state.copy()
        seen, reward, terminated, _, _ = env.step(action)
        assert step.terminated[i] == terminated
        assert step.rewards[i] == pytest.approx(float(reward), abs=1e-12)
        np.testing.assert_allclose(step.next_observations[i], seen, rtol=0, atol=1e-6)
        if not terminated:
            np.testing.assert_allclose(after[i], env.state, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_whole_episodes_equal_gymnasiums_with_its_time_limit_continuous_parity(name: str) -> None:
    envs = factory(name, 1)
    vector = envs.vector(1)
    env = gymnasium.make(name)
    env.reset(seed=0)
    seed = np.random.SeedSequence(5, spawn_key=(1, 0, 0))
    env.unwrapped.np_random = np.random.Generator(np.random.PCG64(seed))
    seen, _ = env.reset()
    np.testing.assert_allclose(vector.reset()[0], seen, atol=1e-6)
    draw, ended = np.random.default_rng(0), 0
    while ended < 2:
        # pushing along, now and then: the car reaches its goal by that
        push = np.sign(seen[-1]) if draw.random() < 0.9 else draw.uniform(-1, 1)
        action = np.array([push], np.float32)
        step = vector.step(action[None])
        seen, reward, terminated, truncated, _ = env.step(action)
        np.testing.assert_allclose(step.next_observations[0], seen, rtol=0, atol=1e-5)
        assert step.rewards[0] == pytest.approx(float(reward), abs=1e-8)
        assert (step.terminated[0], step.truncated[0]) == (terminated, truncated)
        if terminated or truncated:
            seen, _ = env.reset()
            ended += 1
        np.testing.assert_allclose(step.observations[0], seen, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_spaces_and_defaults_are_gymnasiums_continuous_parity(name: str) -> None:
    envs, env = factory(name, 1), gymnasium.make(name)
    assert envs.observation_space == env.observation_space
    assert envs.action_space == env.action_space
    assert env.spec is not None
    assert envs.spec.max_steps == env.spec.max_episode_steps
    for parameter, physics in envs.spec.physics.items():
        assert physics.default == getattr(env.unwrapped, parameter)


def test_one_pendulum_step_by_hand() -> None:
    """Hanging to the right at rest (angle pi/2), torque 1: speed += (15 + 3) * 0.05 = 0.9."""
    vector = factory("Pendulum-v1", 1).vector(1)
    vector.reset()
    vector.load_state({**vector.state(), "state": np.array([[np.pi / 2, 0.0]])})
    step = vector.step(np.array([[1.0]], np.float32))
    angle = np.pi / 2 + 0.9 * 0.05
    wanted = [np.cos(angle), np.sin(angle), 0.9]
    np.testing.assert_allclose(step.next_observations[0], wanted, rtol=1e-6)
    assert step.rewards[0] == pytest.approx(-((np.pi / 2) ** 2) - 0.001)


def test_starts_can_be_shifted() -> None:
    envs = factory("Pendulum-v1", 3, Init(1.0))
    first = envs.vector(200).reset().reshape(3, 200, 3)
    speeds = first[..., 2].mean(1)
    np.testing.assert_allclose(speeds, [-0.5, 0.0, 0.5], atol=0.15)


@pytest.mark.parametrize("name", NAMES)
def test_the_checker_finds_nothing_to_mend(name: str) -> None:
    assert [f for f in fdrl.check_env(name) if f.level != "ok"] == []


def test_the_lander_has_throttles() -> None:
    pytest.importorskip("Box2D")
    envs = factory("LunarLanderContinuous-v3", 2, Dynamics(0.3))
    assert (envs.n_actions, envs.gaussian) == (2, True)
    vector = envs.vector(1)
    vector.reset()
    for _ in range(3):
        vector.step(np.array([[0.5, -1.0], [1.0, 0.2]], np.float32))
    saved = vector.state()
    assert saved["actions"].shape == (2, 3, 2)
    ahead = vector.step(np.zeros((2, 2), np.float32)).observations.copy()
    again = envs.vector(1)
    again.load_state(saved)
    np.testing.assert_array_equal(again.step(np.zeros((2, 2), np.float32)).observations, ahead)
    vector.close()
    again.close()


@pytest.mark.slow
def test_a_cheetah_runs() -> None:
    pytest.importorskip("mujoco")
    run = fdrl.make_run(
        env="HalfCheetah-v5",
        env_kwargs={"max_episode_steps": 50},
        agents=2,
        steps=256,
        agent={"type": "ppo", "n_envs": 1, "n_steps": 128, "n_epochs": 2, "log_std_init": -1.0},
        strategy={"type": "fd"},
        proxy={"type": "rollout", "size": 64},
        evaluation={"episodes": 1},
    )
    summary = fdrl.train(run)
    assert np.isfinite(summary.return_mean)
    assert summary.bytes_up > 0


def test_what_mujoco_needs_is_named() -> None:
    assert find_env("HalfCheetah-v5").extra == "mujoco"
    assert find_env("CartPole-v0").extra == ""
