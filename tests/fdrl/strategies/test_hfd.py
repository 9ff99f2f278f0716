"""Hybrid federated distillation: mean samples by hand, their exchange, and what is refused."""

import msgspec
import numpy as np
import pytest
from messages import fails

import fdrl
from fdrl.core.errors import BadMessage, FdrlError
from fdrl.core.message import ProxyUpdate
from fdrl.core.transport import Delivery
from fdrl.strategies.hfd import average, mean_samples, mean_states
from fdrl.wire.codec import decode


def test_mean_samples_and_their_average_by_hand():
    x = np.array([[0.0, 2.0], [2.0, 4.0], [8.0, 8.0]], np.float32)
    labels, rows = mean_samples(x, np.array([3, 3, 1]))
    np.testing.assert_array_equal(labels, [1, 3])
    np.testing.assert_array_equal(rows, [[8.0, 8.0], [1.0, 3.0]])
    other = np.array([3]), np.array([[3.0, 5.0]], np.float32)
    found = average([(labels, rows), other], 4)
    # Labels 0 and 2 are nobody's: they get the mean of the known ones.
    np.testing.assert_array_equal(found, [[5, 6], [8, 8], [5, 6], [2, 4]])


def test_in_reinforcement_learning_states_count_by_the_probability_of_the_action():
    states = np.array([[1.0], [3.0]])
    probs = np.array([[1.0, 0.0, 0.0], [0.5, 0.5, 0.0]])
    actions, rows = mean_states(states, probs)
    np.testing.assert_array_equal(actions, [0, 1])
    np.testing.assert_allclose(rows, [[(1 + 1.5) / 1.5], [3.0]], rtol=1e-6)


def digits(**fields):
    agent = {"type": "classifier", "local_steps": 10, "curve_samples": 50, "partition": "thinned"}
    options = {"env": "fdrl/Digits-v0", "agents": 3, "steps": 1920, "agent": agent, "seed": 2}
    return fdrl.make_run(strategy="hfd", **(options | fields))


class Spy:
    """Keeps all messages."""

    def __init__(self):
        self.seen = {}

    def send(self, message, direction, agent, round):
        self.seen[direction, agent, round] = decode(message)
        return Delivery(message)


def test_mean_samples_travel_once_and_tables_about_them_after_that():
    spy = Spy()
    federation = fdrl.Federation(digits(), spy)
    owners = [federation.clients[0].cohort.samples()[k] for k in range(3)]
    while not federation.done:
        federation.round()
    federation.close()
    first = spy.seen["down", "agent-00", 1]
    assert isinstance(first, ProxyUpdate)
    expected = average([mean_samples(x, y) for x, y in owners], 10)
    np.testing.assert_allclose(first.states, expected, atol=1e-6)
    one, two = (spy.seen["down", a, 2] for a in ("agent-00", "agent-01"))
    assert one.probs.shape == (10, 10)
    assert not np.array_equal(one.probs, two.probs)  # taught by the others only
    others = [spy.seen["up", a, 2].probs for a in ("agent-01", "agent-02")]
    np.testing.assert_allclose(one.probs, np.mean(others, axis=0), atol=1e-6)


@pytest.mark.parametrize("channel", ["ideal", "mac-digital", "mac-analog"])
def test_it_resumes_to_the_bit_before_and_after_the_set_is_known(channel):
    run = digits(channel=channel)
    whole = fdrl.Federation(run)
    records = [msgspec.to_builtins(whole.round()) for _ in range(3)]
    for done in (0, 1, 2):
        first, second = fdrl.Federation(run), fdrl.Federation(run)
        for _ in range(done):
            first.round()
        second.load_state(first.state())
        for record in records[done:]:
            again = msgspec.to_builtins(second.round())
            assert again["returns"] == record["returns"]
            assert again["bytes_up"] == record["bytes_up"]
        first.close()
        second.close()
    whole.close()


@pytest.mark.parametrize(
    ("cells", "states", "words"),
    [
        (None, None, "without labels"),
        (np.array([0]), np.zeros((2, 64), np.float32), "1 labels.*2 samples"),
        (np.array([10]), np.zeros((1, 64), np.float32), "label"),
        (np.array([0]), np.zeros((1, 63), np.float32), "samples"),
    ],
)
def test_bad_mean_samples_are_refused_with_a_reason(cells, states, words):
    federation = fdrl.Federation(digits())
    with pytest.raises(BadMessage, match=words):
        federation.server.half.check(ProxyUpdate(1, "", {}, cells, states), "agent-00", 1)
    federation.close()


def test_other_answers_and_proxies_are_refused_in_one_line():
    for fields in ({"strategy": {"type": "hfd", "answer": "labels"}}, {"proxy": "sobol"}):
        strategy = fields.pop("strategy", "hfd")
        run = fdrl.make_run(strategy=strategy, agents=2, steps=256, **fields)
        with fails(FdrlError, "'hfd'", "strategy.answer", "proxy.type"):
            fdrl.Federation(run)
