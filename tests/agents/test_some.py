"""Some copies of a vector step without the others, whether or not the vector can be cut."""

from __future__ import annotations

import numpy as np
import pytest
from fdrl.agents import some
from fdrl.agents.rollout import World
from tiny_cohorts import Counter

from fdrl.environment import make_factory
from fdrl.heterogeneity import Dynamics, Nothing
from fdrl.vector import VectorEnv

ENVS = {
    "CartPole-v1": {},
    "Acrobot-v1": {},
    "MountainCar-v0": {},
    "gymnasium.envs.classic_control:CartPoleEnv": {"max_episode_steps": 12},
}


def vector(name: str) -> VectorEnv:
    hetero = Dynamics(level=0.5) if name == "CartPole-v1" else Nothing()
    env = make_factory(name, 4, hetero, 3, ENVS[name]).vector(1)
    env.reset()
    return env


@pytest.mark.parametrize("name", ENVS)
def test_a_part_steps_as_the_whole_would(name: str) -> None:
    whole, cut = vector(name), vector(name)
    rows = np.array([1, 3])
    for _ in range(3):
        part = some.take(cut, rows)
        for t in range(30):
            step = whole.step(np.full(4, t % 2))
            ours = part.step(np.full(2, t % 2))
            for have, want in zip(ours.arrays, step.arrays, strict=True):
                np.testing.assert_array_equal(have, want[rows])
        some.put(cut, rows, part)
    kept, fresh, moved = cut.state(), vector(name).state(), whole.state()
    for key, array in kept.items():
        if key == "actions":
            continue  # padded to the longest
        np.testing.assert_array_equal(array[[0, 2]], fresh[key][[0, 2]])
        np.testing.assert_array_equal(array[rows], moved[key][rows])


def test_a_vector_that_cannot_be_cut_is_put_back() -> None:
    env = Counter(3, length=5, truncates=True)
    world = World(env, 3, 2)
    part = world.take(np.array([0, 2]))
    part.env.step(np.zeros(2, np.int64))
    assert part.env.state()["t"].tolist() == [1, 1]
    world.put(np.array([0, 2]), part)
    assert env.state()["t"].tolist() == [1, 0, 1]
    for method in (part.env.reset, lambda: part.env.load_state({})):
        with pytest.raises(TypeError):
            method()


def test_rows_of_different_lengths_are_merged() -> None:
    now, before = np.ones((3, 2)), np.full((3, 3), 7.0)
    out = some.merged(now, before, np.array([False, True, False]))
    assert out.tolist() == [[1, 1, 0], [7, 7, 7], [1, 1, 0]]
