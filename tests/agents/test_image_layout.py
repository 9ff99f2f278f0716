"""Which convolutions an image gets, and where their weights lie."""

import numpy as np
import pytest
from fdrl.agents.image_layout import ImageLayout, for_images
from fdrl.agents.layout import Layout, initial_rows
from fdrl.agents.policy_network import policy_layout
from gymnasium import spaces
from messages import fails

from fdrl import FdrlError


def of(shape: tuple[int, ...], dtype: type = np.uint8, hidden: tuple[int, ...] = (5,)) -> Layout:
    plain = Layout(int(np.prod(shape)), hidden, 2)
    return for_images(plain, spaces.Box(0, 1, shape, dtype))


def test_a_small_image_worked_out_by_hand():
    layout = of((8, 8, 3))
    assert isinstance(layout, ImageLayout)
    # 3 x 3 over 3 channels; 3 x 3 over 16, every other pixel: 4 x 4 of 32 channels are left
    assert layout.layers == [(27, 16), (144, 32), (512, 5)]
    trunk = 27 * 16 + 16 + 144 * 32 + 32 + 512 * 5 + 5
    assert layout.policy_size == trunk + 6 * 2
    assert layout.size == layout.policy_size + trunk + 6
    assert policy_layout(layout).size == layout.policy_size
    assert layout.scale == pytest.approx(1 / 255)
    assert of((8, 8, 3), np.float32).scale == 1.0


def test_a_screen_gets_the_convolutions_of_deep_q_learning():
    layout = of((84, 84, 4), hidden=(256,))
    assert layout.layers == [(4 * 64, 16), (16 * 16, 32), (9 * 9 * 32, 256)]


@pytest.mark.parametrize(
    ("shape", "planes"),
    [
        ((7, 9), (1, 7, 9)),
        ((7, 9, 3), (3, 7, 9)),
        ((4, 10, 12), (4, 10, 12)),
        ((10, 10, 10), (10, 10, 10)),
        ((2, 3, 20), (2, 3, 20)),
        ((1, 1, 4), (4, 1, 1)),
        ((36, 35, 1), (1, 36, 35)),
    ],
)
def test_channels_are_found_first_or_last(shape: tuple[int, ...], planes: tuple[int, ...]):
    layout = of(shape)
    assert layout.planes == planes
    assert layout.flat > 0


def test_no_hidden_layer():
    layout = of((4, 4), hidden=())
    assert layout.features == layout.flat == 32 * 2 * 2


def test_flat_observations_stay_as_they_are():
    plain = Layout(4, (5,), 2)
    assert for_images(plain, spaces.Box(0, 1, (4,))) is plain
    assert type(policy_layout(plain)).__name__ == "PolicyLayout"
    with fails(FdrlError, "5 inputs", "(2, 2)"):
        for_images(Layout(5, (5,), 2), spaces.Box(0, 1, (2, 2)))


def test_initial_weights_are_orthogonal():
    layout = of((8, 8, 3))
    row = initial_rows(layout, 0, (0, 1), same=False)[0]
    first = row[: 27 * 16].reshape(27, 16)
    np.testing.assert_allclose(first.T @ first, 2 * np.eye(16), atol=1e-5)
    assert not row[27 * 16 : 27 * 16 + 16].any()
