"""Bit budgets: worked out by hand, and never exceeded."""

import math

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from messages import fails, says

import fdrl
from fdrl.channels.mac import (
    WIDEST,
    ErrorFeedback,
    common,
    dithered,
    indices,
    largest,
    leftover,
    plan,
    position_bits,
    sparse_bits,
    to_simplex,
    uplink_bits,
    values,
)
from fdrl.core.errors import FdrlError
from fdrl.core.message import Parameters, ProbTable
from fdrl.core.records import WALL_CLOCK
from fdrl.federation.build import make_channel
from fdrl.wire.codec import decode, encode
from fdrl.wire.parts import CellRows


def test_the_symmetric_rate_of_the_gaussian_channel_by_hand():
    assert uplink_bits(100, 3.0, 1) == pytest.approx(200.0)  # 100 log2(1 + 3)
    assert uplink_bits(100, 3.0, 5) == pytest.approx(80.0)  # 100/5 log2(16)
    assert uplink_bits(100, 3.0, 5, gain=0.0) == 0.0
    assert uplink_bits(100, 3.0, 5, gain=7 / 15) == pytest.approx(60.0)  # 100/5 log2(8)


def test_positions_by_hand():
    assert position_bits(4, 2) == pytest.approx(math.log2(6))
    assert position_bits(10, 0) == position_bits(10, 10) == pytest.approx(0.0)


def test_a_plan_by_hand():
    # One of four: 2 bits of position, 8 of value, 32 of scale.
    assert sparse_bits(4, 1, 8) == pytest.approx(42.0)
    assert plan(4, 42.0, 8) == (1, 8)
    assert plan(4, 41.9, 8) == (0, 0)
    assert plan(4, 32 + 4 * 8, 8) == (4, 8)
    assert plan(4, 32 + 4 * 9.5, 8) == (4, 9)
    assert plan(4, 1e9, 8) == (4, WIDEST)


@given(st.integers(1, 5_000), st.floats(0, 2e5), st.integers(1, 16))
def test_a_plan_never_exceeds_the_budget_and_one_more_entry_would(entries, budget, bits):
    kept, each = plan(entries, budget, bits)
    dense = kept * each + 32 if kept else 0.0
    used = dense if kept == entries else sparse_bits(entries, kept, each)
    assert used <= budget
    if kept < entries // 2:
        assert sparse_bits(entries, kept + 1, bits) > budget


# ---- Dithered quantization: codes by hand, errors by their law ----


def test_two_bits_by_hand():
    # Levels 0, 1/3, 2/3, 1. 0.5 lies at 1.5 steps: a dither below a half rounds it down.
    x, u = np.full(2, 0.5), np.array([0.25, 0.75])
    codes = indices(x, 0.0, 1.0, 2, u)
    np.testing.assert_array_equal(codes, [1, 2])
    np.testing.assert_allclose(values(codes, 0.0, 1.0, 2, u), [1.25 / 3, 1.75 / 3])


def test_the_mean_over_dithers_is_the_value_itself_and_the_variance_a_twelfth_step():
    u = (np.arange(20_000) + 0.5) / 20_000
    for x in (0.0, 0.1, 0.37, 1.0):
        arrived = dithered(np.full_like(u, x), 0.0, 1.0, 3, u)
        assert arrived.mean() == pytest.approx(x, abs=1e-4)
        assert arrived.var() == pytest.approx((1 / 7) ** 2 / 12, rel=1e-3)


@given(
    arrays(np.float64, 9, elements=st.floats(-1, 1)),
    arrays(np.float64, 9, elements=st.floats(0, 0.999)),
    st.integers(1, 12),
)
def test_codes_fit_their_bits_and_errors_half_a_step(x, u, bits):
    codes = indices(x, -1.0, 1.0, bits, u)
    assert codes.min() >= 0
    assert codes.max() < 2**bits
    step = 2.0 / (2**bits - 1)
    assert np.abs(dithered(x, -1.0, 1.0, bits, u) - x).max() <= step / 2 + 1e-9


def test_a_range_of_no_width_stays_what_it_is():
    np.testing.assert_array_equal(dithered(np.zeros(3), 0.0, 0.0, 4, np.full(3, 0.3)), np.zeros(3))


def test_rows_come_back_to_the_simplex_by_hand():
    np.testing.assert_allclose(to_simplex(np.array([[0.25, 0.5]])), [[0.25, 0.5, 0.25]])
    np.testing.assert_allclose(to_simplex(np.array([[-0.5, 0.5]])), [[0.0, 1 / 3, 2 / 3]])
    np.testing.assert_allclose(to_simplex(np.array([[1.0, 1.0]])), [[0.5, 0.5, 0.0]])


@given(arrays(np.float64, (4, 3), elements=st.floats(-3, 3)))
def test_whatever_arrives_is_a_distribution(x):
    p = to_simplex(x)
    assert p.min() >= 0.0
    np.testing.assert_allclose(p.sum(1), 1.0, atol=1e-5)


# ---- Top-k and error accumulation: nothing is lost for good ----


def test_the_largest_magnitudes_by_hand():
    np.testing.assert_array_equal(largest(np.array([1.0, -3.0, 2.0, 3.0]), 2), [1, 3])
    np.testing.assert_array_equal(largest(np.array([1.0, -1.0]), 5), [0, 1])


def test_a_common_choice_is_sorted_without_repeats_and_the_same_for_all():
    a, b = (common(100, 30, np.random.default_rng(4)) for _ in range(2))
    np.testing.assert_array_equal(a, b)
    assert len(np.unique(a)) == 30
    np.testing.assert_array_equal(a, np.sort(a))
    np.testing.assert_array_equal(common(3, 9, np.random.default_rng(0)), [0, 1, 2])


@given(arrays(np.float64, 12, elements=st.floats(-9, 9)), st.integers(0, 12))
def test_what_is_sent_and_what_is_owed_are_the_change(change, count):
    at = largest(change, count)
    rest = leftover(change, at, change[at])
    whole = rest.copy()
    whole[at] += change[at]
    np.testing.assert_allclose(whole, change)
    assert np.count_nonzero(rest[at]) == 0


def test_what_was_left_over_counts_once_an_average_was_loaded():
    memory = ErrorFeedback()
    memory.loaded("a", np.array([1.0, 1.0]))
    np.testing.assert_allclose(memory.change("a", np.array([3.0, 1.5])), [2.0, 0.5])
    memory.keep("a", np.array([0.0, 0.5]))
    # No average came: the agent's own parameters still contain the half.
    np.testing.assert_allclose(memory.change("a", np.array([3.0, 1.5])), [2.0, 0.5])
    memory.keep("a", np.array([0.0, 0.5]))
    memory.loaded("a", np.array([2.0, 2.0]))
    np.testing.assert_allclose(memory.change("a", np.array([2.0, 2.0])), [0.0, 0.5])


def test_a_memory_is_restored_from_its_state():
    one, two = ErrorFeedback(), ErrorFeedback()
    one.loaded("a", np.array([1.0]))
    one.keep("a", np.array([0.25]))
    two.loaded("b", np.array([5.0]))
    two.load_state(one.state())
    assert {k: v.tolist() for k, v in two.state().items()} == {
        "known.a": [1.0], "pending.a": [0.25],
    }  # fmt: skip


# ---- Federations over multiple-access uplinks: budgets, outage, bytes, seconds, and resuming


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
