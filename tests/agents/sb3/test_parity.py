"""One update of Stable-Baselines3 and one of ours, from the same weights and rollout."""

import contextlib
import functools
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from fdrl.agents import a2c, gaussian, ppo
from fdrl.agents.buffer import Batch
from fdrl.agents.networks import make_network
from fdrl.agents.networks.layout import Layout
from fdrl.agents.train_state import TrainState
from stable_baselines3 import A2C as SB3A2C
from stable_baselines3 import PPO as SB3PPO
from stable_baselines3.common.vec_env import DummyVecEnv

from fdrl.core.cohort import CohortContext
from fdrl.vector.factory import make_factory
from fdrl.vector.heterogeneity import Nothing


def policy_row(policy: Any) -> np.ndarray:
    """Write an SB3 MlpPolicy as one row: policy tower, then value tower."""
    extractor = policy.mlp_extractor
    towers = [
        (*extractor.policy_net, policy.action_net),
        (*extractor.value_net, policy.value_net),
    ]
    parts = []
    for number, tower in enumerate(towers):
        for layer in (m for m in tower if isinstance(m, torch.nn.Linear)):
            parts += [layer.weight.detach().numpy().T.ravel(), layer.bias.detach().numpy()]
        if number == 0 and hasattr(policy, "log_std"):
            parts.append(policy.log_std.detach().numpy())
    return np.concatenate(parts)[None]


def rolled_out(cls: Any, env: str = "CartPole-v1", **settings: Any) -> Any:
    """Return an SB3 model whose rollout buffer is full and whose optimizer is fresh."""
    envs = DummyVecEnv([functools.partial(gymnasium.make, env)] * 4)
    odd = settings.get("batch_size", 64) == 24
    # SB3 warns that the last minibatch of a pass is smaller
    warns = pytest.warns(UserWarning, match="truncated")
    with warns if odd else contextlib.nullcontext():
        model = cls("MlpPolicy", envs, n_steps=16, seed=1, device="cpu", **settings)
    _, callback = model._setup_learn(64)
    model.collect_rollouts(model.env, callback, model.rollout_buffer, 16)
    return model


def batch_of(buffer: Any) -> Batch:
    """Return SB3's buffer in the order in which SB3 flattens it."""

    def flat(a: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(buffer.swap_and_flatten(a)[None])

    # SB3 keeps continuous actions as they were drawn, before it clips them for the environment
    actions = flat(buffer.actions)
    continuous = isinstance(buffer.action_space, gymnasium.spaces.Box)
    return Batch(
        observations=flat(buffer.observations).astype(np.float32),
        actions=actions if continuous else actions.astype(np.int64)[..., 0],
        log_probs=flat(buffer.log_probs)[..., 0],
        values=flat(buffer.values)[..., 0],
        advantages=flat(buffer.advantages)[..., 0],
        returns=flat(buffer.returns)[..., 0],
    )


PPO_CASES: list[dict[str, Any]] = [
    {},
    {"batch_size": 24, "ent_coef": 0.01, "clip_range_vf": 0.2, "vf_coef": 0.8},
    {"normalize_advantage": False, "max_grad_norm": 0.05},
    {"target_kl": 0.002, "learning_rate": 1e-2},
]


@pytest.mark.parametrize("backend", ["numpy", "torch"])
@pytest.mark.parametrize("case", PPO_CASES)
def test_ppo_updates_as_sb3_does(
    case: dict[str, Any], backend: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = {"batch_size": 32, "n_epochs": 4, "learning_rate": 1e-3, **case}
    model = rolled_out(SB3PPO, **case)
    batch, row = batch_of(model.rollout_buffer), policy_row(model.policy)
    settings = ppo.PPO(n_envs=4, n_steps=16, backend=backend, **case)
    learner = TrainState.fresh(make_network(backend, Layout(4, (64, 64), 2), row.copy()), "adam")
    rates = np.array([settings.learning_rate])
    metrics = ppo.update(learner, batch, rates, [np.random.default_rng(9)], settings)
    monkeypatch.setattr(np.random, "permutation", np.random.default_rng(9).permutation)
    model.train()
    assert np.abs(policy_row(model.policy) - row).max() > 1e-3
    np.testing.assert_allclose(learner.network.params, policy_row(model.policy), atol=1e-5)
    full = 4 * -(-64 // case["batch_size"])
    stopped = "target_kl" in case
    assert (metrics["train/gradient_steps"][0] < full) == stopped
    logged = model.logger.name_to_value
    for name in ("train/policy_gradient_loss", "train/value_loss", "train/entropy_loss"):
        assert metrics[name][0] == pytest.approx(logged[name], rel=1e-3, abs=1e-5)


CONTINUOUS: dict[str, Any] = {"gamma": 0.9, "ent_coef": 0.01, "n_epochs": 3}


@pytest.mark.parametrize("backend", ["numpy", "torch"])
@pytest.mark.parametrize("log_std", [0.0, -1.0])
def test_ppo_updates_continuous_policies_as_sb3_does(
    log_std: float, backend: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = {**CONTINUOUS, "batch_size": 32, "learning_rate": 1e-3}
    model = rolled_out(SB3PPO, "Pendulum-v1", policy_kwargs={"log_std_init": log_std}, **case)
    batch, row = batch_of(model.rollout_buffer), policy_row(model.policy)
    settings = ppo.PPO(n_envs=4, n_steps=16, backend=backend, log_std_init=log_std, **case)
    layout = Layout(3, (64, 64), 1, gaussian=True, log_std=log_std)
    assert row.shape == (1, layout.size)
    learner = TrainState.fresh(make_network(backend, layout, row.copy()), "adam")
    outputs, values = learner.network.outputs(batch.observations)
    judged = gaussian.log_probs(outputs, batch.actions)
    np.testing.assert_allclose(judged, batch.log_probs, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(values, batch.values, atol=1e-5)
    metrics = ppo.update(learner, batch, np.array([1e-3]), [np.random.default_rng(9)], settings)
    monkeypatch.setattr(np.random, "permutation", np.random.default_rng(9).permutation)
    model.train()
    assert np.abs(policy_row(model.policy) - row).max() > 1e-3
    np.testing.assert_allclose(learner.network.params, policy_row(model.policy), atol=1e-5)
    logged = model.logger.name_to_value
    for name in ("train/policy_gradient_loss", "train/value_loss", "train/entropy_loss"):
        assert metrics[name][0] == pytest.approx(logged[name], rel=1e-3, abs=1e-5)


def test_networks_start_as_sb3s_continuous_ones_do() -> None:
    """Same sizes, the same gain of the action head, the same standard deviation."""
    model = rolled_out(SB3PPO, "Pendulum-v1")
    envs = make_factory("Pendulum-v1", 1, Nothing(), 0)
    cohort = ppo.make(ppo.PPO(), CohortContext(("a",), (0,), envs, seed=0))
    ours, theirs = cohort.parameters()[0], policy_row(model.policy)[0]
    assert ours.shape == theirs.shape
    end = cohort.layout.policy_size
    assert ours[end - 1] == theirs[end - 1] == 0.0
    head = slice(end - 2 - 64, end - 2)
    assert np.linalg.norm(ours[head]) == pytest.approx(np.linalg.norm(theirs[head]), rel=1e-4)


A2C_CASES: list[dict[str, Any]] = [
    {},
    {"normalize_advantage": True, "ent_coef": 0.01, "gae_lambda": 0.9},
    {"use_rms_prop": False},
]


@pytest.mark.parametrize("case", A2C_CASES)
def test_a2c_updates_as_sb3_does(case: dict[str, Any]) -> None:
    model = rolled_out(SB3A2C, **case)
    batch, row = batch_of(model.rollout_buffer), policy_row(model.policy)
    ours = dict(case)
    optimizer: Any = "rmsprop" if ours.pop("use_rms_prop", True) else "adam"
    if optimizer == "adam":
        model.policy.optimizer.param_groups[0]["eps"] = 1e-5  # SB3 leaves Adam its own 1e-8
    settings = a2c.A2C(n_envs=4, n_steps=16, optimizer=optimizer, **ours)
    network = make_network("numpy", Layout(4, (64, 64), 2), row.copy())
    learner = TrainState.fresh(network, optimizer)
    a2c.update(learner, batch, np.array([settings.learning_rate]), [], settings)
    model.train()
    assert np.abs(policy_row(model.policy) - row).max() > 1e-4
    np.testing.assert_allclose(network.params, policy_row(model.policy), atol=1e-5)
