"""Packs whose members fail, end early, are stopped, or come from different rounds."""

from __future__ import annotations

import os
import signal

import gymnasium as gym
import msgspec
import numpy as np
import pytest
from messages import fails
from packs import assert_same_run, preset, seeded

from fdrl import FdrlError, train
from fdrl.config.run import make_run
from fdrl.core.records import Summary
from fdrl.packs import train as train_module
from fdrl.packs.members import PackBroken
from fdrl.packs.train import Order, packable, train_orders, train_packed

FRD = preset(
    "a2c-classic",
    steps=400,
    evaluation={"episodes": 2},
    checkpoint_every=1,
    strategy={"type": "frd", "every": 3, "unit": "episodes"},
)
A2C = {"type": "a2c", "hidden": [4], "n_envs": 1, "n_steps": 4}


class Watch:
    """A tracker that does something when a round is over."""

    def __init__(self, act):
        self.act = act

    def start(self, run, ids, labels):
        pass

    def round(self, record):
        self.act(record)

    def finish(self, summary):
        pass

    def close(self):
        pass


def raising(error, at):
    def act(record):
        if record.round == at:
            raise error

    return Watch(act)


class Moody(gym.Env):
    """Fails in some episodes, which the reset's seed decides."""

    observation_space = gym.spaces.Box(-1, 1, (2,))
    action_space = gym.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.bad = self.np_random.random() < 0.04
        self.left = int(self.np_random.integers(3, 9))
        return self._see(), {}

    def _see(self):
        return self.np_random.uniform(-1, 1, 2).astype(np.float32)

    def step(self, action):
        self.left -= 1
        if self.bad and self.left == 1:
            raise ValueError("a bad day")
        return self._see(), 1.0, self.left <= 0, False, {}


gym.register("test/PackMoody-v0", entry_point=Moody, max_episode_steps=20)


FDV = make_run(
    agent=A2C, agents=2, steps=96, strategy={"type": "fdv", "every": 2}, checkpoint_every=1,
    evaluation={"episodes": 1},
)  # fmt: skip
"""The first of three members stops before it has been taught any values, the others after."""


@pytest.mark.parametrize("run", [FRD, FDV], ids=["frd", "fdv"])
def test_a_pack_resumes_with_its_members_at_different_rounds(run, tmp_path):
    runs = seeded(run, 3)
    orders = [Order(r, tmp_path / f"{r.seed}") for r in runs]
    for at, order in enumerate(orders, 1):
        order.trackers = [raising(KeyboardInterrupt(), at)]
    outcomes = train_orders(orders, curves=False)
    assert all(isinstance(o, KeyboardInterrupt) for o in outcomes)
    logged = [len((o.out / "metrics.jsonl").read_bytes().splitlines()) for o in orders]
    assert logged == [1, 2, 3]
    train_packed(runs, out=[o.out for o in orders], curves=False)
    for run in runs:
        train(run, out=tmp_path / f"alone-{run.seed}", curves=False)
        assert_same_run(tmp_path / f"{run.seed}", tmp_path / f"alone-{run.seed}")


def test_a_member_that_fails_by_itself_leaves_the_others_alone(tmp_path):
    runs = seeded(FRD, 3)
    orders = [Order(r, tmp_path / f"{r.seed}") for r in runs]
    orders[1].trackers = [raising(ValueError("my tracker"), 2)]
    heard = []
    outcomes = train_orders(orders, curves=False, ended=lambda place, o: heard.append(place))
    assert sorted(heard) == [0, 1, 2]
    assert str(outcomes[1]) == "my tracker"
    for place in (0, 2):
        alone = tmp_path / f"alone-{place}"
        assert outcomes[place].returns == train(runs[place], out=alone, curves=False).returns
        assert_same_run(orders[place].out, alone)


def test_a_member_whose_environment_fails_is_found_and_fails_as_it_would_alone(tmp_path):
    run = make_run(
        env="test/PackMoody-v0", agent=A2C, agents=2, steps=96, evaluation={"episodes": 1},
        strategy={"type": "fedavg", "every": 2}, checkpoint_every=2,
    )  # fmt: skip
    runs = seeded(run, 6)
    packed = train_orders([Order(r, tmp_path / f"{r.seed}") for r in runs], curves=False)
    alone = [outcome_of(one, tmp_path / f"alone-{one.seed}") for one in runs]
    for one, got, wanted in zip(runs, packed, alone, strict=True):
        assert type(got) is type(wanted)
        if isinstance(wanted, FdrlError):
            assert "a bad day" in str(wanted)  # as the environment says it
            said = str(got)
            for end in "/)":  # the paths in it differ
                said = said.replace(f"/{one.seed}{end}", f"/alone-{one.seed}{end}")
            assert said == str(wanted)
        else:
            assert_same_run(tmp_path / f"{one.seed}", tmp_path / f"alone-{one.seed}")
    assert {type(o) for o in alone} == {Summary, FdrlError}


def outcome_of(run, out):
    try:
        return train(run, out=out, curves=False)
    except FdrlError as error:
        return error


def test_a_finished_member_is_not_trained_again(tmp_path):
    runs = seeded(FRD, 3)
    first = train(runs[0], out=tmp_path / "seed-007", curves=False)
    stamp = (tmp_path / "seed-007" / "summary.json").stat().st_mtime_ns
    again = train_packed(runs, out=tmp_path, curves=False)
    assert again[0] == first
    assert (tmp_path / "seed-007" / "summary.json").stat().st_mtime_ns == stamp


def test_a_config_that_cannot_be_built_fails_every_member_with_its_reason():
    run = make_run(agent=A2C, agents=2, steps=64, strategy="fd", proxy="grid")
    outcomes = train_orders([Order(r) for r in seeded(run, 2)])
    assert all("--proxy visited" in str(o) for o in outcomes)


def test_a_signal_lets_every_member_end_its_round_with_a_checkpoint(tmp_path):
    runs = seeded(FRD, 3)
    orders = [Order(r, tmp_path / f"{r.seed}") for r in runs]
    sent = []

    def act(record):
        if record.round == 2 and not sent:
            sent.append(os.kill(os.getpid(), signal.SIGTERM))

    orders[0].trackers = [Watch(act)]
    outcomes = train_orders(orders, curves=False)
    assert all(isinstance(o, KeyboardInterrupt) for o in outcomes)
    for order in orders:
        logged = len((order.out / "metrics.jsonl").read_bytes().splitlines())
        newest = max((order.out / "checkpoints").iterdir()).stem
        assert int(newest.removeprefix("round-")) == logged
    train_packed(runs, out=[o.out for o in orders], curves=False)
    train(runs[1], out=tmp_path / "alone", curves=False)
    assert_same_run(orders[1].out, tmp_path / "alone")


@pytest.mark.parametrize("alone", [True, False])
def test_a_signal_counts_also_if_the_pack_collapses_before_it_is_obeyed(alone, monkeypatch):
    """Seeds that the collapse leaves do not begin again, neither alone nor in halves."""
    begun = []

    def collapse(live):
        os.kill(os.getpid(), signal.SIGTERM)
        raise PackBroken("two bad things at once", alone=alone)

    def start(order, *args, **options):
        begun.append(order)
        return train_order(order, *args, **options)

    train_order = Order.train
    monkeypatch.setattr(Order, "train", start)
    monkeypatch.setattr("fdrl.packs.train.serve", collapse)
    outcomes = train_orders([Order(r) for r in seeded(FRD, 3)], curves=False)
    assert all(isinstance(o, KeyboardInterrupt) for o in outcomes)
    assert len(begun) == 3


def test_two_signals_while_a_pack_is_built_end_it_at_once(tmp_path, monkeypatch):
    """They come as the first member is built; the others have had no turn."""

    def start(order, *args, **options):
        # two of one kind could arrive as one
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)
        return train_order(order, *args, **options)

    train_order = Order.train
    orders = [Order(r, tmp_path / f"{r.seed}") for r in seeded(FRD, 3)]
    with monkeypatch.context() as patch:
        patch.setattr(Order, "train", start)
        outcomes = train_orders(orders, curves=False)
    assert all(isinstance(o, KeyboardInterrupt) for o in outcomes)
    assert not orders[1].out.exists()
    train_packed([o.run for o in orders], out=[o.out for o in orders], curves=False)
    train(orders[0].run, out=tmp_path / "alone", curves=False)
    assert_same_run(orders[0].out, tmp_path / "alone")


@pytest.mark.parametrize("floats", [1, 1_300, 10**9])
def test_it_does_not_matter_how_a_pack_is_cut_into_stacks(floats, tmp_path, monkeypatch):
    monkeypatch.setattr(train_module, "TILE_FLOATS", floats)
    runs = seeded(FRD, 4)
    train_packed(runs[:3], out=tmp_path, curves=False)
    train(runs[2], out=tmp_path / "alone", curves=False)
    assert_same_run(tmp_path / "seed-011", tmp_path / "alone")


def test_only_runs_that_differ_in_their_seed_are_packed():
    one, two = seeded(FRD, 2)
    assert packable([one, two])
    assert packable([one, msgspec.structs.replace(two, out="elsewhere")])
    assert not packable([one, msgspec.structs.replace(two, steps=500)])
    assert not packable([one, msgspec.structs.replace(two, threads=2)])


def test_mistakes_are_named(tmp_path):
    runs = seeded(FRD, 2)
    with fails(FdrlError, "1 run folders", "2 runs"):
        train_packed(runs, out=[tmp_path])
    with fails(FdrlError, "two runs", "seed", "out"):
        train_packed([runs[0], runs[0]], out=tmp_path)
    assert train_packed([]) == []
