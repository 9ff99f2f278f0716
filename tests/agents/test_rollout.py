import numpy as np
from fdrl.agents.a2c import A2C, make
from fdrl.agents.layout import Layout
from fdrl.agents.network import NumpyNetwork
from fdrl.agents.rollout import Rollout, World, sample
from fdrl.agents.tally import Tally
from messages import fails
from tiny_cohorts import Counter, counter_context

from fdrl.errors import FdrlError

LAYOUT = Layout(2, (), 2)


def network(agents: int = 1) -> NumpyNetwork:
    """Value of [t, copy] is 10 t + copy + 5; both actions are equally likely."""
    rows = np.zeros((agents, LAYOUT.size), np.float32)
    rows[:, -3:] = [10, 1, 5]
    return NumpyNetwork(LAYOUT, rows)


def act(world: World, steps: int, fail_reward: float | None = None) -> Rollout:
    uniforms = np.full((world.agents, steps, world.copies), 0.7, np.float32)
    return world.act(network(world.agents), uniforms, fail_reward, keep_following=True)


def test_truncation_bootstraps_with_the_value_of_where_the_action_led() -> None:
    out = act(World(Counter(2, length=2, truncates=True), 1, 2), 4)
    # copy 0 is cut off after steps 2 and 4 (V(2, 0) = 25), copy 1 after step 3 (V(3, 1) = 36)
    np.testing.assert_array_equal(out.truncated_values[0], [[0, 0], [25, 0], [0, 36], [25, 0]])
    np.testing.assert_array_equal(out.observations[0, :, 0, 0], [0, 1, 0, 1])
    assert out.following is not None
    np.testing.assert_array_equal(out.following[0, :, 0, 0], [1, 2, 1, 2])
    assert not out.terminated.any()


def test_termination_does_not_bootstrap() -> None:
    out = act(World(Counter(2, length=2, truncates=False), 1, 2), 4)
    assert not out.truncated_values.any()
    np.testing.assert_array_equal(out.terminated[0, :, 0], [0, 1, 0, 1])


def test_the_learner_may_see_another_reward_on_failing() -> None:
    world = World(Counter(1, length=3, truncates=False), 1, 2)
    out = act(world, 4, fail_reward=-100.0)
    assert out.rewards[0, :, 0].tolist() == [1, 1, -100, 1]
    returns, lengths, _ = world.tally.harvest()
    assert returns[0].tolist() == [3.0]  # what is reported stays the true return
    assert lengths[0].tolist() == [3]


def test_fail_reward_does_not_touch_truncated_steps() -> None:
    out = act(World(Counter(1, length=3, truncates=True), 1, 2), 4, fail_reward=-100.0)
    assert out.rewards[0, :, 0].tolist() == [1, 1, 1, 1]


def test_episodes_run_on_over_rollouts() -> None:
    world = World(Counter(1, length=5, truncates=True), 1, 2)
    act(world, 3)
    assert world.tally.count().tolist() == [0]
    act(world, 3)
    returns, _, _ = world.tally.harvest()
    assert returns[0].tolist() == [5.0]
    assert world.tally.sums.tolist() == [[1.0]]
    assert world.tally.harvest()[0][0].size == 0


def test_agents_that_wait_stay_where_they_are() -> None:
    world = World(Counter(2, length=5, truncates=True), 2, 2)
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
    tally = Tally(2, 1)
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
        World(Counter(3, 2, True), 2, 2)


def test_an_environment_state_without_copies_first_is_refused() -> None:
    world = World(Counter(2, 2, True), 2, 2)
    world.env.state = lambda: {"t": np.zeros(3)}  # type: ignore[method-assign]
    with fails(FdrlError, "'t'", "(3,)", "2 copies"):
        world.state()


def test_tally_ends_several_copies_in_order() -> None:
    tally = Tally(1, 3)
    tally.add(np.array([1.0, 2.0, 3.0]), np.array([True, False, True]))
    assert tally.harvest()[0][0].tolist() == [1.0, 3.0]
    assert tally.sums.tolist() == [[0.0, 2.0, 0.0]]


def test_a_cohort_reports_true_returns_whatever_it_learns_from() -> None:
    cohort = make(A2C(n_envs=1, n_steps=2, fail_reward=-100.0), counter_context(length=3))
    experience = cohort.learn(np.array([6]))
    assert experience.returns[0].tolist() == [3.0, 3.0]
    assert experience.lengths[0].tolist() == [3, 3]
