"""Power control by hand, and the constraint as a property."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fdrl.channels.analog import (
    Summed,
    common_scale,
    from_sum,
    over_the_air,
    to_vectors,
    transmitters,
)
from fdrl.core.message import ProbTable
from fdrl.strategies.distillation import teacher
from fdrl.strategies.distillation.settings import FD
from fdrl.wire.parts import CellRows, Visits


def test_who_is_in_a_deep_fade_stays_silent():
    assert transmitters(np.array([0.05, 0.1, 2.0]), 0.1).tolist() == [False, True, True]


def test_the_weakest_decides_the_scale_by_hand():
    # Energies 4 and 9 at gains 1 and 9 cost a^2 * 4 and a^2 * 1: 16 allow a = 2.
    assert common_scale(np.array([4.0, 9.0]), np.array([1.0, 9.0]), 16.0) == 2.0
    assert common_scale(np.zeros(2), np.ones(2), 16.0) == 1.0


def test_the_sum_arrives_with_its_noise_divided_by_the_scale():
    found = over_the_air(np.array([[1.0, 2.0], [3.0, -1.0]]), 2.0, np.array([0.5, -1.0]))
    np.testing.assert_allclose(found, [4.25, 0.5])


@given(
    arrays(np.float64, (5, 3), elements=st.floats(-50, 50)),
    arrays(np.float64, 5, elements=st.floats(0.01, 20)),
    st.floats(0.1, 1e4),
)
def test_nobody_sends_with_more_energy_than_allowed(x, gains, budget):
    scale = common_scale((x**2).sum(1), gains, budget)
    spent = scale**2 * (x**2).sum(1) / gains
    if np.abs(x).max() > 1e-90:
        assert spent.max() == pytest.approx(budget, rel=1e-9)
    assert (spent <= budget * (1 + 1e-9)).all()


# ---- Without noise a sum in the air is what the server would have computed from every table


def table(seed, rows, actions, *parts):
    p = np.random.default_rng(seed).dirichlet(np.ones(actions), rows).astype(np.float32)
    return ProbTable(round=1, probs=p, parts=parts)


def server(tables, settings):
    sheet = teacher.align(tables, settings.answer)
    weights = teacher.agent_weights(sheet, [None] * len(tables), settings)
    return teacher.combine(sheet, weights, settings)


def air(tables, settings, noise=0.0):
    laid = to_vectors(tables, settings)
    return from_sum(Summed(laid.vectors.sum(0) + noise, laid), len(tables), settings)


@pytest.mark.parametrize("combine", ["mean", "log"])
@pytest.mark.parametrize("power", [0.0, 1.0])
def test_a_sum_without_noise_is_the_servers_mean(combine, power):
    settings = FD(combine=combine, visit_power=power)
    visits = [np.arange(5.0) * k for k in range(3)]
    tables = [table(k, 5, 4, Visits(v)) for k, v in enumerate(visits)]
    found = air(tables, settings)
    assert found.cells is None
    np.testing.assert_allclose(found.probs, server(tables, settings), atol=1e-6)


def test_labels_are_averaged_over_their_owners_and_unknown_ones_left_out():
    settings = FD(answer="labels", combine="mean", visit_power=0.0)
    owned = [np.array([0, 2]), np.array([2])]
    tables = [table(k, len(c), 4, CellRows(c)) for k, c in enumerate(owned)]
    found = air(tables, settings)
    np.testing.assert_array_equal(found.cells, [0, 2])
    np.testing.assert_allclose(found.probs, server(tables, settings), atol=1e-6)
    assert to_vectors(tables, settings).vectors.shape == (2, 4 * 3 + 4)


def test_a_mean_by_hand():
    settings = FD(combine="mean", visit_power=0.0)
    tables = [ProbTable(round=1, probs=np.array([p], np.float32)) for p in ([0.9, 0.1], [0.5, 0.5])]
    laid = to_vectors(tables, settings)
    np.testing.assert_allclose(laid.vectors, [[0.4], [0.0]], atol=1e-7)
    np.testing.assert_allclose(air(tables, settings).probs, [[0.7, 0.3]], atol=1e-7)
    # Noise of 0.2 on the sum is 0.1 on the mean; what leaves the simplex is cut.
    np.testing.assert_allclose(air(tables, settings, 0.2).probs, [[0.8, 0.2]], atol=1e-7)
    np.testing.assert_allclose(air(tables, settings, 2.0).probs, [[1.0, 0.0]], atol=1e-7)


def test_a_row_whose_weight_drowns_in_noise_is_uniform_and_a_label_is_left_out():
    settings = FD(combine="mean")
    tables = [table(0, 2, 3, Visits(np.zeros(2)))]
    np.testing.assert_allclose(air(tables, settings, -1.0).probs, np.full((2, 3), 1 / 3))
    by_label = FD(answer="labels", combine="mean", visit_power=0.0)
    assert air([table(0, 1, 3, CellRows(np.array([1])))], by_label, -1.0) is None
