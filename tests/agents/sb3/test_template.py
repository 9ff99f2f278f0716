"""A user's own model object as the template of every agent's model."""

import os
import subprocess
import sys

import gymnasium
import numpy as np
import pytest
import stable_baselines3
import torch
from fdrl.agents.sb3.cohort import make
from fdrl.agents.sb3.settings import SB3
from fdrl.agents.sb3.template import adopt, own, template_of
from messages import fails
from sb3_models import Counts, SmallPolicy, counts, gentle
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.utils import LinearSchedule
from stable_baselines3.common.vec_env import VecNormalize
from tiny_cohorts import context

import fdrl
from fdrl.cli import main
from fdrl.config.run import parse, to_tables

STATES = np.random.default_rng(0).uniform(-0.2, 0.2, (30, 4)).astype(np.float32)


def ppo(**changes):
    given = {
        "n_steps": 32, "batch_size": 16, "n_epochs": 2, "learning_rate": gentle, "clip_range": 0.1,
        "policy_kwargs": {"net_arch": [8], "activation_fn": torch.nn.ReLU},
    }  # fmt: skip
    env = gymnasium.make("CartPole-v1")
    return stable_baselines3.PPO("MlpPolicy", env, device="cpu", **{**given, **changes})


def small_run(agent, **fields):
    given = {"agents": 2, "steps": 128, "seed": 3, "proxy": {"type": "mix", "size": 32}}
    return fdrl.make_run(agent=agent, **{**given, **fields})


def test_agents_have_the_models_class_policy_and_hyperparameters():
    model = stable_baselines3.PPO(
        SmallPolicy, gymnasium.make("CartPole-v1"), n_steps=32, batch_size=16, gamma=0.9
    )
    cohort = make(own(model), context(2))
    for driven in cohort.models:
        copied = driven.model
        assert type(copied) is stable_baselines3.PPO
        assert copied is not model
        assert type(copied.policy) is SmallPolicy
        assert (copied.n_steps, copied.batch_size, copied.gamma) == (32, 16, 0.9)
    first, second = (d.model.policy.state_dict() for d in cohort.models)
    assert not torch.equal(first["action_net.weight"], second["action_net.weight"])


def test_schedules_stay_functions_of_the_whole_run():
    cohort = make(own(ppo(clip_range=LinearSchedule(0.3, 0.1, 1.0))), context(1, total=128))
    cohort.learn(np.array([64]))
    model = cohort.models[0].model
    assert cohort._policy_rates()[0] == pytest.approx(gentle(0.5))
    assert model.clip_range(0.5) == pytest.approx(0.2)


def test_a_copy_learns_as_a_factory_that_makes_the_same_model_does():
    one = make(own(ppo()), context(2, total=128))
    other = make(SB3(factory="sb3_models:small_model"), context(2, total=128))
    for cohort in (one, other):
        cohort.learn(np.array([64, 32]))
    np.testing.assert_array_equal(one.parameters(), other.parameters())


def test_the_table_is_data_that_says_it_all_when_everything_can_be_imported():
    table = own(ppo(), callback=counts).model
    assert table["class"] == {"@object": "stable_baselines3.ppo.ppo:PPO"}
    assert table["kwargs"]["learning_rate"] == {"@object": "sb3_models:gentle"}
    assert table["kwargs"]["policy_kwargs"]["activation_fn"] == {
        "@object": "torch.nn.modules.activation:ReLU"
    }
    assert "gamma" not in table["kwargs"]
    assert table["kwargs"]["clip_range"] == 0.1
    again = template_of({**table, "key": "unknown here"})
    assert again.cls is stable_baselines3.PPO
    assert again.callback is counts
    assert again.kwargs["learning_rate"] is gentle


def test_what_only_the_script_has_is_described_and_told_apart():
    def agent(slope):
        return own(ppo(learning_rate=lambda left: slope * left)).model

    one, same, other = agent(1e-3), agent(1e-3), agent(2e-3)
    assert one == same
    assert one["key"] != other["key"]
    with fails(fdrl.FdrlError, "<lambda>", "agent.model"):
        template_of({**one, "key": "lost"})


@pytest.mark.parametrize("algorithm", ["A2C", "DQN"])
def test_other_algorithms_are_rebuilt_from_their_arguments(algorithm):
    env = gymnasium.make("CartPole-v1")
    extra = {
        "A2C": {"n_steps": 7, "rms_prop_eps": 1e-4},
        "DQN": {"train_freq": 8, "buffer_size": 500, "learning_starts": 10, "n_steps": 3},
    }[algorithm]
    model = getattr(stable_baselines3, algorithm)("MlpPolicy", env, device="cpu", **extra)
    copied = make(own(model), context(1)).models[0].model
    assert type(copied.policy.optimizer) is type(model.policy.optimizer)
    assert copied.policy.optimizer.defaults == model.policy.optimizer.defaults
    for name in extra.keys() - {"rms_prop_eps"}:
        assert getattr(copied, name) == getattr(model, name)


def test_learned_weights_are_copied_only_when_asked_for():
    model = ppo()
    model.learn(64)
    warm = make(own(model, start="weights"), context(2))
    with torch.no_grad():
        expected = model.policy.get_distribution(torch.from_numpy(STATES)).distribution.probs
    for answers in warm.probs(STATES):
        np.testing.assert_allclose(answers, expected, atol=1e-6)
    assert warm.models[0].model.num_timesteps == 0
    fresh = make(own(model), context(2))
    assert not np.allclose(fresh.probs(STATES)[0], expected, atol=1e-4)


def test_copies_as_many_as_the_models_environments():
    model = stable_baselines3.A2C("MlpPolicy", make_vec_env("CartPole-v1", 3), device="cpu")
    assert make(own(model), context(1)).iteration_steps == 15


def test_callbacks_are_copied_or_made_for_every_agent():
    Counts.seen = 0
    own_each = make(own(ppo(), callback=Counts()), context(2))
    own_each.learn(np.array([32, 16]))
    assert Counts.seen == 48
    assert own_each.models[0].callback is not own_each.models[1].callback
    make(own(ppo(), callback=counts), context(1)).learn(np.array([32]))
    assert Counts.seen == 80


class Lazy(stable_baselines3.PPO):
    """A subclass that forgets an argument of its own."""

    def __init__(self, policy, env, charm=3, **others):
        super().__init__(policy, env, n_steps=32, batch_size=16, **others)


class Kept(stable_baselines3.PPO):
    """One that keeps it."""

    def __init__(self, policy, env, charm=3, **others):
        self.charm = charm
        super().__init__(policy, env, **others)


def test_subclasses_work_if_they_keep_their_arguments():
    env = gymnasium.make("CartPole-v1")
    kept = Kept("MlpPolicy", env, charm=5, n_steps=16, batch_size=16, device="cpu")
    copied = make(own(kept), context(1)).models[0].model
    assert type(copied) is Kept
    assert (copied.charm, copied.n_steps) == (5, 16)
    with fails(fdrl.FdrlError, "Lazy", "'charm'"):
        own(Lazy("MlpPolicy", env, device="cpu"))


def test_what_cannot_be_copied_is_refused_in_one_line():
    env = gymnasium.make("Pendulum-v1")
    with fails(fdrl.FdrlError, "SAC", "PPO, A2C and DQN"):
        own(stable_baselines3.SAC("MlpPolicy", env, device="cpu", buffer_size=10))
    normalized = VecNormalize(make_vec_env("CartPole-v1", 1))
    with pytest.raises(fdrl.FdrlError, match="VecNormalize"):
        own(stable_baselines3.A2C("MlpPolicy", normalized, device="cpu"))
    with fails(fdrl.FdrlError, "PPO", "PPO(policy, env)"):
        own(stable_baselines3.PPO("MlpPolicy", None, _init_setup_model=False, device="cpu"))
    with pytest.raises(fdrl.FdrlError, match="not 'warm'"):
        own(ppo(), start="warm")
    with pytest.raises(fdrl.FdrlError, match=r"agent\.load"):
        make(SB3(start="weights"), context(1))
    with fails(fdrl.FdrlError, "environment"):
        make(own(ppo(), start="weights"), context(1, "Acrobot-v1"))
    with fails(fdrl.FdrlError, "object object"):
        fdrl.make_run(agent=object())
    with fails(fdrl.FdrlError, "'policy'"):
        template_of({"class": {"@object": "json:loads"}})
    with fails(fdrl.FdrlError, "json:loads", "agent.model"):
        template_of({"class": {"@object": "json:loads"}, "policy": "x", "kwargs": {}})
    assert adopt("ppo") is None


def test_the_model_itself_is_an_agent_alone_and_in_cohorts():
    model = ppo()
    run = small_run(model)
    assert run.agent == own(model)
    assert parse(to_tables(run)) == run
    mixed = fdrl.make_run(
        steps=128,
        strategy={"type": "fd", "every": 64, "unit": "steps"},
        cohorts=({"agents": 1, "agent": model}, {"agents": 1, "agent": {"type": "ppo"}}),
    )
    assert mixed.cohorts[0].agent["model"] == own(model).model


@pytest.mark.slow
def test_a_resumed_run_equals_one_that_never_stopped(tmp_path):
    run = small_run(own(ppo(learning_rate=lambda left: 1e-3 * left), callback=Counts()))
    whole, first, second = (fdrl.Federation(run) for _ in range(3))
    records = [whole.round() for _ in range(3)]
    for _ in range(2):
        first.round()
    second.load_state(first.state())
    assert second.round().returns == records[2].returns
    ours, theirs = (f.clients[0].cohort.parameters() for f in (whole, second))
    np.testing.assert_array_equal(ours, theirs)


@pytest.mark.slow
def test_a_run_folder_alone_evaluates_but_weights_of_an_object_must_be_handed_over(
    tmp_path, capsys
):
    model = ppo()
    warm = small_run(own(model, start="weights"))
    fdrl.train(warm, out=tmp_path / "run", curves=False)
    code = "import sys; from fdrl.cli import main; sys.exit(main(sys.argv[1:]))"
    words = [
        sys.executable,
        "-c",
        code,
        "eval",
        str(tmp_path / "run"),
        "--trust",
        "--episodes",
        "1",
    ]
    path = {"PYTHONPATH": "tests/support"}
    got = subprocess.run(words, capture_output=True, text=True, env={**os.environ, **path})
    assert got.returncode == 0, got.stderr
    again = tmp_path / "again.toml"
    text = (tmp_path / "run" / "config.toml").read_text().replace("key = ", "key = 'lost' #")
    again.write_text(text)
    assert main(["train", str(again), "--out", str(tmp_path / "again"), "--quiet"]) == 2
    assert 'own(model, start="weights")' in capsys.readouterr().err


@pytest.mark.slow
def test_a_copys_export_is_what_stable_baselines_loads(tmp_path, capsys):
    fdrl.train(small_run(ppo()), out=tmp_path / "run", curves=False)
    assert main(["export", str(tmp_path / "run"), "--trust", "--agent", "0"]) == 0
    path = capsys.readouterr().out.strip().splitlines()[-1]
    assert stable_baselines3.PPO.load(path, device="cpu").policy.net_arch == [8]
