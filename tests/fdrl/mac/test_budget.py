"""Bit budgets: worked out by hand, and never exceeded."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fdrl.mac.budget import WIDEST, plan, position_bits, sparse_bits, uplink_bits


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
