"""`fld`, `mixfld` and `mix2fld` for labels: three agents, two labels, one pixel; then real ones."""

from dataclasses import replace

import msgspec
import numpy as np
import pytest
from fakes import IDS, FakeCohort, contexts, experience
from messages import fails

import fdrl
from fdrl.core.cohort import LabelTable
from fdrl.core.errors import BadMessage, FdrlError
from fdrl.core.message import Parameters, ProbTable
from fdrl.core.records import WALL_CLOCK
from fdrl.strategies import fld
from fdrl.strategies.fld import policies
from fdrl.strategies.fld.labels import Client, Server
from fdrl.wire.codec import decode, encode
from fdrl.wire.parts import CellRows, MissingSeeds, SeedSamples

PLAIN = {
    "type": "fld", "answer": "labels", "coding": "float32", "visit_power": 0.0,
    "combine": "mean", "teacher": 0.25, "seeds": {"count": 2},
}  # fmt: skip
ROWS = np.array(
    [[[0.8, 0.2], [0.5, 0.5]], [[0.6, 0.4], [0.1, 0.9]], [[0.5, 0.5], [0.3, 0.7]]], np.float32
)
COUNTS = np.array([[4.0, 0.0], [4.0, 4.0], [0.0, 4.0]])  # agent 0 lacks label 1, agent 2 label 0


class Owner(FakeCohort):
    """Agents with a sample of each label: pixels 0.2 and 0.6."""

    def samples(self):
        own = np.array([[0.2], [0.6]], np.float32), np.array([0, 1])
        return [own] * len(self.ids)

    def histogram(self):
        return np.ones((len(self.ids), 2), np.int64)

    def teach(self, targets, weights, strength):
        raise AssertionError("fld learns from the labels alone")


class Trainer(FakeCohort):
    """The server's network: every conversion adds one to its parameters."""

    def distill(self, states, targets, weights, settings):
        super().distill(states, targets, weights, settings)
        self.rows["policy"] = self.rows["policy"] + 1.0
        return {"distill/gradient_steps": np.array([7.0]), "distill/loss": np.array([0.25])}

    def state(self):
        return {"rows": self.rows["policy"]}

    def load_state(self, state):
        self.rows["policy"] = np.array(state["rows"])


def halves(strategy=PLAIN):
    client_context, server_context = contexts(strategy)
    trainers = []

    def trainer(group):
        trainers.append(Trainer(IDS[:1], ROWS[:1], [[10.0, 20.0, 30.0]]))
        return trainers[-1]

    server = Server(replace(server_context, trainer=trainer))
    return Client(client_context), server, trainers[0], Owner(IDS, ROWS)


def seen():
    found = experience([[[0.1]]] * 3)
    found.labels = LabelTable(ROWS, COUNTS)
    return found


def through_bytes(messages):
    return {name: decode(encode(m)) for name, m in messages.items()}


def uploads(client, server, cohort, round=1):
    up = through_bytes(client.upload(cohort, seen(), round))
    for name, message in up.items():
        server.check(message, name, round)
    return up


def receive(client, cohort, messages, round=1):
    for name, message in messages.items():
        client.check(cohort, message, name, round)
    return client.download(cohort, messages, round)


def test_a_round_by_hand():
    client, server, trainer, cohort = halves()
    up = uploads(client, server, cohort)
    np.testing.assert_array_equal(up[IDS[0]].need(CellRows).cells, [0])
    assert sorted(up[IDS[0]].need(SeedSamples).samples[:, 0].tolist()) == [
        51,
        153,
    ]  # 0.2 and 0.6 of 255
    down = through_bytes(server.aggregate(1, up))
    receive(client, cohort, down)
    (given,) = trainer.distilled
    # G: label 0 is answered by agents 0 and 1, label 1 by agents 1 and 2.
    zero, one = np.array([0.7, 0.3]), np.array([0.2, 0.8])
    expected = {51: (np.array([1, 0]) + zero / 4) / 1.25, 153: (np.array([0, 1]) + one / 4) / 1.25}
    assert len(given.states) == 6
    for pixel, target in zip(given.states[:, 0], given.targets[0], strict=True):
        np.testing.assert_allclose(target, expected[round(255 * float(pixel))], rtol=1e-5)
    np.testing.assert_allclose(cohort.parameters("policy"), [[11, 21]] * 3)
    assert server.metrics()["convert/gradient_steps"] == 7.0
    assert server.metrics()["convert/seeds"] == 6.0


def test_seeds_travel_once():
    client, server, _, cohort = halves()
    receive(client, cohort, server.aggregate(1, uploads(client, server, cohort)))
    second = uploads(client, server, cohort, 2)
    assert all(m.get(SeedSamples) is None for m in second.values())
    server.aggregate(2, second)
    assert server.metrics()["convert/seeds"] == 6.0


def test_seeds_that_were_lost_are_asked_for_again():
    client, server, _, cohort = halves()
    up = uploads(client, server, cohort)
    lost = up.pop(IDS[1])
    down = through_bytes(server.aggregate(1, up))
    assert down[IDS[0]].need(MissingSeeds).agents.tolist() == [1]
    receive(client, cohort, down)
    again = uploads(client, server, cohort, 2)
    assert [m.get(SeedSamples) is None for m in again.values()] == [True, False, True]
    seeds = (m.need(SeedSamples).samples for m in (again[IDS[1]], lost))
    np.testing.assert_array_equal(*seeds)
    assert server.aggregate(2, again)[IDS[0]].get(MissingSeeds) is None
    assert server.metrics()["convert/seeds"] == 6.0


def test_nothing_comes_down_before_anything_went_up():
    _, server, trainer, _ = halves()
    assert server.aggregate(1, {}) == {}
    bare = ProbTable(1, ROWS[0], parts=(CellRows(np.array([0, 1])),))
    assert server.aggregate(1, {IDS[0]: bare}) == {}
    assert trainer.distilled == []


def test_the_three_methods_differ_in_the_seeds_alone():
    """lam = 0.25 of label 0's pixel 0.2 and 0.75 of label 1's 0.6 is 0.5; swapped it is 0.3."""
    pixels, targets = {}, {}
    for name in ("mixfld", "mix2fld"):
        strategy = {
            "type": name, "teacher": 0.0,
            "seeds": {"count": 1, "lam": 0.25, "coding": "float32"},
        }  # fmt: skip
        client, server, trainer, cohort = halves(strategy)
        server.aggregate(1, uploads(client, server, cohort))
        (given,) = trainer.distilled
        order = np.argsort(given.states[:, 0], kind="stable")
        pixels[name] = given.states[order, 0]
        targets[name] = given.targets[0][order]
    np.testing.assert_allclose(sorted({*pixels["mixfld"].round(4).tolist()}), [0.3, 0.5])
    assert len(pixels["mixfld"]) == 3
    np.testing.assert_allclose(targets["mixfld"].max(1), [0.75] * 3)
    # Agents 0 and 2 mix alike, agent 1 the other way: two pairs, two samples each.
    np.testing.assert_allclose(pixels["mix2fld"], [0.2, 0.2, 0.6, 0.6], atol=1e-6)
    np.testing.assert_array_equal(targets["mix2fld"], np.eye(2)[[0, 0, 1, 1]])


def test_the_server_goes_on_from_its_state():
    client, server, _, cohort = halves()
    server.aggregate(1, uploads(client, server, cohort))
    _, other, trainer, _ = halves()
    other.load_state(server.state())
    up = uploads(client, server, cohort, 2)
    one, two = server.aggregate(2, up), other.aggregate(2, up)
    np.testing.assert_array_equal(one[IDS[0]].values, two[IDS[0]].values)
    assert len(trainer.distilled[0].states) == 6


def pixels(shape, labels, label=0):
    return SeedSamples(np.zeros(shape, np.uint8), np.full(labels, label, np.uint8))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda t: t.with_parts(pixels((1, 2), (1, 1))), "seeds of"),
        (lambda t: t.with_parts(pixels((1, 1), (1, 2))), "1 labels each"),
        (lambda t: t.with_parts(pixels((1, 1), (1, 1), label=2)), "beyond 1"),
        (lambda t: t.with_parts(pixels((3, 1), (3, 1))), "more than 2 seeds"),
        (lambda t: replace(t, round=9), "round"),
        (lambda t: t.without(CellRows), "keyed by cells are missing"),
    ],
)
def test_unfit_uploads_are_refused(change, reason):
    _, server, _, _ = halves()
    own = (CellRows(np.array([0, 1])), pixels((1, 1), (1, 1)))
    good = ProbTable(1, ROWS[0], parts=own)
    server.check(good, IDS[0], 1)
    with pytest.raises(BadMessage, match=reason):
        server.check(change(good), IDS[0], 1)


def test_unfit_weights_are_refused():
    client, _, _, cohort = halves()
    with pytest.raises(BadMessage, match="2 parameters"):
        client.check(cohort, Parameters(1, np.zeros(3, np.float32), "policy"), IDS[0], 1)


@pytest.mark.parametrize(
    ("strategy", "reason"),
    [
        ({"type": "mix2fld", "seeds": {"lam": 0.5}}, r"lam = 0\.5.*2 labels"),
        ({"type": "fld", "answer": "labels", "seeds": {"count": 0}}, "seed"),
        ({"type": "mix2fld", "seeds": {"labels": 3}}, "3 labels"),
    ],
)
def test_settings_that_cannot_work_are_one_clear_line(strategy, reason):
    for half, context in zip((Client, Server), contexts(strategy), strict=True):
        with pytest.raises(FdrlError, match=reason) as caught:
            half(context)
        assert "\n" not in str(caught.value)


def test_halves_fit_the_answers():
    client, server = contexts({"type": "mixfld", "answer": "current"})
    for make, context in ((fld.client, client), (fld.server, server)):
        with fails(FdrlError, "--strategy fld"):
            make(context)
    by_label, by_proxy = (contexts(s)[0] for s in (PLAIN, "fld"))
    assert isinstance(fld.client(by_label), Client)
    assert isinstance(fld.client(by_proxy), policies.Client)


DIGITS = {
    "env": "fdrl/Digits-v0",
    "agents": 4,
    "agent": {"type": "classifier", "samples": 100, "batch_size": 20, "local_steps": 10},
}
CONVERT = {"steps": 20, "batch": 16}


def said(federation):
    found = []
    while not federation.done:
        record = msgspec.to_builtins(federation.round())
        found.append({k: v for k, v in record.items() if k not in WALL_CLOCK})
    return found


@pytest.mark.parametrize(
    "strategy",
    [{"type": "mixfld"}, {"type": "mix2fld"}, {"type": "mix2fld", "seeds": {"labels": 3}}],
)
def test_real_agents_learn_digits(strategy):
    run = fdrl.make_run(strategy=strategy | {"convert": CONVERT}, steps=1600, **DIGITS)
    federation = fdrl.Federation(run)
    records = said(federation)
    rows = federation.clients[0].cohort.parameters("policy")
    federation.close()
    assert records[-1]["return_mean"] > 0.3
    assert (rows == rows[0]).all()
    per_round = np.diff([r["bytes_up"] for r in records], prepend=0)
    assert per_round[0] - per_round[1] > 40 * 64  # seeds travel once


def test_a_conversion_that_diverges_is_one_clear_line():
    client, server, trainer, cohort = halves()
    trainer.rows["policy"] = np.array([[np.inf, 0.0]], np.float32)
    with fails(FdrlError, "size 0.6", "strategy.seeds.lam"):
        server.aggregate(1, uploads(client, server, cohort))


def test_a_deadline_that_seeds_miss_is_tried_again_and_said():
    channel = {"type": "fading", "deadline_slots": 1, "bandwidth": 1e5}
    run = fdrl.make_run(strategy="mix2fld", steps=600, channel=channel, **DIGITS)
    federation = fdrl.Federation(run)
    records = said(federation)
    federation.close()
    assert all("1 slots" in r["rejected"][0][1] for r in records)
    assert all(len(r["rejected"]) == 4 for r in records)
    assert not any(r["exchanged"] for r in records)


def test_agents_without_labels_are_told_so():
    run = fdrl.make_run(strategy="mix2fld", agents=2, steps=256, agent={"type": "ppo"})
    with fails(FdrlError, "--agent classifier"):
        fdrl.Federation(run)
