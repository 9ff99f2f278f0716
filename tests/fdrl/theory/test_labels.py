"""FD by label: teachers, fixed points, and the equation they solve."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import solve_ivp

from fdrl.theory.labels import (
    MISSING,
    Missing,
    block_diagonal,
    fd,
    fd_largest_step,
    fd_limit,
    label_coupling,
    label_teacher,
    shrinkage,
)
from fdrl.theory.networks import label_gradient

# worker 0 has labels a, a, b; worker 1 has a; worker 2 has c
WORKER = np.array([0, 0, 0, 1, 2])
LABEL = np.array([0, 0, 1, 0, 2])


def test_block_diagonal_by_hand() -> None:
    out = block_diagonal([[[1.0]], [[2.0, 3.0], [3.0, 4.0]]])
    np.testing.assert_array_equal(out, [[1, 0, 0], [0, 2, 3], [0, 3, 4]])


def test_teachers_by_hand() -> None:
    table, heard = label_teacher(WORKER, LABEL)
    expected = np.zeros((5, 5))
    expected[0, 3] = expected[1, 3] = 1  # the only other owner of label a
    expected[3, [0, 1]] = 0.5  # worker 0's average of its two samples
    np.testing.assert_allclose(table, expected)
    assert heard.tolist() == [True, True, False, True, False]
    zeros, heard = label_teacher(WORKER, LABEL, "zero")
    np.testing.assert_allclose(zeros, expected / 2)  # two others, one of them sends zeros
    assert heard.all()


def test_shapes_are_checked() -> None:
    with pytest.raises(ValueError, match=r"\[S\] both"):
        label_teacher([0, 1], [0])


def test_shrinkage_by_hand() -> None:
    assert shrinkage(3, 3, 1.0) == 1
    assert shrinkage(2, 3, 1.0) == pytest.approx(2 / 3)  # 1 / (1 + 1/2)
    assert shrinkage(1, 3, 1.0) == 0.5  # KD from a teacher that says zero


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000), st.floats(0, 5))
def test_fixed_points(seed: int, b: float) -> None:
    draw = np.random.default_rng(seed)
    worker, label = np.repeat(np.arange(4), 5), draw.integers(3, size=20)
    y = draw.standard_normal((3, 2))[label]
    np.testing.assert_allclose(fd_limit(y, worker, label, b), y, atol=1e-9)
    owners = np.array([len(np.unique(worker[label == c])) for c in label])
    factors = np.array([shrinkage(int(o), 4, b) for o in owners])
    np.testing.assert_allclose(
        fd_limit(y, worker, label, b, "zero"), factors[:, None] * y, atol=1e-9
    )


def test_targets_that_vary_within_a_label_are_pulled_together() -> None:
    y, worker, label = np.array([[0.0], [2.0]]), np.array([0, 1]), np.zeros(2, dtype=int)
    # (1 + b) u - b v = 0, (1 + b) v - b u = 2 with b = 1
    np.testing.assert_allclose(fd_limit(y, worker, label, 1.0), [[2 / 3], [4 / 3]])


@pytest.mark.parametrize("missing", MISSING)
def test_the_matrix_says_what_devices_and_server_do(missing: Missing) -> None:
    draw = np.random.default_rng(3)
    f, y = draw.standard_normal((2, 5, 4))
    by_matrix = label_coupling(WORKER, LABEL, 0.7, missing) @ f - y
    np.testing.assert_allclose(label_gradient(f, y, WORKER, LABEL, 0.7, missing), by_matrix)


@pytest.mark.parametrize("missing", MISSING)
def test_fd_solves_its_equation(missing: Missing) -> None:
    draw = np.random.default_rng(4)
    worker, label = np.repeat(np.arange(3), 4), draw.integers(3, size=12)
    blocks = [a @ a.T / 4 + 0.1 * np.eye(4) for a in draw.standard_normal((3, 4, 4))]
    kernel, y, f = block_diagonal(blocks), np.eye(3)[label], draw.standard_normal((12, 3))
    times = np.linspace(0, 4, 5)

    def slope(_: float, x: np.ndarray) -> np.ndarray:
        gradients = label_gradient(x.reshape(12, 3), y, worker, label, 1.2, missing)
        return np.asarray(-0.5 * kernel @ gradients).ravel()

    oracle = solve_ivp(slope, (0, 4), f.ravel(), t_eval=times, rtol=1e-10, atol=1e-12)
    made = fd(kernel, f, y, worker, label, 1.2, 0.5, times, missing)
    np.testing.assert_allclose(made.reshape(5, -1), oracle.y.T, atol=1e-6)
    limit = fd_largest_step(kernel, worker, label, 1.2, missing)
    goal = fd_limit(y, worker, label, 1.2, missing)
    for factor, shrinks in ((0.97, True), (1.03, False)):
        steps = fd(kernel, f, y, worker, label, 1.2, factor * limit, [1500], missing, "descent")
        assert (np.abs(steps[0] - goal).max() < 1e-3) == shrinks
