"""Federated distillation by label: who teaches whom, worked out by hand."""

from types import SimpleNamespace

import msgspec
import numpy as np
import pytest
from fakes import IDS, FakeCohort, contexts, experience
from messages import fails

import fdrl
from fdrl.core.cohort import LabelTable
from fdrl.core.errors import BadMessage
from fdrl.core.message import ProbTable
from fdrl.proxies.grid import GridCells
from fdrl.strategies.distillation.answers import VisitCounts
from fdrl.strategies.distillation.client import Client
from fdrl.strategies.distillation.server import Server
from fdrl.strategies.fedavg import Client as Averager
from fdrl.strategies.fedavg import Server as Mean
from fdrl.wire.parts import CellRows

SETTINGS = {
    "type": "fd",
    "answer": "labels",
    "combine": "mean",
    "leave_self_out": True,
    "visit_power": 0.0,
    "coding": "float32",
    "label_weight": 0.25,
}
TABLES = np.array(  # three agents, two labels
    [
        [[0.8, 0.2], [0.5, 0.5]],
        [[0.6, 0.4], [0.1, 0.9]],
        [[0.2, 0.8], [0.5, 0.5]],
    ],
    np.float32,
)
COUNTS = np.array([[4.0, 0.0], [2.0, 3.0], [1.0, 0.0]])


class Owners(FakeCohort):
    def samples(self):
        return []

    def histogram(self):
        return COUNTS.astype(np.int64)

    def teach(self, targets, weights, strength):
        self.taught = SimpleNamespace(targets=targets, weights=weights, strength=strength)


def round_of(**fields):
    client, server = contexts(SETTINGS | fields)
    client, server = Client(client), Server(server)
    cohort = Owners(IDS, TABLES)
    seen = experience([[[0.0]]] * 3)
    seen.labels = LabelTable(TABLES, COUNTS)
    assert server.announce() == {}
    up = client.upload(cohort, seen, 1)
    for name, message in up.items():
        server.check(message, name, 1)
    down = server.aggregate(1, up)
    for name, message in down.items():
        client.check(cohort, message, name, 1)
    client.download(cohort, down, 1)
    return up, down, cohort


def test_only_labels_that_were_seen_are_sent():
    up, _, _ = round_of()
    assert [up[name].need(CellRows).cells.tolist() for name in IDS] == [[0], [0, 1], [0]]


def test_each_is_taught_by_the_other_owners_only():
    _, down, cohort = round_of()
    # label 0: everybody has it; label 1: agent 1 alone, so it has no teacher there
    assert [down[name].need(CellRows).cells.tolist() for name in IDS] == [[0, 1], [0], [0, 1]]
    told = cohort.taught
    assert told.strength == 0.25
    np.testing.assert_array_equal(told.weights, [[1, 1], [1, 0], [1, 1]])
    np.testing.assert_allclose(told.targets[0], [[0.4, 0.6], [0.1, 0.9]], atol=1e-6)
    np.testing.assert_allclose(told.targets[1, 0], [0.5, 0.5], atol=1e-6)
    np.testing.assert_allclose(told.targets[2], [[0.7, 0.3], [0.1, 0.9]], atol=1e-6)
    assert cohort.distilled == []


def test_one_teacher_for_all_unless_left_out():
    _, down, cohort = round_of(leave_self_out=False)
    assert len({id(m) for m in down.values()}) == 1
    np.testing.assert_allclose(cohort.taught.targets[1, 0], [1.6 / 3, 1.4 / 3], atol=1e-6)


def test_a_table_about_no_label_is_refused():
    client, server = contexts(SETTINGS)
    bad = ProbTable(round=1, probs=TABLES[0], parts=(CellRows(np.array([0, 7])),))
    with pytest.raises(BadMessage, match="cells outside"):
        Server(server).check(bad, IDS[0], 1)
    with pytest.raises(BadMessage, match="cells outside"):
        Client(client).check(FakeCohort(IDS, TABLES), bad, IDS[0], 1)


def test_agents_without_samples_cannot_answer_by_label():
    run = fdrl.make_run(strategy={"type": "fd", "answer": "labels"}, agents=2, steps=512)
    with pytest.raises(fdrl.FdrlError, match="--agent classifier"):
        fdrl.Federation(run)


def digits(**fields):
    agent = {"type": "classifier", "local_steps": 10, "curve_samples": 50, "partition": "thinned"}
    options = {"env": "fdrl/Digits-v0", "agents": 3, "steps": 1280, "agent": agent, "seed": 2}
    return fdrl.make_run(**(options | fields))


@pytest.mark.parametrize("strategy", [SETTINGS, "fl", "cd", "fd", "fedavg", "self", "local"])
def test_methods_train_classifiers_and_resume_to_the_bit(strategy):
    # a grid of 64 components has too many cells, so what asks about proxies asks about others
    proxy = {"proxy": {"type": "sobol", "size": 32}} if strategy in ("fd", "self") else {}
    run = digits(strategy=strategy, **proxy)
    whole, first = fdrl.Federation(run), fdrl.Federation(run)
    records = [whole.round() for _ in range(2)]
    first.round()
    second = fdrl.Federation(run)
    second.load_state(first.state())
    record = second.round()
    assert record.returns == records[1].returns
    assert record.metrics["train/loss"] == records[1].metrics["train/loss"]
    assert record.bytes_up == records[1].bytes_up
    for federation in (whole, first, second):
        federation.close()


def test_processes_change_nothing():
    found = []
    for threads in (1, 2):
        federation = fdrl.Federation(
            msgspec.structs.replace(digits(strategy=SETTINGS), threads=threads)
        )
        federation.round()
        record = federation.round()
        found.append((record.returns, record.metrics, record.bytes_up))
        federation.close()
    assert found[0] == found[1]


def test_methods_that_send_visited_states_say_that_there_are_none():
    federation = fdrl.Federation(digits(strategy="pd", proxy={"type": "sobol"}))
    with fails(fdrl.FdrlError, "'pd'", "'classifier'", "fd or fedavg"):
        federation.round()
    federation.close()


def test_federated_averaging_weighs_by_samples():
    client, server = contexts("fl")
    cohort = Owners(IDS, TABLES)
    up = Averager(client).upload(cohort, experience([[[0.0]]] * 3), 1)
    assert [up[name].steps for name in IDS] == [4, 5, 1]
    down = Mean(server).aggregate(1, up)
    rows = np.arange(9).reshape(3, 3)
    np.testing.assert_allclose(down[IDS[0]].values, [4, 5, 1] @ rows / 10)


# ---- Visited cells, counted by hand ----


def tenths():
    return VisitCounts(2, GridCells(10, np.zeros(1), np.ones(1)))


def test_most_visited_first_ties_to_the_lower_cell_answers_by_index():
    seen = tenths()
    seen.add(0, np.array([[0.95], [0.15], [0.55]]))
    seen.add(0, np.array([[0.55], [0.95], [0.35]]))
    seen.add(1, np.array([[0.05]]))
    cells, times = seen.take(0, 3)  # 9 and 5 twice, then 1 before 3
    assert (cells.tolist(), times.tolist()) == ([1, 5, 9], [1.0, 2.0, 2.0])
    cells, times = seen.take(0, 3)
    assert len(cells) == len(times) == 0
    assert seen.take(1, 3)[0].tolist() == [0]


def test_state_continues_the_count():
    seen, other = tenths(), tenths()
    seen.add(0, np.array([[0.15], [0.15], [0.35]]))
    other.load_state(seen.state())
    for s in (seen, other):
        s.add(0, np.array([[0.35], [0.35]]))
        s.add(1, np.empty((0, 1)))
    for agent in (0, 1):
        for a, b in zip(seen.take(agent, 1), other.take(agent, 1), strict=True):
            np.testing.assert_array_equal(a, b)
    assert other.take(0, 5)[0].size == 0
