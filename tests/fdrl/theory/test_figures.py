"""The figures of `fdrl theory` show the numbers of the results, and no others."""

from __future__ import annotations

import dataclasses
from typing import Any

import msgspec
import numpy as np
import pytest
from tiny_theory import tiny_results

from fdrl.theory.experiment import METHODS, Results
from fdrl.theory.figures import FIGURES
from fdrl.theory.problem import make_problem
from fdrl.theory.statements import NAMES, floor, slopes


@pytest.fixture
def results() -> Results:
    return tiny_results()


def line(axis: Any, label: str) -> Any:
    """Return the one line of an axis whose label begins so."""
    (found,) = (one for one in axis.get_lines() if one.get_label().startswith(label))
    return found


def reach(axis: Any) -> list[np.ndarray]:
    """Return the ends [X, 2] of the bars of every set of markers."""
    return [np.array(bars.get_segments())[:, :, 1] for bars in axis.collections]


def test_errors_are_those_of_the_narrowest_and_the_widest_networks(results: Results) -> None:
    axes = FIGURES["error"](results).axes
    assert [axis.get_title()[:2] for axis in axes] == ["KD", "CD", "pe"]
    for i, axis in enumerate(axes):
        theory = line(axis, "theory")
        assert theory.get_xdata().tolist() == [*range(26)]
        np.testing.assert_array_equal(theory.get_ydata(), results.theory[i, -1].mean(0))
        for k, width in ((0, 16), (-1, 64)):
            marks = line(axis, f"networks of width {width}")
            at = marks.get_xdata()
            assert (at[0], at[-1]) == (0, 25)
            np.testing.assert_array_equal(marks.get_ydata(), results.error[i, k][:, at].mean(0))
            bars = reach(axis)[k]
            np.testing.assert_array_equal(bars.min(1), results.error[i, k][:, at].min(0))
            np.testing.assert_array_equal(bars.max(1), results.error[i, k][:, at].max(0))
        assert axis.get_yscale() == "log"


def test_only_an_imperfect_teacher_has_a_floor_to_draw(results: Results) -> None:
    level = floor(results)
    assert level > 0
    first, *others = FIGURES["error"](results).axes
    assert [[*one.get_ydata()] for one in first.get_lines()].count([level, level]) == 1
    assert f"{level:.3g}" in first.texts[0].get_text()
    assert not any(axis.texts for axis in others)
    perfect = msgspec.structs.replace(results.settings, teacher_error=0.0)
    same = dataclasses.replace(results, settings=perfect, problem=make_problem(perfect))
    assert not FIGURES["error"](same).axes[0].texts


def test_limits_stand_beside_what_theory_expects_at_each_weight(results: Results) -> None:
    left, right = FIGURES["limit"](results).axes
    for i, method in enumerate(METHODS[:2]):
        marks = line(left, f"{NAMES[method]}, networks")
        np.testing.assert_array_equal(marks.get_xdata(), results.weights)
        np.testing.assert_array_equal(marks.get_ydata(), results.limits[i].mean(1))
    curve = line(left, f"{NAMES['kd']}, theory")
    assert curve.get_ydata()[-1] == pytest.approx(floor(results, float(results.weights[-1])))
    assert not line(left, f"{NAMES['cd']}, theory").get_ydata().any()
    bias = results.label_bias["zero"]
    drawn = [
        one.get_ydata() for one in right.get_lines() if [*one.get_xdata()] == [*results.weights]
    ]
    for owners in range(bias.shape[1]):
        assert any(np.array_equal(bias[:, owners], ys) for ys in drawn)
        fine = line(right, f"zeros sent, {owners + 1} of 3")
        at_most = np.interp(results.weights, fine.get_xdata(), fine.get_ydata())
        np.testing.assert_allclose(at_most, bias[:, owners], atol=1e-3)
    plain = line(right, "averaged over owners only").get_ydata()
    np.testing.assert_array_equal(plain, results.label_bias["renormalize"].max(1))


def test_energies_end_a_decade_below_the_networks(results: Results) -> None:
    (axis,) = FIGURES["energy"](results).axes
    for i, name in enumerate(("consensus", "disagreement |")):
        theory = next(one for one in axis.get_lines() if one.get_label().startswith(name))
        np.testing.assert_array_equal(theory.get_ydata(), results.energy[1, i, -1].mean(0))
    own = line(axis, "disagreement, theory with the networks' own kernels")
    np.testing.assert_array_equal(own.get_ydata(), results.energy[2, 1, -1].mean(0))
    alone = line(axis, "disagreement by theory if nothing is exchanged")
    np.testing.assert_array_equal(alone.get_ydata(), results.alone.mean(0))
    at = axis.get_lines()[1].get_xdata()
    shown = results.energy[0, :, -1][:, :, at]
    assert axis.get_ylim()[0] == pytest.approx(shown[shown > 0].min() / 10)


def test_gaps_carry_the_slopes_that_the_statements_say(results: Results) -> None:
    infinite, own, kernels = FIGURES["gap"](results).axes
    assert infinite.get_ylim() == own.get_ylim()
    for axis, gaps in ((infinite, results.gaps), (own, results.own_gaps)):
        for i, (method, found) in enumerate(slopes(results, gaps).items()):
            marks = line(axis, f"{NAMES[method]}: slope")
            np.testing.assert_array_equal(marks.get_xdata(), [16, 64])
            np.testing.assert_array_equal(marks.get_ydata(), gaps[i].T.mean(0))
            assert f"{abs(found.value):.3f}" in marks.get_label()
            fitted = axis.get_lines()[2 * i + 1]
            rise = np.diff(np.log(fitted.get_ydata())) / np.diff(np.log([16, 64]))
            assert rise[0] == pytest.approx(found.value)
    assert len(kernels.get_lines()) == 4
    np.testing.assert_array_equal(
        kernels.get_lines()[0].get_ydata(), results.kernel_errors[0].T.mean(0)
    )


def test_networks_that_blew_up_leave_a_gap_and_no_fitted_line(results: Results) -> None:
    gaps = results.gaps.copy()
    gaps[1, 0, 0] = np.inf
    axis = FIGURES["gap"](dataclasses.replace(results, gaps=gaps)).axes[0]
    marks = line(axis, f"{NAMES['cd']}: slope")
    assert np.isnan(marks.get_ydata()).tolist() == [True, False]
    assert len(axis.get_lines()) == 5  # three sets of markers, two fitted lines
