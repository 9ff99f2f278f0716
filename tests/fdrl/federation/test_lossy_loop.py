"""Federations over links that lose messages: every method goes on, and resumes to the bit."""

import msgspec
import numpy as np
import pytest
from by_label import SMALL

import fdrl
from fdrl.bench.audit import Finished, check_run
from fdrl.bench.grid import Cell
from fdrl.core.records import WALL_CLOCK, Summary
from fdrl.core.registry import STRATEGIES
from fdrl.core.seeding import Purpose, generator
from fdrl.core.transport import Delivery
from fdrl.runs.folder import read_records, read_summary
from fdrl.runs.train import train

FAST = {"type": "ppo", "n_epochs": 2, "hidden": (16,)}
LOSSY = {
    "type": "fading", "deadline_slots": 2, "down_deadline_slots": 1, "threshold": 15.0,
    "step_seconds": 1e-4,
}  # fmt: skip
"""26% of slots are lost up, 6% down; messages of two slots or more are often late."""


class Coin:
    """Loses 30% of all messages in both directions, the same ones whatever the order."""

    def send(self, message, direction, agent, round):
        k = int(agent.removeprefix("agent-"))
        lost = generator(9, Purpose.CHANNEL, k, round, direction == "up").random() < 0.3
        return Delivery(None if lost else message, 0.5)


def said(federation):
    found = []
    while not federation.done:
        record = msgspec.to_builtins(federation.round())
        found.append({k: v for k, v in record.items() if k not in WALL_CLOCK})
    return found


@pytest.mark.parametrize("name", STRATEGIES.names())
def test_every_strategy_survives_losses_in_both_directions(name):
    fields = {"strategy": name, "agent": FAST} | SMALL.get(name, {})
    run = fdrl.make_run(agents=3, steps=256 * 12, **fields)
    federation = fdrl.Federation(run, Coin())
    found = said(federation)
    silent = name in ("local", "self")
    assert found[-1]["env_steps"] == [3072] * 3
    assert all(np.isfinite(c.cohort.parameters()).all() for c in federation.clients)
    assert (sum(federation.clock.lost.values()) > 0) != silent
    assert any(r["exchanged"] for r in found) or silent
    reasons = {reason for r in found for _, reason in r["rejected"]}
    allowed = ("lost on the", "rows are of proxy set", "a table came before any proxy set")
    assert all(reason.startswith(allowed) for reason in reasons), reasons
    federation.close()


def test_lost_messages_count_as_sent():
    class Deaf:
        def send(self, message, direction, agent, round):
            return Delivery(None, 2.0)

    run = fdrl.make_run(strategy="fedavg", agents=2, steps=512, agent=FAST)
    federation = fdrl.Federation(run, Deaf())
    last = said(federation)[-1]
    summary = federation.summary()
    federation.close()
    assert last["bytes_up"] > 2 * 4 * 16
    assert last["bytes_down"] == 0
    assert not last["exchanged"]
    assert (last["sim_seconds"], summary.sim_seconds) == (4.0, 4.0)
    assert (summary.lost_up, summary.lost_down) == (4, 0)


def test_equal_messages_are_one_broadcast_and_others_follow():
    class Timed:
        def send(self, message, direction, agent, round):
            return Delivery(message, 1.0 if direction == "down" else 0.0)

    def seconds(**strategy):
        run = fdrl.make_run(strategy={"type": "fd"} | strategy, agents=3, steps=256, agent=FAST)
        federation = fdrl.Federation(run, Timed())
        last = said(federation)[-1]
        federation.close()
        return last["sim_seconds"]

    assert seconds() == 1.0 + 1.0  # the proxy set, then the teacher
    assert seconds(leave_self_out=True) == 1.0 + 3.0


def test_an_agent_whose_uplink_is_dead_still_learns_from_the_others():
    class DeadUplink:
        def send(self, message, direction, agent, round):
            dead = direction == "up" and agent == "agent-02"
            return Delivery(None if dead else message)

    cohorts = [{"agents": 2, "agent": FAST}, {"agents": 1, "agent": FAST}]
    run = fdrl.make_run(strategy="fd", steps=256 * 4, agent=FAST, cohorts=cohorts)
    federation = fdrl.Federation(run, DeadUplink())
    taught = []
    while not federation.done:
        federation.round()
        taught.append("distill/gradient_steps" in federation.clients[1].report.metrics)
    federation.close()
    assert taught == [False, True, False, True]


def test_an_opening_that_was_lost_is_sent_again():
    class NoOpening:
        def send(self, message, direction, agent, round):
            return Delivery(None if round == 0 and agent == "agent-01" else message)

    run = fdrl.make_run(strategy="fd", agents=2, steps=256 * 3, agent=FAST)
    federation = fdrl.Federation(run, NoOpening())
    found = said(federation)
    federation.close()
    assert [len(r["rejected"]) for r in found] == [1, 0, 0]
    assert found[1]["metrics"]["distill/answers_per_row"] == 2


@pytest.mark.parametrize("name", ["fd", "frd", "fedavg"])
def test_resuming_a_lossy_run_equals_never_having_stopped(name, tmp_path):
    run = fdrl.make_run(
        strategy=name, agents=3, steps=256 * 6, agent=FAST, channel=LOSSY, checkpoint_every=2,
        evaluation={"episodes": 2},
    )  # fmt: skip
    whole = train(run, out=tmp_path / "whole", curves=False)
    assert whole.lost_up > 0
    train_until(run, tmp_path / "broken", rounds=3)
    again = train(run, out=tmp_path / "broken", resume=True, curves=False)
    assert timeless(again) == timeless(whole)
    lines = [
        [timeless(r) for r in read_records(tmp_path / folder)] for folder in ("whole", "broken")
    ]
    assert lines[0] == lines[1]


class Crash(BaseException):
    """Stands for a process that is gone."""


def train_until(run, folder, rounds):
    class Bomb:
        def start(self, *args):
            pass

        def round(self, record):
            if record.round == rounds:
                raise Crash

        def close(self):
            pass

    with pytest.raises(Crash):
        train(run, out=folder, trackers=[Bomb()], curves=False)


def timeless(what):
    return {k: v for k, v in msgspec.to_builtins(what).items() if k not in WALL_CLOCK}


def test_processes_change_nothing_on_a_lossy_channel():
    def outcome(threads):
        run = fdrl.make_run(agents=4, steps=512, agent=FAST, channel=LOSSY, threads=threads)
        federation = fdrl.Federation(run)
        found = said(federation)
        federation.close()
        return found

    assert outcome(1) == outcome(2)


def test_a_summary_from_before_there_were_channels_is_read(tmp_path):
    run = fdrl.make_run(
        strategy="local", agents=2, steps=256, agent=FAST, evaluation={"episodes": 1}
    )
    summary = msgspec.to_builtins(train(run, out=tmp_path / "run", curves=False))
    for name in ("sim_seconds", "lost_up", "lost_down"):
        summary.pop(name)
    (tmp_path / "run" / "summary.json").write_bytes(msgspec.json.encode(summary))
    old = read_summary(tmp_path / "run")
    assert isinstance(old, Summary)
    assert (old.sim_seconds, old.lost_up, old.lost_down) == (0.0, 0, 0)


def test_an_audit_takes_no_offense_at_what_a_lost_download_causes(tmp_path):
    """Agents that a new proxy set did not reach answer on the one before it."""
    run = fdrl.make_run(
        strategy="fd", agents=3, steps=256 * 24, agent=FAST, channel=LOSSY,
        evaluation={"episodes": 1},
    )  # fmt: skip
    summary = train(run, out=tmp_path / "run", curves=False)
    records = read_records(tmp_path / "run")
    cell = Cell("s", "fd", 0, "s/fd/seed-000", run)
    assert summary.lost_down > 0
    assert list(check_run(Finished(cell, run, summary, records))) == []
    outdated = sum(reason.startswith("rows are of") for r in records for _, reason in r.rejected)
    assert outdated > 0
    # had every download arrived, nothing would explain them
    other = msgspec.structs.replace(summary, lost_down=0)
    (told,) = check_run(Finished(cell, run, other, records))
    assert told.startswith(f"{outdated} messages were not used")


@pytest.mark.parametrize(
    ("reason", "lost", "told"),
    [
        ("lost on the uplink: 9 bytes were not through after 1 slots", 1, 0),
        ("lost on the uplink", 0, 1),  # without a lossy channel nothing may be lost
        ("expected 32 rows, got 31", 1, 1),
    ],
)
def test_an_audit_takes_no_offense_at_what_a_lossy_channel_lost(tmp_path, reason, lost, told):
    once = {"episodes": 1}
    run = fdrl.make_run(strategy="local", agents=2, steps=256, agent=FAST, evaluation=once)
    summary = train(run, out=tmp_path / "run", curves=False)
    records = read_records(tmp_path / "run")
    cell = Cell("s", "local", 0, "s/local/seed-000", run)
    spoiled = [msgspec.structs.replace(records[0], rejected=[("agent-00", reason)])]
    summary = msgspec.structs.replace(summary, lost_up=lost)
    found = list(check_run(Finished(cell, run, summary, spoiled)))
    assert len(found) == told
    assert all(reason in text for text in found)
