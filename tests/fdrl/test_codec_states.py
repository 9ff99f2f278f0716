"""States on the wire: a byte a pixel for images of bytes, four for all else, nothing lost."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from messages import fails
from numpy.typing import NDArray

from fdrl import wire
from fdrl.coding import code_states, uncode_states
from fdrl.errors import BadMessage
from fdrl.message import ProbTable, ProxyUpdate, StateRows, decode, encode

PIXELS = np.array([[[0, 255], [3, 7]], [[1, 1], [2, 0]]], np.float32)


def test_images_of_bytes_take_a_byte_a_pixel_and_arrive_as_they_were() -> None:
    update = ProxyUpdate(3, "v", {"kind": "rollout"}, states=PIXELS)
    data = encode(update)
    assert data.endswith(bytes([0, 255, 3, 7, 1, 1, 2, 0]))
    got = decode(data)
    assert isinstance(got, ProxyUpdate)
    assert got.states is not None
    assert got.states.dtype == np.float32
    np.testing.assert_array_equal(got.states, PIXELS)
    floats = encode(ProxyUpdate(3, "v", {"kind": "rollout"}, states=PIXELS + 0.5))
    assert len(floats) - len(data) >= 3 * PIXELS.size - 8  # headers are padded


def test_raw_states_of_a_table_do_too() -> None:
    table = ProbTable(round=1, probs=np.full((2, 2), 0.5), parts=(StateRows(PIXELS),))
    got = decode(encode(table))
    assert isinstance(got, ProbTable)
    np.testing.assert_array_equal(got.need(StateRows).states, PIXELS)


@pytest.mark.parametrize(
    "states",
    [
        PIXELS + 0.5,
        PIXELS - 1,
        PIXELS + 1,
        np.minimum(PIXELS, 1),
        PIXELS.reshape(2, 4),
        np.zeros((0, 2, 2), np.float32),
        np.zeros((2, 2, 2), np.float32),
    ],
    ids=["fractions", "negative", "256", "between 0 and 1", "no image", "none", "black"],
)
def test_everything_else_stays_floats(states: NDArray[Any]) -> None:
    assert code_states(states) is states
    assert uncode_states(states) is states


@given(
    hnp.arrays(np.uint8, hnp.array_shapes(min_dims=3, max_dims=4, max_side=4)),
    st.sampled_from([0.0, 0.25]),
)
def test_nothing_is_lost_and_what_was_decoded_has_the_same_code(
    pixels: NDArray[Any], shift: float
) -> None:
    states = (pixels + np.float32(shift)).astype(np.float32)
    code = code_states(states)
    np.testing.assert_array_equal(uncode_states(code), states)
    assert code_states(uncode_states(code)).tobytes() == code.tobytes()


def test_one_content_has_one_form() -> None:
    def sent(states: NDArray[Any]) -> bytes:
        return wire.pack({"u": "1", "v": "v"}, {"x": states})

    with fails(BadMessage, "bytes"):
        decode(sent(PIXELS))
    with fails(BadMessage, "bytes"):
        decode(sent(np.ones((2, 3), np.uint8)))
