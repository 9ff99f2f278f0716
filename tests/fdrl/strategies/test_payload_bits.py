"""What is sent, in bits, against the papers' numbers; no training."""

import numpy as np
import pytest
from payload_bits import cd_bits, faug_bits, fd_bits, fl_bits

from fdrl.core.message import Parameters, ProbTable, Transitions
from fdrl.strategies.faug_generator import GeneratorLayout
from fdrl.wire.codec import encode
from fdrl.wire.parts import CellRows

ROUNDS, LABELS, PIXELS, SEEDS, CHAPTER = 16, 10, 784, 15, 1_199_648
LAYOUT = GeneratorLayout(100, (256, 512, 1024), PIXELS)


def test_totals_are_those_of_the_paper():
    fd, fl = fd_bits(LABELS, ROUNDS), fl_bits(CHAPTER, ROUNDS)
    faug = faug_bits(LAYOUT, SEEDS)
    assert fd == 102_400
    assert fl == 1_228_439_552
    assert fd + faug == 47_989_120
    assert fl + faug == 1_276_326_272
    assert round(fl / fd) == 11_996
    assert cd_bits(256, LABELS, ROUNDS) == 256 * fd // LABELS


def test_headers_are_all_that_encoded_messages_add():
    uniform = np.full((LABELS, LABELS), 0.1, np.float32)
    table = ProbTable(ROUNDS, uniform, parts=(CellRows(np.arange(LABELS)),))
    weights = Parameters(ROUNDS, np.zeros(CHAPTER, np.float32), steps=2000)
    images = np.zeros((SEEDS, PIXELS), np.uint8)
    labels = np.zeros(SEEDS, np.uint8)
    up = Transitions(1, {"seeds": images, "labels": labels})
    down = Transitions(1, {"generator": np.zeros(LAYOUT.size, np.float32), "labels": labels[:10]})
    sizes = [8 * len(encode(m)) for m in (table, weights, up, down)]
    payload = [fd_bits(LABELS, 1) // 2, fl_bits(CHAPTER, 1) // 2, SEEDS * PIXELS * 8]
    payload.append(faug_bits(LAYOUT, 0))
    for size, bits in zip(sizes, payload, strict=True):
        assert bits < size < bits + 8 * 200


@pytest.mark.parametrize("rounds", [0, 1, 7])
def test_rounds_count_both_ways(rounds):
    assert fd_bits(2, rounds) == 2 * rounds * 128
    assert fl_bits(3, rounds) == 2 * rounds * 96
