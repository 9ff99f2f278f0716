from __future__ import annotations

import re
from typing import Any

import bad_worlds
import gymnasium
import pytest
from gymnasium import spaces
from messages import says

from fdrl.core.errors import _SAID, Notice, warn_once
from fdrl.vector.factory import make_factory
from fdrl.vector.flatten import FlatObservation, NumberedActions, cannot, flat, said_of
from fdrl.vector.heterogeneity import Nothing


class Shows(gymnasium.Env[Any, Any]):
    def __init__(self, space: Any, actions: Any = None) -> None:
        self.observation_space, self.action_space = space, actions or spaces.Discrete(2)


def test_flat_spaces_are_left_alone() -> None:
    env = bad_worlds.Good()
    assert flat(env) is env
    assert said_of(env, "x") is None


def test_a_discrete_number_becomes_one_among_zeros() -> None:
    env = flat(Shows(spaces.Discrete(4, start=1)))
    assert isinstance(env, FlatObservation)
    assert env.observation_space.shape == (4,)
    assert env.observation(3).tolist() == [0, 0, 1, 0]


def test_a_dictionary_is_flattened_by_its_keys_without_its_texts() -> None:
    env = flat(bad_worlds.Nested())
    # at: 2, clock: 3 (one of three) + 4 (a table); actions: 2 * 3 combinations
    assert env.observation_space.shape == (9,)
    assert env.action_space == spaces.Discrete(6)
    seen, _ = env.reset(seed=0)
    assert seen[2:].tolist() == [0, 1, 0, 0.5, 0.5, 0.5, 0.5]  # 25 steps left: 25 % 3 = 1
    said = said_of(env, "nest")
    assert said is not None
    says(said, "Dict", "at, clock, order", "(9,)", "'order'")
    says(said, "MultiDiscrete([2 3])", "Discrete(6)")


@pytest.mark.parametrize(
    ("actions", "number", "parts"),
    [
        (spaces.MultiDiscrete([2, 3]), 4, [1, 1]),
        (spaces.MultiDiscrete([2, 3]), 5, [1, 2]),
        (spaces.MultiDiscrete([2, 3], start=[1, 0]), 0, [1, 0]),
        (spaces.MultiBinary(3), 6, [1, 1, 0]),
        (spaces.MultiBinary((2, 2)), 1, [[0, 0], [0, 1]]),
    ],
)
def test_actions_are_numbered_with_the_last_varying_fastest(
    actions: Any, number: int, parts: Any
) -> None:
    env = flat(Shows(spaces.Box(0, 1, (2,)), actions))
    assert isinstance(env, NumberedActions)
    made = env.action(number)
    assert made.tolist() == parts
    assert actions.contains(made)


def test_every_number_is_another_combination() -> None:
    env: Any = flat(Shows(spaces.Box(0, 1, (2,)), spaces.MultiDiscrete([3, 4, 2])))
    assert len({tuple(env.action(n)) for n in range(24)}) == 24


def test_too_many_combinations_stay_as_they_are() -> None:
    actions = spaces.MultiBinary(9)
    assert flat(Shows(spaces.Box(0, 1, (2,)), actions)).action_space == actions


@pytest.mark.parametrize(
    ("space", "words"),
    [
        (spaces.Box(-1, 1, (100, 50)), "5000 numbers"),
        (spaces.Sequence(spaces.Discrete(2)), "size varies"),
        (spaces.Text(5), "a text"),
    ],
)
def test_what_is_not_flattened_says_why(space: Any, words: str) -> None:
    env = Shows(space)
    assert flat(env) is env
    assert words in cannot(space)


def test_small_tables_are_flattened() -> None:
    env = flat(Shows(spaces.Box(-1, 1, (5, 5))))
    assert env.observation_space.shape == (25,)


def test_flattening_is_said_once() -> None:
    text = "environment 'FrozenLake-v1': its observations, Discrete(16), are flattened to (16,)"
    _SAID.discard(text)
    envs = make_factory("FrozenLake-v1", 1, Nothing(), 0)
    with pytest.warns(Notice, match=re.escape(text)):
        assert envs.observation_shape == (16,)
    warn_once(text)  # would be an error here if it were said again
    _SAID.discard(text)
