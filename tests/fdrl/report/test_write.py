"""What runs a report finds, how it groups them, and what it computes and concludes."""

from __future__ import annotations

import math
import os
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from messages import fails, says
from run_folders import GOOD, write_many, write_run

from fdrl.cli import main
from fdrl.core.errors import FdrlError
from fdrl.report import collect, figures, groups, results, series, theme
from fdrl.report import text as text_report
from fdrl.report.groups import Groups, Setting
from fdrl.report.text import caveats, mixed_budgets, notes, sentences
from fdrl.report.write import write
from fdrl.stats import Interval


def grouped(*places: Path) -> Groups:
    return groups.group([collect.read(p) for p in collect.find(places)])


def only(found: Groups) -> Setting:
    (setting,) = found.settings
    return setting


# Finding and reading


def test_runs_are_found_at_any_depth_and_once(tmp_path: Path) -> None:
    one = write_run(tmp_path / "a" / "b" / "one")
    two = write_run(tmp_path / "two", seed=1)
    write_run(tmp_path / ".hidden" / "three")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "config.toml").write_text("not = 'ours'\n")
    assert collect.find([tmp_path, one]) == [one, two]


def test_a_log_that_is_a_pipe_is_a_reason_and_never_waited_for(tmp_path: Path) -> None:
    for name in ("metrics.jsonl", "summary.json"):
        folder = write_run(tmp_path / name.partition(".")[0])
        (folder / name).unlink()
        os.mkfifo(folder / name)
        (folder.with_name(f"{folder.name}.failed.json")).symlink_to("/dev/zero")
        assert not collect.read(folder).whole
    os.mkfifo(tmp_path / "bench.json")
    assert collect.manifests([tmp_path]) == []


def test_tuning_runs_are_left_out_told_and_found_by_their_own_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A marked folder, and one that its name and its points tell; a plain one may have any name."""
    runs = tmp_path / "runs"
    plain = [write_run(runs / "tuning" / "one"), write_run(runs / "my-tuning" / "two", seed=1)]
    marked = write_run(runs / "moved" / "same" / "fd" / "point-00" / "seed-100", seed=100)
    (runs / "moved" / "tuning.json").write_text("{}")
    older = write_run(runs / "mini-tuning" / "same" / "fd" / "point-00" / "seed-100", seed=100)
    write_run(runs / "x-tuning" / "same" / "fd" / "seed-000", seed=2)
    (runs / "x-tuning" / ".bench.lock").write_text("")
    (runs / "x-tuning" / "bench.json").write_text("{}")
    seeds = [collect.read(p).run.seed for p in collect.find([runs])]  # type: ignore[union-attr]
    assert sorted(seeds) == [0, 1, 2]
    assert collect.find([runs / "tuning"]) == plain[:1]
    assert collect.find([runs / "moved", older.parent]) == [older, marked]
    assert main(["report", str(runs), "--out", str(tmp_path / "page")]) == 0
    said = "2 tuning runs left out: settings were chosen on them."
    assert said in capsys.readouterr().out
    assert said in (tmp_path / "page" / "report.html").read_text()
    main(["report", str(runs), str(runs / "moved"), "--out", str(tmp_path / "page")])
    says(capsys.readouterr().out, "1 tuning run")
    (tmp_path / "alone").mkdir()
    (runs / "mini-tuning").rename(tmp_path / "alone" / "mini-tuning")
    with fails(FdrlError, "mini-tuning", "tuning runs"):
        collect.find([tmp_path / "alone"])


@pytest.mark.parametrize(
    ("name", "text"),
    [("nowhere", "no such folder"), ("file", "not a folder"), ("empty", "holds no run")],
)
def test_places_without_runs_are_named(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FdrlError, match=f"{name}.*{text}"):
        collect.find([tmp_path / name])


def test_a_trace_is_the_mean_over_agents_that_ended_an_episode(tmp_path: Path) -> None:
    trace = collect.read_trace(write_run(tmp_path / "a", final=400, sent=50))
    assert trace is not None
    assert trace.steps[[0, -1]].tolist() == [100, 2000]
    assert trace.bytes[[0, -1]].tolist() == [100, 2000]
    # twenty rounds: the window is one round
    assert trace.returns[[0, -1]].tolist() == [20, 400]


def test_what_is_wrong_with_a_folder_becomes_its_problem(tmp_path: Path) -> None:
    stopped = collect.read(write_run(tmp_path / "a", finished=False, rounds=3))
    assert not stopped.finished
    assert "300 of 2,000 steps" in stopped.problem
    failed = write_run(tmp_path / "seed-000", finished=False, rounds=0)
    (tmp_path / "seed-000.failed.json").write_text('{"reason": "the sky fell"}')
    says(collect.read(failed).problem, "the sky fell", "0 of 2,000 steps")
    config = write_run(tmp_path / "b")
    (config / "config.toml").write_text('env = "CartPole-v1"\nagnts = 3\n')
    says(collect.read(config).problem, "'agnts'", nearest="agents")
    summary = write_run(tmp_path / "c")
    (summary / "summary.json").write_text("{")
    says(collect.read(summary).problem, "summary.json")
    metrics = write_run(tmp_path / "d")
    (metrics / "metrics.jsonl").write_text("nonsense\n")
    entry = collect.read(metrics)
    assert "line 1" in entry.problem
    assert entry.finished
    broken = write_run(tmp_path / "e", final=math.nan)
    says(collect.read(broken).problem, "number")


def test_a_line_cut_off_by_a_crash_is_left_out(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "a", finished=False)
    path = folder / "metrics.jsonl"
    path.write_text(path.read_text()[:-9])
    trace = collect.read_trace(folder)
    assert trace is not None
    assert len(trace.steps) == 19


# Grouping and naming


def test_budgets_networks_heterogeneity_and_environments_are_never_mixed(tmp_path: Path) -> None:
    write_run(tmp_path / "a")
    write_run(tmp_path / "b", steps=4000)
    write_run(tmp_path / "c", hetero="dynamics")
    write_run(tmp_path / "d", agent={"type": "ppo", "hidden": (8,)})
    write_run(tmp_path / "e", env="Acrobot-v1")
    write_run(tmp_path / "f", networks="arch")
    write_run(tmp_path / "g", evaluation={"episodes": 3})
    titles = [s.title for s in grouped(tmp_path).settings]
    same = "CartPole-v1 · identical · 2 agents · ppo 64-64 · 2,000 steps"
    assert sorted(titles) == sorted(
        [
            f"{same} (evaluation.episodes=20)",
            f"{same} (evaluation.episodes=3)",
            "CartPole-v1 · identical · 2 agents · ppo 64-64 · 4,000 steps",
            "CartPole-v1 · dynamics 0.8 · 2 agents · ppo 64-64 · 2,000 steps",
            "CartPole-v1 · identical · 2 agents · ppo 8 · 2,000 steps",
            "CartPole-v1 · identical · 2 agents · ten architectures · 2,000 steps",
            "Acrobot-v1 · identical · 2 agents · ppo 64-64 · 2,000 steps",
        ]
    )


def test_channels_say_what_is_not_the_default(tmp_path: Path) -> None:
    channels = [
        {"type": "fading"},
        {"type": "fading", "deadline_slots": 5, "threshold": 15.0},
        {"type": "fading", "symmetric": True, "distances": [500.0, 2000.0]},
    ]
    for i, channel in enumerate(channels):
        write_run(tmp_path / str(i), channel=channel)
    words = sorted(s.title.split(" · ")[2] for s in grouped(tmp_path).settings)
    assert words == [
        "fading channel",
        "fading channel (threshold=15, deadline_slots=5)",
        "symmetric fading channel (distances=[500 2000])",
    ]


def test_unfinished_runs_say_how_far_they_are_in_their_own_budget(tmp_path: Path) -> None:
    """Ten rounds of a hundred steps and one episode each."""
    write_run(tmp_path / "a", rounds=10, finished=False)
    write_run(tmp_path / "b", rounds=10, finished=False, episodes=40)
    says(collect.read(tmp_path / "a").problem, "1,000 of 2,000 steps")
    says(collect.read(tmp_path / "b").problem, "10 of 40 episodes")


def test_methods_are_told_apart_by_the_settings_that_differ(tmp_path: Path) -> None:
    for seed in (1, 0):
        write_run(tmp_path / f"a{seed}", "fd", seed)
        write_run(tmp_path / f"b{seed}", {"type": "fd", "beta": 4.0}, seed)
        write_run(tmp_path / f"c{seed}", {"type": "fd", "visit_power": 0.0}, seed)
        write_run(tmp_path / f"d{seed}", "fedavg", seed, agent={"learning_rate": 0.005})
    setting = only(grouped(tmp_path))
    labels = [m.label for m in setting.methods]
    assert labels == ["fd", "fd beta=4", "fd visit_power=0", "fedavg"]
    assert all(m.seeds == [0, 1] for m in setting.methods)
    notes = " ".join(caveats(grouped(tmp_path)))
    assert "learning_rate" in notes
    assert "fedavg: 0.005" in notes


def test_local_fields_do_not_split_a_method(tmp_path: Path) -> None:
    write_run(tmp_path / "a", seed=0, threads=1)
    write_run(tmp_path / "b", seed=1, threads=2)
    assert only(grouped(tmp_path)).methods[0].seeds == [0, 1]


def test_the_same_run_counts_once_and_the_finished_folder_wins(tmp_path: Path) -> None:
    write_run(tmp_path / "a", finished=False)
    write_run(tmp_path / "b", final=123)
    found = grouped(tmp_path)
    assert only(found).methods[0].values("return_mean").tolist() == [123]
    assert found.duplicates == ((str(tmp_path / "a"), str(tmp_path / "b")),)


def test_duplicates_with_other_results_are_told_apart_from_copies(tmp_path: Path) -> None:
    """`a` is kept; `b` is a copy of it made slower, `c` is not, `d` never ended."""
    write_run(tmp_path / "a", final=400)
    write_run(tmp_path / "b", final=400, told={"wall_seconds": 9.0, "versions": {"fdrl": "0"}})
    write_run(tmp_path / "c", final=123)
    write_run(tmp_path / "d", finished=False)
    a, c = tmp_path / "a", tmp_path / "c"
    path, found = write([tmp_path], tmp_path / "page")
    assert [Path(left).name for left, _ in found.duplicates] == ["b", "c", "d"]
    assert found.differing == ((str(c), "return_mean 123.0 against 400.0"),)
    told = (
        f"{c} and {a} have the same config and seed, but other results (return_mean 123.0 against"
    )
    assert notes(found) == [f"{told} 400.0): {a} was kept."]
    text = path.read_text()
    assert notes(found)[0] in text
    same = f"same config and seed as {a}"
    assert text.count(same) == 3
    assert text.count(f"{same}, but other results (return_mean 123.0 against 400.0): that one") == 1


def test_a_suites_names_go_before_ours(tmp_path: Path) -> None:
    write_run(tmp_path / "cart" / "ours" / "seed-000", "fd")
    write_run(tmp_path / "cart" / "rival" / "seed-000", "fedavg")
    cell = '{"setting": "cart", "method": "lost", "folder": "cart/lost/seed-000", '
    (tmp_path / "bench.json").write_text(
        '{"suite": "mine", "about": "who wins?", "cells": ['
        + cell + '"state": "failed", "reason": "no memory"}], '
        '"settings": [{"name": "cart", "label": "poles & carts"}, {"name": "gone", "label": "x"}], '
        '"methods": [{"name": "ours", "label": "with a teacher"}, {"name": "rival"}], '
        '"not_applicable": [{"setting": "cart", "method": "avg", "reason": "shapes differ"}]}'
    )  # fmt: skip
    setting = only(grouped(tmp_path))
    assert setting.title.startswith("cart: CartPole-v1 · identical")
    assert [m.label for m in setting.methods] == ["ours", "rival"]
    text = write([tmp_path], tmp_path / "page")[0].read_text()
    for words in ("who wins?", "failed: no memory", "avg in cart: shapes differ"):
        assert words in text
    for title, words in (("Settings", "<dt>cart</dt><dd>poles &amp; carts</dd>"),
                         ("Methods", "<dt>ours</dt><dd>with a teacher</dd>")):  # fmt: skip
        assert f"<h3>{title} of suite mine</h3><dl>{words}</dl>" in text


def test_the_note_below_paired_differences_says_what_p_must_not_exceed(tmp_path: Path) -> None:
    """One rival: 5%; two: half of it each."""
    finals = {"fd": [470.0, 480.0], "local": [400.0, 410.0]}
    write_many(tmp_path / "two", finals)
    agrees = "a sign-flip test agrees (p at most"
    assert f"{agrees} 0.05)." in write([tmp_path], tmp_path / "page")[0].read_text()
    write_many(tmp_path / "three", {"self": [450.0, 440.0]})
    text = write([tmp_path], tmp_path / "page")[0].read_text()
    says(text, 0.025, "5%", "2 comparisons")


def test_a_suites_settings_stay_apart_whatever_they_differ_in(tmp_path: Path) -> None:
    (tmp_path / "bench.json").write_text("{}")
    for bins in (10, 30):
        proxy = {"type": "grid", "bins": bins}
        write_run(tmp_path / f"bins-{bins}" / "frd" / "seed-000", "frd", proxy=proxy)
    found = grouped(tmp_path)
    assert [s.title.partition(":")[0] for s in found.settings] == ["bins-10", "bins-30"]
    assert [m.label for s in found.settings for m in s.methods] == ["frd", "frd"]
    assert not mixed_budgets(found.settings)


# Numbers


def test_areas_of_runs_of_different_lengths_are_not_compared(tmp_path: Path) -> None:
    """A goal ends the better runs early, at low returns: their area is no sign of slowness."""
    finals = {"fd": [470.0 + i for i in range(6)], "local": [400.0 + i for i in range(6)]}
    for more in ({"goal": {"mean": 490.0, "window": 10}}, {"episodes": 50}, {}):
        folder = tmp_path / (next(iter(more), "") or "steps")
        write_many(folder, finals, **more)
        setting = only(grouped(folder))
        assert setting.even == (not more)
        rows, found = results.verdict(setting), results.differences(setting)
        assert all(math.isnan(r.area.value) == bool(more) for r in rows)
        assert {d.metric for d in found} - {"auc"} == {"return_mean", "return_worst"}
        assert ("auc" in {d.metric for d in found}) == (not more)
        text = write([folder], folder / "page")[0].read_text()
        assert ("area" in text) == (not more)


def test_rows_by_hand(tmp_path: Path) -> None:
    write_many(tmp_path, {"fd": [470, 480, 490, 500]}, sent=7)
    (row,) = results.verdict(only(grouped(tmp_path)))
    assert (row.seeds, row.started, row.solved) == (4, 4, (3, 4))
    # one cut at each end
    assert row.final.value == 485
    assert row.worst.value == 475
    assert row.area.value == 242.5
    assert row.sent == 2 * 20 * 7


def test_a_method_is_best_only_where_intervals_allow(tmp_path: Path) -> None:
    low = [v - 100 for v in GOOD]
    near = [v + d for v, d in zip(GOOD, (-9, 8, -7, 6, -5, 9, -3, 4), strict=True)]
    one = only(grouped(write_many(tmp_path / "a", {"fd": GOOD, "local": low})))
    fd, local = results.verdict(one)
    assert fd.alone == fd.best == {"return_mean", "return_worst", "auc"}
    assert not local.best
    two = only(grouped(write_many(tmp_path / "b", {"fd": GOOD, "fedavg": near, "local": low})))
    rows = results.verdict(two)
    assert ["return_mean" in r.best for r in rows] == [True, True, False]
    assert not any(r.alone for r in rows)
    three = only(grouped(write_many(tmp_path / "c", {"fd": GOOD, "fedavg": near})))
    assert not any(r.best for r in results.verdict(three))


def test_five_agreeing_seeds_are_not_enough(tmp_path: Path) -> None:
    finals = {"fd": GOOD[:5], "local": [v - 100 for v in GOOD[:5]]}
    setting = only(grouped(write_many(tmp_path, finals)))
    assert not any(r.best for r in results.verdict(setting))
    found = results.differences(setting)[0]
    assert found.interval.excludes()
    assert not found.shown


@pytest.mark.parametrize(("rivals", "seeds"), [(1, 6), (2, 7), (3, 7), (4, 8), (11, 9)])
def test_more_methods_need_more_seeds(rivals: int, seeds: int) -> None:
    assert results.needed(rivals) == seeds
    assert 2 * 0.5**seeds <= 0.05 / rivals < 2 * 0.5 ** (seeds - 1)


def test_differences_allow_for_the_number_of_methods(tmp_path: Path) -> None:
    """Six agreeing seeds, p = 1/32, show a difference of two methods, but not among three."""
    low = {"local": [v - 100 for v in GOOD[:6]]}
    two = only(grouped(write_many(tmp_path / "a", {"fd": GOOD[:6]} | low)))
    assert all(d.shown for d in results.differences(two))
    more = {"self": [v - 200 for v in GOOD[:6]]}
    three = only(grouped(write_many(tmp_path / "b", {"fd": GOOD[:6]} | low | more)))
    found = results.differences(three)
    assert [d.p for d in found] == [1 / 32] * 6
    assert not any(d.shown for d in found)
    text = sentences(three, results.verdict(three), found)
    says(text[0], "final return", "no method", "3 methods", "7 seeds")


def test_a_leader_is_not_said_to_beat_who_took_no_part(tmp_path: Path) -> None:
    few = {"fd": GOOD, "fedavg": [v - 100 for v in GOOD], "local": GOOD[:5]}
    setting = only(grouped(write_many(tmp_path, few)))
    rows = results.verdict(setting)
    assert [r.method for r in rows if "return_mean" in r.best] == ["fd"]
    assert not any(r.alone for r in rows)
    text = sentences(setting, rows, [])
    says(text[0], "final return", "fd", "better than fedavg", "local", "6 seeds")


def test_a_difference_is_shown_only_if_the_test_agrees() -> None:
    shown = results.Difference("auc", "a", "b", 6, Interval(2.0, 1.0, 3.0), p=0.05)
    assert shown.shown
    assert not replace(shown, p=0.06).shown
    assert not replace(shown, p=0.05, level=0.025).shown
    assert not replace(shown, interval=Interval(2.0, -1.0, 3.0)).shown
    assert not replace(shown, seeds=5).shown


def test_differences_are_paired_by_seed(tmp_path: Path) -> None:
    for seed, final in ((3, 100), (1, 200), (2, 300)):
        write_run(tmp_path / f"fd{seed}", "fd", seed, final + 7)
    for seed, final in ((1, 200), (2, 300), (3, 100), (9, 500)):
        write_run(tmp_path / f"local{seed}", "local", seed, final)
    found = results.differences(only(grouped(tmp_path)))
    assert [d.metric for d in found] == ["return_mean", "return_worst", "auc"]
    assert found[0].interval == (7, 7, 7)
    assert (found[0].method, found[0].other, found[0].seeds) == ("fd", "local", 3)


def test_without_common_seeds_there_is_no_difference(tmp_path: Path) -> None:
    write_run(tmp_path / "a", "fd", 0)
    write_run(tmp_path / "b", "local", 1)
    found = results.differences(only(grouped(tmp_path)))[0]
    assert found.seeds == 0
    assert math.isnan(found.interval.value)
    assert not found.shown


def test_speed_counts_who_reached_the_threshold(tmp_path: Path) -> None:
    setting = only(grouped(write_many(tmp_path, {"fd": [500, 500, 400], "local": [1, 1, 500]})))
    fd, local = results.speeds(setting)
    # 475 of 500 is reached in round 19 of 20, after 1,900 steps and 38,000 bytes
    assert fd.steps[:3] == (2, 3, 1900)
    assert fd.bytes[:3] == (2, 3, 38_000)
    assert local.steps[:2] == (1, 3)
    assert math.isnan(local.steps.median)


@pytest.mark.parametrize("harm", ["cut", "garbage", "empty"])
def test_a_run_without_its_whole_log_is_told_and_not_timed(tmp_path: Path, harm: str) -> None:
    """Of three that reached 475 in round 19, one's log ends after 18 rounds, or is unreadable."""
    write_many(tmp_path, {"fd": [500, 500, 500]})
    log = tmp_path / "fd-1" / "metrics.jsonl"
    lines = log.read_text().splitlines(keepends=True)
    told = {"cut": lines[:18], "garbage": [*lines[:5], "x\n", *lines[6:]], "empty": []}[harm]
    log.write_text("".join(told))
    entry = collect.read(tmp_path / "fd-1")
    why = {"cut": "its metrics.jsonl has 18 of 20 rounds", "garbage": "line 6: not a round record",
           "empty": "its metrics.jsonl has 0 of 20 rounds"}[harm]  # fmt: skip
    assert why in entry.problem
    assert entry.finished
    (fd,) = results.speeds(only(grouped(tmp_path)))
    assert fd.steps[:3] == (2, 2, 1900)
    path, found = write([tmp_path], tmp_path / "page")
    assert found.finished == 3
    text = path.read_text()
    assert why in text
    says(text, "1 run", "metrics.jsonl")
    assert notes(found)[0].startswith(
        "Left out of learning curves and times until a threshold: 1 f"
    )
    (curve,) = series.against_steps(only(found))
    assert curve.seeds == 2
    assert np.isfinite(curve.band.value[-1])
    assert notes(found)[0] in text


def test_curves_are_averaged_over_seeds_on_one_axis(tmp_path: Path) -> None:
    setting = only(grouped(write_many(tmp_path, {"fd": [100, 300], "local": [100, 100]})))
    fd, local = series.against_steps(setting)
    assert fd.x[-1] == 2000
    assert (fd.band.low[-1], fd.band.value[-1], fd.band.high[-1]) == (100, 200, 300)
    assert (local.band.low[-1], local.band.high[-1]) == (100, 100)
    # before the first round nothing is known
    assert np.isnan(fd.band.value[fd.x < 100]).all()
    assert series.against_bytes(setting)[0].x[[0, -1]] == pytest.approx([2000, 40_000])


def test_profiles_count_agents(tmp_path: Path) -> None:
    write_run(tmp_path / "a", "fd", 0, returns=[100.0, 200.0])
    write_run(tmp_path / "b", "fd", 1, returns=[300.0, 400.0])
    (profile,) = series.profiles(only(grouped(tmp_path)))
    middle = int(np.argmin(np.abs(profile.x - 250)))
    assert profile.band.value[[0, middle, -1]].tolist() == [1, 0.5, 0]
    assert (profile.band.low[middle], profile.band.high[middle]) == (0, 1)


# What may be concluded


def test_from_zero_finished_runs_nothing_is_concluded(tmp_path: Path) -> None:
    write_run(tmp_path / "a", finished=False, rounds=7)
    write_run(tmp_path / "b", "fedavg", finished=False, rounds=0)
    path, found = write([tmp_path], tmp_path / "page")
    says(text_report.summary(found), "Nothing")
    text = path.read_text()
    says(text, "none", "2 runs")
    assert "700 of 2,000 steps" in text
    assert "fd (unfinished)" in text
    assert 'class="cards verdict"' not in text


def test_from_one_seed_no_order_is_concluded(tmp_path: Path) -> None:
    write_many(tmp_path, {"fd": [500], "local": [100]})
    path, found = write([tmp_path], tmp_path / "page")
    says(text_report.summary(found), "nothing", "better")
    text = path.read_text()
    says(text, "One seed")
    assert 'class="best"' not in text
    assert 'class="tied"' not in text
    assert not re.search(r"\[\d+\.\d, \d+\.\d\]", text)


def test_runs_of_one_method_in_different_settings_are_not_said_to_be_compared(
    tmp_path: Path,
) -> None:
    write_run(tmp_path / "a", "fd", 0, steps=1000)
    write_run(tmp_path / "b", "local", 0, steps=2000)
    said = text_report.summary(grouped(tmp_path))
    says(said, "2 of 2 runs", "2 settings", "No setting")
    assert "better" not in said


def test_few_seeds_say_so(tmp_path: Path) -> None:
    found = grouped(write_many(tmp_path, {"fd": [500, 490], "local": [100, 110]}))
    says(text_report.summary(found), "No method", "2 seeds")
    setting = only(found)
    assert "too few" in sentences(setting, results.verdict(setting), [])[0]


def test_a_winner_is_named_and_fedavgs_bytes_are_compared(tmp_path: Path) -> None:
    write_many(tmp_path, {"fd": GOOD}, sent=10)
    write_many(tmp_path, {"fedavg": [v - 50 for v in GOOD]}, sent=1000)
    setting = only(grouped(tmp_path))
    found = results.differences(setting)
    text = " ".join(sentences(setting, results.verdict(setting), found))
    says(text, "final return", "fd", "better", "every other method")
    says(text, "fd minus fedavg", "final return", "+50.0 [+50.0, +50.0]")
    says(text, "100.0 times")


def test_a_crashed_run_is_left_out_and_told(tmp_path: Path) -> None:
    write_many(tmp_path, {"fd": [400, 410], "local": [100, 110]})
    write_run(tmp_path / "crash", "local", 2, finished=False, rounds=5)
    path, found = write([tmp_path], tmp_path / "page")
    assert found.finished == 4
    says(" ".join(caveats(found)), "1 run")
    text = path.read_text()
    assert "500 of 2,000 steps" in text
    assert "2 <small>of 3 started</small>" in text


def test_a_mixture_of_budgets_and_versions_is_told(tmp_path: Path) -> None:
    write_run(tmp_path / "a")
    other = write_run(tmp_path / "b", steps=4000) / "summary.json"
    other.write_text(other.read_text().replace('"fdrl":"0.1.0"', '"fdrl":"0.2.0"'))
    text = " ".join(caveats(grouped(tmp_path)))
    says(text, "2,000 and 4,000 steps")
    says(text, "2 sets", "versions")


def test_unequal_seeds_are_told(tmp_path: Path) -> None:
    found = grouped(write_many(tmp_path, {"fd": [1, 2, 3], "local": [1, 2]}))
    says(" ".join(caveats(found)), "seeds", "(fd: 3, local: 2)")


def test_ten_methods_have_ten_colors_on_either_paper() -> None:
    found = theme.styles([f"m{i}" for i in range(110)])
    assert len({found[f"m{i}"].color for i in range(10)}) == 10
    assert len({dark for _, dark in theme.COLORS}) == 10
    assert len({(s.color, str(s.dash), s.marker) for s in found.values()}) == 110
    # inline figures tell a method's color from a role's by its value
    assert not {light for light, _ in theme.COLORS} & set(theme.ROLES.values())


def test_no_two_of_fifty_methods_have_color_and_dash_in_common() -> None:
    found = theme.styles([f"m{i}" for i in range(50)]).values()
    assert len({(s.color, str(s.dash)) for s in found}) == 50


def test_thirteen_lines_are_told_apart_by_color_dash_and_name(tmp_path: Path) -> None:
    names = [f"m{i}" for i in range(13)]
    setting = only(grouped(write_many(tmp_path, {"fd": [400, 410]})))
    setting = replace(setting, methods=setting.methods[:1] * 13)
    with theme.style_context():
        picture, axis = figures.blank(setting)
        for i, (name, s) in enumerate(theme.styles(names).items()):
            ends = [0, i % 5]  # several end at one place
            axis.plot([0, 1], ends, color=s.color, ls=s.dash, marker=s.marker, label=name)
        figures.name_lines(picture, axis)
        picture.draw_without_rendering()
    texts = {t.get_text(): t for t in axis.texts}
    assert texts.keys() == set(names)
    boxes = [texts[n].get_window_extent() for n in names]
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
    frame = picture.bbox
    assert all(frame.x0 <= b.x0 and b.x1 <= frame.x1 for b in boxes)
    assert all(frame.y0 <= b.y0 and b.y1 <= frame.y1 for b in boxes)
    # a higher end, a higher name; and a sample of each line with its color and dash
    heights = [(i % 5, boxes[i].y0) for i in range(13)]
    assert all(b > a for e, a in heights for f, b in heights if f > e)
    samples = [a for a in axis.lines if list(a.get_ydata()) == [0, 0] and a.get_clip_on() is False]
    assert len({(a.get_color(), str(a._dash_pattern)) for a in samples}) == 13


def test_a_line_is_named_where_its_axis_ends(tmp_path: Path) -> None:
    setting = only(grouped(write_many(tmp_path, {"fd": [400, 410]})))
    with theme.style_context():
        picture, axis = figures.blank(setting)
        axis.plot([0, 1, 100], [0, 0.5, 9], label="cut")
        axis.set_xlim(0, 1.03)
        axis.set_ylim(0, 1)
        figures.name_lines(picture, axis)
        picture.draw_without_rendering()  # a warning if something lies far outside
    (text,) = axis.texts
    assert text.get_text() == "cut"
    assert text.xy[1] == pytest.approx(0.5)


def test_names_stand_apart_in_order_near_their_lines() -> None:
    assert figures.spread([], 0.1) == []
    assert figures.spread([0.1, 0.5, 0.9], 0.1) == pytest.approx([0.1, 0.5, 0.9])
    assert figures.spread([0.5, 0.5], 0.1) == pytest.approx([0.45, 0.55])
    assert figures.spread([-1, 0, 0.02, 2], 0.1) == pytest.approx([0, 0.1, 0.2, 1])
    # three near one another, moved as little as they can be: 0.5 + 0.52 + 0.54, less 0 + 0.1 + 0.2
    assert figures.spread([0.5, 0.52, 0.54], 0.1) == pytest.approx([0.42, 0.52, 0.62])
    # more than there is room for
    assert figures.spread([0.5] * 5, 0.4) == pytest.approx([0, 0.25, 0.5, 0.75, 1])


@pytest.mark.parametrize("sent", [[16e3, 18e3], [800.0, 2e7], [500.0], []])
@pytest.mark.parametrize("zero", [True, False])
def test_byte_axes_have_marks_inside_that_do_not_touch(sent: list[float], zero: bool) -> None:
    from matplotlib.figure import Figure

    axis = Figure().subplots()
    figures.byte_axis(axis, sent, zero)
    low, high = axis.get_xlim()
    marks = list(axis.get_xticks())
    assert all(low < v < high for v in [*sent, *marks])
    assert len(marks) >= (zero or bool(sent))
    gaps = np.diff(np.log(marks)) / np.log(high / low)
    assert (gaps > 0.149).all()
