from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
from fdrl.agents import a2c, ppo
from fdrl.agents.actor_critic import ActorCriticCohort
from fdrl.agents.buffer import Batch, bootstrap, gae, lived_first, reordered, shares, zeroed
from fdrl.agents.gaussian import GaussianActorCritic
from fdrl.agents.losses import ActorCriticLoss, normalize
from fdrl.agents.networks.layout import Layout
from fdrl.agents.networks.numpy_network import NumpyNetwork
from fdrl.agents.networks.torch_network import TorchNetwork
from fdrl.agents.train_state import TrainState
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_cohorts import context

from fdrl import Federation, make_run


def column(*values: float) -> np.ndarray:
    """One agent, one copy: [1, T, 1]."""
    return np.array(values, np.float32).reshape(1, -1, 1)


def test_gae_by_hand() -> None:
    # gamma 1/2, lambda 1/2; deltas: 1 + 2/2 - 1 = 1, 1 + 4/2 - 2 = 1, 1 + 8/2 - 4 = 1
    # advantages backwards: 1, 1 + 1/4, 1 + 5/16
    got = gae(
        column(1, 1, 1),
        column(1, 2, 4),
        column(0, 0, 0).astype(bool),
        np.array([[8]], np.float32),
        0.5,
        0.5,
    )
    np.testing.assert_array_equal(got, column(1.3125, 1.25, 1))


def test_nothing_flows_back_over_the_end_of_an_episode() -> None:
    # the second step ends: delta 1 - 2 = -1; the first: 1 + 2/2 - 1 - 1/4
    got = gae(
        column(1, 1, 1),
        column(1, 2, 4),
        column(0, 1, 0).astype(bool),
        np.array([[8]], np.float32),
        0.5,
        0.5,
    )
    np.testing.assert_array_equal(got, column(0.75, -1, 1))


def test_lambda_one_gives_discounted_returns_minus_values() -> None:
    rng = np.random.default_rng(0)
    rewards, values = rng.standard_normal((2, 2, 6, 3)).astype(np.float32)
    last = rng.standard_normal((2, 3)).astype(np.float32)
    got = gae(rewards, values, np.zeros((2, 6, 3), bool), last, 0.9, 1.0)
    wanted = last
    for t in range(5, -1, -1):
        wanted = rewards[:, t] + np.float32(0.9) * wanted
        np.testing.assert_allclose(got[:, t] + values[:, t], wanted, atol=1e-5)


def test_a_truncated_step_is_worth_its_reward_and_its_discounted_future() -> None:
    got = bootstrap(column(1, 1), column(0, 10), 0.5)
    np.testing.assert_array_equal(got, column(1, 6))


def test_advantages_are_normalized_per_agent_as_in_sb3() -> None:
    a = np.array([[1, 2, 3], [10, 10, 40]], np.float32)
    got = normalize(a)
    np.testing.assert_allclose(got[0], [-1, 0, 1], atol=1e-6)  # deviation with n - 1
    np.testing.assert_allclose(got[1], (a[1] - 20) / np.std(a[1], ddof=1), rtol=1e-6)
    np.testing.assert_array_equal(normalize(a[:, :1]), a[:, :1])


# ---- Steps that an agent did not take, because it had left its world, must reach nothing ----


LEAVER = "shared_worlds:Leaver"
VALUE = 4.0


def leavers(how: str = "terminated", **agent: Any) -> tuple[Federation, ActorCriticCohort]:
    """Two agents in one world, whose networks say 4 of every state."""
    own = {"type": "a2c", "n_envs": 1, "n_steps": 4, "gamma": 0.5, "gae_lambda": 0.5, "hidden": [3]}
    run = make_run(env=LEAVER, strategy="local", steps=64, agent={**own, **agent},
                   env_kwargs={"how": how})  # fmt: skip
    federation = Federation(run)
    cohort: Any = federation.clients[0].cohort
    rows = np.zeros_like(cohort.parameters())
    rows[:, -1] = VALUE
    cohort.load_parameters(rows)
    return federation, cohort


def batch_of(cohort: ActorCriticCohort) -> Batch:
    kept: list[Batch] = []
    learn, cohort._update = cohort._update, lambda learner, batch, *_: kept.append(batch) or {}
    cohort.learn(np.array([4, 4]))
    cohort._update = learn
    return kept[0]


def test_rows_that_count_come_first_and_share_the_mean() -> None:
    alive = np.array([[[True, False], [True, True]], [[False, False], [False, True]]])
    order, counts = lived_first(alive)
    assert order.tolist() == [[0, 2, 3, 1], [3, 0, 1, 2]]
    assert counts.tolist() == [3, 1]
    rows = zeroed(np.where(alive, 1.0, np.nan), alive).reshape(2, 4)
    assert reordered(rows, order).tolist() == [[1, 1, 1, 0], [1, 0, 0, 0]]
    np.testing.assert_array_equal(shares(counts, 0, 2), [[0.5, 0.5], [1, 0]])
    np.testing.assert_array_equal(shares(counts, 2, 4), [[1, 0], [0, 0]])


@pytest.mark.parametrize(
    ("how", "advantages"),
    [("terminated", [9.5, 6]), ("truncated", [10, 8]), ("vanishes", [9.5, 6])],
)
def test_advantages_and_returns_by_hand(how: str, advantages: list[float]) -> None:
    # agent_1: deltas 10 + 4/2 - 4 = 8 and, its end, 10 - 4 = 6, or cut off, 10 + 4/2 - 4 = 8
    # agent_0: deltas -1, -1, -1 and, its end, -3; each carries a quarter of the next advantage
    federation, cohort = leavers(how)
    batch = batch_of(cohort)
    assert batch.counts is not None
    assert batch.counts.tolist() == [4, 2]
    np.testing.assert_array_equal(batch.advantages[0], [-1.359375, -1.4375, -1.75, -3])
    np.testing.assert_array_equal(batch.advantages[1, :2], advantages)
    np.testing.assert_array_equal(batch.returns[1, :2], np.array(advantages) + VALUE)
    np.testing.assert_array_equal(batch.observations[1, :2], [[0, 1], [1, 1]])
    federation.close()


def test_experience_holds_the_steps_that_were_taken() -> None:
    federation, cohort = leavers()
    got = cohort.learn(np.array([8, 8]))
    assert got.steps.tolist() == [8, 4]
    assert got.spent is not None
    assert got.spent.tolist() == [8, 8]
    np.testing.assert_array_equal(got.observations[1, :, 0], [0, 1, 0, 1, 0, 0, 0, 0])
    np.testing.assert_array_equal(got.observations[1, 4:], 0)
    assert [r.tolist() for r in got.returns] == [[4, 4], [20, 20]]
    assert [n.tolist() for n in got.lengths] == [[4, 4], [2, 2]]
    assert [e.tolist() for e in got.ends] == [[4, 8], [2, 6]]
    assert got.metrics["rollout/alive"].tolist() == [1, 0.5]
    federation.close()


def test_a_rollout_without_any_step_of_an_agent_leaves_it_as_it_was() -> None:
    federation, cohort = leavers(type="ppo", n_steps=2, batch_size=2, n_epochs=1)
    cohort.learn(np.array([2, 2]))
    before, moments = cohort.parameters(), cohort.parameters("optimizer")
    got = cohort.learn(np.array([2, 2]))  # agent_1 is away
    assert got.steps.tolist() == [2, 0]
    np.testing.assert_array_equal(cohort.parameters()[1], before[1])
    np.testing.assert_array_equal(cohort.parameters("optimizer")[1], moments[1])
    assert (cohort.parameters()[0] != before[0]).any()
    both = cohort.learn(np.array([4, 4]))  # its metrics are of the one rollout it was in
    assert both.metrics["train/gradient_steps"].tolist() == [1, 1]
    federation.close()


def test_normalizing_sees_the_rows_that_count() -> None:
    rows = np.array([[3, 1, 2, 7], [5, 0, 0, 0]], np.float32)
    got = normalize(rows, shares(np.array([3, 1]), 0, 4))
    np.testing.assert_allclose(got[0, :3], normalize(rows[:1, :3])[0], rtol=1e-6)
    np.testing.assert_array_equal(got[1], rows[1])  # one number has no spread


@pytest.mark.parametrize("continuous", [False, True])
@pytest.mark.parametrize("kind", [NumpyNetwork, TorchNetwork])
def test_the_gradient_is_that_of_rows_that_count_alone(kind: Any, continuous: bool) -> None:
    rng = np.random.default_rng(0)
    layout = Layout(3, (5,), 2, "tanh", continuous)
    network = kind(layout, rng.standard_normal((2, layout.size)).astype(np.float32))
    counts, x = np.array([24, 8]), rng.standard_normal((2, 32, 3)).astype(np.float32)
    normal = rng.standard_normal((4, 2, 32)).astype(np.float32)
    actions = rng.standard_normal((2, 32, 2)).astype(np.float32)
    made = partial(
        GaussianActorCritic if continuous else ActorCriticLoss,
        clip_range=0.2,
        clip_range_vf=0.3,
        ent_coef=0.1,
        vf_coef=0.5,
    )
    moves = actions if continuous else (actions[..., 0] > 0).astype(np.int64)
    metrics = network.backward(x, made(moves, *normal, shares=shares(counts, 0, 32)))
    whole = network.grad.copy()
    for k, n in enumerate(counts.tolist()):
        alone = network.backward(x[:, :n], made(moves[:, :n], *normal[:, :, :n]))
        np.testing.assert_allclose(whole[k], network.grad[k], atol=2e-6, rtol=1e-4)
        np.testing.assert_allclose(metrics[:, k], alone[:, k], atol=1e-6, rtol=1e-5)


def some_batch(counts: list[int], rows: slice = slice(None)) -> Batch:
    rng = np.random.default_rng(3)
    normal = rng.standard_normal((4, 2, 7)).astype(np.float32)
    seen = rng.standard_normal((2, 7, 3)).astype(np.float32)
    actions = rng.integers(2, size=(2, 7))
    parts = [a[rows] for a in (seen, actions, *normal)]
    return Batch(*parts, counts=np.array(counts)[rows])  # type: ignore[arg-type]


def learned(counts: list[int], rows: slice, settings: Any) -> tuple[Any, Any]:
    layout = Layout(3, (5,), 2)
    params = np.random.default_rng(4).standard_normal((2, layout.size)).astype(np.float32)[rows]
    learner = TrainState.fresh(NumpyNetwork(layout, params.copy()), "adam")
    shuffles = [np.random.default_rng(10 + k) for k in range(2)][rows]
    update = ppo.update if isinstance(settings, ppo.PPO) else a2c.update
    rate = np.full(len(params), 0.01)
    metrics = update(learner, some_batch(counts, rows), rate, shuffles, settings)
    return learner, metrics


@pytest.mark.parametrize("own", [ppo.PPO(batch_size=3, n_epochs=2), a2c.A2C()])
def test_agents_with_unequal_rows_learn_as_they_would_alone(own: Any) -> None:
    both, said = learned([7, 2], slice(None), own)
    if isinstance(own, ppo.PPO):
        assert both.count.tolist() == [6, 2]  # 3 minibatches an epoch, and 1
    for k in range(2):
        one, alone = learned([7, 2], slice(k, k + 1), own)
        np.testing.assert_array_equal(both.network.params[k], one.network.params[0])
        for name in said:
            assert said[name][k] == alone[name][0], name


SMALL_PPO = ppo.PPO(n_envs=2, n_steps=4, batch_size=4, n_epochs=2, hidden=(4,))
SMALL_A2C = a2c.A2C(n_envs=2, n_steps=4, hidden=(4,), normalize_advantage=True)
GARBAGE = st.sampled_from([np.nan, np.inf, -np.inf, 1e30, -7.0, 0.5])


@settings(max_examples=25, deadline=None)
@given(st.data(), st.sampled_from([SMALL_PPO, SMALL_A2C]))
def test_what_masked_rows_hold_never_changes_a_parameter(data: st.DataObject, own: Any) -> None:
    module = ppo if isinstance(own, ppo.PPO) else a2c
    flags = data.draw(st.lists(st.booleans(), min_size=8, max_size=8).filter(any))
    alive = np.array(flags).reshape(1, 4, 2)
    found = []
    for number in (0.0, data.draw(GARBAGE)):
        cohort = module.make(own, context(1))
        _, transitions = cohort.collect(np.array([8]))
        transitions["alive"] = alive
        for name in ("observations", "rewards", "next_observations"):
            transitions[name][~alive] = number
        transitions["actions"][~alive] = 99 * (number != 0)
        for name in ("terminated", "truncated"):
            transitions[name][~alive] = number != 0
        metrics = cohort.update(transitions)
        assert all(np.isfinite(v).all() for v in metrics.values())
        found.append(cohort.parameters())
        cohort.close()
    np.testing.assert_array_equal(found[0], found[1])
