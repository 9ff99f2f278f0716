"""Uniforms drawn ahead: the same numbers in whatever portions."""

from __future__ import annotations

import numpy as np
from fdrl.agents.chances import BLOCK, Chances
from hypothesis import given
from hypothesis import strategies as st


def generators() -> list[np.random.Generator]:
    return [np.random.default_rng(seed) for seed in (3, 4, 5)]


portion = st.tuples(
    st.sets(st.integers(0, 2), min_size=1), st.sampled_from([1, 2, 3, 5, 16, 17, 40]), st.booleans()
)


@given(st.lists(portion, max_size=60))
def test_portions_and_pauses_change_no_number(portions: list[tuple[set[int], int, bool]]) -> None:
    ours, theirs = generators(), generators()
    chances = Chances(ours)
    for agents, count, pause in portions:
        rows = np.array(sorted(agents))
        got = chances.take(rows, count)
        for row, k in zip(got, rows.tolist(), strict=True):
            np.testing.assert_array_equal(row, theirs[k].random(count, dtype=np.float32))
        if pause:
            chances.give_back()
            assert [g.bit_generator.state for g in ours] == [g.bit_generator.state for g in theirs]


def test_a_block_runs_out() -> None:
    (rng, *_) = generators()
    chances = Chances(generators())
    got = [chances.take(np.array([0]), 3) for _ in range(BLOCK)]
    np.testing.assert_array_equal(np.concatenate(got, axis=1)[0], rng.random(3 * BLOCK, np.float32))
