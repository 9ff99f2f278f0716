"""fedavg, pooled, self and local on three agents, worked out by hand."""

import numpy as np
import pytest
from fakes import IDS, FakeCohort, contexts, experience
from messages import fails

from fdrl.core.errors import BadMessage, FdrlError
from fdrl.core.message import Parameters, ProbTable, Transitions
from fdrl.strategies import fedavg, local, pooled
from fdrl.strategies.base import Client, Server
from fdrl.wire.codec import decode, encode
from fdrl.wire.parts import OptimizerState

ANSWERS = np.full((3, 2, 2), 0.5)
ROWS = [[0.0, 3.0, 6.0], [1.0, 1.0, 1.0], [2.0, 2.0, 5.0]]


def through_bytes(messages):
    return {name: decode(encode(m)) for name, m in messages.items()}


def fedavg_round(strategy, seen=None, drop=(), rounds=1):
    client_context, server_context = contexts(strategy)
    client, server = fedavg.Client(client_context), fedavg.Server(server_context)
    cohort = FakeCohort(IDS, ANSWERS, ROWS)
    client.learn(cohort, np.array([4, 4, 4]), None)
    for r in range(1, rounds + 1):
        up = through_bytes(client.upload(cohort, seen or experience([[[0.1]]] * 3), r))
        up = {name: m for name, m in up.items() if name not in drop}
        for name, message in up.items():
            server.check(message, name, r)
        down = through_bytes(server.aggregate(r, up))
        for name, message in down.items():
            client.check(cohort, message, name, r)
        client.download(cohort, down, r)
    return cohort


def test_uniform_average_of_everything():
    cohort = fedavg_round("fedavg")
    np.testing.assert_allclose(cohort.parameters(), [[1, 2, 4]] * 3, rtol=1e-6)


def test_missing_agent_is_left_out_and_still_gets_the_average():
    cohort = fedavg_round("fedavg", drop=[IDS[0]])
    np.testing.assert_allclose(cohort.parameters(), [[1.5, 1.5, 3]] * 3, rtol=1e-6)


def test_policy_only():
    cohort = fedavg_round({"type": "fedavg", "part": "policy"})
    np.testing.assert_allclose(cohort.parameters("policy"), [[1, 2]] * 3, rtol=1e-6)
    np.testing.assert_allclose(cohort.parameters("all"), ROWS)


def test_weights_by_steps():
    seen = experience([[[0.1]] * 2, [[0.1]], [[0.1]]])
    cohort = fedavg_round({"type": "fedavg", "weights": "steps"}, seen)
    np.testing.assert_allclose(cohort.parameters()[0], [0.75, 2.25, 4.5], rtol=1e-6)


def test_weights_by_return_are_a_softmax_of_z_scores():
    seen = experience([[[0.1]]] * 3, returns=[[-30.0], [-20.0], [-10.0]])
    cohort = fedavg_round({"type": "fedavg", "weights": "return", "beta": 2.0}, seen)
    w = np.exp(2.0 * np.array([-1.0, 0.0, 1.0]) * np.sqrt(1.5))
    np.testing.assert_allclose(cohort.parameters()[1], w @ np.array(ROWS) / w.sum(), rtol=1e-4)


@pytest.mark.parametrize(("option", "expected"), [("keep", 1.0), ("reset", 0.0), ("average", 2.0)])
def test_optimizer_moments(option, expected):
    client_context, server_context = contexts({"type": "fedavg", "optimizer": option})
    client, server = fedavg.Client(client_context), fedavg.Server(server_context)
    cohort = FakeCohort(IDS, ANSWERS, ROWS)
    cohort.rows["optimizer"] = np.array([[1.0, 1], [2, 2], [3, 3]], np.float32)
    up = through_bytes(client.upload(cohort, experience([[[0.1]]] * 3), 1))
    client.download(cohort, through_bytes(server.aggregate(1, up)), 1)
    assert cohort.rows["optimizer"][0, 0] == expected


def test_fedprox_pulls_toward_the_last_average():
    cohort = fedavg_round({"type": "fedavg", "prox": 0.1})
    (first, strength), (second, _) = cohort.anchors
    np.testing.assert_allclose(first, ROWS)
    np.testing.assert_allclose(second, [[1, 2, 4]] * 3, rtol=1e-6)
    assert strength == 0.1


def test_averaging_needs_a_shared_architecture():
    _, context = contexts("fedavg")
    alone = context.__class__(
        **{**context.__dict__, "groups": tuple((i,) for i in IDS), "facts": context.facts * 3}
    )
    with pytest.raises(FdrlError, match="architectures"):
        fedavg.Server(alone)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"round": 3}, "round"),
        ({"part": "policy"}, "part"),
        ({"values": np.zeros(2, np.float32)}, "3 parameters"),
        ({"parts": (OptimizerState(np.zeros(2, np.float32)),)}, "optimizer"),
    ],
)
def test_bad_parameters_are_refused(fields, reason):
    server = fedavg.Server(contexts("fedavg")[1])
    good = {
        "round": 1,
        "values": np.zeros(3, np.float32),
        "part": "all",
        "steps": 1,
    }
    server.check(Parameters(**good), IDS[0], 1)
    with pytest.raises(BadMessage, match=reason):
        server.check(Parameters(**(good | fields)), IDS[0], 1)
    with pytest.raises(BadMessage, match="expected Parameters"):
        server.check(ProbTable(1, np.full((1, 2), 0.5, np.float32)), IDS[0], 1)


class Trainer(FakeCohort):
    """A learner at the server that notes what it is given."""

    def collect(self, steps):
        raise AssertionError("the server never steps an environment")

    def update(self, transitions):
        self.given = {k: v.copy() for k, v in transitions.items()}
        self.rows["all"] += 10.0
        return {"train/loss": np.array([0.5])}


def transitions(obs):
    """Fill up observations [..., T, E, O] to complete transitions."""
    lead = obs.shape[:-1]
    return {
        "observations": obs,
        "actions": np.zeros(lead, np.int64),
        "rewards": np.ones(lead, np.float32),
        "terminated": np.zeros(lead, bool),
        "truncated": np.zeros(lead, bool),
        "next_observations": obs + 1,
    }


class Collector(FakeCohort):
    """Agents that only act: two steps in one copy each."""

    def collect(self, steps):
        obs = np.arange(6, dtype=np.float32).reshape(3, 2, 1, 1)
        return experience(obs[:, :, 0].tolist()), transitions(obs)

    def update(self, transitions):
        raise AssertionError("agents do not learn in pooled")


def test_pooled_puts_all_agents_side_by_side():
    client_context, server_context = contexts("pooled")
    trainers = []

    def trainer(group):
        trainers.append(Trainer(IDS[:1], ANSWERS[:1], [[1.0, 2.0, 3.0]]))
        return trainers[-1]

    server = pooled.Server(
        server_context.__class__(**{**server_context.__dict__, "trainer": trainer})
    )
    client, cohort = pooled.Client(client_context), Collector(IDS, ANSWERS, ROWS)
    seen = client.learn(cohort, np.array([2, 2, 2]), None)
    up = through_bytes(client.upload(cohort, seen, 1))
    for name, message in up.items():
        assert isinstance(message, Transitions)
        server.check(message, name, 1)
    client.download(cohort, through_bytes(server.aggregate(1, up)), 1)
    # [1, T, agents * copies, O]: step 0 of agents 0, 1, 2, then step 1.
    np.testing.assert_array_equal(
        trainers[0].given["observations"][0, :, :, 0], [[0, 2, 4], [1, 3, 5]]
    )
    np.testing.assert_allclose(cohort.parameters(), [[11, 12, 13]] * 3)
    assert server.metrics() == {"train/loss": 0.5}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"rewards": None}, "expected arrays"),
        ({"rewards": np.ones((3, 1), np.float32)}, "rewards.*shape"),
        ({"actions": np.full((2, 1), 2)}, "beyond"),
        ({"actions": np.zeros((2, 1), np.float32)}, "actions.*type"),
        ({"observations": np.zeros((2, 1, 4), np.float32)}, "observations.*shape"),
    ],
)
def test_bad_transitions_are_refused(change, reason):
    _, context = contexts("pooled")
    make = lambda group: Trainer(IDS[:1], ANSWERS[:1])  # noqa: E731
    server = pooled.Server(context.__class__(**{**context.__dict__, "trainer": make}))
    good = transitions(np.zeros((2, 1, 1), np.float32))
    server.check(Transitions(1, good), IDS[0], 1)
    bad = {k: v for k, v in (good | change).items() if v is not None}
    with pytest.raises(BadMessage, match=reason):
        server.check(Transitions(1, bad), IDS[0], 1)
    with fails(BadMessage, "20 steps"):
        server.check(Transitions(1, transitions(np.zeros((21, 1, 1), np.float32))), IDS[0], 1)


def test_pooled_needs_a_learner_that_comes_apart():
    client_context, _ = contexts("pooled")
    with pytest.raises(FdrlError, match="pooled"):
        pooled.Client(client_context).learn(FakeCohort(IDS, ANSWERS), np.array([1] * 3), None)


def test_pooled_exchanges_every_iteration():
    with pytest.raises(FdrlError, match="every"):
        pooled.Client(contexts({"type": "pooled", "every": 2})[0])


class Changing(FakeCohort):
    """Answers with its first two parameters, so that an earlier policy can be told from today's."""

    def probs(self, states):
        p = np.asarray(self.rows["policy"][:, 0])
        return np.stack([p, 1 - p], -1)[:, None].repeat(states.shape[-2], 1).astype(np.float32)


def test_self_distills_toward_the_policy_of_one_exchange_ago():
    client_context, _ = contexts("self", proxy={"type": "uniform", "size": 2})
    client = local.Client(client_context)
    cohort = Changing(IDS, ANSWERS, [[0.1, 0, 0], [0.2, 0, 0], [0.3, 0, 0]])
    for r, now in enumerate([[0.5, 0.6, 0.7], [0.8, 0.8, 0.8]], 1):
        client.learn(cohort, np.array([1] * 3), None)
        cohort.rows["policy"][:, 0] = now  # what local learning did
        assert client.upload(cohort, experience([[[0.1]]] * 3), r) == {}
        assert client.download(cohort, {}, r)["distill/gradient_steps"].sum() == 3
    first, second = cohort.distilled
    np.testing.assert_allclose(first.targets[:, 0, 0], [0.1, 0.2, 0.3], atol=1e-6)
    np.testing.assert_allclose(second.targets[:, 0, 0], [0.5, 0.6, 0.7], atol=1e-6)
    np.testing.assert_allclose(cohort.rows["policy"][:, 0], 0.8)  # today's policy is back


def test_self_takes_as_many_gradient_steps_as_fd():
    from fdrl.strategies.distillation.settings import FD

    assert local.Self().distill.steps == FD().distill.steps
    assert local.Self().distill.batch == FD().distill.batch


def test_local_says_nothing_and_expects_nothing():
    client_context, server_context = contexts("local")
    client, server = Client(client_context), Server(server_context)
    cohort = FakeCohort(IDS, ANSWERS, ROWS)
    assert client.upload(cohort, experience([[[0.1]]] * 3), 1) == {}
    assert server.announce() == {}
    assert server.aggregate(1, {}) == {}
    with pytest.raises(BadMessage, match="no messages"):
        server.check(ProbTable(1, np.full((1, 2), 0.5, np.float32)), IDS[0], 1)
    np.testing.assert_allclose(cohort.parameters(), ROWS)
