"""Conflict and PixelGrid: many copies against one at a time, and a few cells by hand."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
from fdrl.envs.conflict import ID as CONFLICT
from fdrl.envs.conflict import Conflict, ConflictEnv
from fdrl.envs.pixelgrid import ID as PIXELS
from fdrl.envs.pixelgrid import PixelGrid, PixelGridEnv
from gymnasium.utils.env_checker import check_env
from messages import fails

from fdrl.core.errors import FdrlError
from fdrl.vector.factory import make_factory
from fdrl.vector.heterogeneity import Conflict as Conflicting

TWINS = [
    (Conflict, ConflictEnv, {"side": -0.4, "step_cost": 0.01}),
    (PixelGrid, PixelGridEnv, {"step_cost": 0.02}),
]


@pytest.mark.parametrize("name", [CONFLICT, PIXELS])
def test_gymnasiums_own_checker_passes(name: str) -> None:
    check_env(gymnasium.make(name, render_mode="rgb_array").unwrapped)


@pytest.mark.parametrize(("many", "one", "params"), TWINS)
def test_many_copies_equal_one_at_a_time_to_the_bit(many: Any, one: Any, params: Any) -> None:
    count, limit = 5, 30
    seeds = [np.random.SeedSequence(i) for i in range(count)]
    start = {"init_low": np.zeros(count), "init_high": np.ones(count)}
    vector = many(count, {k: np.full(count, v) for k, v in params.items()} | start, seeds, limit)
    envs = [gymnasium.wrappers.TimeLimit(one(**params), limit) for _ in range(count)]
    first = vector.reset()
    for env, seed, seen in zip(envs, seeds, first, strict=True):
        env.unwrapped.np_random = np.random.Generator(np.random.PCG64(seed))
        np.testing.assert_array_equal(env.reset()[0], seen)
    draw, ended = np.random.default_rng(0), 0
    for _ in range(400):
        actions = draw.integers(4, size=count)
        step = vector.step(actions)
        for i, env in enumerate(envs):
            seen, reward, terminated, truncated, _ = env.step(int(actions[i]))
            assert (step.rewards[i], step.terminated[i]) == (reward, terminated)
            assert step.truncated[i] == (truncated and not terminated)
            assert step.next_observations.dtype == np.float32
            np.testing.assert_array_equal(step.next_observations[i], seen)
            if terminated or truncated:
                seen, ended = env.reset()[0], ended + 1
            np.testing.assert_array_equal(step.observations[i], seen)
    assert ended > 40


def test_the_right_exit_pays_who_wants_it() -> None:
    env = ConflictEnv(side=0.5, step_cost=0.01)
    for column, action, pays in ((7, 3, 0.75), (1, 2, 0.25)):
        env.row, env.column = 2, column
        _, reward, terminated, _, _ = env.step(action)
        assert reward == pays - 0.01
        assert terminated
    env.row, env.column = 0, 0
    seen, reward, terminated, _, _ = env.step(0)  # a wall
    assert (seen.tolist(), reward, terminated) == ([-1, -1], -0.01, False)


def test_conflict_turns_what_the_first_half_wants() -> None:
    def sides(level: float, agents: int = 4) -> list[float]:
        return [k["side"] for k in make_factory(CONFLICT, agents, Conflicting(level), 0).kwargs]

    assert sides(0.0) == [1, 1, 1, 1]
    assert sides(0.5) == [0, 0, 1, 1]
    assert sides(1.0) == [-1, -1, 1, 1]
    assert sides(1.0, 3) == [-1, 1, 1]
    unseen = make_factory(CONFLICT, 2, Conflicting(1.0), 0).held_out
    np.testing.assert_allclose([k["side"] for k in unseen], [2 / 3, 1 / 3, 0, -1 / 3, -2 / 3])


def test_conflict_needs_something_to_want() -> None:
    with pytest.raises(FdrlError, match="conflicts=True"):
        make_factory("CartPole-v1", 2, Conflicting(0.5), 0)
    with fails(FdrlError, "level", 2, "[0, 1]"):
        Conflicting(2.0)


def test_the_pixels_of_a_step() -> None:
    env = PixelGridEnv()
    env.reset(seed=0)
    env.walker, env.goal = 0, 2
    seen, reward, terminated, _, _ = env.step(3)
    assert seen[0, :3, 3:6].min() == 255
    assert seen[1, :3, 6:9].min() == 255
    assert seen.sum(dtype=int) == 18 * 255
    assert (reward, terminated) == (-0.02, False)
    assert env.step(3)[1:3] == (0.98, True)
