from __future__ import annotations

import numpy as np
import pytest
from fdrl.agents import rollout
from fdrl.agents.a2c import A2C, make
from fdrl.agents.episodes import EpisodeStats
from fdrl.agents.networks.layout import Layout
from fdrl.agents.networks.numpy_network import NumpyNetwork
from fdrl.agents.rollout import BLOCK, Collector, Rollout, UniformStreams, sample
from hypothesis import given
from hypothesis import strategies as st
from messages import fails
from tiny_cohorts import Counter, counter_context

from fdrl.core.env import VectorEnv
from fdrl.core.errors import FdrlError
from fdrl.vector.factory import make_factory
from fdrl.vector.heterogeneity import Dynamics, Nothing

LAYOUT = Layout(2, (), 2)


def network(agents: int = 1) -> NumpyNetwork:
    """Value of [t, copy] is 10 t + copy + 5; both actions are equally likely."""
    rows = np.zeros((agents, LAYOUT.size), np.float32)
    rows[:, -3:] = [10, 1, 5]
    return NumpyNetwork(LAYOUT, rows)


def act(world: Collector, steps: int, fail_reward: float | None = None) -> Rollout:
    uniforms = np.full((world.agents, steps, world.copies), 0.7, np.float32)
    return world.act(network(world.agents), uniforms, fail_reward, keep_following=True)


def test_truncation_bootstraps_with_the_value_of_where_the_action_led() -> None:
    out = act(Collector(Counter(2, length=2, truncates=True), 1, 2), 4)
    # copy 0 is cut off after steps 2 and 4 (V(2, 0) = 25), copy 1 after step 3 (V(3, 1) = 36)
    np.testing.assert_array_equal(out.truncated_values[0], [[0, 0], [25, 0], [0, 36], [25, 0]])
    np.testing.assert_array_equal(out.observations[0, :, 0, 0], [0, 1, 0, 1])
    assert out.following is not None
    np.testing.assert_array_equal(out.following[0, :, 0, 0], [1, 2, 1, 2])
    assert not out.terminated.any()


def test_termination_does_not_bootstrap() -> None:
    out = act(Collector(Counter(2, length=2, truncates=False), 1, 2), 4)
    assert not out.truncated_values.any()
    np.testing.assert_array_equal(out.terminated[0, :, 0], [0, 1, 0, 1])


def test_the_learner_may_see_another_reward_on_failing() -> None:
    world = Collector(Counter(1, length=3, truncates=False), 1, 2)
    out = act(world, 4, fail_reward=-100.0)
    assert out.rewards[0, :, 0].tolist() == [1, 1, -100, 1]
    returns, lengths, _ = world.tally.harvest()
    assert returns[0].tolist() == [3.0]  # what is reported stays the true return
    assert lengths[0].tolist() == [3]


def test_fail_reward_does_not_touch_truncated_steps() -> None:
    out = act(Collector(Counter(1, length=3, truncates=True), 1, 2), 4, fail_reward=-100.0)
    assert out.rewards[0, :, 0].tolist() == [1, 1, 1, 1]


def test_episodes_run_on_over_rollouts() -> None:
    world = Collector(Counter(1, length=5, truncates=True), 1, 2)
    act(world, 3)
    assert world.tally.count().tolist() == [0]
    act(world, 3)
    returns, _, _ = world.tally.harvest()
    assert returns[0].tolist() == [5.0]
    assert world.tally.sums.tolist() == [[1.0]]
    assert world.tally.harvest()[0][0].size == 0


def test_agents_that_wait_stay_where_they_are() -> None:
    world = Collector(Counter(2, length=5, truncates=True), 2, 2)
    act(world, 2)
    part = world.take(np.array([1]))
    act(part, 2)
    world.put(np.array([1]), part)
    assert world.observations[:, 0, 0].tolist() == [2, 4]
    assert world.tally.lengths[:, 0].tolist() == [2, 4]
    out = act(world, 1)
    assert out.observations[:, 0, 0, 0].tolist() == [2, 4]
    assert out.last[:, 0, 0].tolist() == [3, 5]


def test_episodes_of_an_agent_that_waits_do_not_count() -> None:
    tally = EpisodeStats(2, 1)
    tally.add(np.ones(2), np.array([False, False]))
    part = tally.take(np.array([1]))
    for step in range(1, 6):
        part.add(np.ones(1), np.full(1, step % 3 == 2))
    tally.put(np.array([1]), part)
    assert tally.lengths[:, 0].tolist() == [1, 0]
    returns, _, ends = tally.harvest()
    assert returns[0].size == 0
    assert returns[1].tolist() == [3.0, 3.0]
    assert ends[1].tolist() == [3, 6]


def test_sampling_follows_the_probabilities() -> None:
    logits = np.log(np.array([0.2, 0.5, 0.3], np.float32))[None, :, None].repeat(8, axis=2)
    uniforms = np.array([[0.0, 0.19, 0.21, 0.5, 0.69, 0.71, 0.9, 0.999]], np.float32)
    assert sample(logits, uniforms)[0].tolist() == [0, 0, 1, 1, 1, 2, 2, 2]


def test_sampling_survives_large_logits_and_uniforms_below_one() -> None:
    logits = np.array([[[-500.0], [1000.0], [-500.0]]], np.float32)
    for u in (0.0, np.float32(1 - 2**-24)):
        assert sample(logits, np.full((1, 1), u, np.float32))[0, 0] in (1, 2)
    assert sample(logits, np.zeros((1, 1), np.float32))[0, 0] == 1


def test_copies_must_divide_among_agents() -> None:
    with fails(ValueError, "3 environment copies", "2 agents"):
        Collector(Counter(3, 2, True), 2, 2)


def test_an_environment_state_without_copies_first_is_refused() -> None:
    world = Collector(Counter(2, 2, True), 2, 2)
    world.env.state = lambda: {"t": np.zeros(3)}  # type: ignore[method-assign]
    with fails(FdrlError, "'t'", "(3,)", "2 copies"):
        world.state()


def test_tally_ends_several_copies_in_order() -> None:
    tally = EpisodeStats(1, 3)
    tally.add(np.array([1.0, 2.0, 3.0]), np.array([True, False, True]))
    assert tally.harvest()[0][0].tolist() == [1.0, 3.0]
    assert tally.sums.tolist() == [[0.0, 2.0, 0.0]]


def test_a_cohort_reports_true_returns_whatever_it_learns_from() -> None:
    cohort = make(A2C(n_envs=1, n_steps=2, fail_reward=-100.0), counter_context(length=3))
    experience = cohort.learn(np.array([6]))
    assert experience.returns[0].tolist() == [3.0, 3.0]
    assert experience.lengths[0].tolist() == [3, 3]


# ---- Uniforms drawn ahead: the same numbers in whatever portions ----


def generators() -> list[np.random.Generator]:
    return [np.random.default_rng(seed) for seed in (3, 4, 5)]


portion = st.tuples(
    st.sets(st.integers(0, 2), min_size=1), st.sampled_from([1, 2, 3, 5, 16, 17, 40]), st.booleans()
)


@given(st.lists(portion, max_size=60))
def test_portions_and_pauses_change_no_number(portions: list[tuple[set[int], int, bool]]) -> None:
    ours, theirs = generators(), generators()
    chances = UniformStreams(ours)
    for agents, count, pause in portions:
        rows = np.array(sorted(agents))
        got = chances.take(rows, count)
        for row, k in zip(got, rows.tolist(), strict=True):
            np.testing.assert_array_equal(row, theirs[k].random(count, dtype=np.float32))
        if pause:
            chances.give_back()
            assert [g.bit_generator.state for g in ours] == [g.bit_generator.state for g in theirs]


def test_a_block_runs_out() -> None:
    (rng, *_) = generators()
    chances = UniformStreams(generators())
    got = [chances.take(np.array([0]), 3) for _ in range(BLOCK)]
    np.testing.assert_array_equal(np.concatenate(got, axis=1)[0], rng.random(3 * BLOCK, np.float32))


# ---- Some copies of a vector step without the others, whether or not the vector can be cut ----


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
        part = rollout.take(cut, rows)
        for t in range(30):
            step = whole.step(np.full(4, t % 2))
            ours = part.step(np.full(2, t % 2))
            for have, want in zip(ours.arrays, step.arrays, strict=True):
                np.testing.assert_array_equal(have, want[rows])
        rollout.put(cut, rows, part)
    kept, fresh, moved = cut.state(), vector(name).state(), whole.state()
    for key, array in kept.items():
        if key == "actions":
            continue  # padded to the longest
        np.testing.assert_array_equal(array[[0, 2]], fresh[key][[0, 2]])
        np.testing.assert_array_equal(array[rows], moved[key][rows])


def test_a_vector_that_cannot_be_cut_is_put_back() -> None:
    env = Counter(3, length=5, truncates=True)
    world = Collector(env, 3, 2)
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
    out = rollout.merged(now, before, np.array([False, True, False]))
    assert out.tolist() == [[1, 1, 0], [7, 7, 7], [1, 1, 0]]
