"""Stable-Baselines3 models as a cohort, and agents as Stable-Baselines3 models."""

import zipfile

import numpy as np
import pytest
import stable_baselines3
import torch
from fdrl.agents.classifier import Classifier
from fdrl.agents.ppo import PPO as PPOSettings
from fdrl.agents.sb3.cohort import make
from fdrl.agents.sb3.export import export, load_weights
from fdrl.agents.sb3.settings import SB3
from messages import fails
from sb3_models import Counts
from tiny_cohorts import context

import fdrl
from fdrl.cli import main
from fdrl.cli.eval import load
from fdrl.core.settings import DistillSettings

PPO = SB3(n_steps=64, kwargs={"n_epochs": 2})
DQN = SB3(algorithm="DQN", kwargs={"learning_starts": 40}, round_steps=128)
A2C = SB3(algorithm="A2C", n_envs=2)
STATES = np.random.default_rng(0).uniform(-0.2, 0.2, (30, 4)).astype(np.float32)


def weights(cohort, k=0):
    return cohort.models[k].model.policy.state_dict()


@pytest.mark.parametrize("settings", [PPO, DQN, A2C], ids=["PPO", "DQN", "A2C"])
@pytest.mark.slow
def test_each_algorithm_keeps_the_promises_of_a_cohort(settings):
    fdrl.check_cohort(lambda context: make(settings, context))


def test_one_stretch_is_what_stable_baselines_learns_itself():
    """Driven by parts, a model does exactly what its own `learn` does."""
    driven, alone = (make(PPO, context(1)).models[0] for _ in range(2))
    for _ in range(2):
        driven.collect(64)
        driven.update(64)
    with alone.randomness():
        alone.model.learn(128, reset_num_timesteps=False)
    mine, theirs = driven.model.policy.state_dict(), alone.model.policy.state_dict()
    assert driven.model.num_timesteps == alone.model.num_timesteps == 128
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)


def test_budgets_are_exact_although_rollouts_are_longer():
    cohort = make(PPO, context(2))
    got = cohort.learn(np.array([100, 0]))
    assert got.steps.tolist() == [100, 0]
    assert [d.model.num_timesteps for d in cohort.models] == [100, 0]
    assert got.observations.shape == (2, 100, 4)
    assert sum(len(r) for r in got.returns[:1]) > 0


def test_answers_at_visit_time_are_those_of_the_policy_that_acted():
    cohort = make(PPO, context(1))
    first = make(PPO, context(1))
    expected = first.probs(make(PPO, context(1)).learn(np.array([64])).observations[0])[0]
    got = cohort.learn(np.array([64]))
    np.testing.assert_allclose(got.probs[0], expected, atol=1e-6)


def test_a_schedule_runs_over_the_whole_run_not_over_each_round():
    settings = SB3(n_steps=64, kwargs={"n_epochs": 1}, lr_schedule="linear", learning_rate=1e-3)
    cohort = make(settings, context(1, total=640))
    rates = []
    for _ in range(4):
        cohort.learn(np.array([64]))
        rates.append(float(cohort._policy_rates()[0]))
    np.testing.assert_allclose(rates, [9e-4, 8e-4, 7e-4, 6e-4])


def test_distilling_leaves_the_models_own_optimizer_alone():
    cohort = make(PPO, context(1))
    cohort.learn(np.array([64]))
    before = cohort.parameters("optimizer")
    critic = {n: w.clone() for n, w in weights(cohort).items() if "value_net" in n}
    targets = np.tile(np.array([0.9, 0.1], np.float32), (1, 30, 1))
    metrics = cohort.distill(STATES, targets, np.ones((1, 30)), DistillSettings(steps=40, lr=3e-3))
    assert metrics["distill/kl_after"] < 0.5 * metrics["distill/kl_before"]
    np.testing.assert_array_equal(cohort.parameters("optimizer"), before)
    assert all(torch.equal(weights(cohort)[n], w) for n, w in critic.items())


def test_values_become_answers_by_a_softmax_at_the_recorded_temperature():
    warm, cold = (make(SB3(algorithm="DQN", temperature=t), context(1)) for t in (1.0, 0.25))
    with torch.no_grad():
        q = warm.models[0].model.q_net(torch.from_numpy(STATES)).numpy().astype(np.float64)
    for cohort, t in ((warm, 1.0), (cold, 0.25)):
        e = np.exp((q - q.max(1, keepdims=True)) / t)
        np.testing.assert_allclose(cohort.probs(STATES)[0], e / e.sum(1, keepdims=True), atol=1e-5)


def test_global_generators_are_as_they_were():
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    cohort = make(PPO, context(1))
    cohort.learn(np.array([64]))
    assert torch.equal(torch.rand(3), expected)


def test_a_users_own_model_with_its_policy_schedule_and_callback():
    cohort = make(SB3(factory="sb3_models:own_model"), context(2, total=320))
    Counts.seen = 0
    cohort.learn(np.array([32, 64]))
    assert Counts.seen == 96
    np.testing.assert_allclose(cohort._policy_rates(), [9e-4, 8e-4])
    assert cohort.parameters("policy").shape[1] == 4 * 8 + 8 + 8 * 8 + 8 + 8 * 2 + 2


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"kwargs": {"n_epoch": 3}}, "did you mean 'n_epochs'"),
        ({"policy": "NoPolicy"}, "PPO"),
        ({"algorithm": "DQN", "n_steps": 5}, "round_steps"),
        ({"factory": "json:loads"}, "the JSON object|Stable-Baselines3 model"),
        ({"load": "no/such.zip"}, "not a model saved by"),
    ],
)
def test_mistakes_are_named(fields, complaint):
    with pytest.raises((fdrl.FdrlError, TypeError), match=complaint):
        make(SB3(**fields), context(1))


def test_weights_are_loaded_without_unpickling(tmp_path):
    cohort = make(PPO, context(1))
    path = tmp_path / "model.zip"
    cohort.models[0].model.save(path)
    other = make(SB3(n_steps=64, load=str(path)), context(2))
    np.testing.assert_array_equal(other.parameters()[1], cohort.parameters()[0])
    evil = tmp_path / "evil.zip"
    with zipfile.ZipFile(evil, "w") as file:
        file.writestr("policy.pth", b"cos\nsystem\n(S'true'\ntR.")
    with pytest.raises(fdrl.FdrlError, match="safely"):
        load_weights(cohort.models[0].model, evil)
    wide = make(SB3(kwargs={"policy_kwargs": {"net_arch": [8]}}), context(1))
    with pytest.raises(fdrl.FdrlError, match="another network"):
        load_weights(wide.models[0].model, path)


@pytest.mark.parametrize("agent", ["ppo", "a2c", "reinforce", "sb3"])
def test_an_exported_agent_acts_as_ours_does(agent, tmp_path, capsys):
    small = {"sb3": {"n_steps": 64}, "reinforce": {}}.get(agent, {"hidden": (16, 8)})
    run = fdrl.make_run(
        agents=2, steps=512, agent={"type": agent, **small}, strategy="local", seed=4
    )
    fdrl.train(run, out=tmp_path / "run", curves=False)
    assert main(["export", str(tmp_path / "run"), "--agent", "1"]) == 0
    path = capsys.readouterr().out.strip().splitlines()[-1]
    cls = stable_baselines3.PPO if agent in ("ppo", "sb3") else stable_baselines3.A2C
    model = cls.load(path, device="cpu")
    federation, _ = load(tmp_path / "run")
    ours = federation.cohorts[0].probs(STATES)[1]
    with torch.no_grad():
        theirs = model.policy.get_distribution(torch.from_numpy(STATES)).distribution.probs
    np.testing.assert_allclose(theirs.numpy(), ours, atol=1e-5)
    actions, _ = model.predict(STATES, deterministic=True)
    np.testing.assert_array_equal(actions, ours.argmax(1))
    federation.close()


def test_what_cannot_be_exported_is_said():
    factory = context(1, "fdrl/Digits-v0").envs
    with fails(fdrl.FdrlError, "'classifier'", "ppo, a2c"):
        export(Classifier(), np.zeros(3, np.float32), factory)


def test_a_mixed_federation_of_batched_and_stable_baselines_agents():
    run = fdrl.make_run(
        steps=512,
        strategy={"type": "fd", "every": 256, "unit": "steps"},
        proxy={"type": "mix", "size": 32},
        cohorts=(
            {"agents": 2, "agent": {"type": "ppo", "n_epochs": 1}},
            {"agents": 1, "agent": {"type": "sb3", "algorithm": "DQN"}},
            {"agents": 1, "agent": {"type": "reinforce"}},
        ),
    )
    whole, first, second = (fdrl.Federation(run) for _ in range(3))
    records = []
    while not whole.done:
        records.append(whole.round())
    assert records[0].metrics["distill/kl_after"] < records[0].metrics["distill/kl_before"]
    first.round()
    second.load_state(first.state())
    assert second.round().returns == records[1].returns
    assert records[-1].env_steps == [512] * 4
    for federation in (whole, first, second):
        federation.close()


def test_continuous_actions_are_refused_in_one_line():
    pendulum = context(1, "Pendulum-v1")
    with fails(fdrl.FdrlError, "'sb3'", "'Pendulum-v1'", "ppo or a2c"):
        make(PPO, pendulum)
    with pytest.raises(fdrl.FdrlError, match="only discrete"):
        export(PPOSettings(), np.zeros(3, np.float32), pendulum.envs)
