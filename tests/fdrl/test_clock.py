"""Simulated time of rounds, added up by hand."""

import numpy as np
import pytest

from fdrl.channel import Delivery
from fdrl.channel_settings import FadingChannel, IdealChannel
from fdrl.client import LocalReport
from fdrl.clock import Clock


def report(steps, gradients=None):
    metrics = {} if gradients is None else {"distill/gradient_steps": np.array(gradients)}
    return LocalReport([], [], np.array(steps), metrics)


def test_transmissions_follow_each_other_and_each_waits_for_its_slowest_agent():
    clock = Clock(IdealChannel())
    clock.add("up", [[Delivery(b"x", 0.25), Delivery(None, 0.5)]])
    clock.add("down", [[Delivery(b"y", 0.125), Delivery(b"y", 0.25)], [Delivery(b"z", 1.0)]])
    clock.add("up", [[]])
    assert clock.seconds == 0.5 + 0.25 + 1.0
    assert clock.lost == {"up": 1, "down": 0}


def test_computing_lasts_as_long_as_the_slowest_agent():
    clock = Clock(FadingChannel(step_seconds=0.5, gradient_seconds=2.0))
    clock.work([report([4, 8]), report([6], [3])])
    assert clock.seconds == 8 * 0.5 + 3 * 2.0


def test_an_ideal_channel_has_no_computing_time():
    clock = Clock(IdealChannel())
    clock.work([report([4, 8], [1, 1])])
    assert clock.seconds == 0.0


def test_the_servers_gradient_steps_last_as_long_as_the_agents_or_as_said():
    clock = Clock(FadingChannel(gradient_seconds=2.0))
    clock.serve({"convert/gradient_steps": 3.0, "train/loss": 9.0})
    assert clock.seconds == 6.0
    clock = Clock(FadingChannel(gradient_seconds=2.0, server_gradient_seconds=0.5))
    clock.serve({"convert/gradient_steps": 3.0})
    clock.serve({})
    assert clock.seconds == 1.5


def test_a_clock_goes_on_from_its_state():
    clock, other = Clock(IdealChannel()), Clock(IdealChannel())
    clock.add("down", [[Delivery(None, 0.1), Delivery(None, 0.3)]])
    other.load_state(clock.state())
    assert (other.seconds, other.lost) == (clock.seconds, {"up": 0, "down": 2})
    assert other.seconds == pytest.approx(0.3)
