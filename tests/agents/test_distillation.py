import numpy as np
import pytest
from fdrl.agents.actor_critic import ActorCriticCohort
from fdrl.agents.distillation import WATCHED, weighted_kl
from fdrl.agents.ppo import PPO, make
from tiny_cohorts import context

from fdrl.core.settings import DistillSettings
from fdrl.ops.losses import kl

N = 40


def cohort(agents: int = 3) -> ActorCriticCohort:
    return make(PPO(n_envs=1, n_steps=8, hidden=(16,)), context(agents))


def lesson(k: int = 3) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    states = rng.uniform(-1, 1, (N, 4)).astype(np.float32)
    return states, rng.dirichlet((1, 1), (k, N)).astype(np.float32), np.ones((k, N), np.float32)


def test_policies_move_to_their_own_targets() -> None:
    agents = cohort()
    states, targets, weights = lesson()
    metrics = agents.distill(states, targets, weights, DistillSettings(steps=300, lr=1e-2))
    distance = kl(targets[:, None], agents.probs(states)[None]).mean(-1)
    assert (distance.argmin(axis=1) == np.arange(3)).all()
    np.testing.assert_allclose(metrics["distill/kl_after"], np.diag(distance), rtol=1e-6)
    assert (metrics["distill/kl_after"] < 0.5 * metrics["distill/kl_before"]).all()


def test_states_without_weight_do_not_teach() -> None:
    one, other = cohort(), cohort()
    states, targets, weights = lesson()
    weights[:, ::2] = 0
    wrong = targets.copy()
    wrong[:, ::2] = wrong[:, ::2, ::-1]
    settings = DistillSettings(steps=4, batch=N)
    one.distill(states, targets, weights, settings)
    other.distill(states, wrong, weights, settings)
    np.testing.assert_array_equal(one.parameters(), other.parameters())


def test_values_and_the_learning_optimizer_stay() -> None:
    agents = cohort()
    agents.learn(np.full(3, 16))
    before, optimizer = agents.parameters(), agents.parameters("optimizer")
    agents.distill(*lesson(), DistillSettings())
    size = agents.layout.policy_size
    np.testing.assert_array_equal(agents.parameters()[:, size:], before[:, size:])
    np.testing.assert_array_equal(agents.parameters("optimizer"), optimizer)


def test_the_distillations_own_adam_persists() -> None:
    agents = cohort()
    agents.distill(*lesson(), DistillSettings(steps=3))
    agents.distill(*lesson(), DistillSettings(steps=4))
    assert agents.state()["distill/count"].tolist() == [7, 7, 7]


@pytest.mark.parametrize(
    ("settings", "steps"),
    [
        (DistillSettings(steps=5, batch=16), 5),
        (DistillSettings(passes=2, batch=16), 6),  # 16 + 16 + 8, twice
        (DistillSettings(passes=3, batch=1000), 3),
    ],
)
def test_gradient_steps(settings: DistillSettings, steps: int) -> None:
    metrics = cohort().distill(*lesson(), settings)
    assert metrics["distill/gradient_steps"].tolist() == [steps] * 3


def test_a_pass_sees_every_state_once() -> None:
    """With a whole pass in one minibatch or in three, plain sums of losses agree."""
    agents = cohort(1)
    states, targets, weights = lesson(1)
    still = DistillSettings(passes=1, batch=10, lr=0.0)
    metrics = agents.distill(states, targets, weights, still)
    assert metrics["distill/loss"] == pytest.approx(metrics["distill/kl_before"], rel=1e-5)


def test_a_kl_limit_stops_each_agent_by_itself() -> None:
    agents = cohort()
    states, targets, weights = lesson()
    before = agents.probs(states)
    targets[1] = before[1]  # has nowhere to go
    settings = DistillSettings(steps=60, batch=N, lr=5e-3, kl_limit=0.01)
    metrics = agents.distill(states, targets, weights, settings)
    taken = metrics["distill/gradient_steps"]
    assert taken[1] == 60
    assert taken[0] < 60
    assert taken[2] < 60
    moved = kl(before, agents.probs(states)).mean(1)
    assert 0.01 < moved[0] < 0.03  # the step that crossed the limit was the last
    assert moved[1] < 1e-4


def test_silent_agents_draw_no_random_numbers_and_report_zeros() -> None:
    agents = cohort()
    states, targets, weights = lesson()
    before = agents.state()
    metrics = agents.distill(states, targets, np.zeros_like(weights), DistillSettings())
    after = agents.state()
    assert all(np.array_equal(before[name], after[name]) for name in before)
    assert all(not values.any() for values in metrics.values())


def test_weights_that_are_not_kept_to_one_scale_give_the_same_step() -> None:
    one, other = cohort(), cohort()
    states, targets, weights = lesson()
    one.distill(states, targets, weights, DistillSettings())
    other.distill(states, targets, 4 * weights, DistillSettings())
    np.testing.assert_array_equal(one.parameters(), other.parameters())


def test_weighted_kl_by_hand() -> None:
    p = np.array([[[1.0, 0.0], [0.5, 0.5]]], np.float32)
    q = np.array([[[0.5, 0.5], [0.5, 0.5]]], np.float32)
    got = weighted_kl(p, q, np.array([[3.0, 1.0]], np.float32))
    assert got.tolist() == pytest.approx([0.75 * np.log(2)])
    assert weighted_kl(p, q, np.zeros((1, 2), np.float32)).tolist() == [0.0]


def test_distilling_with_the_learners_optimizer_shares_its_moments_and_its_rate() -> None:
    one, other = cohort(), cohort()
    for agents in (one, other):
        agents.learn(np.full(3, 16))
    before = one.state()
    settings = DistillSettings(steps=2, optimizer="learner", lr=9.0)
    one.distill(*lesson(), settings)
    after = one.state()
    size = one.layout.policy_size
    assert (after["optimizer/count"] == before["optimizer/count"] + 2).all()
    moved = after["optimizer/moments"] != before["optimizer/moments"]
    assert moved[:, :, :size].mean() > 0.9
    assert not moved[:, :, size:].any()
    assert after["distill/count"].tolist() == [0, 0, 0]
    # `lr` is ignored: with the learner's own rate of zero nothing moves
    still = make(PPO(n_envs=1, n_steps=8, hidden=(16,), learning_rate=0.0), context(3))
    rows = still.parameters()
    still.distill(*lesson(), settings)
    np.testing.assert_array_equal(still.parameters(), rows)


def test_some_agents_may_distill_with_the_learners_optimizer() -> None:
    agents, alone = cohort(), cohort()
    states, targets, weights = lesson()
    weights[1] = 0
    settings = DistillSettings(steps=2, optimizer="learner")
    metrics = agents.distill(states, targets, weights, settings)
    assert metrics["distill/gradient_steps"].tolist() == [2, 0, 2]
    np.testing.assert_array_equal(agents.parameters()[1], alone.parameters()[1])
    assert agents.state()["optimizer/count"].tolist() == [2, 0, 2]


def test_with_many_states_the_distance_is_that_on_some_of_them() -> None:
    agents, rng = cohort(), np.random.default_rng(1)
    states = rng.uniform(-1, 1, (3 * WATCHED, 4)).astype(np.float32)
    targets = rng.dirichlet((1, 1), (3, len(states))).astype(np.float32)
    weights = rng.uniform(0, 1, targets.shape[:2]).astype(np.float32)
    some = np.linspace(0, len(states) - 1, WATCHED).astype(np.int64)
    assert some[0] == 0
    assert some[-1] == len(states) - 1

    def distance() -> np.ndarray:
        each = kl(targets[:, some], agents.probs(states)[:, some])
        return np.asarray((each * weights[:, some]).sum(1) / weights[:, some].sum(1))

    before = distance()
    metrics = agents.distill(states, targets, weights, DistillSettings(steps=30))
    np.testing.assert_allclose(metrics["distill/kl_before"], before, rtol=1e-5)
    np.testing.assert_allclose(metrics["distill/kl_after"], distance(), rtol=1e-5)
    assert (distance() < before).all()
