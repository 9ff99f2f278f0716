"""`values = true`: estimates travel with the answers and are distilled, worked out by hand."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from fakes import IDS, FakeCohort, contexts, experience
from messages import fails
from rounds import ANSWERS, FLOAT, TWO_STATES, one_round, receive, through_bytes

import fdrl
from fdrl.core.abilities import Profile
from fdrl.core.cohort import Poolable, Valued
from fdrl.core.errors import BadMessage, FdrlError
from fdrl.federation.shards import joined
from fdrl.strategies.distillation.client import Client
from fdrl.strategies.distillation.server import Server
from fdrl.wire.parts import Values

VALUES = [[0.0, 10.0], [8.0, 20.0], [4.0, 60.0]]


class ValuedCohort(FakeCohort):
    """Has an opinion of every state, and remembers what it is told about them."""

    def __init__(self):
        super().__init__(IDS, ANSWERS)
        self.told = []

    def values(self, states):
        return np.array(VALUES, np.float32)

    def distill_values(self, states, targets, weights, settings):
        self.told.append(SimpleNamespace(states=states, targets=targets, weights=weights))
        return {"distill/value_error": np.ones(3), "distill/value_steps": np.full(3, 5.0)}


def opened(**settings):
    client, server = contexts({**FLOAT, "values": True, **settings}, proxy=TWO_STATES)
    halves, cohort = (Client(client), Server(server)), ValuedCohort()
    receive(halves[0], cohort, through_bytes(halves[1].announce()), 0)
    return *halves, cohort


def test_the_mean_is_taught_at_the_proxy_states():
    client, server, cohort = opened()
    up, down = one_round(client, server, cohort, experience([[[0.1]]] * 3))
    np.testing.assert_allclose(up[IDS[1]].need(Values).values, [8, 20])
    np.testing.assert_allclose(down[IDS[0]].need(Values).values, [4, 30])
    np.testing.assert_allclose(cohort.told[0].targets, [[4, 30]] * 3)
    np.testing.assert_array_equal(cohort.told[0].weights, np.ones((3, 2)))
    np.testing.assert_array_equal(cohort.told[0].states, cohort.distilled[0].states)


def test_values_are_weighted_like_answers():
    client, server, cohort = opened(visit_power=1.0, visit_offset=0.0)
    a, b = client.answers.sets[client.answers.versions[0]].states[:, 0]
    seen = experience([[[a], [a], [a]], [[a]], [[b]]])
    one_round(client, server, cohort, seen)
    # proxy a: three visits of agent 0 (0), one of agent 1 (8); proxy b: agent 2 alone (60)
    np.testing.assert_allclose(cohort.told[0].targets[0], [2, 60], rtol=0.05)


def test_who_does_not_hear_is_not_taught():
    client, server, cohort = opened()
    up = through_bytes(client.upload(cohort, experience([[[0.1]]] * 3), 1))
    for name, message in up.items():
        server.check(message, name, 1)
    down = through_bytes(server.aggregate(1, up))
    del down[IDS[2]]
    receive(client, cohort, down, 1)
    np.testing.assert_array_equal(cohort.told[0].weights[:, 0], [1, 1, 0])


def test_both_sides_refuse_a_table_without_values_or_with_unasked_ones():
    client, server, cohort = opened()
    up = through_bytes(client.upload(cohort, experience([[[0.1]]] * 3), 1))
    with pytest.raises(BadMessage, match="values are missing"):
        server.check(up[IDS[0]].without(Values), IDS[0], 1)
    down = server.aggregate(1, up)
    with pytest.raises(BadMessage, match="values are missing"):
        client.check(cohort, down[IDS[0]].without(Values), IDS[0], 1)
    _, plain = contexts(FLOAT, proxy=TWO_STATES)
    silent = Server(plain)
    with pytest.raises(BadMessage, match="nobody asked"):
        silent.check(replace(up[IDS[0]], version=silent.proxies.version), IDS[0], 1)


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"type": "frd"}, "answer = 'cells'"),
        ({"combine": "median"}, "combine = 'median'"),
        ({"mixup": 0.4}, "mixup"),
        ({"leave_self_out": True}, "leave_self_out"),
        ({"type": "fld"}, "strategy.values"),
    ],
)
def test_what_does_not_go_with_values_is_named(settings, name):
    run = fdrl.make_run(agents=2, steps=64, strategy={"type": "fd", "values": True, **settings})
    with pytest.raises(FdrlError, match=name):
        fdrl.train(run, out=None)


@pytest.mark.parametrize("agent", ["reinforce", {"type": "sb3", "algorithm": "DQN"}])
def test_agents_without_value_networks_are_named_before_anything_is_written(agent, tmp_path):
    run = fdrl.make_run(agent=agent, agents=2, steps=64, strategy="fdv")
    with fails(FdrlError, "'fdv'", "'agent-00'", "use agent"):
        fdrl.train(run, out=tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


def test_values_do_not_add_up_in_the_air():
    run = fdrl.make_run(agents=2, steps=64, strategy="fdv", channel="mac-analog")
    with fails(FdrlError, "values"):
        fdrl.train(run, out=None)


def test_gradient_steps_of_values_count_like_those_of_policies():
    """The fake policy takes one step and its critic five; in a real run both take 32."""
    client, server, cohort = opened()
    up = through_bytes(client.upload(cohort, experience([[[0.1]]] * 3), 1))
    for name, message in up.items():
        server.check(message, name, 1)
    metrics = receive(client, cohort, through_bytes(server.aggregate(1, up)), 1)
    np.testing.assert_array_equal(metrics["distill/gradient_steps"], np.full(3, 6.0))
    assert "distill/value_steps" not in metrics
    timed = {"type": "fading", "gradient_seconds": 1.0}
    taken = {}
    for values in (True, False):
        run = fdrl.make_run(
            agents=2, steps=512, strategy={"type": "fdv", "values": values}, channel=timed
        )
        taken[values] = fdrl.train(run, out=None)
    assert [taken[v].gradient_steps for v in (True, False)] == [128, 64]
    assert taken[True].sim_seconds - taken[False].sim_seconds == pytest.approx(64, abs=1)


def test_shards_can_do_what_all_their_cohorts_can():
    """A learner may estimate values without being poolable: then so may its shards."""
    kinds = {}
    for valued, poolable in ((True, True), (True, False), (False, True)):
        able = [name for name, has in (("valued", valued), ("poolable", poolable)) if has]
        own = Profile(("a",), (4,), 2, 1, gaussian=False, abilities=tuple(able))
        made = joined([SimpleNamespace(profile=own)] * 2)
        kinds[valued, poolable] = isinstance(made, Valued), isinstance(made, Poolable)
    assert all(found == able for able, found in kinds.items())


@pytest.mark.parametrize("threads", [1, 2])
def test_critics_come_to_agree(threads):
    """Agents that share a critic's answers differ less than agents that keep their own."""
    spread = {}
    for values in (None, True):
        strategy = {"type": "fd", "values": values, "distill": {"steps": 64, "lr": 1e-2}}
        run = fdrl.make_run(agents=3, steps=2048, seed=1, strategy=strategy, threads=threads)
        federation = fdrl.Federation(run)
        while not federation.done:
            federation.round()
        states = np.random.default_rng(0).uniform(-0.1, 0.1, (50, 4)).astype(np.float32)
        said = federation.clients[0].cohort.values(states)
        spread[values] = float(said.std(axis=0).mean())
        federation.close()
    assert spread[True] < 0.5 * spread[None]
