import numpy as np
import pytest
from fdrl.agents.layout import Layout, Views, initial_rows, orthogonal


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
