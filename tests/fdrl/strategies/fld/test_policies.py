"""`fld` for agents that learn by reward: answers up, the server's distilled network down."""

from dataclasses import replace

import msgspec
import numpy as np
import pytest
from fakes import IDS, FakeCohort, contexts, experience
from messages import fails

import fdrl
from fdrl.core.errors import BadMessage, FdrlError
from fdrl.core.message import Parameters, ProbTable, ProxyUpdate
from fdrl.core.records import WALL_CLOCK
from fdrl.strategies.fld.policies import Client, Server
from fdrl.wire.codec import decode, encode
from fdrl.wire.parts import NextSet

TWO_STATES = {"type": "uniform", "size": 2}
FLOAT = {"type": "fld", "coding": "float32", "visit_power": 0.0, "combine": "mean"}
ANSWERS = [
    [[1.0, 0.0], [0.5, 0.5]],
    [[0.0, 1.0], [0.5, 0.5]],
    [[0.5, 0.5], [0.0, 1.0]],
]
FAST = {"type": "ppo", "n_epochs": 1, "hidden": (16,)}


class Trainer(FakeCohort):
    """The server's network: every distillation adds one to its parameters."""

    def distill(self, states, targets, weights, settings):
        super().distill(states, targets, weights, settings)
        for part in ("all", "policy"):
            self.rows[part] = self.rows[part] + 1.0
        return {"distill/gradient_steps": np.array([7.0]), "distill/loss": np.array([0.25])}

    def state(self):
        return {"rows": self.rows["policy"]}

    def load_state(self, state):
        self.rows["policy"] = np.array(state["rows"])


def halves(strategy=FLOAT, **fields):
    client_context, server_context = contexts(strategy, **({"proxy": TWO_STATES} | fields))
    trainers = []

    def trainer(group):
        trainers.append(Trainer(IDS[:1], ANSWERS[:1], [[10.0, 20.0, 30.0]]))
        return trainers[-1]

    server = Server(replace(server_context, trainer=trainer))
    return Client(client_context), server, trainers


def through_bytes(messages):
    return {name: decode(encode(m)) for name, m in messages.items()}


def receive(client, cohort, messages, round):
    for name, message in messages.items():
        client.check(cohort, message, name, round)
    return client.download(cohort, messages, round)


def opened(*args, **fields):
    client, server, trainers = halves(*args, **fields)
    cohort = FakeCohort(IDS, ANSWERS)
    receive(client, cohort, through_bytes(server.announce()), 0)
    return client, server, trainers, cohort


def answers(client, server, cohort, round=1):
    up = through_bytes(client.upload(cohort, experience([[[0.1]]] * 3), round))
    for name, message in up.items():
        server.check(message, name, round)
    return up


def test_a_round_by_hand():
    client, server, (trainer,), cohort = opened()
    down = through_bytes(server.aggregate(1, answers(client, server, cohort)))
    metrics = receive(client, cohort, down, 1)
    (given,) = trainer.distilled
    np.testing.assert_allclose(given.targets, [[[0.5, 0.5], [1 / 3, 2 / 3]]], atol=1e-6)
    np.testing.assert_array_equal(given.weights, [[1.0, 1.0]])
    np.testing.assert_array_equal(given.states, server.proxies.states)
    np.testing.assert_allclose(cohort.parameters("policy"), [[11, 21]] * 3)
    np.testing.assert_allclose(cohort.parameters("all")[0], [0, 1, 2])  # the value net stays
    assert cohort.distilled == []  # nobody distills but the server
    assert server.metrics()["convert/gradient_steps"] == 7.0
    np.testing.assert_allclose(metrics["fld/drift"][0], np.hypot(11 - 0, 21 - 1))


def test_the_server_goes_on_from_its_own_network():
    client, server, _, cohort = opened()
    for r in (1, 2):
        receive(client, cohort, server.aggregate(r, answers(client, server, cohort, r)), r)
    np.testing.assert_allclose(cohort.parameters("policy"), [[12, 22]] * 3)


@pytest.mark.parametrize(("option", "expected"), [("keep", 1.0), ("reset", 0.0)])
def test_optimizer_moments(option, expected):
    client, server, _, cohort = opened(FLOAT | {"optimizer": option})
    down = server.aggregate(1, answers(client, server, cohort))
    del down[IDS[2]]
    receive(client, cohort, down, 1)
    np.testing.assert_array_equal(cohort.parameters("optimizer")[:, 0], [expected, expected, 1.0])


def test_who_hears_nothing_keeps_its_weights():
    client, server, _, cohort = opened()
    before = cohort.parameters("policy")
    down = server.aggregate(1, answers(client, server, cohort))
    receive(client, cohort, {IDS[1]: down[IDS[1]]}, 1)
    np.testing.assert_array_equal(cohort.parameters("policy")[[0, 2]], before[[0, 2]])
    assert client.download(cohort, {}, 2) == {}


def test_nobody_answered():
    _, server, (trainer,), _ = opened()
    out = server.aggregate(1, {})
    assert all(isinstance(m, ProxyUpdate) for m in out.values())
    assert trainer.distilled == []


def test_the_next_proxy_set_rides_on_the_weights():
    proxy = {"type": "visited", "size": 2, "bins": 4, "refresh": 1}
    client, server, _, cohort = opened(proxy=proxy)
    first = server.proxies.version
    down = through_bytes(server.aggregate(1, answers(client, server, cohort)))
    assert down[IDS[0]].need(NextSet).version == server.proxies.version != first
    receive(client, cohort, down, 1)
    assert client.answers.versions == [server.proxies.version] * 3
    cells = down[IDS[0]].need(NextSet).cells
    forged = down[IDS[0]].with_parts(NextSet(cells, "deadbeef"))
    with pytest.raises(BadMessage, match="was rebuilt as"):
        client.check(cohort, forged, IDS[0], 1)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"round": 2}, "round"),
        ({"part": "all"}, "part"),
        ({"values": np.zeros(3, np.float32)}, "2"),
    ],
)
def test_unfit_weights_are_refused(change, reason):
    client, server, _, cohort = opened()
    good = Parameters(1, np.zeros(2, np.float32), "policy")
    client.check(cohort, good, IDS[0], 1)
    with pytest.raises(BadMessage, match=reason):
        client.check(cohort, replace(good, **change), IDS[0], 1)
    with pytest.raises(BadMessage, match="expected parameters"):
        client.check(cohort, ProbTable(1, np.full((2, 2), 0.5, np.float32)), IDS[0], 1)
    with pytest.raises(BadMessage, match="expected ProbTable"):
        server.check(good, IDS[0], 1)


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"answer": "raw"}, "answer"),
        ({"leave_self_out": True}, "leave_self_out"),
        ({"mixup": 0.4}, "mixup"),
        ({"lr_end": 0.1}, "lr_end"),
    ],
)
def test_what_has_no_meaning_for_one_network_is_refused(change, name):
    with fails(FdrlError, f"strategy.{name}"):
        halves(FLOAT | change)


def test_a_server_without_a_learner_is_refused():
    with fails(FdrlError, "fld", "learner"):
        Server(contexts(FLOAT, proxy=TWO_STATES)[1])


def said(federation):
    found = []
    while not federation.done:
        record = msgspec.to_builtins(federation.round())
        found.append({k: v for k, v in record.items() if k not in WALL_CLOCK})
    return found


def test_all_agents_end_a_round_with_the_servers_policy():
    run = fdrl.make_run(strategy="fld", agents=2, steps=512, agent=FAST)
    federation = fdrl.Federation(run)
    said(federation)
    rows = federation.clients[0].cohort.parameters("policy")
    own = federation.server.half.trainers[0].parameters("policy")
    last = federation.tally
    federation.close()
    np.testing.assert_array_equal(rows, np.vstack([own, own]))
    down, up = last.bytes["down"].sum(), last.bytes["up"].sum()
    assert down > 2 * 2 * 4 * own.size  # two rounds, two agents, float32
    assert up < 2 * 2 * 4 * 512  # answers and visited cells; no parameters


def test_two_architectures_get_a_network_each():
    cohorts = [{"agents": 2, "agent": FAST}, {"agents": 1, "agent": FAST | {"hidden": (8,)}}]
    run = fdrl.make_run(strategy="fld", cohorts=cohorts, steps=256)
    federation = fdrl.Federation(run)
    (record,) = said(federation)
    sizes = [t.parameters("policy").size for t in federation.server.half.trainers]
    federation.close()
    assert sizes[0] != sizes[1]
    assert record["rejected"] == []
    assert record["metrics"]["convert/gradient_steps"] == 2 * 64


def test_over_a_slow_uplink_answers_arrive_and_the_servers_work_takes_time():
    channel = {"type": "fading", "gradient_seconds": 1.0}
    run = fdrl.make_run(strategy="fld", agents=2, steps=256, agent=FAST, channel=channel)
    federation = fdrl.Federation(run)
    (record,) = said(federation)
    federation.close()
    assert record["rejected"] == []
    assert 64.0 < record["sim_seconds"] < 64.1
