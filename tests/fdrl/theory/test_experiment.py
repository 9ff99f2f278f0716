"""The experiment: its problem, its numbers, what it says of them, and its files."""

from __future__ import annotations

import csv
import dataclasses
import io
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from messages import fails, says
from tiny_theory import TINY, tiny_results

from fdrl.core.errors import FdrlError
from fdrl.theory import experiment, problem, statements
from fdrl.theory.closed_forms import cd_largest_step
from fdrl.theory.experiment import Results
from fdrl.theory.figures import FIGURES
from fdrl.theory.problem import Theory, parse
from fdrl.theory.write import to_json, write


@pytest.fixture(scope="module")
def results() -> Results:
    return tiny_results()


def test_the_problem_is_what_the_settings_say() -> None:
    p = problem.make_problem(msgspec.structs.replace(TINY, teacher_error=0.5))
    np.testing.assert_allclose(np.linalg.norm(p.inputs, axis=1), 1)
    assert np.mean(p.target**2) == pytest.approx(1)
    assert np.mean((p.teacher - p.target) ** 2) == pytest.approx(0.25)
    assert p.eta == pytest.approx(cd_largest_step(p.kernel, 1.0, 3) / 4)
    assert p.steps == 25


def test_unset_steps_leave_a_thousandth_of_the_slowest_error() -> None:
    p = problem.make_problem(msgspec.structs.replace(TINY, steps=None))
    assert 0.9e-3 < p.slowest_left <= 1e-3


def test_an_unstable_learning_rate_is_refused_with_its_limit() -> None:
    limit = cd_largest_step(problem.make_problem(TINY).kernel, 1.0, 3)
    for lr in (limit, 2 * limit):
        with fails(FdrlError, f"{limit:.4g}", "lr"):
            problem.make_problem(msgspec.structs.replace(TINY, lr=lr))
    assert problem.make_problem(msgspec.structs.replace(TINY, lr=0.99 * limit)).eta < limit


def test_each_number_of_owners_occurs_once() -> None:
    q = problem.make_label_problem(TINY)
    owners = [len(np.unique(q.worker[q.label == c])) for c in range(3)]
    assert owners == [1, 2, 3]
    assert problem.make_label_problem(msgspec.structs.replace(TINY, workers=40)).workers == 6


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ({"widths": [0, 8]}, r"1, got 0 \(at widths\[0\]\)"),
        ({"widths": [8]}, "two widths"),
        ({"widths": [8, 8]}, "width"),
        ({"weight": -0.5}, r"-0.5 \(at weight\)"),
        ({"weight": float("inf")}, "got inf"),
        ({"workers": 1}, "2 workers.*1"),
        ({"lr": 0.0}, r"got 0.0 \(at lr\)"),
        ({"samples": 500, "workers": 3}, "samples.*workers.*1,000"),
        ({"wieght": 1.0}, "'wieght'.*'weight'"),
    ],
)
def test_bad_settings(tables: dict[str, Any], message: str) -> None:
    with pytest.raises(FdrlError, match=message):
        parse(tables)


def test_widths_are_sorted() -> None:
    assert parse({"widths": [64, 8]}).widths == (8, 64)


def test_the_closed_forms_solve_their_equations(results: Results) -> None:
    forms = [d.form for d in results.differences]
    assert len(forms) == len(set(forms)) == 7
    assert max(d.value for d in results.differences) < 1e-6
    assert statements.ode_statement(results).held


def test_a_period_longer_than_the_run() -> None:
    s = msgspec.structs.replace(TINY, period=10**6, widths=(8, 9), seeds=1)
    assert max(d.value for d in experiment.run(s).differences) < 1e-6


def test_the_numbers_hang_together(results: Results) -> None:
    r = results
    assert r.error.shape == r.theory.shape == (3, 2, 2, 26)
    np.testing.assert_allclose(r.error[..., 0], r.theory[..., 0], atol=1e-6)
    # CD and periodic CD start from the same networks, KD from the first of them
    np.testing.assert_array_equal(r.error[1, ..., 0], r.error[2, ..., 0])
    for energy, error in zip(r.energy, (r.error[1], r.theory[1]), strict=False):
        np.testing.assert_allclose(energy.sum(0), error**2, rtol=1e-9)
    assert (r.gaps > 0).all()
    assert (r.kernel_errors > 0).all()
    assert r.weights.tolist() == [0, 0.25, 0.5, 1, 2, 4]
    assert r.limit_width == 64


def test_fd_keeps_its_targets_unless_missing_labels_are_zeros(results: Results) -> None:
    assert results.label_bias["renormalize"].max() < 1e-12
    at_one = results.label_bias["zero"][results.weights.tolist().index(1.0)]
    np.testing.assert_allclose(at_one, [1 / 2, 1 / 3, 0], atol=1e-12)


def test_work_is_what_is_advanced() -> None:
    done: list[float] = []
    experiment.run(TINY, done.append)
    assert sum(done) == experiment.work(TINY, problem.make_problem(TINY))


def test_floor_statement(results: Results) -> None:
    end = np.zeros_like(results.error)
    end[0] = statements.floor(results)
    good = dataclasses.replace(results, error=end, theory=end)
    assert statements.floor(results) == pytest.approx(0.5)
    assert statements.floor_statement(good).held is True
    short = statements.floor_statement(results)
    assert short.held is False
    says(short.numbers, "--steps")
    for change in ({"weight": 0.0}, {"teacher_error": 0.0}):
        s = msgspec.structs.replace(TINY, **change)
        nothing = dataclasses.replace(results, settings=s, problem=problem.make_problem(s))
        assert statements.floor_statement(nothing).held is None


def test_slope_statement(results: Results) -> None:
    exact = np.array([1.0, 0.5])[None, :, None] * np.ones((3, 1, 2))  # width x 4: half
    said = statements.slope_statement(dataclasses.replace(results, gaps=exact))
    assert said.held is True
    assert said.numbers.startswith("KD -0.500 (-0.500 .. -0.500)")
    flat = dataclasses.replace(results, gaps=np.ones((3, 2, 2)))
    assert statements.slope_statement(flat).held is False


def test_networks_that_blow_up_are_a_finding(results: Results) -> None:
    gaps, error = results.gaps.copy(), results.error.copy()
    gaps[1, 0, 0], error[1, 0, 0, 5:] = np.inf, np.inf
    wild = dataclasses.replace(results, gaps=gaps, own_gaps=gaps, error=error)
    said = statements.slope_statement(wild)
    assert said.held is False
    says(said.numbers, "width 16", "--lr")
    content = msgspec.json.decode(to_json(wild))
    assert content["slopes"]["cd"]["slope"] is None
    for draw in FIGURES.values():
        draw(wild).draw_without_rendering()


@pytest.fixture(scope="module")
def written(results: Results, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("theory") / "new" / "folder"
    names = write(results, folder)
    assert {p.name for p in folder.iterdir()} == set(names)
    return folder


def test_files(results: Results, written: Path) -> None:
    found = {p.name for p in written.iterdir()}
    assert {"error.png", "limit.svg", "energy.png", "gap.svg", "results.json"} <= found
    content = msgspec.json.decode((written / "results.json").read_bytes())
    assert content["settings"]["widths"] == [16, 64]
    assert [s["held"] for s in content["statements"]][2] is True
    text = (written / "gap.csv").read_text()
    rows = [*csv.DictReader(io.StringIO(text))]
    assert len(rows) == (3 + 2) * 2 * 2  # three methods, and FD in two ways
    assert float(rows[0]["gap"]) == results.gaps[0, 0, 0]
    svg = (written / "error.svg").read_text()
    assert "gradient steps" in svg
    assert "RMS" in svg


def test_the_same_settings_give_the_same_files(written: Path, tmp_path: Path) -> None:
    write(experiment.run(TINY), tmp_path)
    for path in written.iterdir():
        assert path.read_bytes() == (tmp_path / path.name).read_bytes(), path.name


@pytest.mark.slow
def test_the_statements_hold_in_a_small_experiment() -> None:
    s = msgspec.structs.replace(Theory(), widths=(64, 256, 1024), seeds=5)
    for said in statements.statements(experiment.run(s)):
        assert said.held, said
