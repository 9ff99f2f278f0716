"""FAug's round: seeds up, a generator down, and what is made of it."""

from dataclasses import replace
from types import SimpleNamespace

import msgspec
import numpy as np
import pytest
from fakes import IDS, FakeCohort, contexts, experience
from hypothesis import given
from hypothesis import strategies as st
from idx_files import tiny_idx
from messages import fails
from payload_bits import faug_bits, fd_bits

import fdrl
from fdrl.core.errors import BadMessage, FdrlError
from fdrl.core.message import Transitions
from fdrl.strategies.faug import (
    FAug,
    FDClient,
    FDServer,
    FLServer,
    device_leak,
    missing_labels,
    pixels,
)

SMALL = {"latent": 4, "hidden": [8], "encoder": 4, "steps": 2, "batch": 4}
FAUG = {"type": "fd+faug", "faug": {"seeds": 2, "generator": SMALL}}
OWN = [
    (np.array([[0.0], [0.2], [0.4], [1.0]], np.float32), np.array([0, 0, 0, 1])),
    (np.array([[0.1], [0.9]], np.float32), np.array([0, 1])),
    (np.array([[0.3], [0.5]], np.float32), np.array([0, 0])),
]


class Owners(FakeCohort):
    def samples(self):
        return OWN

    def histogram(self):
        return np.stack([np.bincount(y, minlength=2) for _, y in OWN])

    def teach(self, targets, weights, strength):
        self.taught = SimpleNamespace(targets=targets, weights=weights)

    def extend(self, samples):
        self.extra = samples


def parts(settings=FAUG):
    client, server = contexts(settings)
    half = FDServer if settings["type"] == "fd+faug" else FLServer
    return FDClient(client), half(server), Owners(IDS, np.full((3, 1, 2), 0.5))


def uploads(client, cohort):
    zeros = np.zeros(3, np.int64)
    client.learn(cohort, zeros + 4, None)
    return client.upload(cohort, experience([[[0.0]]] * 3), 1)


def test_a_round_by_hand():
    settings = {"type": "fd+faug", "faug": {"seeds": 2, "below": 0.6, "generator": SMALL}}
    client, server, cohort = parts(settings)
    up = uploads(client, cohort)
    # agent 0 has one of label 1, its mean is 2; agent 1 lacks nothing; agent 2 has no 1 to send
    assert list(up) == [IDS[0]]
    assert up[IDS[0]].arrays["seeds"].tolist() == [[255]]
    assert up[IDS[0]].arrays["labels"].tolist() == [1]
    server.check(up[IDS[0]], IDS[0], 1)
    down = server.aggregate(1, up)
    assert list(down) == [IDS[0]]
    assert down[IDS[0]].arrays["labels"].tolist() == [1]
    assert server.metrics()["faug/seeds"] == 1
    client.check(cohort, down[IDS[0]], IDS[0], 1)
    metrics = client.download(cohort, down, 1)
    assert [y.tolist() for _, y in cohort.extra] == [[1, 1], [], []]
    assert metrics["faug/filled"].tolist() == [2, 0, 0]
    assert metrics["faug/leak"].tolist() == [1, 0, 0]
    assert [x.shape for x, _ in cohort.extra] == [(2, 1), (0, 1), (0, 1)]


def test_labels_that_nobody_sent_are_not_made_up():
    client, server, cohort = parts()
    row = server._train(np.array([[0.5]], np.float32), np.array([0]))
    message = Transitions(1, {"generator": row, "labels": np.array([0], np.uint8)})
    client.download(cohort, {IDS[2]: message}, 1)  # it lacks label 1
    assert [len(y) for _, y in cohort.extra] == [0, 0, 0]


def test_nobody_lacks_anything_and_nothing_is_sent():
    _, server, _ = parts()
    assert server.aggregate(1, {}) == {}
    assert server.metrics() == {}


GOOD = Transitions(1, {"seeds": np.zeros((2, 1), np.uint8), "labels": np.array([0, 1], np.uint8)})


@pytest.mark.parametrize(
    ("arrays", "reason"),
    [
        ({"seeds": np.zeros((2, 2), np.uint8)}, r"seeds \[2, 2\], expected \[2, 1\]"),
        ({"seeds": np.zeros((2, 1), np.float32)}, "float32"),
        ({"labels": np.array([0, 2], np.uint8)}, "label .*1"),
        ({"labels": np.array([0, 1], np.int64)}, "int64"),
        ({"labels": np.zeros(0, np.uint8)}, r"labels.*\[n\]"),
        ({"more": np.zeros(1)}, "expected arrays"),
        ({"seeds": np.zeros((5, 1), np.uint8), "labels": np.zeros(5, np.uint8)}, "5 seeds, more"),
        ({"seeds": np.zeros((3, 1), np.uint8), "labels": np.zeros(3, np.uint8)}, "label"),
    ],
)
def test_seeds_that_were_not_asked_for_are_refused(arrays, reason):
    _, server, _ = parts()
    server.check(GOOD, IDS[0], 1)
    with pytest.raises(BadMessage, match=reason):
        server.check(Transitions(1, GOOD.arrays | arrays), IDS[0], 1)


def test_seeds_come_in_round_one_only():
    _, server, _ = parts()
    with fails(BadMessage, "round 2", "round 1"):
        server.check(replace(GOOD, round=2), IDS[0], 1)
    with pytest.raises(BadMessage, match="expected ProbTable"):
        server.check(replace(GOOD, round=2), IDS[0], 2)


def test_a_broken_generator_is_refused():
    client, server, cohort = parts()
    row = server._train(np.array([[0.5]], np.float32), np.array([0]))
    bad = Transitions(1, {"generator": row[:-1], "labels": np.array([0], np.uint8)})
    with pytest.raises(BadMessage, match=r"expected .* values"):
        client.check(cohort, bad, IDS[0], 1)


def test_what_it_cannot_do_is_said():
    with fails(FdrlError, "3 decoy", 2, "strategy.faug.decoys"):
        FDClient(contexts({"type": "fd+faug", "faug": {"decoys": 3}})[0])
    with fails(FdrlError, "--agent classifier"):
        fdrl.Federation(fdrl.make_run(strategy="fl+faug", agents=2, steps=512))


def digits(name, **fields):
    agent = {"type": "classifier", "local_steps": 4, "curve_samples": 50, "scarce": 1}
    agent["partition"] = "thinned"
    strategy = {"type": name, "faug": {"generator": SMALL}}
    options = {"env": "fdrl/Digits-v0", "agents": 3, "steps": 512, "agent": agent, "seed": 2}
    return fdrl.make_run(strategy=strategy, **(options | fields))


@pytest.mark.parametrize("name", ["fd+faug", "fl+faug"])
def test_it_trains_and_resumes_to_the_bit(name):
    run = digits(name)
    whole, first, second = (fdrl.Federation(run) for _ in range(3))
    records = [whole.round() for _ in range(3)]
    assert whole.done
    assert records[0].env_steps == [0, 0, 0]
    histogram = whole.clients[0].cohort.histogram()
    assert histogram.min() > 1  # three labels of each agent were thinned to 1
    first.round()
    second.load_state(first.state())
    for record in records[1:]:
        again = second.round()
        assert again.returns == record.returns
        assert again.metrics["train/loss"] == record.metrics["train/loss"]
        assert again.bytes_up == record.bytes_up
    for federation in (whole, first, second):
        federation.close()


def test_processes_change_nothing():
    found = []
    for threads in (1, 2):
        run = msgspec.structs.replace(digits("fd+faug"), threads=threads)
        federation = fdrl.Federation(run)
        for _ in range(2):
            record = federation.round()
        found.append((record.returns, record.metrics, record.bytes_up))
        federation.close()
    assert found[0] == found[1]


def test_bytes_of_a_run_are_the_papers_count_and_headers(tmp_path):
    """Seeds and generator of 28 x 28 images, then one round of tables; hardly any training."""
    agent = {"type": "classifier", "batch_size": 8, "local_steps": 8, "curve_samples": 1}
    agent |= {"partition": "scarce", "samples": 15, "scarce_labels": 5, "scarce": 1}
    run = fdrl.make_run(
        strategy={"type": "fd+faug", "faug": {"below": 0.9, "generator": {"steps": 1}}},
        env="fdrl/MNIST-v0",
        env_kwargs={"data_dir": str(tiny_idx(tmp_path))},
        agents=2,
        steps=64,
        agent=agent,
    )
    federation = fdrl.Federation(run)
    record = federation.round()
    layout, seeds = federation.server.half.layout, record.metrics["faug/seeds"] / 2
    assert (layout.size, seeds) == (1_493_520, 5)
    paper = faug_bits(layout, 0) + seeds * 784 * 8
    ours = 8 * (record.bytes_up + record.bytes_down)
    assert paper < ours < paper + 8 * 400
    after = federation.round()
    exchanged = 8 * (after.bytes_up + after.bytes_down) - ours
    assert exchanged <= fd_bits(10, 1) + 8 * 300
    federation.close()


# ---- What an agent asks for and gives away, by hand ----


LABELS = np.repeat([0, 1, 2], [8, 7, 2])  # and none of label 3: the mean is 4.25


def want(labels=LABELS, count=4, **fields):
    return missing_labels(labels, count, FAug(**fields), np.random.default_rng(0))


def test_scarce_labels_are_filled_up_to_the_mean_of_the_others():
    got = want()  # scarce below 2.125; (8 + 7) / 2 rounded down is 7
    assert np.bincount(got.missing, minlength=4).tolist() == [0, 0, 5, 7]
    assert sorted(got.seeds.tolist()) == [15, 16]
    assert (got.targets, got.decoys) == (1, 0)  # of label 3 there is nothing to send


def test_decoys_hide_what_is_scarce():
    got = want(decoys=2, seeds=3)
    assert np.bincount(LABELS[got.seeds], minlength=4).tolist() == [3, 3, 2, 0]
    assert (got.targets, got.decoys) == (1, 2)
    assert device_leak(got.targets, got.decoys) == 1 / 3


def test_who_lacks_nothing_sends_nothing():
    got = want(np.repeat(np.arange(4), 5), decoys=3)
    assert len(got.seeds) == len(got.missing) == got.targets == got.decoys == 0
    assert device_leak(0, 0) == 0.0


def test_the_split_of_the_paper_sends_fifteen_seeds():
    labels = np.repeat(np.arange(10), [5, 5, 5] + [200] * 7)
    got = want(labels, 10)
    assert len(got.seeds) == 15
    assert np.bincount(got.missing, minlength=10).tolist() == [195] * 3 + [0] * 7


@given(st.lists(st.integers(0, 5), min_size=1, max_size=60), st.integers(0, 6))
def test_seeds_are_the_agents_own_and_no_label_is_overfilled(labels, decoys):
    labels = np.array(labels)
    got = want(labels, 6, decoys=decoys)
    assert len(set(got.seeds.tolist())) == len(got.seeds)
    assert np.bincount(labels[got.seeds], minlength=6).max() <= 5
    full = np.bincount(labels, minlength=6) + np.bincount(got.missing, minlength=6)
    if len(got.missing):
        assert full.min() >= 1
        assert full.max() == max(full.max(), np.bincount(labels).max())


def test_pixels_are_bytes():
    assert pixels(np.array([[-0.1, 0.0, 0.5, 1.0, 1.2]])).tolist() == [[0, 0, 128, 255, 255]]
