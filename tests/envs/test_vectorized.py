"""Streams, time limits, autoreset and saving of the vectorized environments."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from messages import fails

from fdrl.core.env import Step
from fdrl.core.errors import FdrlError
from fdrl.core.registry import load_object
from fdrl.vector.factory import make_factory
from fdrl.vector.heterogeneity import Dynamics, Init, Nothing

CLASSIC = ["CartPole-v1", "Acrobot-v1", "MountainCar-v0"]
GRIDS = ["fdrl/Conflict-v0", "fdrl/PixelGrid-v0"]


def copied(step: Step) -> list[np.ndarray]:
    return [np.array(part) for part in step.arrays]


@pytest.mark.parametrize("name", CLASSIC + GRIDS)
def test_a_copy_does_not_depend_on_how_many_there_are(name: str) -> None:
    envs = make_factory(name, 5, Dynamics(0.8), 0)
    together, alone = envs.vector(3), envs.subset([3]).vector(1)
    assert together.count == 15
    np.testing.assert_array_equal(together.reset()[9], alone.reset()[0])
    actions = np.random.default_rng(0).integers(envs.n_actions, size=(600, 15))
    for a in actions:
        many, one = together.step(a), alone.step(a[9:10])
        for x, y in zip(many.arrays, one.arrays, strict=True):
            np.testing.assert_array_equal(x[9], y[0])


@pytest.mark.parametrize("name", CLASSIC + GRIDS)
@settings(max_examples=8, deadline=None)
@given(before=st.integers(1, 70), seed=st.integers(0, 2**32))
def test_a_saved_state_continues_to_the_bit(name: str, before: int, seed: int) -> None:
    envs = make_factory(name, 2, Nothing(), seed)
    actions = np.random.default_rng(seed).integers(envs.n_actions, size=(before + 60, 6))
    env = envs.vector(3)
    env.reset()
    for a in actions[:before]:
        env.step(a)
    saved = env.state()
    again = envs.vector(3)
    again.load_state({key: value.copy() for key, value in saved.items()})
    for a in actions[before:]:
        for x, y in zip(env.step(a), again.step(a), strict=True):
            np.testing.assert_array_equal(x, y)
    for key, value in env.state().items():
        assert len(value) == 6
        np.testing.assert_array_equal(value, again.state()[key])


@pytest.mark.parametrize("name", ["CartPole-v1", *GRIDS])
def test_saving_changes_nothing(name: str) -> None:
    envs = make_factory(name, 1, Nothing(), 0)
    watched, plain = envs.vector(4), envs.vector(4)
    watched.reset()
    plain.reset()
    for a in np.random.default_rng(0).integers(2, size=(300, 4)):
        watched.state()
        for x, y in zip(watched.step(a), plain.step(a), strict=True):
            np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize("name", CLASSIC + GRIDS)
@settings(max_examples=8, deadline=None)
@given(cuts=st.lists(st.integers(1, 90), min_size=1, max_size=5), seed=st.integers(0, 2**32))
def test_copies_that_are_taken_and_put_back_miss_nothing(
    name: str, cuts: list[int], seed: int
) -> None:
    """Copies 1 and 4 step alone for a while, then the rest, then all together."""
    envs = make_factory(name, 1, Nothing(), seed)
    cut, whole = envs.vector(6), envs.vector(6)
    cut.reset()
    whole.reset()
    some = np.array([1, 4]), np.array([0, 2, 3, 5])
    draw = np.random.default_rng(seed)
    for length in cuts:
        actions = draw.integers(envs.n_actions, size=(length, 6))
        expected = [copied(whole.step(a)) for a in actions]
        for rows in some:
            part = cut.take(rows)  # type: ignore[attr-defined]
            for a, whole_step in zip(actions, expected, strict=True):
                for x, y in zip(part.step(a[rows]).arrays, whole_step, strict=True):
                    np.testing.assert_array_equal(x, y[rows])
            cut.put(rows, part)  # type: ignore[attr-defined]
        last = draw.integers(envs.n_actions, size=6)
        for x, y in zip(cut.step(last).arrays, whole.step(last).arrays, strict=True):
            np.testing.assert_array_equal(x, y)


def test_pictures_cannot_be_written_into() -> None:
    env = make_factory("fdrl/PixelGrid-v0", 1, Nothing(), 0).vector(2)
    env.reset()
    step = env.step(np.array([0, 1]))
    for seen in step.observations, step.next_observations:
        with pytest.raises(ValueError, match="read-only"):
            seen[0] = 0


def test_no_limit_is_too_long() -> None:
    envs = make_factory("MountainCar-v0", 1, Nothing(), 0)
    env = load_object(envs.spec.vector)(
        1,
        {n: np.full(1, p.default) for n, p in envs.spec.physics.items()}
        | {"init_low": np.full(1, -0.5), "init_high": np.full(1, -0.5)},
        [np.random.SeedSequence(0)],
        2**63,
    )
    env.reset()
    assert not env.step(np.array([1])).truncated[0]
    assert env.state()["steps"].tolist() == [1]


def test_a_fallen_pole_is_terminated_and_starts_again() -> None:
    env = make_factory("CartPole-v1", 1, Nothing(), 0).vector(2)
    env.reset()
    env.load_state({**env.state(), "state": np.array([[0, 0.2, 0, 3.0], [0, 0, 0, 0]])})
    step = env.step(np.array([1, 1]))
    assert step.terminated.tolist() == [True, False]
    assert step.truncated.tolist() == [False, False]
    assert step.next_observations[0, 2] == pytest.approx(0.26)
    assert np.abs(step.observations[0]).max() <= 0.05
    np.testing.assert_array_equal(step.observations[1], step.next_observations[1])
    assert env.state()["steps"].tolist() == [0, 1]


@pytest.mark.parametrize(("name", "limit"), list(zip(CLASSIC, (500, 500, 200), strict=True)))
def test_the_time_limit_truncates_and_does_not_terminate(name: str, limit: int) -> None:
    env = make_factory(name, 1, Nothing(), 0).vector(1)
    env.reset()
    still = {**env.state(), "state": np.zeros((1, len(env.state()["state"][0])))}
    env.load_state({**still, "steps": np.array([limit - 2])})
    coast = np.array([1 if name != "CartPole-v1" else 0])
    assert not env.step(coast).truncated[0]
    step = env.step(coast)
    assert step.truncated[0]
    assert not step.terminated[0]
    assert not np.array_equal(step.observations, step.next_observations)


def test_an_end_at_the_limit_is_terminated_only() -> None:
    env = make_factory("CartPole-v1", 1, Nothing(), 0).vector(1)
    env.reset()
    falling = np.array([[0, 0.2, 0, 3.0]])
    env.load_state({**env.state(), "state": falling, "steps": np.array([499])})
    step = env.step(np.array([1]))
    assert (step.terminated[0], step.truncated[0]) == (True, False)


def test_more_episodes_than_are_drawn_ahead_continue_one_stream() -> None:
    env = make_factory("MountainCar-v0", 1, Nothing(), 0).vector(1)
    stream = np.random.Generator(
        np.random.PCG64(np.random.SeedSequence(0, spawn_key=(1, 0, 0)))
    ).uniform(-0.6, -0.4, 200)
    starts = [float(env.reset()[0, 0]) for _ in range(200)]
    np.testing.assert_array_equal(starts, stream.astype(np.float32))


def test_init_moves_the_initial_interval() -> None:
    envs = make_factory("MountainCar-v0", 3, Init(1.0), 0)
    starts = envs.vector(200).reset()[:, 0].reshape(3, 200)
    for row, center in zip(starts, (-0.7, -0.5, -0.3), strict=True):
        assert row.min() > center - 0.101
        assert row.max() < center + 0.101
        assert row.mean() == pytest.approx(center, abs=0.02)


def test_heavier_physics_move_differently() -> None:
    env = make_factory("CartPole-v1", 3, Dynamics(0.8), 0).vector(1)
    env.reset()
    env.load_state({**env.state(), "state": np.zeros((3, 4))})
    swing = env.step(np.ones(3, np.int64)).next_observations[:, 3]
    assert swing[0] < swing[1] < swing[2] < 0  # the shorter the pole, the faster it falls


def test_a_step_before_reset_is_an_error() -> None:
    env = make_factory("CartPole-v1", 1, Nothing(), 0).vector(1)
    with fails(FdrlError, "reset", "step"):
        env.step(np.array([0]))


def test_a_state_of_another_size_is_an_error() -> None:
    envs = make_factory("CartPole-v1", 1, Nothing(), 0)
    env, other = envs.vector(1), envs.vector(2)
    other.reset()
    with fails(FdrlError, "(2, 4)", "1 copies"):
        env.load_state(other.state())
