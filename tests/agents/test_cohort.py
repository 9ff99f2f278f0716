"""Teaching value networks: what moves, what stays, and that agents do not mix."""

from typing import Any

import numpy as np
import pytest
from fdrl.agents import a2c, ppo, reinforce
from fdrl.agents.a2c import A2C
from fdrl.agents.ppo import PPO
from fdrl.agents.reinforce import Reinforce
from hypothesis import given, settings
from hypothesis import strategies as st
from messages import fails
from numpy.typing import NDArray
from tiny_cohorts import context

from fdrl.core.cohort import Valued
from fdrl.core.errors import FdrlError
from fdrl.core.settings import DistillSettings

N = 40
Floats = NDArray[np.float32]


def cohort(agents: Any = 3, backend: Any = "numpy", env: str = "CartPole-v1") -> Any:
    options = PPO(n_envs=1, n_steps=8, hidden=(16,), backend=backend)
    return ppo.make(options, context(agents, env=env))


def lesson(k: int = 3, width: int = 4) -> tuple[Floats, Floats, Floats]:
    rng = np.random.default_rng(0)
    states = rng.uniform(-1, 1, (N, width)).astype(np.float32)
    slopes = np.arange(1, k + 1, dtype=np.float32)[:, None]
    return states, slopes * states[:, 0] - slopes, np.ones((k, N), np.float32)


def test_values_move_to_their_own_targets() -> None:
    agents = cohort()
    states, targets, weights = lesson()
    metrics = agents.distill_values(states, targets, weights, DistillSettings(steps=600, lr=1e-2))
    assert isinstance(agents, Valued)
    error = np.sqrt(((agents.values(states) - targets) ** 2).mean(1))
    assert (error < 0.1).all()
    assert (metrics["distill/value_error"] > error).all()  # over the steps, the first ones too


def test_one_step_by_hand() -> None:
    """Adam's first step is its rate against the sign of the gradient; a bias's is the error's."""
    agents = cohort(1)
    states = np.zeros((1, 4), np.float32)
    before = agents.parameters()[0]
    target = agents.values(states) + 5
    settings = DistillSettings(steps=1, lr=0.01)
    metrics = agents.distill_values(states, target, np.ones((1, 1), np.float32), settings)
    assert metrics["distill/value_error"][0] == pytest.approx(5, rel=1e-5)
    assert agents.parameters()[0][-1] == pytest.approx(before[-1] + 0.01, rel=1e-3)


def test_policies_and_both_other_optimizers_stay() -> None:
    agents = cohort()
    agents.learn(np.full(3, 16))
    before, kept = agents.parameters("policy"), agents.state()
    agents.distill_values(*lesson(), DistillSettings())
    after = agents.state()
    np.testing.assert_array_equal(agents.parameters("policy"), before)
    for name in ("optimizer/moments", "optimizer/count", "distill/moments", "distill/count"):
        np.testing.assert_array_equal(after[name], kept[name])
    assert not np.array_equal(after["parameters"], kept["parameters"])


def test_whoever_does_not_listen_stays_and_weights_weigh() -> None:
    agents, other = cohort(), cohort()
    states, targets, weights = lesson()
    weights[1] = 0
    weights[:, ::2] = 0
    wrong = targets.copy()
    wrong[:, ::2] += 100
    before = agents.parameters()
    agents.distill_values(states, targets, weights, DistillSettings(steps=4, batch=N))
    other.distill_values(states, wrong, weights, DistillSettings(steps=4, batch=N))
    np.testing.assert_array_equal(agents.parameters()[1], before[1])
    assert (agents.parameters()[[0, 2]] != before[[0, 2]]).any(axis=1).all()
    np.testing.assert_array_equal(agents.parameters(), other.parameters())


@pytest.mark.parametrize("env", ["CartPole-v1", "Pendulum-v1"])
def test_backends_agree(env: str) -> None:
    width = {"CartPole-v1": 4, "Pendulum-v1": 3}[env]
    numpy, torch = cohort(env=env), cohort(env=env, backend="torch")
    for agents in (numpy, torch):
        agents.distill_values(*lesson(width=width), DistillSettings(steps=8, batch=16))
    np.testing.assert_allclose(numpy.parameters(), torch.parameters(), atol=2e-5)


def test_an_agents_numbers_do_not_depend_on_the_others() -> None:
    states, targets, weights = lesson()
    together, alone = cohort(), cohort([1])
    settings = DistillSettings(steps=7, batch=17)
    metrics = together.distill_values(states, targets, weights, settings)
    apart = alone.distill_values(states, targets[1:2], weights[1:2], settings)
    np.testing.assert_array_equal(together.parameters()[1:2], alone.parameters())
    np.testing.assert_array_equal(metrics["distill/value_error"][1:2], apart["distill/value_error"])


def test_resuming_equals_never_having_stopped() -> None:
    one, other = cohort(), cohort()
    one.distill_values(*lesson(), DistillSettings(steps=3))
    other.load_state(one.state())
    for agents in (one, other):
        agents.learn(np.full(3, 16))
        agents.distill_values(*lesson(), DistillSettings(steps=3))
    unequal = [n for n, a in one.state().items() if not np.array_equal(a, other.state()[n])]
    assert unequal == []
    fresh = cohort()
    other.load_state(fresh.state())
    other.distill_values(*lesson(), DistillSettings(steps=2))
    fresh.distill_values(*lesson(), DistillSettings(steps=2))
    np.testing.assert_array_equal(other.parameters(), fresh.parameters())


def test_who_has_values() -> None:
    assert isinstance(a2c.make(A2C(), context(2)), Valued)
    assert not isinstance(reinforce.make(Reinforce(), context(2)), Valued)


def test_shapes_that_do_not_fit_are_refused() -> None:
    states, targets, weights = lesson()
    with fails(FdrlError, "3 agents", "40 states"):
        cohort().distill_values(states, targets[:2], weights[:2], DistillSettings())


# ---- Nothing an agent computes depends on who else is in the stack: to the bit ----


AGENTS = 5


def drive(make: Any, options: Any, rows: list[int], env: str, states: int) -> dict[str, Any]:
    """Learn, distill and stop at different times; return everything that is left."""
    cohort = make(options, context(rows, env=env, spread=0.5))
    rng = np.random.default_rng(0)
    lessons = rng.uniform(-1, 1, (states, *cohort.observation_shape)).astype(np.float32)
    targets = rng.dirichlet(np.ones(cohort.n_actions), (AGENTS, states)).astype(np.float32)
    weights = rng.random((AGENTS, states)).astype(np.float32)
    weights[1] = 0
    steps = options.n_envs * np.array([37, 20, 0, 37, 11])
    lesson = DistillSettings(steps=5, batch=17, kl_limit=0.02)
    out: dict[str, Any] = {}
    for turn in range(2):
        experience = cohort.learn(steps[rows])
        metrics = cohort.distill(lessons, targets[rows], weights[rows], lesson)
        for name, values in {**experience.metrics, **metrics}.items():
            out[f"{turn} {name}"] = values
    cohort.learn(np.full(len(rows), options.n_envs * 40), episodes=2)
    out["probs"] = cohort.probs(lessons)
    out["evaluation"] = cohort.evaluate(2, 0, greedy=False)
    out |= cohort.state()
    cohort.close()
    return out


def check(make: Any, options: Any, env: str = "CartPole-v1", states: int = 30) -> None:
    together = drive(make, options, list(range(AGENTS)), env, states)
    for rows in ([0], [1], [2], [4], [1, 3, 4]):
        apart = drive(make, options, rows, env, states)
        unequal = [n for n, a in apart.items() if not np.array_equal(a, together[n][rows])]
        assert unequal == []


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    n_envs=st.integers(1, 9),
    n_steps=st.integers(1, 40),
    batch_size=st.integers(1, 300),
    hidden=st.lists(st.integers(1, 70), max_size=3).map(tuple),
    activation=st.sampled_from(["tanh", "relu", "leaky_relu", "elu", "sigmoid"]),
    states=st.integers(1, 70),
)
def test_ppo(
    n_envs: int,
    n_steps: int,
    batch_size: int,
    hidden: tuple[int, ...],
    activation: Any,
    states: int,
) -> None:
    options = PPO(
        n_envs=n_envs,
        n_steps=n_steps,
        batch_size=max(batch_size, n_envs * n_steps // 8),
        n_epochs=2,
        hidden=hidden,
        activation=activation,
        ent_coef=0.01,
        target_kl=0.01,
    )
    check(ppo.make, options, states=states)


def test_ppo_in_the_default_shape() -> None:
    check(ppo.make, PPO(n_epochs=2), states=256)


def test_one_copy_without_hidden_layers() -> None:
    """Rows of one copy lie K apart in a rollout: they must be copied before BLAS sees them."""
    check(ppo.make, PPO(n_envs=1, n_steps=11, batch_size=229, hidden=(), ent_coef=0.01), states=34)


def test_ppo_with_more_rows_than_a_block() -> None:
    check(ppo.make, PPO(n_steps=37, batch_size=4096, n_epochs=2, hidden=(128, 128)))


@pytest.mark.parametrize("env", ["Acrobot-v1", "MountainCar-v0"])
def test_three_actions(env: str) -> None:
    check(ppo.make, PPO(n_steps=16, n_epochs=2, hidden=(16,), clip_range_vf=0.2), env)


def test_a2c() -> None:
    check(a2c.make, A2C(critic_learning_rate=1e-3, fail_reward=-10.0))
    check(a2c.make, A2C(n_envs=1, n_steps=1, hidden=(24,), activation="relu", optimizer="adam"))


def test_the_torch_reference() -> None:
    check(ppo.make, PPO(n_envs=4, n_steps=8, n_epochs=1, hidden=(8,), backend="torch"))


@pytest.mark.parametrize(
    ("make", "options"),
    [
        (ppo.make, {"n_epochs": 3, "ent_coef": 0.01, "target_kl": 0.02, "n_steps": 20}),
        (ppo.make, {"n_epochs": 2, "clip_range_vf": 0.3, "hidden": (16,), "activation": "elu"}),
        (a2c.make, {"critic_learning_rate": 1e-3}),
    ],
)
def test_the_backends_agree_over_several_updates(make: Any, options: dict[str, Any]) -> None:
    cls: Any = PPO if make is ppo.make else A2C
    ours, theirs = (
        drive(make, cls(backend=b, **options), list(range(AGENTS)), "CartPole-v1", 30)
        for b in ("numpy", "torch")
    )
    np.testing.assert_array_equal(ours["steps"], theirs["steps"])
    np.testing.assert_array_equal(ours["rng/action"], theirs["rng/action"])
    np.testing.assert_allclose(ours["parameters"], theirs["parameters"], atol=1e-5)
    np.testing.assert_allclose(ours["probs"], theirs["probs"], atol=1e-5)
