from __future__ import annotations

from dataclasses import replace
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from messages import fails

from fdrl import Federation, make_run
from fdrl.core.errors import Notice
from fdrl.core.registry import EnvSpec
from fdrl.vector.factory import make_factory
from fdrl.vector.gym_loop import EnvFault, GymLoop
from fdrl.vector.heterogeneity import Dynamics, Nothing


class Walk(gymnasium.Env[Any, Any]):
    """A random walk: the observation is (position, steps); ends at 5, reward is the position."""

    action_space = spaces.Discrete(2, start=3)

    def __init__(self, size: int = 2, noise: float = 0.1) -> None:
        self.observation_space = spaces.Box(-100, 100, (size,))
        self.noise = noise

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.at = self.np_random.normal() * self.noise
        self.steps = 0
        return self.look(), {}

    def look(self) -> Any:
        seen = np.zeros(self.observation_space.shape or (), np.float32)
        seen[:2] = self.at, self.steps
        return seen

    def step(self, action: int) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        assert action in (3, 4)
        self.at += (1.0 if action == 4 else -1.0) + self.np_random.normal() * self.noise
        self.steps += 1
        return self.look(), float(self.at), abs(self.at) > 5, False, {}


class Push(Walk):
    """Is pushed by two numbers, which it then overwrites: it was given arrays of its own."""

    action_space = spaces.Box(-1.0, 1.0, (2,), np.float64)  # type: ignore[assignment]

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        assert action.dtype == np.float64
        self.at += action.sum() + self.np_random.normal() * self.noise
        action[:] = 99.0
        self.steps += 1
        return self.look(), float(self.at), abs(self.at) > 5, False, {}


class Wider(Push):
    """Has as many dimensions as observations."""

    def __init__(self, size: int = 2, noise: float = 0.1) -> None:
        super().__init__(2, noise)
        self.action_space = spaces.Box(-1.0, 1.0, (size,), np.float64)  # type: ignore[misc]


class NaN(Walk):
    def look(self) -> Any:
        return super().look() * (np.nan if self.steps == 2 else 1)


class Infinite(Walk):
    def step(self, action: int) -> Any:
        return (super().step(action)[0], np.inf, False, False, {})


class Scalar(Walk):
    """Would be broadcast into the array without a check."""

    def look(self) -> Any:
        return super().look()[:1] if self.steps else super().look()


class Raises(Walk):
    def step(self, action: int) -> Any:
        if self.steps == 1:
            raise ValueError("the wheel came off")
        return super().step(action)


class NoReset(Walk):
    def reset(self, **_: Any) -> Any:
        raise RuntimeError("no simulator")


class Forgetful(Walk):
    """Ignores its seed."""

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        return super().reset(seed=None)


def loop(
    kind: type[Walk] = Walk, copies: int = 2, max_steps: int = 0, once: bool = False, **kwargs: Any
) -> GymLoop:
    spec = EnvSpec(f"my-{kind.__name__}", gym_id=f"{__name__}:{kind.__name__}", max_steps=max_steps)
    seeds = [np.random.SeedSequence(0, spawn_key=(i,)) for i in range(copies)]
    labels = [f"agent {i}" for i in range(copies)]
    return GymLoop(spec, [kwargs] * copies, seeds, labels, once=once)


def play(env: GymLoop, steps: int) -> None:
    env.reset()
    for _ in range(steps):
        env.step(np.zeros(2, np.int64))


def test_steps_count_from_zero_whatever_the_space_says() -> None:
    env = loop(noise=0.0)
    assert env.reset().tolist() == [[0, 0], [0, 0]]
    step = env.step(np.array([1, 0]))
    assert step.next_observations.tolist() == [[1, 1], [-1, 1]]
    assert step.observations.tolist() == [[1, 1], [-1, 1]]
    assert step.rewards.tolist() == [1.0, -1.0]
    assert step.observations.dtype == np.float32
    assert step.rewards.dtype == np.float64


def test_a_finished_copy_starts_again_in_the_same_step() -> None:
    env = loop(noise=0.0)
    env.reset()
    for _ in range(5):
        env.step(np.array([1, 1]))
    step = env.step(np.array([1, 0]))
    assert step.terminated.tolist() == [True, False]
    assert step.truncated.tolist() == [False, False]
    assert step.next_observations.tolist() == [[6, 6], [4, 6]]
    assert step.observations.tolist() == [[0, 0], [4, 6]]


def test_the_time_limit_truncates_unless_the_episode_ends_there() -> None:
    env = loop(noise=0.0, max_steps=6)
    env.reset()
    for _ in range(5):
        assert not env.step(np.array([1, 1])).truncated.any()
    step = env.step(np.array([1, 0]))
    assert step.terminated.tolist() == [True, False]
    assert step.truncated.tolist() == [False, True]
    assert step.observations.tolist() == [[0, 0], [0, 0]]


def test_a_copy_for_one_episode_rests_when_it_is_over() -> None:
    env = loop(noise=0.0, max_steps=7, once=True)
    env.reset()
    for _ in range(5):
        env.step(np.array([1, 1]))
    step = env.step(np.array([1, 0]))
    assert step.terminated.tolist() == [True, False]
    assert step.observations.tolist() == [[6, 6], [4, 6]]
    step = env.step(np.array([1, 0]))
    assert step.rewards.tolist() == [0.0, 3.0]
    assert (step.terminated.tolist(), step.truncated.tolist()) == ([False] * 2, [False, True])
    assert step.observations.tolist() == [[6, 6], [3, 7]]
    step = env.step(np.array([1, 0]))  # everybody rests
    assert step.rewards.tolist() == [0.0, 0.0]
    assert not (step.terminated | step.truncated).any()
    assert env.reset().tolist() == [[0, 0], [0, 0]]
    assert env.step(np.array([1, 0])).rewards.tolist() == [1.0, -1.0]


def test_evaluation_takes_no_step_after_an_episode(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three copies walk off after 6 steps, the fourth to and fro for 9: 27 steps, no more."""
    taken = []
    step = Walk.step
    monkeypatch.setattr(Walk, "step", lambda env, move: taken.append(move) or step(env, move))
    given = {"max_episode_steps": 9, "noise": 0.0}
    env = make_factory(f"{__name__}:Walk", 2, Nothing(), 0, given)
    copies = env.evaluation(2, seed=0)
    copies.reset()
    for t in range(9):
        copies.step(np.array([1, 1, 0, t % 2]))
    assert (taken.count(4), taken.count(3)) == (6 + 6 + 4, 6 + 5)


def test_copies_that_were_not_taken_stand_still() -> None:
    env = loop(noise=0.0)
    env.reset()
    env.step(np.array([1, 1]))
    for _ in range(5):  # then copy 0 is through and begins again
        step = env.step(np.array([1, 0]))
    assert step.observations.tolist() == [[0, 0], [-4, 6]]
    part = env.take(np.array([1]))
    step = part.step(np.array([0]))
    assert step.observations.tolist() == [[-5, 7]]
    assert step.rewards.tolist() == [-5.0]
    assert part.step(np.array([0])).terminated.tolist() == [True]
    env.put(np.array([1]), part)
    assert env.step(np.array([1, 1])).observations.tolist() == [[1, 1], [1, 1]]


def test_agents_that_wait_for_others_are_where_they_would_be_put_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def trained() -> list[Any]:
        federation = Federation(
            make_run(
                env=f"{__name__}:Walk",
                env_kwargs={"max_episode_steps": 9},
                agents=3,
                episodes=5,
                agent={"type": "reinforce", "hidden": (4,)},
                strategy={"type": "fd", "every": 2, "unit": "episodes"},
            )
        )
        while not federation.done:
            federation.round()
        state = federation.state()
        federation.close()
        return [(n, a.tobytes()) for n, a in state.items() if "seconds" not in n]

    calls = []
    step = Walk.step
    monkeypatch.setattr(Walk, "step", lambda env, move: calls.append(move) or step(env, move))
    resting, taken = trained(), len(calls)
    assert len({*np.frombuffer(dict(resting)["tally.steps"], np.int64)}) > 1
    monkeypatch.setattr("fdrl.agents.rollout.Sliceable", Push)  # so all are stepped, and put back
    assert resting == trained()
    assert taken < len(calls) - taken


def test_every_episode_has_a_seed_of_its_own() -> None:
    env = loop()
    seeds = []
    for _ in range(3):
        env.reset()
        seeds += env.state()["seeds"].tolist()
    assert len(set(seeds)) == 6
    first = int(
        np.random.Generator(np.random.PCG64(np.random.SeedSequence(0, spawn_key=(0,)))).integers(
            2**31 - 1
        )
    )
    assert seeds[0] == first


@pytest.mark.parametrize(
    ("kind", "fault", "words"),
    [
        (NaN, "finite", r"'my-NaN', agent 0.*step 2.*\[nan nan\]"),
        (Infinite, "finite", "'my-Infinite', agent 0.*step 1.*inf"),
        (Scalar, "shape", r"\(1,\).*\(2,\)"),
        (Raises, "step", "agent 0.*step 1.*ValueError: the wheel came off"),
        (NoReset, "reset", "agent 0.*step 0.*RuntimeError: no simulator"),
    ],
)
def test_a_broken_environment_is_named(kind: type[Walk], fault: str, words: str) -> None:
    with pytest.raises(EnvFault, match=words) as caught:
        play(loop(kind), 3)
    assert caught.value.kind == fault


def test_agents_with_other_spaces_are_an_error() -> None:
    spec = EnvSpec("walk", gym_id=f"{__name__}:Walk")
    seeds = [np.random.SeedSequence(0)] * 2
    with fails(EnvFault, "'walk'", "b", "spaces"):
        GymLoop(spec, [{}, {"size": 3}], seeds, ["a", "b"])


def test_saving_and_replaying() -> None:
    env = loop(copies=3)
    env.reset()
    actions = np.random.default_rng(0).integers(2, size=(80, 3))
    for a in actions[:40]:
        env.step(a)
    saved = env.state()
    assert saved["actions"].shape == (3, saved["counts"].max())
    assert all(len(value) == 3 for value in saved.values())
    again = loop(copies=3)
    again.load_state(saved)
    for a in actions[40:]:
        for x, y in zip(env.step(a), again.step(a), strict=True):
            np.testing.assert_array_equal(x, y)


def test_a_state_from_before_the_first_reset_can_be_loaded() -> None:
    env, again = loop(), loop()
    again.load_state(env.state())
    np.testing.assert_array_equal(env.reset(), again.reset())


def test_an_episode_that_cannot_be_replayed_makes_room_for_another() -> None:
    env = loop(Forgetful, copies=1, noise=20.0)
    env.reset()
    saved = env.state()
    saved["actions"] = np.full((1, 50), 4)
    saved["counts"] = np.array([50])
    with pytest.warns(Notice, match=r"my-Forgetful.*reset\(seed=...\)"):
        env.load_state(saved)
    assert env.state()["counts"].tolist() == [0]  # it ended, and a new one has begun
    env.step(np.zeros(1, np.int64))


def test_an_episode_that_goes_differently_is_said() -> None:
    env = loop(Restless, copies=1, noise=1.0)
    env.reset()
    saved = env.state()
    with pytest.warns(Notice, match="my-Restless"):
        env.load_state(saved)
    env.load_state({k: v for k, v in saved.items() if k != "seen"})  # as older checkpoints are


class Restless(Forgetful):
    """Another name of it: everything is said once."""


def test_a_state_of_another_count_is_an_error() -> None:
    with fails(EnvFault, "2 copies", 1):
        loop(copies=1).load_state(loop().state())


def test_box2d_resumes_to_the_bit() -> None:
    pytest.importorskip("Box2D")
    envs = make_factory("LunarLander-v3", 2, Dynamics(0.5), 3)
    actions = np.random.default_rng(0).integers(4, size=(260, 4))
    env = envs.vector(2)
    env.reset()
    for a in actions[:130]:
        env.step(a)
    again = envs.vector(2)
    again.load_state(env.state())
    finished = 0
    for a in actions[130:]:
        ours, theirs = env.step(a), again.step(a)
        for x, y in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(x, y)
        finished += int(ours.terminated.sum())
    assert finished > 2
    env.close()
    again.close()


def test_a_gymnasium_id_keeps_its_time_limit() -> None:
    envs = make_factory("CartPole-v0", 1, Nothing(), 0)
    env = replace(envs, spec=replace(envs.spec, max_steps=4)).vector(1)
    env.reset()
    ends = [bool(env.step(np.array([k % 2])).truncated[0]) for k in range(8)]
    assert ends == [False, False, False, True] * 2


def test_continuous_actions_are_kept_as_they_were_given() -> None:
    envs = make_factory(f"{__name__}:Push", 2, Nothing(), 3, {"max_episode_steps": 9})
    loop, draw = envs.vector(2), np.random.default_rng(0)
    loop.reset()
    for _ in range(7):
        given = draw.uniform(-1, 1, (4, 2)).astype(np.float32)
        before = given.copy()
        loop.step(given)
        np.testing.assert_array_equal(given, before)
    saved = loop.state()
    assert saved["actions"].shape == (4, 7, 2)
    again = envs.vector(2)
    again.load_state(saved)
    for name, array in again.state().items():
        np.testing.assert_array_equal(array, saved[name], err_msg=name)
    last = draw.uniform(-1, 1, (4, 2)).astype(np.float32)
    one, two = loop.step(last), again.step(last)
    np.testing.assert_array_equal(one.next_observations, two.next_observations)


def test_agents_whose_actions_differ_are_named() -> None:
    envs = make_factory(
        f"{__name__}:Wider", 2, Nothing(), 3, {"max_episode_steps": 9}, [{"size": 2}, {"size": 3}]
    )
    with fails(EnvFault, "agent 1 copy 0", "(3,)"):
        envs.vector(1)
