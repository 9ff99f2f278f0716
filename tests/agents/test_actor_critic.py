"""The cohort: budgets, schedules, pooling, resuming, errors."""

from typing import Any

import msgspec
import numpy as np
import pytest
from fdrl.agents import a2c, ppo
from fdrl.agents.a2c import A2C
from fdrl.agents.ppo import PPO
from messages import fails
from tiny_cohorts import context, counter_context

from fdrl.core.errors import FdrlError
from fdrl.core.settings import DistillSettings

SMALL = PPO(n_envs=2, n_steps=8, batch_size=8, n_epochs=2, hidden=(8,))
LESSON = DistillSettings(steps=3, batch=8)


def lesson(k: int, n: int = 12) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    states = rng.uniform(-1, 1, (n, 4)).astype(np.float32)
    return states, rng.dirichlet((1, 1), (k, n)).astype(np.float32), rng.random((k, n))


def test_the_last_iteration_is_shorter() -> None:
    cohort = ppo.make(SMALL, context(2))
    assert cohort.iteration_steps == 16
    experience = cohort.learn(np.array([40, 22]))
    assert experience.steps.tolist() == [40, 22]
    # 16 + 16 + 8 rows in minibatches of 8, and 16 + 6; two passes each; means over iterations
    steps = experience.metrics["train/gradient_steps"]
    assert steps.tolist() == pytest.approx([(4 + 4 + 2) / 3, (4 + 2) / 2])


def test_rows_of_experience_are_in_time_order_with_copies_side_by_side() -> None:
    cohort = ppo.make(SMALL, counter_context(length=100))
    seen = cohort.learn(np.array([20])).observations[0]
    assert seen[:, 0].tolist() == [t for t in range(10) for _ in range(2)]
    assert seen[:, 1].tolist() == [0, 1] * 10


def test_probs_in_experience_are_those_at_visit_time() -> None:
    cohort = ppo.make(SMALL, context(2))
    first = cohort.probs(np.zeros((1, 4), np.float32))
    experience = cohort.learn(np.array([16, 16]))
    other = ppo.make(SMALL, context(2))
    np.testing.assert_allclose(other.probs(experience.observations), experience.probs, atol=1e-6)
    assert (cohort.probs(np.zeros((1, 4), np.float32)) != first).any()


def test_no_steps_change_nothing() -> None:
    cohort = ppo.make(SMALL, context(2))
    before = cohort.state()
    experience = cohort.learn(np.array([0, 0]))
    assert experience.observations.shape == (2, 0, 4)
    after = cohort.state()
    assert all(np.array_equal(before[name], after[name]) for name in before)


def test_with_episodes_an_agent_stops_after_the_iteration_in_which_the_last_ends() -> None:
    # copies end every 3 and 4 steps; an iteration is 2 steps of each
    settings = msgspec.structs.replace(SMALL, n_steps=2)
    cohort = ppo.make(settings, counter_context(length=3))
    experience = cohort.learn(np.array([1000]), episodes=3)
    # ends at t = 3, 4, 6: three iterations of 4 steps
    assert experience.steps.tolist() == [12]
    assert experience.lengths[0].tolist() == [3, 4, 3]
    assert cohort.learn(np.array([8]), episodes=100).steps.tolist() == [8]


def test_agents_that_reach_their_episodes_early_wait_for_the_others() -> None:
    cohort = a2c.make(A2C(n_envs=1, n_steps=1), context(3, spread=0.8))
    experience = cohort.learn(np.full(3, 10_000), episodes=4)
    assert [len(r) for r in experience.returns] == [4, 4, 4]
    assert experience.steps.tolist() == [r.sum() for r in experience.returns]
    assert len(set(experience.steps.tolist())) == 3


def test_a_linear_schedule_runs_over_the_whole_run_not_over_a_round() -> None:
    settings = msgspec.structs.replace(SMALL, lr_schedule="linear", learning_rate=1.0)
    cohort = ppo.make(settings, context(1, total=64))
    rates = [cohort.learn(np.array([16])).metrics["train/learning_rate"][0] for _ in range(5)]
    assert rates == [0.75, 0.5, 0.25, 0.0, 0.0]


def test_the_critic_may_have_its_own_learning_rate() -> None:
    settings = A2C(learning_rate=0.0, critic_learning_rate=1e-2, hidden=(8,))
    cohort = a2c.make(settings, context(2))
    before = cohort.parameters()
    cohort.learn(np.full(2, 40))
    moved = cohort.parameters() != before
    size = cohort.layout.policy_size
    assert not moved[:, :size].any()
    assert moved[:, size:].any(axis=1).all()


def test_the_classic_script_is_expressible() -> None:
    """One hidden layer of 24 ReLU, Adam 1e-3 and 5e-3, an update every step, -100 on failing."""
    table: dict[str, Any] = {
        "type": "a2c",
        "n_envs": 1,
        "n_steps": 1,
        "gae_lambda": 1.0,
        "gamma": 0.99,
        "optimizer": "adam",
        "learning_rate": 1e-3,
        "critic_learning_rate": 5e-3,
        "vf_coef": 1.0,
        "max_grad_norm": 0.0,
        "fail_reward": -100.0,
        "hidden": [24],
        "activation": "relu",
    }
    settings = msgspec.convert(table, A2C)
    cohort = a2c.make(settings, context(2))
    assert cohort.iteration_steps == 1
    cohort.learn(np.full(2, 50))
    assert cohort.learner.count.tolist() == [50, 50]


def test_settings_refuse_what_they_do_not_know() -> None:
    with pytest.raises(msgspec.ValidationError, match="epz"):
        msgspec.convert({"type": "ppo", "epz": 1}, PPO)
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"type": "ppo", "gamma": 1.5}, PPO)


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ([16, 15], "15 steps for agent 'agent-1'.*n_envs = 2"),
        ([16], "agent"),
        ([16, -2], "not negative"),
    ],
)
def test_bad_budgets_are_named(steps: list[int], message: str) -> None:
    with pytest.raises(FdrlError, match=message):
        ppo.make(SMALL, context(2)).learn(np.array(steps))


def test_shapes_that_do_not_fit_are_named() -> None:
    cohort = ppo.make(SMALL, context(2))
    states, targets, weights = lesson(2)
    with fails(FdrlError, "(12, 3)", "(4,)"):
        cohort.probs(states[:, :3])
    with fails(FdrlError, "3 agents", 2):
        cohort.probs(np.zeros((3, 5, 4), np.float32))
    with fails(FdrlError, "2 agents", "12 states", "2 actions"):
        cohort.distill(states, targets[:1], weights, LESSON)
    with fails(FdrlError, "'policy'"):
        cohort.load_parameters(cohort.parameters("all"), "policy")
    with pytest.raises(FdrlError, match="anchor"):
        cohort.anchor(np.zeros((1, 3)), 1.0)
    with fails(FdrlError, "'numpy'", "'cuda'", nearest="torch"):
        ppo.make(SMALL, msgspec_device(context(2), "cuda"))


def msgspec_device(c: Any, device: str) -> Any:
    from dataclasses import replace

    return replace(c, device=device)


def test_optimizer_rows_are_moments_and_steps_and_can_be_reset() -> None:
    cohort = ppo.make(SMALL, context(2))
    cohort.learn(np.array([16, 16]))
    rows = cohort.parameters("optimizer")
    assert rows.shape == (2, 2 * cohort.layout.size + 1)
    assert rows[:, -1].tolist() == [4, 4]
    cohort.load_parameters(np.zeros_like(rows), "optimizer")
    assert not cohort.learner.moments.any()
    assert cohort.learner.count.tolist() == [0, 0]


def test_loading_the_policy_leaves_the_value_alone() -> None:
    cohort, other = ppo.make(SMALL, context(2)), ppo.make(SMALL, context([3, 4]))
    value = cohort.parameters()[:, cohort.layout.policy_size :]
    cohort.load_parameters(other.parameters("policy"), "policy")
    np.testing.assert_array_equal(cohort.parameters("policy"), other.parameters("policy"))
    np.testing.assert_array_equal(cohort.parameters()[:, cohort.layout.policy_size :], value)


def test_pooling_one_agents_transitions_is_learning() -> None:
    whole, apart = ppo.make(SMALL, context(1)), ppo.make(SMALL, context(1))
    whole.learn(np.array([16]))
    experience, transitions = apart.collect(np.array([100]))
    assert experience.steps.tolist() == [16]
    assert transitions["next_observations"].shape == (1, 8, 2, 4)
    metrics = apart.update(transitions)
    assert metrics["train/gradient_steps"].tolist() == [4]
    np.testing.assert_allclose(apart.parameters(), whole.parameters(), atol=1e-6)


def test_pooling_takes_more_copies_than_it_has() -> None:
    many, one = ppo.make(SMALL, context(3)), ppo.make(SMALL, context(1))
    _, transitions = many.collect(np.full(3, 16))
    pooled = {n: np.concatenate(list(a), axis=1)[None] for n, a in transitions.items()}
    assert pooled["actions"].shape == (1, 8, 6)
    metrics = one.update(pooled)
    assert metrics["train/gradient_steps"].tolist() == [12]  # 48 rows by 8, twice


def test_pooling_says_what_it_needs() -> None:
    cohort = ppo.make(SMALL, context(2))
    with fails(FdrlError, "collect", "[16 8]"):
        cohort.collect(np.array([16, 8]))
    with fails(FdrlError, "collect", "n_envs = 2"):
        cohort.collect(np.array([0, 0]))
    _, transitions = cohort.collect(np.array([16, 16]))
    with fails(FdrlError, "one agent", 2):
        cohort.update(transitions)


@pytest.mark.parametrize("env", ["CartPole-v1", "MountainCar-v0"])
def test_resume_is_exact_with_an_anchor_and_a_schedule(env: str) -> None:
    settings = msgspec.structs.replace(SMALL, lr_schedule="linear", ent_coef=0.01)
    one, other = (ppo.make(settings, context(2, env=env, total=200)) for _ in range(2))
    one.learn(np.array([32, 20]))
    one.anchor(one.parameters(), 0.1)
    other.load_state(one.state())
    for cohort in (one, other):
        experience = cohort.learn(np.array([32, 32]))
        cohort.evaluate(2, 0)
    a, b = one.state(), other.state()
    assert sorted(a) == sorted(b)
    assert [name for name in a if not np.array_equal(a[name], b[name])] == []
    assert experience.steps.tolist() == [32, 32]


def test_evaluation_counts_the_first_episode_of_each_copy() -> None:
    cohort = ppo.make(SMALL, counter_context(agents=2, length=3))
    np.testing.assert_array_equal(cohort.evaluate(2, 0), [[3, 4], [5, 6]])
    np.testing.assert_array_equal(cohort.evaluate(2, 0, greedy=False), [[3, 4], [5, 6]])


def test_stochastic_evaluation_differs_from_greedy_and_is_an_agents_own() -> None:
    cohort = ppo.make(SMALL, context(2))
    greedy, drawn = cohort.evaluate(5, 0), cohort.evaluate(5, 0, greedy=False)
    assert (greedy != drawn).any()
    alone = ppo.make(SMALL, context([1]))
    np.testing.assert_array_equal(alone.evaluate(5, 0, greedy=False)[0], drawn[1])


def test_held_out_environments_are_evaluated_too() -> None:
    cohort = ppo.make(SMALL, context(2, spread=0.5))
    got = cohort.evaluate(3, 0, held_out=True)
    assert got.shape[0] == 2
    assert got.shape[1] % 3 == 0
    assert got.shape[1] > 3


@pytest.mark.slow
def test_ten_agents_learn_to_balance() -> None:
    settings = PPO(learning_rate=1e-3)
    cohort = ppo.make(settings, context(10))
    cohort.learn(np.full(10, 40_960))
    assert cohort.evaluate(10, 0).mean() > 400
