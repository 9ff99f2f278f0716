"""Fading links: slots worked out by hand, the published link budget, and where the draws come from.

In the hand-worked cases a slot of 1 s on 1 Hz carries log2(1 + SNR) bits, and the SNR is the gain.
"""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fdrl
from fdrl.channels.fading import Fading, Link, count_slots, link, mean_slots, share_late
from fdrl.channels.settings import FadingChannel, IdealChannel
from fdrl.core.transport import Ideal
from fdrl.federation.build import make_channel

UNIT = Link(mean_snr=1.0, hertz=1.0, slot_seconds=1.0, threshold=3.0)
PRESET = FadingChannel()
IDS = tuple(f"agent-{k}" for k in range(10))


def given_gains(gains):
    """Return a draw that hands out these gains, then lost slots."""
    rest = iter(gains)
    return lambda n: np.array([next(rest, 0.0) for _ in range(n)])


# SNR 3, 1, 7, 15 carry 2, 0 (lost), 3, 4 bits: 2, 2, 5, 9 in all.
@pytest.mark.parametrize(
    ("bits", "slots"), [(1, 1), (2, 1), (3, 3), (5, 3), (6, 4), (9, 4), (10, None)]
)
def test_slots_worked_out_by_hand(bits, slots):
    assert count_slots(bits, UNIT, given_gains([3.0, 1.0, 7.0, 15.0]), deadline=50) == slots


def test_a_slot_just_below_the_threshold_is_lost_and_one_at_it_is_not():
    np.testing.assert_array_equal(UNIT.bits(np.array([np.nextafter(3.0, 0.0), 3.0])), [0.0, 2.0])


def test_a_fixed_rate_carries_the_same_in_every_slot():
    fixed = Link(1.0, 1.0, 1.0, 3.0, adaptive=False)
    np.testing.assert_array_equal(fixed.bits(np.array([1.0, 3.0, 15.0])), [0.0, 2.0, 2.0])
    assert count_slots(4, fixed, given_gains([15.0, 1.0, 15.0])) == 3


@pytest.mark.parametrize(("deadline", "slots"), [(2, None), (3, 3), (4, 3), (0, 3)])
def test_the_last_bit_in_the_slot_of_the_deadline_is_in_time(deadline, slots):
    assert count_slots(5, UNIT, given_gains([3.0, 1.0, 7.0]), deadline) == slots


def test_long_messages_go_on_over_several_blocks_of_draws():
    assert count_slots(1000, UNIT, lambda n: np.full(n, 3.0)) == 500
    assert count_slots(1000, UNIT, lambda n: np.full(n, 3.0), deadline=499) is None
    assert count_slots(1000, UNIT, lambda n: np.full(n, 3.0), deadline=500) == 500


class Scripted(Fading):
    """Every slot of every link has the same gain."""

    gain = 3.0

    def draw(self, agent, direction, round):
        return lambda n: np.full(n, self.gain)


def unit_settings(**fields):
    """Ten agents at 1 Hz each and a mean SNR of 1 (0 dB) at 1 m."""
    options = {"bandwidth": 10.0, "power_up": 0.0, "power_down": 10.0, "distance": 1.0}
    return FadingChannel(**(options | {"noise": 0.0, "slot_seconds": 1.0} | fields))


@pytest.mark.parametrize(("deadline", "arrives"), [(3, False), (4, True)])
def test_a_message_is_lost_past_the_deadline_and_takes_as_long(deadline, arrives):
    channel = Scripted(unit_settings(deadline_slots=deadline), IDS, seed=0)
    sent = channel.send(b"x", "up", "agent-3", 1)  # 8 bits at 2 bits a slot
    assert (sent.message == b"x") == arrives
    assert sent.seconds == deadline
    assert arrives or {"1", "3"} <= set(sent.reason.split())


def test_a_downlink_waits_unless_it_has_a_deadline():
    channel = Scripted(unit_settings(), IDS, seed=0)
    assert channel.send(b"x", "down", "agent-0", 1).seconds == 1.0  # 10 Hz: 20 bits a slot
    assert channel.send(b"x" * 1000, "down", "agent-0", 1).seconds == 400.0
    strict = Scripted(unit_settings(down_deadline_slots=399), IDS, seed=0)
    assert strict.send(b"x" * 1000, "down", "agent-0", 1).message is None


def test_the_published_link_budget():
    up, down = (link(PRESET, way, 10) for way in ("up", "down"))
    both = link(FadingChannel(symmetric=True), "up", 10)
    assert [round(x.mean_snr_db, 6) for x in (up, both, down)] == [17.0, 34.0, 24.0]
    np.testing.assert_allclose(
        [up.success, both.success, down.success], [0.942, 0.9988, 0.988], atol=5e-4
    )
    assert (up.hertz, down.hertz) == (1e6, 1e7)


@pytest.mark.parametrize(
    ("direction", "bits", "slots"),
    [
        ("up", 401_408, 83.0),
        ("up", 50 * 28 * 28 * 8 + 3_200, 66.0),
        ("down", 401_408, 6.2),
    ],
)
def test_the_published_mean_slots(direction, bits, slots):
    way = link(PRESET, direction, 10)
    assert mean_slots(bits, way) == pytest.approx(slots, rel=0.03)
    assert way.expected_slots(bits) == pytest.approx(slots, rel=0.03)


def test_a_message_of_one_slot_in_closed_form():
    """3,200 bits need SNR 2**3.2 - 1 = 8.19 in one slot of 1,000 bits per unit of log2.

    P(more than 1 slot) = 1 - exp(-8.19 / m); more than 2: both lost, or one lost and one of
    2,000..3,200 bits (two received ones have 4,000 at least); more than 3 is below 0.002.
    """
    m = 10**1.7
    lost, enough = 1 - math.exp(-3 / m), math.exp(-(2**3.2 - 1) / m)
    weak = 1 - lost - enough
    by_hand = 1 + (1 - enough) + lost**2 + 2 * lost * weak
    assert by_hand == pytest.approx(1.165, abs=2e-3)
    assert mean_slots(3_200, link(PRESET, "up", 10)) == pytest.approx(by_hand, rel=0.01)


def test_a_fixed_rate_needs_213_slots_for_what_an_adaptive_one_sends_in_83():
    fixed = link(FadingChannel(rate="fixed"), "up", 10)
    assert mean_slots(401_408, fixed) == pytest.approx(213, rel=0.01)
    assert share_late(401_408, fixed, 100) == 1.0


def test_the_mean_rate_by_quadrature_is_that_of_draws():
    way = link(PRESET, "up", 10)
    bits = way.bits(np.random.default_rng(0).exponential(size=200_000))
    mean, square = way.moments()
    assert mean == pytest.approx(bits.mean(), rel=0.005)
    assert square == pytest.approx((bits**2).mean(), rel=0.005)


def test_a_long_message_is_computed_rather_than_simulated():
    way = link(PRESET, "up", 10)
    assert mean_slots(10**9, way) == way.expected_slots(10**9)


def test_a_nearer_agent_has_a_stronger_link():
    channel = Fading(FadingChannel(distances=(500.0, 1000.0)), ("a", "b"), seed=0)
    near, far = channel.links["up"]
    assert near.mean_snr_db - far.mean_snr_db == pytest.approx(40 * math.log10(2))


def test_the_same_delivery_whatever_was_sent_before():
    calls = [(d, a, r) for d in ("up", "down") for a in IDS for r in range(4)]
    one, other = (Fading(PRESET, IDS, seed=5) for _ in range(2))
    forward = {c: one.send(b"x" * 3000, *c) for c in calls}
    backward = {c: other.send(b"x" * 3000, *c) for c in reversed(calls)}
    assert forward == backward
    assert len({d.seconds for c, d in forward.items() if c[0] == "up"}) > 3
    assert forward != {c: Fading(PRESET, IDS, seed=6).send(b"x" * 3000, *c) for c in calls}


@settings(deadline=None)
@given(st.integers(1, 4000), st.integers(1, 4000), st.integers(0, 99))
def test_a_longer_message_never_takes_less_time(a, b, round):
    channel = Fading(PRESET, IDS, seed=1)
    short, long = (channel.send(b"x" * n, "up", "agent-2", round).seconds for n in sorted((a, b)))
    assert short <= long <= 0.1


def test_the_config_chooses_the_channel():
    assert isinstance(make_channel(fdrl.make_run(), IDS), Ideal)
    run = fdrl.make_run(channel="fading", agents=10)
    assert run.channel == FadingChannel()
    assert isinstance(make_channel(run, IDS), Fading)
    assert fdrl.make_run(channel=IdealChannel()).channel == IdealChannel()


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"deadline_slots": 0}, "deadline of 0 slots.*1 slot"),
        ({"deadline_slots": -1}, r"0.*-1 \(at channel.deadline_slots\)"),
        ({"distance": -5.0}, r"above 0, got -5.0 \(at channel.distance\)"),
        ({"noise": float("inf")}, r"inf \(at channel.noise\)"),
        ({"rate": "adaptve"}, "did you mean 'adaptive'"),
        ({"type": "fadng"}, "'fadng'.*'fading'"),
        ({"power": 3.0}, "'power'"),
    ],
)
def test_bad_settings_are_refused_in_one_line(fields, text):
    with pytest.raises(fdrl.FdrlError, match=text) as caught:
        fdrl.make_run(channel={"type": "fading"} | fields)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"distances": (1.0, 2.0, 3.0)}, "3 distances.*10 agents"),
        ({"distance": 1e5}, "100 slots.*-63.0 dB"),
        ({"power_down": -300.0}, r"any deadline: .*\(at channel.down_deadline_slots"),
        ({"slot_seconds": 1e-300}, "slots.*channel.deadline_slots"),
        ({"power_up": -1e9}, "inf slots"),
    ],
)
def test_a_channel_that_nothing_gets_through_is_refused_before_anything_is_built(fields, text):
    run = fdrl.make_run(channel={"type": "fading"} | fields)
    with pytest.raises(fdrl.FdrlError, match=text) as caught:
        fdrl.Federation(run)
    assert "\n" not in str(caught.value)


def test_an_absurd_power_is_no_error():
    assert Fading(FadingChannel(power_up=1e9), IDS, 0).send(b"x", "up", IDS[0], 1).message == b"x"
