"""The page, the files beside it, and the command that writes them."""

from __future__ import annotations

import csv
import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from messages import says
from run_folders import GOOD, write_many, write_run

from fdrl.cli import main
from fdrl.cli.train import read_command
from fdrl.config.run import digest, make_run
from fdrl.report import collect
from fdrl.report.groups import channel_words, group
from fdrl.report.text import mixed_budgets
from fdrl.report.write import write
from fdrl.runs.folder import read_data


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a page about two settings of three methods, one of them with a hostile name."""
    folder = tmp_path_factory.mktemp("runs")
    for place, extra in (("same", 0), ("dynamics", 20)):
        hetero = "none" if place == "same" else "dynamics"
        finals = {"fd": GOOD, "local": [v - 100 - extra for v in GOOD]}
        write_many(folder / place, finals, hetero=hetero)
        for seed, final in enumerate(GOOD):
            write_run(folder / place / f"self-{seed}", "self", seed, final - 60, sent=0.0,
                      hetero=hetero, env_kwargs={})  # fmt: skip
    write_run(folder / "odd", env="module:<b>Odd&-v0")
    write_run(folder / "crashed", "self", 8, finished=False, rounds=2)
    return write([folder], folder / "page")[0]


class Reader(HTMLParser):
    """Collects tags, their attributes, and unclosed elements."""

    void = ("meta", "br", "link", "img")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.void:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_well_formed_self_contained_and_escaped(report: Path) -> None:
    text = report.read_text(encoding="utf-8")
    reader = Reader(text)
    assert reader.open == []
    names = {tag for tag, _ in reader.tags}
    assert not names & {"script", "link", "img", "iframe", "object", "odd&-v0"}
    ids = [attrs["id"] for _, attrs in reader.tags if "id" in attrs]
    assert len(ids) == len(set(ids)) > 10
    for _, attrs in reader.tags:
        href = attrs.get("href")
        assert href is None or (href[0] == "#" and href[1:] in ids)
    assert not re.search(r"(?:src|href)=.?https?:|@import|url\((?!#)", text)
    assert set(re.findall(r"url\(#([^)]+)\)", text)) <= set(ids)
    assert "module:&lt;b&gt;Odd&amp;-v0" in text


def test_the_page_begins_with_the_verdict_and_has_every_part(report: Path) -> None:
    text = report.read_text(encoding="utf-8")
    order = ["Verdict", "What limits this", "Learning curves",
             "Learning curves against bytes", "Return for bytes", "Performance profile",
             "Paired differences", "Probability of improvement", "Training until 475", "Payload",
             "Reproduce", "Versions"]  # fmt: skip
    title = 'id="s-cartpole-v1-identical'
    places = [text.index(f">{name}<", 0 if n < 2 else text.index(title))
              for n, name in enumerate(order)]  # fmt: skip
    assert places == sorted(places)
    assert "100 to 200" in text
    assert "python 3.11, fdrl 0.1.0 (49 runs)" in text
    # one name for what the final return reached, another for what training did
    assert text.count('<th scope="col">solved (475)</th>') == 2
    says(text, "solved", "final return")
    assert '<th scope="col">reached</th>' in text


def test_figures_follow_the_page_and_stand_alone_in_their_files(report: Path) -> None:
    text = report.read_text(encoding="utf-8")
    # the same variables are set for light and dark
    assert text.count("--c6:") == 2
    assert "prefers-color-scheme:dark" in text
    used = set(re.findall(r"var\((--[a-z0-9]+)\)", text)) - {"--p"}
    assert used <= set(re.findall(r"(--[a-z0-9]+):", text))
    folder = report.parent / "figures"
    slug = "cartpole-v1-identical-2-agents-ppo-64-64-2000-steps"
    assert {p.stem for p in (folder / slug).glob("*.png")} == {
        "steps",
        "bytes",
        "pareto",
        "profile",
    }
    alone = (folder / slug / "steps.svg").read_text()
    assert "var(" not in alone
    assert alone.startswith("<?xml")
    assert (folder / slug / "steps.png").read_bytes()[:4] == b"\x89PNG"


def test_settings_are_summed_up_only_if_budgets_are_equal(tmp_path: Path) -> None:
    finals = {"fd": [400, 410], "local": [300, 290]}
    write_many(tmp_path / "runs" / "a", finals)
    write_many(tmp_path / "runs" / "b", finals, hetero="dynamics")
    assert "All settings" in write([tmp_path / "runs"], tmp_path / "page")[0].read_text()
    write_many(tmp_path / "runs" / "c", finals, steps=4000)
    found = group([collect.read(p) for p in collect.find([tmp_path / "runs"])])
    assert len(found.settings) == 3
    assert mixed_budgets(found.settings)


def test_settings_without_a_finished_run_are_one_list(tmp_path: Path) -> None:
    write_many(tmp_path / "runs", {"fd": [400, 410, 420], "local": [300, 290, 280]})
    write_run(tmp_path / "runs" / "x", env="Acrobot-v1", finished=False, rounds=0)
    write_run(tmp_path / "runs" / "y", env="MountainCar-v0", finished=False, rounds=4)
    text = write([tmp_path / "runs"], tmp_path / "page")[0].read_text(encoding="utf-8")
    shown = text[: text.index("<h2>Reproduce")]
    assert shown.count("Left out: no run is finished") == 1
    assert "<h3>Acrobot" not in shown
    assert 'id="s-acrobot' not in text
    assert 'id="s-mountaincar' in text
    assert "Gray: fewer" not in text


def test_few_seeds_are_gray_and_said_to_be(tmp_path: Path) -> None:
    write_many(tmp_path / "runs", {"fd": [400, 410], "local": [300, 290]})
    text = write([tmp_path / "runs"], tmp_path / "page")[0].read_text(encoding="utf-8")
    says(text, "Gray", "3 seeds")
    assert 'class="heat few"' in text
    assert not re.search(r'class="heat (win|lose)"', text)


def rows(path: Path) -> Iterator[dict[str, str]]:
    with path.open(newline="") as file:
        yield from csv.DictReader(file)


def test_the_csv_files_hold_the_tables(report: Path) -> None:
    data = report.parent / "data"
    identical = [r for r in rows(data / "verdict.csv") if "identical · 2" in r["setting"]]
    by = {r["method"]: r for r in identical if r["setting"].startswith("CartPole")}
    assert float(by["fd"]["final_iqm"]) == 487
    assert by["fd"]["best_in"] == "auc return_mean return_worst"
    assert (by["fd"]["solved"], by["local"]["solved"]) == ("8", "0")
    states = [r["state"] for r in rows(data / "runs.csv")]
    assert states.count("finished") == 49
    assert len(states) == 50
    found = [r for r in rows(data / "differences.csv") if r["metric"] == "return_mean"]
    assert {float(r["mean"]) for r in found} == {60, 100, 120}
    assert {r["probability"] for r in rows(data / "improvement.csv")} == {"1.0", "0.0"}
    for name in ("threshold", "payload", "curves-steps", "curves-bytes", "profiles"):
        assert len(list(rows(data / f"{name}.csv"))) >= 3


def test_the_commands_make_the_very_runs(report: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = report.read_text(encoding="utf-8")
    lines = re.findall(r"for s in ([\d ]+); do fdrl (train configs\S+) --seed \$s", text)
    assert len(lines) == 7
    monkeypatch.chdir(report.parent)
    made = set()
    for seeds, words in lines:
        for seed in seeds.split():
            run = read_command([*words.split()[1:], "--seed", seed])[0]
            made.add((digest(run), run.seed))
    theirs = [read_data(p) for p in collect.find([report.parent.parent])]
    assert made == {(digest(r), r.seed) for r in theirs}


def test_the_same_runs_give_the_same_bytes(tmp_path: Path) -> None:
    write_many(tmp_path / "runs", {"fd": [400, 410], "local": [300, 290]})
    for name in ("a", "b"):
        write([tmp_path / "runs"], tmp_path / name)
    files = sorted(p.relative_to(tmp_path / "a") for p in (tmp_path / "a").rglob("*.*"))
    assert len(files) > 15
    for file in files:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes(), file


# The command


def test_the_command_says_where_the_page_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_many(tmp_path / "runs", {"fd": [400, 410], "local": [300, 290]})
    out = tmp_path / "page"
    assert main(["report", str(tmp_path / "runs"), "--out", str(out), "--reference", "local"]) == 0
    says(capsys.readouterr().out, f"{out}/report.html", "4 of 4 runs")
    assert "local minus" in (out / "report.html").read_text()


def test_mistakes_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = str(write_run(tmp_path / "a"))
    cases = [
        (["--out", "x"], "needs run folders"),
        ([str(tmp_path / "b")], "no such folder"),
        ([runs, "--ouf", "x"], "did you mean '--out'"),
        ([runs, "--reference", "fedv", "--out", str(tmp_path / "c")], "no method 'fedv'"),
        ([runs, "--out", f"{runs}/config.toml"], "cannot write"),
    ]
    for words, text in cases:
        assert main(["report", *words]) == 2
        error = capsys.readouterr().err
        assert text in error
        assert error.count("\n") == 1
    assert main(["report"]) == 2
    assert main(["report", "--help"]) == 0
    assert "RUNS..." in capsys.readouterr().out


def test_a_report_needs_no_torch(tmp_path: Path) -> None:
    write_run(tmp_path / "runs" / "a")
    code = (
        "import sys; from fdrl.cli import main; main(['report', 'runs'])\n"
        "heavy = ('torch', 'stable_baselines3', 'matplotlib.pyplot')\n"
        "print([m for m in heavy if m in sys.modules])"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert (tmp_path / "report" / "report.html").is_file()


def test_channels_are_named_by_what_is_not_their_default() -> None:
    def words(**fields: Any) -> list[str]:
        return channel_words(make_run(channel={"type": "fading", **fields}))

    assert words() == ["fading channel"]
    assert words(symmetric=True, deadline_slots=50) == [
        "symmetric fading channel (deadline_slots=50)"
    ]
    assert words(threshold=1.5, distances=[5.0, 20.0]) == [
        "fading channel (distances=[5 20], threshold=1.5)"
    ]
    assert channel_words(make_run()) == []


def test_runs_over_a_channel_show_simulated_seconds_and_what_was_lost(tmp_path: Path) -> None:
    fading = {"channel": {"type": "fading"}}
    for seed, final in enumerate(GOOD):
        write_run(tmp_path / f"fd-{seed}", "fd", seed, final, seconds=0.5, **fading)
        write_run(tmp_path / f"avg-{seed}", "fedavg", seed, final, seconds=2.0, **fading)
        write_run(tmp_path / f"ideal-{seed}", "fd", seed, final)
    path, groups = write([tmp_path], tmp_path / "page")
    ideal, channel = sorted(groups.settings, key=lambda s: "fading" in s.title)
    assert " · fading channel · " in channel.title
    assert "channel" not in ideal.title
    page = path.read_text()
    assert page.count("Learning curves against simulated seconds") == 2  # caption, and SVG title
    assert page.count('<th scope="col">simulated s</th>') == 1
    assert page.count('<th scope="col">uploads lost</th>') == 1
    with (path.parent / "data" / "verdict.csv").open() as file:
        found = {(r["setting"], r["method"]): r["simulated_seconds"] for r in csv.DictReader(file)}
    assert found == {
        (channel.title, "fd"): "10.0", (channel.title, "fedavg"): "40.0", (ideal.title, "fd"): "0.0"
    }  # fmt: skip
    assert page.count('<th scope="col">simulated s, median</th>') == 1
    with (path.parent / "data" / "threshold.csv").open() as file:
        median = {r["method"]: r["seconds_median"] for r in csv.DictReader(file)}
    # Returns rise to 480..494 and pass 475 in the last of 20 rounds, of 0.5 and of 2 s each.
    assert median == {"fd": "10.0", "fedavg": "40.0"}
    with (path.parent / "data" / "curves-seconds.csv").open() as file:
        last = {r["method"]: float(r["x"]) for r in csv.DictReader(file)}
    assert last == {"fd": 10.0, "fedavg": 40.0}
