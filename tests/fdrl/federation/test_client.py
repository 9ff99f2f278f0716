"""Agents whose numbers have died: they stop, say so, and the others go on to the bit."""

import msgspec
import numpy as np
import pytest
from by_label import SMALL
from messages import says
from rounds import records

import fdrl
from fdrl.core.errors import Notice
from fdrl.packs.train import train_packed

TINY = {"type": "ppo", "hidden": (8,), "n_envs": 2, "n_steps": 32, "n_epochs": 2}


def spoiled(run, agents, rounds=1):
    """Return a federation of which these agents' parameters are not finite after some rounds."""
    federation = fdrl.Federation(run)
    for _ in range(rounds):
        federation.round()
    cohort = federation.clients[0].cohort
    rows = cohort.parameters("all")
    rows[agents] = np.nan
    cohort.load_parameters(rows, "all")
    return federation


def kept(federation):
    return federation.clients[0].cohort.parameters("all")


@pytest.mark.parametrize("threads", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_an_agent_whose_numbers_died_stops_and_the_others_go_on_to_the_bit(threads):
    run = fdrl.make_run(agents=3, steps=320, agent=TINY, strategy="local", threads=threads)
    healthy = fdrl.Federation(run)
    records(healthy) if threads == 1 else None
    federation = spoiled(run, [1])
    with pytest.warns(Notice) as said:
        second = federation.round()
    says(said[0].message, "round 2", "agent-01", "agent.learning_rate")
    assert [agent for agent, _ in second.rejected] == ["agent-01"]
    assert np.isfinite(kept(federation)).all()  # it goes back to what it last was
    state, frozen = federation.state(), kept(federation)[1]
    rest = [federation.round() for _ in range(3)]
    assert federation.done
    assert [r.env_steps for r in rest][-1] == [320, 128, 320]
    assert not any(r.rejected for r in rest)
    np.testing.assert_array_equal(kept(federation)[1], frozen)
    if threads == 1:
        np.testing.assert_array_equal(kept(federation)[[0, 2]], kept(healthy)[[0, 2]])
    assert federation.summary().stopped == ["agent-01"]
    again = fdrl.Federation(run)
    again.load_state(state)
    assert [again.round().metrics for _ in range(3)] == [r.metrics for r in rest]
    np.testing.assert_array_equal(kept(again), kept(federation))
    assert again.summary().stopped == ["agent-01"]
    for each in (federation, again, healthy):
        each.close()


@pytest.mark.parametrize("strategy", ["fd", "fedavg", "pooled", "frd", "pd"])
def test_who_has_stopped_neither_speaks_nor_listens(strategy):
    fields = {"proxy": {"type": "mix", "size": 16}} if strategy == "fd" else {}
    run = fdrl.make_run(agents=3, steps=192, agent=TINY, strategy=strategy, **fields)
    federation = spoiled(run, [0])
    with pytest.warns(Notice):
        federation.round()
    frozen, sent = kept(federation)[0].copy(), federation.tally.bytes["up"].copy()
    down = federation.tally.bytes["down"].copy()
    last = records(federation)[-1]
    assert not last.rejected
    np.testing.assert_array_equal(kept(federation)[0], frozen)
    assert federation.tally.bytes["up"][0] == sent[0]
    assert federation.tally.bytes["down"][0] == down[0]
    assert (federation.tally.bytes["up"][1:] > sent[1:]).all()


def test_a_run_whose_agents_have_all_stopped_ends():
    run = fdrl.make_run(agents=2, steps=6400, agent=TINY, strategy="fedavg")
    federation = spoiled(run, [0, 1])
    with pytest.warns(Notice, match="1 more"):
        federation.round()
    assert federation.done
    assert np.isfinite(federation.summary().return_mean)
    assert federation.summary().stopped == ["agent-00", "agent-01"]
    federation.close()


def test_a_healthy_run_says_nothing_of_it():
    federation = fdrl.Federation(fdrl.make_run(agents=2, steps=64, agent=TINY))
    federation.round()
    assert b"stopped" not in msgspec.json.encode(federation.summary())
    federation.close()


def test_a_dead_policy_of_continuous_actions_is_not_blamed_on_the_proxies():
    proxy = {"type": "visited", "size": 16}
    run = fdrl.make_run(
        env="Pendulum-v1", agents=2, steps=192, agent=TINY, strategy="fd", proxy=proxy
    )
    federation = spoiled(run, [0])
    with pytest.warns(Notice, match="agent-00"):
        found = federation.round()
    assert [agent for agent, _ in found.rejected] == ["agent-00"]
    records(federation)


LEARNERS = {
    "a2c": {"agent": {"type": "a2c", "hidden": (8,), "n_envs": 2, "n_steps": 8}},
    "reinforce": {"agent": {"type": "reinforce", "hidden": (8,)}, "env": "CartPole-v1"},
    "classifier": SMALL["fl"] | {"strategy": "fl", "steps": 1024},
}
SLOW = {
    "torch": {"agent": TINY | {"backend": "torch"}},
    "sb3": {"agent": {"type": "sb3", "algorithm": "PPO", "n_envs": 2, "n_steps": 32}},
    "dqn": {"agent": {"type": "sb3", "algorithm": "DQN", "round_steps": 64}},
}


@pytest.mark.parametrize(
    "name", [*LEARNERS, *(pytest.param(n, marks=pytest.mark.slow) for n in SLOW)]
)
def test_agents_of_every_learner_stop(name):
    fields = {"strategy": "fedavg", "agents": 2, "steps": 512} | (LEARNERS | SLOW)[name]
    federation = spoiled(fdrl.make_run(**fields), [1])
    with pytest.warns(Notice, match="agent-01"):
        federation.round()
    assert federation.stopped == ["agent-01"]
    assert np.isfinite(kept(federation)).all()
    last = records(federation)[-1]
    assert not last.rejected
    assert np.isfinite(federation.clients[0].health.loss[0])


@pytest.mark.filterwarnings("ignore::fdrl.core.errors.Notice")
def test_packed_runs_of_which_agents_stop_equal_those_alone():
    """A rate at which some seeds' agents die at once, the others' later."""
    agent = TINY | {"learning_rate": 1e18, "max_grad_norm": 0.0}
    fields = {"agents": 2, "steps": 256, "agent": agent, "strategy": "local"}
    runs = [fdrl.make_run(seed=seed, **fields) for seed in range(3)]
    alone = [fdrl.train(run) for run in runs]
    for one, other in zip(alone, train_packed(runs), strict=True):
        assert one.stopped == other.stopped != []
        assert (one.returns, one.episodes, one.rounds) == (
            other.returns,
            other.episodes,
            other.rounds,
        )


def test_agents_of_a_shared_world_stop_together():
    run = fdrl.make_run(env="shared_worlds:Pair", steps=256, agent=TINY, strategy="local")
    federation = spoiled(run, [0])
    with pytest.warns(Notice) as said:
        federation.round()
    says(said[0].message, federation.clients[0].cohort.ids[0], "all agents")
    assert federation.done
    assert federation.summary().stopped == [federation.clients[0].cohort.ids[0]]
    state, again = federation.state(), fdrl.Federation(run)
    again.load_state(state)
    assert again.done
    for each in (federation, again):
        each.close()
