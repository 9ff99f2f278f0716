"""Federations over multiple-access uplinks: budgets, outage, bytes, seconds, and resuming."""

import msgspec
import numpy as np
import pytest
from messages import fails, says

import fdrl
from fdrl.channel import make_channel
from fdrl.errors import FdrlError
from fdrl.message import CellRows, Parameters, ProbTable, decode, encode
from fdrl.records import WALL_CLOCK

FAST = {"type": "ppo", "n_epochs": 2, "hidden": (16,)}
IDS = ("agent-00", "agent-01", "agent-02")


def make(strategy="fd", steps=256 * 4, **channel):
    return fdrl.make_run(
        strategy=strategy, agents=3, steps=steps, agent=FAST, channel=channel or "ideal"
    )


def said(federation, rounds=10**9):
    found = []
    while not federation.done and len(found) < rounds:
        record = msgspec.to_builtins(federation.round())
        found.append({k: v for k, v in record.items() if k not in WALL_CLOCK})
    return found


def weights(federation):
    return np.concatenate([c.cohort.parameters() for c in federation.clients])


def played(run):
    federation = fdrl.Federation(run)
    found = said(federation), weights(federation)
    federation.close()
    return found


def parameters(values, round=1):
    return encode(Parameters(round, np.asarray(values, np.float32), "all", 0))


@pytest.mark.parametrize("kind", ["mac-digital", "mac-analog"])
@pytest.mark.parametrize("strategy", ["fd", "fedavg", "local"])
def test_runs_repeat_and_resume_to_the_bit_with_outages(kind, strategy):
    run = make(strategy, type=kind, channel_uses=3000, fading="rayleigh", outage=0.4)
    whole, end = played(run)
    again, _ = played(run)
    first = fdrl.Federation(run)
    said(first, 2)
    rest = fdrl.Federation(run)
    rest.load_state(first.state())
    tail = said(rest)
    assert again == whole
    assert tail == whole[2:]
    np.testing.assert_array_equal(weights(rest), end)
    silent = [r for rec in whole for _, r in rec["rejected"] if "below channel.outage" in r]
    assert bool(silent) == (strategy != "local")
    first.close()
    rest.close()


def test_with_bits_to_spare_nothing_changes_but_the_time():
    ideal, same = played(make())
    found, end = played(make(type="mac-digital", channel_uses=10**6))
    np.testing.assert_array_equal(end, same)
    assert [r["returns"] for r in found] == [r["returns"] for r in ideal]
    assert found[-1]["sim_seconds"] == pytest.approx(4.0)


def test_averages_in_the_air_without_noise_are_those_of_the_server():
    _, ideal = played(make("fedavg", 256))
    for kind in ("mac-analog", "mac-digital"):
        _, found = played(make("fedavg", 256, type=kind, snr=150.0))
        np.testing.assert_allclose(found, ideal, atol=1e-5)


@pytest.mark.parametrize("strategy", ["fd", "frd", "fedavg", "pd"])
def test_no_agent_sends_more_bytes_than_its_share_of_the_rate(strategy):
    run = make(strategy, type="mac-digital", channel_uses=2500)
    channel = make_channel(run, IDS)
    most = -(-channel.bits() // 8) * 4
    federation = fdrl.Federation(run, channel)
    found = said(federation)
    federation.close()
    assert max(federation.tally.bytes["up"]) <= most
    assert any(r["exchanged"] for r in found) == (strategy != "pd")


def test_parameters_arrive_as_their_largest_changes_and_the_rest_later():
    run = make("fedavg", type="mac-digital", channel_uses=36, snr=0.0)  # 24 bits each
    channel = make_channel(run, IDS)
    assert channel.bits() == pytest.approx(24.0)
    lost = channel.send(parameters([1.0, -4.0]), "up", IDS[0], 1)
    assert lost.message is None
    says(lost.reason, 24)
    channel = make_channel(make("fedavg", type="mac-digital", channel_uses=63, snr=0.0), IDS)
    channel.agree({IDS[0]: np.zeros(4, np.float32)})
    sent = channel.send(parameters([1.0, -4.0, 0.5, 0.0]), "up", IDS[0], 1)  # 42 bits: one of four
    values = decode(sent.message).values
    np.testing.assert_allclose(values, [0.0, -4.0, 0.0, 0.0], atol=4 / 255)
    assert (sent.size, sent.seconds) == (6, 63e-6)
    channel.send(parameters([0.0, -2.0, 0.0, 0.0]), "down", IDS[0], 1)
    sent = channel.send(parameters([0.0, -2.0, 0.0, 0.0], 2), "up", IDS[0], 2)
    np.testing.assert_allclose(decode(sent.message).values, [1.0, -2.0, 0.0, 0.0], atol=0.01)


def test_keyed_rows_are_left_out_where_not_all_fit():
    run = make("frd", type="mac-digital", channel_uses=60, snr=0.0)  # 40 bits each
    channel = make_channel(run, IDS)
    table = ProbTable(1, np.full((9, 2), 0.5, np.float32), parts=(CellRows(np.arange(9)),))
    sent = decode(channel.send(encode(table), "up", IDS[1], 1).message)
    assert 0 < len(sent.probs) < 9
    assert len(sent.need(CellRows).cells) == len(sent.probs)


def test_in_the_air_all_hear_the_mean_of_those_who_send():
    run = make("fedavg", type="mac-analog", snr=120.0)
    channel = make_channel(run, IDS)
    found = channel.combine({a: parameters([k, 2.0 * k]) for k, a in enumerate(IDS)}, 1)
    for delivery in found.values():
        np.testing.assert_allclose(decode(delivery.message).values, [1.0, 2.0], atol=1e-5)
        assert delivery.size == 8
    assert channel.metrics()["channel/transmitters"] == 3.0


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"type": "mac-digital", "channel_uses": 0}, "channel.channel_uses"),
        ({"type": "mac-analog", "channel_uses": 0}, "channel.channel_uses"),
        ({"type": "mac-digital", "snr": -99.0}, "channel"),
        ({"type": "mac-digital", "snr": float("nan")}, "channel.snr"),
        ({"type": "mac-analog", "snr": -500.0}, "channel.snr"),
        ({"type": "mac-digitel"}, "did you mean 'mac-digital'"),
        ({"type": "mac-digital", "bandwidth": 0.0}, "channel.bandwidth"),
    ],
)
def test_channels_over_which_nothing_can_be_sent_are_refused_in_one_line(fields, words):
    with pytest.raises(FdrlError, match=words) as caught:
        make_channel(make("fd", **fields), IDS)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "strategy",
    [
        "frd", "pd", "pooled",
        {"type": "fd", "combine": "median"}, {"type": "fd", "beta": 1.0},
        {"type": "fedavg", "weights": "return"}, {"type": "fedavg", "optimizer": "average"},
    ],
)  # fmt: skip
def test_what_is_no_mean_cannot_add_up_in_the_air(strategy):
    run = make(strategy, type="mac-analog")
    with pytest.raises(FdrlError, match=r"cannot add up in the air|moments") as caught:
        make_channel(run, IDS)
    assert "\n" not in str(caught.value)


def test_networks_of_several_sizes_cannot_add_up_in_the_air():
    cohorts = [{"agents": 2, "agent": FAST}, {"agents": 1, "agent": FAST | {"hidden": (8,)}}]
    run = fdrl.make_run(strategy="fedavg", cohorts=cohorts, channel="mac-analog", steps=256)
    with fails(FdrlError, "mac-digital", "channel.type"):
        fdrl.Federation(run)
