import numpy as np
import pytest
from fdrl.agents.networks.layout import (
    ImageLayout,
    Layout,
    Views,
    for_images,
    initial_rows,
    orthogonal,
)
from fdrl.agents.networks.policy_network import policy_layout
from gymnasium import spaces
from messages import fails

from fdrl import FdrlError


def test_cartpole_64x64_has_the_size_of_sb3s_policy() -> None:
    layout = Layout(4, (64, 64), 2)
    assert layout.policy_size == 4610
    assert layout.size == 9155


def test_views_reach_every_parameter_once_policy_first() -> None:
    layout = Layout(2, (3,), 2)
    rows = np.arange(2 * layout.size, dtype=np.float32).reshape(2, layout.size)
    views = Views(layout, rows)
    # policy: 2x3 + 3, head 3x2 + 2 = 17; value: 2x3 + 3, head 3 + 1 = 13
    assert layout.policy_size == 17
    assert layout.size == 30
    np.testing.assert_array_equal(views.w[0][0, 0], [[0, 1, 2], [3, 4, 5]])
    np.testing.assert_array_equal(views.b[0][0, 0], [[6, 7, 8]])
    np.testing.assert_array_equal(views.policy_w[0], [[9, 10], [11, 12], [13, 14]])
    np.testing.assert_array_equal(views.policy_b[0, :, 0], [15, 16])
    np.testing.assert_array_equal(views.w[0][0, 1], [[17, 18, 19], [20, 21, 22]])
    np.testing.assert_array_equal(views.value_w[1, :, 0], [56, 57, 58])
    assert views.value_b[1, 0, 0] == 59


def test_views_share_memory_and_refuse_other_types() -> None:
    layout = Layout(2, (), 2)
    rows = np.zeros((1, layout.size), np.float32)
    Views(layout, rows).value_b[...] = 7
    assert rows[0, -1] == 7
    with pytest.raises(ValueError, match="float32"):
        Views(layout, rows.astype(np.float64))


@pytest.mark.parametrize(("inputs", "outputs"), [(4, 64), (64, 64), (64, 2)])
def test_orthogonal_columns_or_rows_have_length_gain(inputs: int, outputs: int) -> None:
    w = orthogonal(np.random.default_rng(0), inputs, outputs, 2.0).astype(np.float64)
    gram = w @ w.T if inputs < outputs else w.T @ w
    np.testing.assert_allclose(gram, 4 * np.eye(min(inputs, outputs)), atol=1e-5)


def test_initial_weights_have_sb3s_gains_and_zero_biases() -> None:
    layout = Layout(4, (8,), 2)
    views = Views(layout, initial_rows(layout, 0, (0,), same=False))
    assert np.linalg.norm(views.w[0][0, 0], axis=1) == pytest.approx([2**0.5] * 4, abs=1e-5)
    assert np.linalg.norm(views.policy_w[0], axis=0) == pytest.approx([0.01] * 2, abs=1e-6)
    assert np.linalg.norm(views.value_w[0]) == pytest.approx(1.0, abs=1e-6)
    assert not views.b[0].any()
    assert not views.policy_b.any()


def test_an_agents_initial_weights_depend_on_its_index_alone() -> None:
    layout = Layout(4, (8,), 2)
    rows = initial_rows(layout, 3, (0, 1, 2), same=False)
    np.testing.assert_array_equal(initial_rows(layout, 3, (2,), same=False)[0], rows[2])
    same = initial_rows(layout, 3, (1, 2), same=True)
    np.testing.assert_array_equal(same, rows[[0, 0]])
    assert (rows[1] != rows[2]).any()


def test_torchs_default_weights_are_uniform_within_their_bound() -> None:
    layout = Layout(16, (64,), 2)
    views = Views(layout, initial_rows(layout, 0, (0,), same=False, init="torch"))
    # a layer of 16 inputs is bounded by 1/4, one of 64 by 1/8, biases too
    for array, bound in (
        (views.w[0], 1 / 4), (views.b[0], 1 / 4), (views.policy_w, 1 / 8), (views.value_w, 1 / 8),
    ):  # fmt: skip
        assert 0.8 * bound < np.abs(array).max() <= bound
    assert views.w[0].std() == pytest.approx(0.25 / 3**0.5, rel=0.05)
    assert views.policy_b.any()


# ---- Which convolutions an image gets, and where their weights lie ----


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
