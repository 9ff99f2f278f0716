"""Energies: never negative, they add up, and co-distillation lowers the potential."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fdrl.theory import energies
from fdrl.theory.cd import cd, coupling

seeds = st.integers(0, 10_000)


def test_by_hand() -> None:
    # workers (3, 1) and (1, 1) with targets (0, 0): mean (2, 1), deviations +-(1, 0)
    f, y = np.array([[[3.0, 1.0], [1.0, 1.0]]]), np.zeros(2)
    assert energies.consensus(f, y) == 2.5
    assert energies.disagreement(f) == 0.5
    assert energies.total(f, y) == 3
    assert energies.potential(f, y, 1.0) == 0.5 * (3 + 2 * 0.5)
    assert energies.rms([3.0, 4.0]) == pytest.approx(np.sqrt(12.5))
    np.testing.assert_allclose(energies.rms([[3.0, 3.0], [1.0, -1.0]], 1), [3, 1])


def test_shapes_are_checked() -> None:
    with pytest.raises(ValueError, match=r"\[T, M, 2\], not \(2, 2\)"):
        energies.total(np.ones((2, 2)), np.ones(2))


@settings(max_examples=25, deadline=None)
@given(seeds, st.integers(2, 5))
def test_energies_are_not_negative_and_add_up(seed: int, m: int) -> None:
    draw = np.random.default_rng(seed)
    f, y = draw.standard_normal((6, m, 4, 2)), draw.standard_normal((4, 2))
    apart, shared = energies.disagreement(f), energies.consensus(f, y)
    assert (apart >= 0).all()
    assert (shared >= 0).all()
    np.testing.assert_allclose(apart + shared, energies.total(f, y))


@settings(max_examples=25, deadline=None)
@given(seeds, st.floats(0, 5))
def test_the_potential_is_the_quadratic_form_of_the_coupling(seed: int, b: float) -> None:
    draw = np.random.default_rng(seed)
    f, y = draw.standard_normal((1, 3, 4)), draw.standard_normal(4)
    e = f[0] - y
    form = np.einsum("ia,ij,ja->", e, coupling(3, b), e) / (2 * 3 * 4)
    np.testing.assert_allclose(energies.potential(f, y, b), [form])


@settings(max_examples=25, deadline=None)
@given(seeds, st.floats(0, 5))
def test_cd_lowers_the_potential_with_any_kernels(seed: int, b: float) -> None:
    draw = np.random.default_rng(seed)
    kernels = np.stack([a @ a.T for a in draw.standard_normal((3, 4, 4))])
    f, y = draw.standard_normal((3, 4)), draw.standard_normal(4)
    falling = energies.potential(cd(kernels, f, y, b, 0.1, np.linspace(0, 20, 40)), y, b)
    assert (np.diff(falling) <= 1e-12 + 1e-9 * falling[:-1]).all()
