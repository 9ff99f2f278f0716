"""How many bits an agent may send in a round, and what fits into them. Pure functions."""

from __future__ import annotations

import math

WIDEST = 24
"""Bits beyond which a quantized number is as good as a float32."""
SCALE_BITS = 32
"""The largest magnitude, sent along as a float32."""


def uplink_bits(channel_uses: int, snr: float, agents: int, gain: float = 1.0) -> float:
    """Return T/K log2(1 + K g SNR): an equal share of the Gaussian MAC's sum capacity, in bits.

    T complex channel uses, K agents with equal power, `snr` of one agent alone (linear), fading
    gain g = |h|^2. Cover and Thomas, Elements of Information Theory, section 15.3.6; time division
    with the energy of the whole round in an agent's T/K uses reaches it, too.
    """
    return channel_uses / agents * math.log2(1.0 + agents * gain * snr)


def position_bits(entries: int, kept: int) -> float:
    """Return log2 of how many ways there are to choose `kept` of `entries` positions."""
    ln = math.lgamma(entries + 1) - math.lgamma(kept + 1) - math.lgamma(entries - kept + 1)
    return max(0.0, ln / math.log(2.0))


def sparse_bits(entries: int, kept: int, value_bits: int) -> float:
    """Return the bits of `kept` values with their positions, and one scale; 0 for none."""
    if not kept:
        return 0.0
    return position_bits(entries, kept) + kept * value_bits + SCALE_BITS


def plan(entries: int, budget: float, value_bits: int) -> tuple[int, int]:
    """Return how many of `entries` values fit in `budget` bits, and the bits of each.

    All of them if that leaves `value_bits` each without positions, with as many bits as fit up to
    `WIDEST`; otherwise the most that fit with their positions; (0, 0) if not even one does.
    """
    dense = int((budget - SCALE_BITS) // entries) if entries else 0
    if dense >= value_bits:
        return entries, min(dense, WIDEST)
    # Beyond half of the entries positions cost less again: search where the cost rises.
    low, high = 0, entries // 2
    while low < high:
        middle = (low + high + 1) // 2
        fits = sparse_bits(entries, middle, value_bits) <= budget
        low, high = (middle, high) if fits else (low, middle - 1)
    return (low, value_bits) if low else (0, 0)
