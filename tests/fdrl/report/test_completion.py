"""What the report says of goals and of budgets of episodes; censored runs are never averaged."""

from __future__ import annotations

import csv
import io
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from messages import says
from run_folders import write_run

from fdrl.report import completion, figures, series, theme
from fdrl.report.collect import find, read
from fdrl.report.groups import Setting, group
from fdrl.report.write import write

GOAL = {"mean": 490.0, "window": 10}
MIXED: dict[str, list[int | None]] = {
    "frd": [400, 800, 1200, 1600, 1000, 600, 1400],
    "mixfrd": [900, 950, 1000, 1050, 1100, 980, 1020],
    "local": [1700, None, None, None, 1900, 1800, None],
}


def write_goal(
    folder: Path,
    times: dict[str, list[int | None]],
    goal: dict[str, Any] | None = None,
    **fields: Any,
) -> Path:
    for strategy, ends in times.items():
        for seed, end in enumerate(ends):
            told = {
                "completed": 1 if end is None else 2,
                "first_steps": 100 + seed,
                "first_episodes": 10 + seed,
                "all_steps": end,
                "all_episodes": None if end is None else end // 10,
            }
            place = folder / f"{strategy}-{seed}"
            write_run(place, strategy, seed, 480.0 + seed, goal=goal or GOAL, told=told, **fields)
    return folder


def only(folder: Path) -> Setting:
    (setting,) = group([read(f) for f in find([folder])]).settings
    return setting


@pytest.fixture
def setting(tmp_path: Path) -> Setting:
    return only(write_goal(tmp_path / "runs", MIXED))


def test_medians_and_counts_by_hand(setting: Setting) -> None:
    found = {(c.method, c.who): c for c in completion.completions(setting)}
    frd = found["frd", "all"]
    assert (frd.steps.reached.k, frd.steps.reached.n) == (7, 7)
    assert frd.steps.median.value == 1000
    assert (frd.steps.reached.low, frd.steps.reached.high) == (700, 1300)
    assert frd.steps.spread.value == pytest.approx(np.std(MIXED["frd"], ddof=1))  # type: ignore[arg-type]
    assert frd.episodes.median.value == 100
    assert found["frd", "first"].steps.median.value == 103


def test_censored_runs_leave_no_median_and_no_deviation(setting: Setting) -> None:
    local = {c.who: c for c in completion.completions(setting) if c.method == "local"}
    assert (local["all"].steps.reached.k, local["all"].steps.reached.n) == (3, 7)
    assert math.isnan(local["all"].steps.median.value)
    assert math.isnan(local["all"].steps.spread.value)
    assert local["first"].steps.reached.k == 7


def test_mixfrd_is_compared_with_frd_whatever_the_reference(setting: Setting) -> None:
    found = {(c.method, c.other): c for c in completion.comparisons(setting, "local")}
    assert ("mixfrd", "frd") in found
    assert found["frd", "local"].earlier.value == 1.0  # all before, or the other never
    lower = found["mixfrd", "frd"]
    assert lower.spread.kind == "variance"
    ratio = np.var(MIXED["mixfrd"], ddof=1) / np.var(MIXED["frd"], ddof=1)  # type: ignore[arg-type]
    assert lower.spread.ratio.value == pytest.approx(ratio)
    assert lower.lower_spread is True
    (sentence,) = completion.sentences(setting)
    assert sentence.startswith("mixfrd lowers the variance of the time to completion against frd")


def test_a_spread_that_is_not_shown_to_differ_is_not_claimed(tmp_path: Path) -> None:
    same = {"frd": MIXED["frd"], "mixfrd": [v + 5 for v in MIXED["frd"] if v is not None]}
    (sentence,) = completion.sentences(only(write_goal(tmp_path / "a", same)))
    says(sentence, "mixfrd", "not shown", "variance")
    few = {"frd": MIXED["local"], "mixfrd": MIXED["local"]}
    (sentence,) = completion.sentences(only(write_goal(tmp_path / "b", few)))
    says(sentence, "too few")


def test_the_curve_of_completion_counts_runs(setting: Setting) -> None:
    curves = {c.method: c for c in series.completed(setting)}
    local = curves["local"].band.value
    assert local[-1] == pytest.approx(3 / 7)
    assert curves["frd"].band.value[curves["frd"].x >= 1000][0] == pytest.approx(4 / 7)
    assert (np.diff(local) >= 0).all()


def test_the_curve_of_completion_ends_with_the_longest_run(tmp_path: Path) -> None:
    """A budget of episodes alone has a limit of steps that no run comes near."""
    place = write_goal(tmp_path / "a", MIXED, episodes=200)
    for path in place.glob("*/config.toml"):
        path.write_text(path.read_text().replace("steps = 2000", "steps = 1_000_000"))
    setting = only(place)
    curves = series.completed(setting)
    assert {c.x[-1] for c in curves} == {2000.0}
    picture = figures.completion_figure(setting, theme.styles([c.method for c in curves]))
    assert picture is not None
    assert picture.axes[0].get_xlim()[1] == pytest.approx(1.03 * 2000)


def test_runs_with_a_budget_of_episodes_are_compared_in_episodes(tmp_path: Path) -> None:
    """Both frd runs complete after fewer steps, both mixfrd runs after fewer episodes."""
    for strategy, steps, ended in (("frd", 500, 90), ("mixfrd", 900, 60)):
        for seed in range(2):
            told = {"completed": 2, "first_steps": 1, "first_episodes": 1}
            told |= {"all_steps": steps + seed, "all_episodes": ended + 3 * seed}
            for name, budget in (("steps", {}), ("episodes", {"episodes": 100})):
                place = tmp_path / name / f"{strategy}-{seed}"
                write_run(place, strategy, seed, goal=GOAL, told=told, **budget)
    (by_steps,) = completion.mixed(only(tmp_path / "steps"))
    (by_episodes,) = completion.mixed(only(tmp_path / "episodes"))
    assert (by_steps.unit, by_steps.earlier.value) == ("steps", 0.0)
    assert (by_episodes.unit, by_episodes.earlier.value) == ("episodes", 1.0)
    assert by_episodes.spread.ratio.value == pytest.approx(1.0)
    table = completion.comparison_table([by_episodes], theme.styles(["frd", "mixfrd"]))
    says(table, "fewer episodes")
    assert b",episodes,1" in completion.comparison_csv(
        [(only(tmp_path / "episodes"), [by_episodes])]
    )


def test_the_page_and_its_files_say_it(tmp_path: Path) -> None:
    places = [write_goal(tmp_path / "runs", MIXED)]
    page, _ = write(places, tmp_path / "report")
    text = page.read_text()
    for words in (
        "Time to completion: all agents", "Time to completion: first agent", "3 of 7",
        "Who completes earlier", "mixfrd lowers the variance",
        "until a mean of 490 over 10 episodes, 2,000 steps at most",
    ):  # fmt: skip
        assert words in text
    assert "because rounds are taken whole" not in text
    rows = list(csv.DictReader(io.StringIO((page.parent / "data/completion.csv").read_text())))
    local = next(
        r for r in rows if (r["method"], r["who"], r["unit"]) == ("local", "all agents", "steps")
    )
    assert (local["completed"], local["of"], local["median"], local["std"]) == ("3", "7", "", "")
    assert list((page.parent / "figures").glob("*/completion.svg"))
    runs = list(csv.DictReader(io.StringIO((page.parent / "data/runs.csv").read_text())))
    assert {r["all_steps"] for r in runs if r["method"] == "local"} == {"1700", "1800", "1900", ""}


def test_runs_without_a_goal_have_none_of_it(tmp_path: Path) -> None:
    for seed in range(2):
        write_run(tmp_path / "runs" / str(seed), "fd", seed)
    page, _ = write([tmp_path / "runs"], tmp_path / "report")
    assert "completion" not in page.read_text().lower()
    assert not completion.completions(only(tmp_path / "runs"))


def test_one_run_is_shown_without_an_interval(tmp_path: Path) -> None:
    page, _ = write([write_goal(tmp_path / "runs", {"frd": [500]})], tmp_path / "report")
    assert "1 of 1" in page.read_text()


def test_goal_episodes_and_channel_go_into_one_report(tmp_path: Path) -> None:
    goal = {"mean": 490.0, "window": 10, "stop": False}
    for strategy, ends in {"fd": [900, 1000, 1100], "local": [1500, None, 1700]}.items():
        for seed, end in enumerate(ends):
            told = {"completed": 1 if end is None else 2, "first_steps": 100, "first_episodes": 5}
            told |= {"all_steps": end, "all_episodes": end and end // 100}
            told |= {
                "episode_auc": 200.0,
                "last_mean": 250.0,
                "last_worst": 1.0,
                "last_spread": 2.0,
            }
            write_run(
                tmp_path / "runs" / f"{strategy}-{seed}", strategy, seed, told=told, seconds=0.5,
                goal=goal, episodes=20, channel={"type": "fading", "deadline_slots": 7},
            )  # fmt: skip
    setting = only(tmp_path / "runs")
    assert "fading channel (deadline_slots=7)" in setting.title
    says(setting.title, "20 episodes", "490", "10 episodes")
    found = {(c.method, c.who): c for c in completion.completions(setting)}
    assert found["fd", "all"].episodes.median.value == 10
    assert (found["local", "all"].steps.reached.k, found["local", "all"].steps.reached.n) == (2, 3)
    page, _ = write([tmp_path / "runs"], tmp_path / "report")
    text = page.read_text()
    for words in (
        "Time to completion: all agents", "2 of 3", "Training episodes", "uploads lost",
        "Learning curves against simulated seconds",
    ):  # fmt: skip
        assert words in text
    names = {p.name for p in (page.parent / "data").iterdir()}
    assert {"completion.csv", "episodes.csv", "verdict.csv"} <= names


def test_budgets_of_episodes_are_drawn_and_measured_in_episodes(tmp_path: Path) -> None:
    for strategy, level in (("fd", 300.0), ("local", 200.0)):
        for seed in range(3):
            told = {"episode_auc": level + seed, "last_mean": level + 50}
            told |= {"last_worst": level - 50, "last_spread": 20.0}
            place = tmp_path / "runs" / f"{strategy}-{seed}"
            write_run(place, strategy, seed, told=told, episodes=20)
    setting = only(tmp_path / "runs")
    assert series.steps_axis(setting) == ("episodes", 20.0)
    assert "20 episodes" in setting.title
    assert series.against_steps(setting)[0].x[-1] == 20
    fd, local = completion.returns(setting)
    assert (fd.values[0].value, local.values[2].value) == (301.0, 150.0)
    page, _ = write([tmp_path / "runs"], tmp_path / "report")
    text = page.read_text()
    assert "Training episodes" in text
    assert "episodes per agent" in text
    assert "301" in (page.parent / "data/episodes.csv").read_text()
