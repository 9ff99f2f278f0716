"""Gaussian policies: their numbers by hand and against torch, their gradients against autograd."""

from __future__ import annotations

from typing import Any, get_args

import numpy as np
import pytest
import torch
from fdrl.agents import a2c, gaussian, ppo
from fdrl.agents.networks.layout import Layout, initial_row
from fdrl.agents.networks.numpy_network import Name, NumpyNetwork
from fdrl.agents.networks.torch_network import TorchNetwork
from hypothesis import given, settings
from hypothesis import strategies as st
from messages import fails
from tiny_cohorts import context

from fdrl.core.errors import FdrlError
from fdrl.core.settings import DistillSettings

K, D, INPUTS = 3, 2, 5
F32 = np.float32


def networks(layout: Layout) -> tuple[NumpyNetwork, TorchNetwork]:
    rng = np.random.default_rng(0)
    rows = (0.4 * rng.standard_normal((K, layout.size))).astype(F32)
    return NumpyNetwork(layout, rows.copy()), TorchNetwork(layout, rows.copy())


def minibatch(rows: int, clip: float | None = 0.2) -> gaussian.GaussianActorCritic:
    rng = np.random.default_rng(1)
    normal = rng.standard_normal((3, K, rows)).astype(F32)
    return gaussian.GaussianActorCritic(
        actions=rng.standard_normal((K, rows, D)).astype(F32),
        advantages=normal[0],
        targets=normal[1],
        old_log_probs=rng.uniform(-4, -2, (K, rows)).astype(F32),
        old_values=normal[2],
        clip_range=clip,
        clip_range_vf=0.3,
        ent_coef=0.03,
        vf_coef=0.7,
    )


@pytest.mark.parametrize("activation", get_args(Name))
@pytest.mark.parametrize(("hidden", "rows"), [((), 20), ((7,), 20), ((6, 9), 700)])
def test_gradients_equal_autograds(hidden: tuple[int, ...], rows: int, activation: str) -> None:
    layout = Layout(INPUTS, hidden, D, activation, gaussian=True)
    ours, theirs = networks(layout)
    x = np.random.default_rng(2).standard_normal((K, rows, INPUTS)).astype(F32)
    batch = minibatch(rows)
    got, wanted = ours.backward(x, batch), theirs.backward(x, batch)
    np.testing.assert_allclose(got, wanted, atol=1e-5, rtol=1e-4)
    spread = slice(layout.policy_size - D, layout.policy_size)
    assert np.abs(theirs.grad[:, spread]).min() > 1e-4
    np.testing.assert_allclose(ours.grad, theirs.grad, atol=5e-6, rtol=1e-3)
    outputs, values = ours.outputs(x)
    np.testing.assert_allclose(outputs, theirs.policy(x), atol=1e-5)
    np.testing.assert_allclose(values, theirs.values(x), atol=1e-5)
    np.testing.assert_allclose(ours.policy(x), outputs, atol=1e-6)


@pytest.mark.parametrize("loss", ["forward", "reverse"])
def test_distillation_gradients_equal_autograds(loss: Any) -> None:
    layout = Layout(INPUTS, (8, 8), D, gaussian=True)
    ours, theirs = networks(layout)
    rng = np.random.default_rng(3)
    x = rng.standard_normal((K, 20, INPUTS)).astype(F32)
    parts = [rng.standard_normal((K, 20, D)), rng.uniform(0.5, 2, (K, 20, D))]
    targets = np.concatenate(parts, axis=-1).astype(F32)
    weights = rng.random((K, 20)).astype(F32)
    got, outputs = ours.backward_distill(x, targets, weights, loss)
    outputs = outputs.copy()
    wanted, other = theirs.backward_distill(x, targets, weights, loss)
    np.testing.assert_allclose(got, wanted, rtol=1e-5)
    np.testing.assert_allclose(outputs, other, atol=1e-5)
    size = layout.policy_size
    np.testing.assert_allclose(ours.grad[:, :size], theirs.grad[:, :size], atol=2e-6, rtol=1e-4)


def test_neither_backend_has_a_jensen_shannon_loss() -> None:
    one = np.ones((K, 1, 2 * D), F32)
    for network in networks(Layout(INPUTS, (4,), D, gaussian=True)):
        with fails(FdrlError, "'js'", "forward or reverse"):
            network.backward_distill(np.ones((K, 1, INPUTS), F32), one, one[..., 0], "js")


def test_log_density_by_hand() -> None:
    """N(1, 1) and N(0, 2) at (2, 4): -1/2 - 2 - log 2 - log(2 pi)."""
    outputs = np.array([1.0, 0.0, 0.0, np.log(2)], F32).reshape(1, 4, 1)
    got = gaussian.log_probs(outputs, np.array([[[2.0, 4.0]]], F32))
    assert got[0, 0] == pytest.approx(-2.5 - np.log(2) - np.log(2 * np.pi), rel=1e-6)


def test_a_layout_ends_its_policy_with_standard_deviations() -> None:
    """3 inputs, 4 hidden, 2 dimensions: (3+1)*4 + (4+1)*2 + 2, then (3+1)*4 + 5 of the value."""
    layout = Layout(3, (4,), 2, gaussian=True, log_std=-0.5)
    assert (layout.policy_size, layout.size, layout.outputs) == (28, 49, 4)
    for init in ("orthogonal", "torch"):
        row = initial_row(layout, np.random.default_rng(0), init)  # type: ignore[arg-type]
        assert row.shape == (49,)
        assert row[26:28].tolist() == [-0.5, -0.5]
    outputs = NumpyNetwork(layout, row[None]).policy(np.zeros((1, 1, 3), F32))
    assert outputs[0, 2:, 0].tolist() == [-0.5, -0.5]


def test_uniforms_become_normals() -> None:
    """u = (0, v) is the center; the rest has the moments of a normal distribution."""
    assert gaussian.normals(np.array([[0.0, 0.3]], F32)).tolist() == [[0.0, 0.0]]
    drawn = gaussian.normals(np.random.default_rng(0).random((50_000, 4), F32))
    assert drawn.shape == (50_000, 4)
    assert np.isfinite(gaussian.normals(np.full((1, 2), np.nextafter(F32(1), F32(0))))).all()
    np.testing.assert_allclose(drawn.mean(0), 0, atol=0.02)
    np.testing.assert_allclose(np.cov(drawn.T), np.eye(4), atol=0.03)
    inside = (np.abs(drawn) < 1).mean()
    assert inside == pytest.approx(0.6827, abs=0.005)


def test_samples_have_the_policys_moments() -> None:
    outputs = np.zeros((1, 6, 30_000), F32)
    outputs[:, :3] = np.array([1.0, -2.0, 0.5])[:, None]
    outputs[:, 3:] = np.log([0.5, 1.0, 2.0])[:, None]
    shape = gaussian.draw_shape(3, True)
    assert shape == (4,)
    uniforms = np.random.default_rng(0).random((1, 30_000, *shape), F32)
    drawn = gaussian.sample(outputs, uniforms)[0]
    np.testing.assert_allclose(drawn.mean(0), [1, -2, 0.5], atol=0.04)
    np.testing.assert_allclose(drawn.std(0), [0.5, 1, 2], rtol=0.02)
    np.testing.assert_array_equal(gaussian.greedy(outputs)[0, 0], np.array([1, -2, 0.5], F32))


def test_only_what_is_played_is_clipped() -> None:
    bounds = np.array([-2.0], F32), np.array([2.0], F32)
    actions = np.array([[[-3.0], [1.0]], [[5.0], [2.0]]], F32)
    assert gaussian.playable(actions, bounds).tolist() == [[-2.0], [1.0], [2.0], [2.0]]
    assert gaussian.playable(np.array([[0, 1], [2, 0]]), None).tolist() == [0, 1, 2, 0]
    cohort = ppo.make(ppo.PPO(n_envs=2, n_steps=50, log_std_init=1.5), context(2, "Pendulum-v1"))
    experience, transitions = cohort.collect(np.full(2, 100))
    assert transitions["actions"].shape == (2, 50, 2, 1)
    assert np.abs(transitions["actions"]).max() > 2.5
    np.testing.assert_allclose(experience.probs[..., 1], np.exp(1.5), rtol=1e-6)


def test_log_densities_equal_torchs() -> None:
    rng = np.random.default_rng(0)
    outputs = rng.standard_normal((2, 6, 9)).astype(F32)
    actions = rng.standard_normal((2, 9, 3)).astype(F32)
    mean, log_std = torch.tensor(outputs).transpose(1, 2).chunk(2, dim=2)
    wanted = torch.distributions.Normal(mean, log_std.exp()).log_prob(torch.tensor(actions))
    np.testing.assert_allclose(gaussian.log_probs(outputs, actions), wanted.sum(2), atol=1e-5)


def drive(make: Any, options: Any, rows: list[int], states: int) -> dict[str, Any]:
    """Learn, distill and stop at different times; return everything that is left."""
    cohort = make(options, context(rows, env="Pendulum-v1", spread=0.3))
    rng = np.random.default_rng(0)
    lessons = rng.uniform(-1, 1, (states, 3)).astype(F32)
    parts = rng.standard_normal((4, states, 1)), rng.uniform(0.5, 2, (4, states, 1))
    targets = np.concatenate(parts, axis=-1).astype(F32)
    weights = rng.random((4, states)).astype(F32)
    weights[1] = 0
    steps = options.n_envs * np.array([37, 20, 0, 11])
    out: dict[str, Any] = {}
    for turn in range(2):
        experience = cohort.learn(steps[rows])
        lesson = DistillSettings(steps=5, batch=17, kl_limit=0.02)
        metrics = cohort.distill(lessons, targets[rows], weights[rows], lesson)
        out |= {f"{turn} {n}": v for n, v in {**experience.metrics, **metrics}.items()}
    cohort.learn(np.full(len(rows), options.n_envs * 250), episodes=1)
    out["answers"] = cohort.probs(lessons)
    out["evaluation"] = cohort.evaluate(2, 0, greedy=False)
    out |= cohort.state()
    cohort.close()
    return out


@settings(max_examples=8, deadline=None, derandomize=True)
@given(
    n_envs=st.integers(1, 5),
    n_steps=st.integers(1, 40),
    batch_size=st.integers(2, 100),
    hidden=st.lists(st.integers(1, 40), max_size=2).map(tuple),
    states=st.integers(1, 40),
    actor=st.booleans(),
)
def test_agents_do_not_depend_on_each_other(
    n_envs: int, n_steps: int, batch_size: int, hidden: Any, states: int, actor: bool
) -> None:
    make: Any = a2c.make
    options: Any = a2c.A2C(n_envs=n_envs, n_steps=n_steps, hidden=hidden)
    if actor:
        make = ppo.make
        options = ppo.PPO(
            n_envs=n_envs, n_steps=n_steps, batch_size=batch_size, hidden=hidden, n_epochs=2
        )
    together = drive(make, options, [0, 1, 2, 3], states)
    for rows in ([0], [3], [1, 3]):
        apart = drive(make, options, rows, states)
        assert [n for n, a in apart.items() if not np.array_equal(a, together[n][rows])] == []


@pytest.mark.slow
def test_ppo_learns_to_swing_up() -> None:
    options = ppo.PPO(learning_rate=1e-3, gamma=0.9, n_envs=4, n_steps=256)
    cohort = ppo.make(options, context(2, "Pendulum-v1", total=61_440))
    cohort.learn(np.full(2, 61_440))
    assert cohort.evaluate(20, 0).mean() > -500
    cohort.close()
