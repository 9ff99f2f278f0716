"""Federations whose agents see images."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_images
from fdrl.agents import ppo, reinforce
from messages import fails

import fdrl
from fdrl.checks.cohort import check_cohort
from fdrl.checks.env import check_env
from fdrl.core.registry import AGENTS, load_object

ENV = "tiny_images:Beacon-v0"
SMALL = {"type": "ppo", "n_envs": 4, "n_steps": 8, "n_epochs": 2, "hidden": (8,)}


def run(**changes: Any) -> Any:
    given = {"agents": 2, "steps": 64, "proxy": {"type": "rollout", "size": 8}, "agent": SMALL}
    return fdrl.make_run(env=ENV, **{**given, **changes})


def test_the_environment_is_fit() -> None:
    assert [f for f in check_env(ENV) if f.level == "error"] == []


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ppo", "a2c", "reinforce"])
def test_learners_keep_their_promises_on_images(name: str) -> None:
    spec = AGENTS.spec(name)
    settings = {"hidden": (8,)} | ({} if name == "reinforce" else {"n_envs": 2, "n_steps": 4})
    if name == "ppo":
        settings |= {"n_epochs": 1}
    chosen, factory = load_object(spec.settings)(**settings), load_object(spec.factory)
    check_cohort(lambda context: factory(chosen, context), ENV)


@pytest.mark.slow
def test_agents_learn_where_the_light_is() -> None:
    learner = {"type": "ppo", "n_epochs": 4, "hidden": (32,), "learning_rate": 1e-3}
    proxy = {"type": "rollout", "size": 64}
    summary = fdrl.train(run(steps=4096, agent=learner, proxy=proxy))
    assert summary.return_worst > 7.0  # of 8; chance earns 4


def test_channels_may_come_first_and_states_from_a_file(tmp_path: Path) -> None:
    states = np.random.default_rng(0).integers(0, 256, (5, 3, 8, 8)).astype(np.uint8)
    np.save(tmp_path / "states.npy", states)
    proxy = {"type": "file", "path": str(tmp_path / "states.npy")}
    summary = fdrl.train(run(proxy=proxy, env_kwargs={"first": True}))
    assert summary.exchanges == 2
    assert summary.bytes_up < 2 * 192  # two uploads are smaller than two images


def test_two_runs_are_the_same_to_the_bit() -> None:
    first, second = fdrl.Federation(run()), fdrl.Federation(run())
    for _ in range(2):
        assert first.round().metrics == second.round().metrics
    for a, b in zip(first.clients, second.clients, strict=True):
        np.testing.assert_array_equal(a.cohort.parameters(), b.cohort.parameters())
    first.close()
    second.close()


@pytest.mark.parametrize("strategy", ["fedavg", "pd"])
def test_strategies_without_proxy_states(strategy: str) -> None:
    made = fdrl.make_run(env=ENV, agents=2, steps=64, agent=SMALL, strategy=strategy)
    assert fdrl.train(made).env_steps == 64


def test_frd_has_no_cells_to_visit() -> None:
    with fails(fdrl.FdrlError, 192):
        fdrl.train(fdrl.make_run(env=ENV, agents=2, steps=64, agent=SMALL, strategy="frd"))


def test_self_has_no_server_to_ask_for_states() -> None:
    with fails(fdrl.FdrlError, "--proxy mix or file"):
        fdrl.train(run(strategy="self"))


def test_learning_goes_on_to_the_bit() -> None:
    first, again = fdrl.Federation(run()), fdrl.Federation(run())
    first.round()
    kept = [c.cohort.state() for c in first.clients]
    steps = np.full(2, 32)
    for client, other, state in zip(first.clients, again.clients, kept, strict=True):
        other.cohort.load_state(state)
        client.cohort.learn(steps)
        other.cohort.learn(steps)
        np.testing.assert_array_equal(client.cohort.parameters(), other.cohort.parameters())
    first.close()
    again.close()


@pytest.mark.parametrize("kind", ["mix", "visited", "sobol"])
def test_proxies_that_need_a_grid_say_what_to_use(kind: str) -> None:
    with pytest.raises(fdrl.FdrlError, match="rollout"):
        fdrl.train(run(proxy={"type": kind, "size": 8}))


def test_policies_and_values_see_images_of_their_own() -> None:
    assert (ppo.PPO().backend, reinforce.Reinforce().backend) == ("numpy", "numpy")
    env = tiny_images.Beacon()
    assert env.reset(seed=0)[0].max() == 250


def test_networks_with_convolutions_are_not_exported() -> None:
    federation = fdrl.Federation(run())
    cohort, envs = federation.clients[0].cohort, federation.envs
    export = load_object(AGENTS.spec("ppo").export)
    with fails(fdrl.FdrlError, "(8, 8, 3)", "convolutions", "flat"):
        export(federation.run.agent, cohort.parameters()[0], envs)
    federation.close()
