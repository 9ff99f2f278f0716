"""Screens of 80, 60 and 45 columns: no line is longer, no row breaks in two, no word is cut."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from fdrl import cli
from fdrl.bench.display import Board, Running, render
from fdrl.bench.forecast import Forecast
from fdrl.bench.grid import Cell
from fdrl.cli.listing import print_table
from fdrl.config.run import make_run
from fdrl.runs.display import render as live
from fdrl.runs.progress import Progress

Capture = pytest.CaptureFixture[str]


def screen(width: int, thing: object) -> list[str]:
    console = Console(file=io.StringIO(), width=width, height=30, force_terminal=False)
    console.print(thing)
    assert isinstance(console.file, io.StringIO)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


@pytest.mark.parametrize(("width", "told"), [(100, True), (80, True), (60, False), (45, False)])
def test_the_live_table_drops_what_agents_learn_in_before_it_cuts_numbers(
    width: int, told: bool
) -> None:
    run = make_run(agents=2, steps=1_000_000)
    names = ("agent-00", "agent-01")
    progress = Progress(run, names, ("length 0.1 masspole 0.02",) * 2, 10)
    lines = screen(width, live(progress, width, 30, "preset quickstart"))
    assert max(map(len, lines)) <= width
    (head,) = [line for line in lines if line.startswith("agent ")]
    assert ("learns in" in head) is told
    for name in ("steps", "episodes", "return"):
        assert f" {name} " in f"{head} "
    assert sum(line.startswith("agent-0") for line in lines) == 2


@pytest.mark.parametrize("width", [80, 60])
def test_a_suites_board_has_a_line_for_every_worker(width: int) -> None:
    cell = Cell("fedavg with a long name of its own", "dynamics, many agents", 0, "x", make_run())
    board = Board("smoke", 4, 2, Forecast(), running={0: Running([cell]), 1: Running([cell])})
    lines = screen(width, render(board, width))
    assert len(lines) == 5
    assert max(map(len, lines)) <= width


def test_a_table_that_does_not_fit_becomes_blocks(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [("fdrl/Environment-v0", "475", "link_length_1, link_mass_1", "Balance it.")]
    monkeypatch.setenv("COLUMNS", "50")
    print_table(("environment", "solved at", "dynamics vary", ""), rows)
    assert capsys.readouterr().out.splitlines() == [
        "fdrl/Environment-v0",
        "  solved at: 475",
        "  dynamics vary: link_length_1, link_mass_1",
        "  Balance it.",
    ]


@pytest.mark.parametrize("width", ["60", "80"])
@pytest.mark.parametrize("verb", [["envs"], ["agents"], ["strategies"]])
def test_listings_never_cut_a_word(
    verb: list[str], width: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    cli.main(verb)
    whole = set(capsys.readouterr().out.split())
    monkeypatch.setenv("COLUMNS", width)
    cli.main(verb)
    out = capsys.readouterr().out
    assert {word.rstrip(":") for word in out.split()} <= whole | {w.rstrip(":") for w in whole}
    assert max(map(len, out.splitlines())) <= int(width)
