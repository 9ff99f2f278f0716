"""KD, CD and periodic teachers: by hand, against SciPy's integrator, and their limits."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from messages import fails
from numpy.typing import NDArray
from scipy.integrate import solve_ivp
from scipy.linalg import expm

from fdrl.theory import closed_forms
from fdrl.theory.check import integrate
from fdrl.theory.closed_forms import (
    cd,
    cd_largest_step,
    cd_modes,
    coupling,
    decay,
    deviation_rate,
    general_modes,
    kd,
    kd_largest_step,
    kd_limit,
    largest_step,
    others_mean,
    period_factors,
    periodic,
    periodic_largest_step,
    propagate,
    symmetric_modes,
)

Floats = NDArray[np.float64]
K = np.array([[2.0, 1.0], [1.0, 2.0]])
"""Rates 3 on (1, 1) and 1 on (1, -1)."""
TIMES = np.array([0.0, 0.3, 1.0, 2.5])
weights = st.floats(0, 5)
seeds = st.integers(0, 10_000)


def spd(draw: np.random.Generator, n: int) -> Floats:
    a = draw.standard_normal((n, n))
    return np.asarray(a @ a.T / n + 0.1 * np.eye(n))


def solve(slope: Callable[[Floats], Floats], start: Floats, times: Floats) -> Floats:
    """Integrate with SciPy: the oracle."""

    def flat(_: float, x: Floats) -> Floats:
        return slope(x.reshape(start.shape)).ravel()

    span = (0.0, float(times[-1]))
    out = solve_ivp(flat, span, start.ravel(), t_eval=times, rtol=1e-10, atol=1e-12)
    return np.asarray(out.y.T.reshape(len(times), *start.shape))


def test_kd_by_hand() -> None:
    y, phi = np.array([1.0, 1.0]), np.array([4.0, 1.0])
    np.testing.assert_allclose(kd_limit(y, phi, 0.5), [2, 1])
    # f0 - f* = (1, 1): rate 3, times 1 + b = 1.5
    out = kd(K, [3.0, 2.0], y, phi, 0.5, 0.1, [0.0, 2.0])
    np.testing.assert_allclose(out[1], np.array([2, 1]) + np.exp(-0.1 * 1.5 * 3 * 2))
    # one step of descent: f - 0.1 K ((f - y) + 0.5 (f - phi)) = f - 0.1 * 1.5 * (3, 3)
    np.testing.assert_allclose(kd(K, [3.0, 2.0], y, phi, 0.5, 0.1, [1], "descent")[0], [2.55, 1.55])


def test_kd_floor() -> None:
    y, phi = np.array([1.0, -2.0]), np.array([2.0, 1.0])
    end = kd(K, [0.0, 0.0], y, phi, 3.0, 1.0, [100.0])[0]
    assert np.linalg.norm(end - y) == pytest.approx(0.75 * np.linalg.norm(phi - y))


@settings(max_examples=25, deadline=None)
@given(seeds, weights)
def test_kd_solves_its_equation(seed: int, b: float) -> None:
    draw = np.random.default_rng(seed)
    kernel, (f, y, phi) = spd(draw, 4), draw.standard_normal((3, 4, 2))
    found = solve(lambda x: -0.5 * kernel @ (x - y + b * (x - phi)), f, TIMES)
    np.testing.assert_allclose(kd(kernel, f, y, phi, b, 0.5, TIMES), found, atol=1e-6)


def test_coupling_by_hand() -> None:
    np.testing.assert_allclose(
        coupling(3, 1.0), [[2, -0.5, -0.5], [-0.5, 2, -0.5], [-0.5, -0.5, 2]]
    )
    np.testing.assert_allclose(np.linalg.eigvalsh(coupling(3, 1.0)), [1, 2.5, 2.5])
    assert deviation_rate(2, 1.0) == 3
    with fails(ValueError, "workers", 1):
        coupling(1, 1.0)


def test_cd_by_hand() -> None:
    y = np.zeros(2)
    # mean (1, 1) at rate 3; deviations +-(1, -1) at rate 1, times 1 + 2b = 2
    start = np.array([[2.0, 0.0], [0.0, 2.0]])
    (out,) = cd(K, start, y, 0.5, 0.1, [5.0])
    mean, apart = np.exp(-0.1 * 3 * 5), np.exp(-0.1 * 2 * 1 * 5)
    np.testing.assert_allclose(out, [[mean + apart, mean - apart], [mean - apart, mean + apart]])


@settings(max_examples=25, deadline=None)
@given(seeds, weights, st.integers(2, 4))
def test_cd_with_unequal_kernels_solves_its_equation(seed: int, b: float, m: int) -> None:
    draw = np.random.default_rng(seed)
    kernels = np.stack([spd(draw, 3) for _ in range(m)])
    f, y = draw.standard_normal((m, 3)), draw.standard_normal(3)

    def slope(x: Floats) -> Floats:
        rows = [
            kernels[i] @ (x[i] - y + b * (x[i] - np.delete(x, i, axis=0).mean(0))) for i in range(m)
        ]
        return -0.3 * np.stack(rows)

    np.testing.assert_allclose(cd(kernels, f, y, b, 0.3, TIMES), solve(slope, f, TIMES), atol=1e-6)


@settings(max_examples=25, deadline=None)
@given(seeds, weights)
def test_equal_kernels_are_a_case_of_unequal_ones(seed: int, b: float) -> None:
    draw = np.random.default_rng(seed)
    kernel, f, y = spd(draw, 3), draw.standard_normal((4, 3, 2)), draw.standard_normal((3, 2))
    same = np.stack([kernel] * 4)
    np.testing.assert_allclose(
        cd(kernel, f, y, b, 0.2, TIMES), cd(same, f, y, b, 0.2, TIMES), atol=1e-9
    )
    assert cd_largest_step(kernel, b, 4) == pytest.approx(cd_largest_step(same, b))


@settings(max_examples=25, deadline=None)
@given(seeds, weights, st.integers(2, 5))
def test_the_mean_of_cd_learns_as_one_worker_without_distillation(
    seed: int, b: float, m: int
) -> None:
    draw = np.random.default_rng(seed)
    kernel, f, y = spd(draw, 3), draw.standard_normal((m, 3)), draw.standard_normal(3)
    alone = kd(kernel, f.mean(0), y, y, 0.0, 0.4, TIMES)
    np.testing.assert_allclose(cd(kernel, f, y, b, 0.4, TIMES).mean(1), alone, atol=1e-9)


@settings(max_examples=25, deadline=None)
@given(seeds, weights)
def test_cd_ends_at_the_targets_whatever_the_kernels(seed: int, b: float) -> None:
    draw = np.random.default_rng(seed)
    kernels = np.stack([spd(draw, 3) for _ in range(3)])
    assert cd_modes(kernels, b).rates.min() > 0
    f, y = draw.standard_normal((3, 3)), draw.standard_normal(3)
    (end,) = cd(kernels, f, y, b, 1.0, [1000.0])
    np.testing.assert_allclose(end, np.stack([y] * 3), atol=1e-6)


def test_kernels_and_workers_must_agree() -> None:
    with fails(ValueError, "3 kernels", "2 workers"):
        cd(np.stack([K] * 3), np.ones((2, 2)), np.zeros(2), 1.0, 0.1, [1.0])


def test_others_mean_by_hand() -> None:
    np.testing.assert_allclose(others_mean([[1.0], [2.0], [6.0]]), [[4], [3.5], [1.5]])
    with pytest.raises(ValueError, match="no other"):
        others_mean([[1.0]])


@pytest.mark.parametrize("equal", [True, False])
def test_periodic_solves_its_equation(equal: bool) -> None:
    draw = np.random.default_rng(5)
    kernels = np.stack([spd(draw, 3)] * 3 if equal else [spd(draw, 3) for _ in range(3)])
    f, y, b, period = draw.standard_normal((3, 3)), draw.standard_normal(3), 1.5, 0.7
    out = periodic(kernels[0] if equal else kernels, f, y, b, 0.5, TIMES, period)
    now, found = f, []
    for begin in np.arange(0, 2.6, period):
        held = others_mean(now)

        def slope(x: Floats, held: Floats = held) -> Floats:
            gradients = x - y + b * (x - held)
            return np.asarray(-0.5 * np.einsum("iab,ib->ia", kernels, gradients))

        inside = TIMES[(begin <= TIMES) & (begin + period > TIMES)] - begin
        both = solve(slope, now, np.append(inside, period))
        found += [*both[:-1]]
        now = both[-1]
    np.testing.assert_allclose(out, np.stack(found), atol=1e-6)


@settings(max_examples=25, deadline=None)
@given(seeds, weights)
def test_periodic_lies_between_cd_and_kd(seed: int, b: float) -> None:
    draw = np.random.default_rng(seed)
    kernel, f, y = spd(draw, 3), draw.standard_normal((3, 3)), draw.standard_normal(3)
    exact = cd(kernel, f, y, b, 0.5, TIMES)
    np.testing.assert_array_equal(periodic(kernel, f, y, b, 0.5, TIMES, 0), exact)
    far, near = (
        np.abs(periodic(kernel, f, y, b, 0.5, TIMES, p) - exact).max() for p in (0.02, 0.01)
    )
    assert near <= 0.02 * (1 + b) ** 2
    assert near <= 0.6 * far + 1e-9  # of first order in P
    for period in (10.0, math.inf):
        out = periodic(kernel, f, y, b, 0.5, TIMES, period)
        for i in range(3):
            alone = kd(kernel, f[i], y, others_mean(f)[i], b, 0.5, TIMES)
            np.testing.assert_allclose(out[:, i], alone, atol=1e-9)


def test_period_factors() -> None:
    draw = np.random.default_rng(0)
    f, b, eta, period = draw.standard_normal((3, 1)), 0.8, 0.3, 2.0
    (out,) = periodic([[1.7]], f, [0.0], b, eta, [period], period)
    mean, apart = period_factors(1.7, 3, b, eta, period)
    assert out.mean() == pytest.approx(mean * f.mean())
    np.testing.assert_allclose(out - out.mean(), apart * (f - f.mean()))
    # an endless period keeps b / (1 + b) of the shared error
    assert period_factors(1.7, 3, b, eta, 1e9)[0] == pytest.approx(b / (1 + b))


def test_periodic_refuses_falling_times() -> None:
    with fails(ValueError, "times"):
        periodic(K, np.ones((2, 2)), np.zeros(2), 1.0, 0.1, [2.0, 1.0], 1)


@settings(max_examples=25, deadline=None)
@given(seeds, weights, st.integers(1, 5))
def test_descent_is_what_a_loop_of_steps_gives(seed: int, b: float, period: int) -> None:
    draw = np.random.default_rng(seed)
    kernels = np.stack([spd(draw, 3) for _ in range(3)])
    f, y = draw.standard_normal((3, 3)), draw.standard_normal(3)
    eta = 0.5 * cd_largest_step(kernels, b)
    steps = np.arange(9)
    courses = {1: cd(kernels, f, y, b, eta, steps, "descent")}
    courses[period] = periodic(kernels, f, y, b, eta, steps, period, "descent")
    for p, course in courses.items():
        now = f
        for step in steps:
            np.testing.assert_allclose(course[step], now, atol=1e-9)
            if step % p == 0:
                held = others_mean(now)
            now = now - eta * np.einsum("iab,ib->ia", kernels, now - y + b * (now - held))


@pytest.mark.parametrize("period", [0, 1, 2, 3, 7, 8, math.inf])
@pytest.mark.parametrize("b", [0.0, 0.5, 3.0])
def test_learning_rates_below_the_limit_converge_and_above_it_do_not(
    b: float, period: float
) -> None:
    draw = np.random.default_rng(1)
    f, y, steps = draw.standard_normal((3, 2)), np.array([1.0, -1.0]), np.array([2400, 4800])
    limit = periodic_largest_step(K, b, 3, period)
    for factor, shrinks in ((0.99, True), (1.01, False)):
        out = periodic(K, f, y, b, factor * limit, steps, period, "descent")
        goal = y if not math.isinf(period) else kd_limit(y, others_mean(f), b)
        first, last = (np.abs(o - goal).max() for o in out)
        assert (last <= first and last < 1e-3) == shrinks


def test_limits_by_hand() -> None:
    assert kd_largest_step(K, 1.0) == pytest.approx(2 / (2 * 3))
    assert cd_largest_step(K, 1.0, 3) == pytest.approx(2 / (2.5 * 3))
    assert periodic_largest_step(K, 1.0, 3, 1) == pytest.approx(cd_largest_step(K, 1.0, 3))
    assert periodic_largest_step(K, 1.0, 3, 2) == pytest.approx(kd_largest_step(K, 1.0))
    assert periodic_largest_step(K, 1.0, 3, 1001) == pytest.approx(
        kd_largest_step(K, 1.0), rel=1e-3
    )


# ---- Energies: never negative, they add up, and co-distillation lowers the potential ----


def test_by_hand() -> None:
    # workers (3, 1) and (1, 1) with targets (0, 0): mean (2, 1), deviations +-(1, 0)
    f, y = np.array([[[3.0, 1.0], [1.0, 1.0]]]), np.zeros(2)
    assert closed_forms.consensus(f, y) == 2.5
    assert closed_forms.disagreement(f) == 0.5
    assert closed_forms.total(f, y) == 3
    assert closed_forms.potential(f, y, 1.0) == 0.5 * (3 + 2 * 0.5)
    assert closed_forms.rms([3.0, 4.0]) == pytest.approx(np.sqrt(12.5))
    np.testing.assert_allclose(closed_forms.rms([[3.0, 3.0], [1.0, -1.0]], 1), [3, 1])


def test_shapes_are_checked() -> None:
    with pytest.raises(ValueError, match=r"\[T, M, 2\], not \(2, 2\)"):
        closed_forms.total(np.ones((2, 2)), np.ones(2))


@settings(max_examples=25, deadline=None)
@given(seeds, st.integers(2, 5))
def test_energies_are_not_negative_and_add_up(seed: int, m: int) -> None:
    draw = np.random.default_rng(seed)
    f, y = draw.standard_normal((6, m, 4, 2)), draw.standard_normal((4, 2))
    apart, shared = closed_forms.disagreement(f), closed_forms.consensus(f, y)
    assert (apart >= 0).all()
    assert (shared >= 0).all()
    np.testing.assert_allclose(apart + shared, closed_forms.total(f, y))


@settings(max_examples=25, deadline=None)
@given(seeds, st.floats(0, 5))
def test_the_potential_is_the_quadratic_form_of_the_coupling(seed: int, b: float) -> None:
    draw = np.random.default_rng(seed)
    f, y = draw.standard_normal((1, 3, 4)), draw.standard_normal(4)
    e = f[0] - y
    form = np.einsum("ia,ij,ja->", e, coupling(3, b), e) / (2 * 3 * 4)
    np.testing.assert_allclose(closed_forms.potential(f, y, b), [form])


@settings(max_examples=25, deadline=None)
@given(seeds, st.floats(0, 5))
def test_cd_lowers_the_potential_with_any_kernels(seed: int, b: float) -> None:
    draw = np.random.default_rng(seed)
    kernels = np.stack([a @ a.T for a in draw.standard_normal((3, 4, 4))])
    f, y = draw.standard_normal((3, 4)), draw.standard_normal(4)
    falling = closed_forms.potential(cd(kernels, f, y, b, 0.1, np.linspace(0, 20, 40)), y, b)
    assert (np.diff(falling) <= 1e-12 + 1e-9 * falling[:-1]).all()


# ---- Linear dynamics: components decay alone ----


def test_decay_by_hand() -> None:
    left = decay([1.0, 2.0], 0.5, [0.0, 2.0])
    np.testing.assert_allclose(left, [[1, 1], [np.exp(-1), np.exp(-2)]])
    # 1 - 0.5 * 1 = 0.5 and 1 - 0.5 * 4 = -1 per step
    np.testing.assert_allclose(decay([1.0, 4.0], 0.5, [0, 3], "descent"), [[1, 1], [0.125, -1]])


def test_times_must_make_sense() -> None:
    with pytest.raises(ValueError, match="whole steps"):
        decay([1.0], 0.5, [0.5], "descent")
    with pytest.raises(ValueError, match="not negative"):
        decay([1.0], 0.5, [-1.0])


def test_symmetric_two_by_two_by_hand() -> None:
    # eigenvalues 3 on (1, 1), 1 on (1, -1)
    modes = symmetric_modes([[2.0, 1.0], [1.0, 2.0]])
    np.testing.assert_allclose(modes.rates, [1, 3])
    out = propagate(modes, [2.0, 0.0], 1.0, [1.0])
    np.testing.assert_allclose(out, [[np.exp(-3) + np.exp(-1), np.exp(-3) - np.exp(-1)]])


@pytest.mark.parametrize("bad", [np.ones((2, 3)), np.ones(3), [[1.0, 2.0], [0.0, 1.0]]])
def test_what_is_no_kernel(bad: object) -> None:
    with fails(ValueError, "kernel"):
        symmetric_modes(bad)  # type: ignore[arg-type]


def test_a_rotation_has_complex_rates_and_real_solutions() -> None:
    matrix = np.array([[1.0, -2.0], [2.0, 1.0]])
    out = propagate(general_modes(matrix), np.eye(2), 0.3, [0.0, 1.0, 4.0])
    for t, found in zip((0.0, 1.0, 4.0), out, strict=True):
        np.testing.assert_allclose(found, expm(-0.3 * t * matrix), atol=1e-12)


def test_more_output_axes_ride_along() -> None:
    modes = symmetric_modes([[2.0, 1.0], [1.0, 2.0]])
    start = np.arange(12.0).reshape(2, 3, 2)
    out = propagate(modes, start, 0.1, [0.0, 5.0])
    assert out.shape == (2, 2, 3, 2)
    np.testing.assert_allclose(out[1, :, 2, 1], propagate(modes, start[:, 2, 1], 0.1, [5.0])[0])


def test_largest_steps_by_hand() -> None:
    assert largest_step([1.0, 4.0]) == 0.5
    assert largest_step([0.0, 4.0]) == 0.5
    assert largest_step([0.0]) == np.inf
    assert largest_step([-1.0, 2.0]) == 0
    # |1 - h (1 + 2i)|**2 = 1 - 2h + 5 h**2 < 1 below h = 0.4
    assert largest_step([1 + 2j, 1 - 2j]) == pytest.approx(0.4)


def test_the_integrator_against_the_exponential() -> None:
    out = integrate(lambda x: -x, np.array([1.0]), [0.0, 0.5, 3.0], 0.1)
    np.testing.assert_allclose(out[:, 0], np.exp([0, -0.5, -3]), atol=1e-6)


def test_the_integrator_is_of_fourth_order() -> None:
    errors = [
        abs(float(integrate(lambda x: -x, np.array([1.0]), [1.0], h)[0, 0]) - np.exp(-1))
        for h in (0.2, 0.1)
    ]
    assert errors[0] / errors[1] == pytest.approx(16, rel=0.15)
