"""Who does what when: order, forecasts, and workers that die, with workers that only pretend."""

from __future__ import annotations

import io
import os
import signal
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from messages import says
from rich.console import Console

from fdrl.bench import grid, outputs, scheduler
from fdrl.bench.display import Board, LiveBoard, PlainBoard, Running, done_line, render
from fdrl.bench.forecast import Forecast
from fdrl.bench.grid import Cell
from fdrl.bench.outputs import failure_path, locked, read_failure, write_failure
from fdrl.bench.suite import parse_suite
from fdrl.bench.worker import Event, Events
from fdrl.core.errors import FdrlError

SUITE = parse_suite(
    {
        "name": "tiny",
        "seeds": [0, 1],
        "base": {"steps": 100, "agents": 2},
        "settings": [{"name": "short"}, {"name": "long", "steps": 300}],
        "methods": [{"name": "local", "strategy": {"type": "local"}}, {"name": "fd"}],
    },
    "tiny.toml",
)
CELLS = grid.cells(SUITE)
READY, STARTED = Event(event="ready"), Event(event="started")
DONE = Event(event="finished", seconds=2.0, mean=10.0, worst=5.0)


class Pretender:
    """A worker that says what `script` has for the cell's folder, in turn."""

    script: dict[str, list[list[Event]]]
    log: list[str]
    hired = 0
    killed = False

    def __init__(self, events: Events, keep: int | None) -> None:
        type(self).hired += 1
        self.pid = self.hired
        self.events = events
        events.put((self, READY))  # type: ignore[arg-type]

    def order(self, cells: Sequence[Cell], out: Path) -> None:
        self.log.append(" ".join(cell.folder for cell in cells))
        scripts = self.script.get(cells[0].folder, [])
        done = [msgspec.structs.replace(DONE, cell=i) for i in range(len(cells))]
        for event in scripts.pop(0) if scripts else [STARTED, *done]:
            self.events.put((self, event))  # type: ignore[arg-type]

    def last_words(self) -> tuple[str, str]:
        return "its worker process was killed", "some words"

    def stop(self) -> None:
        self.events.put((self, Event(event="stopped")))  # type: ignore[arg-type]

    def close(self) -> None:
        pass


@pytest.fixture
def pretend(monkeypatch: pytest.MonkeyPatch) -> type[Pretender]:
    class Own(Pretender):
        script = {}  # noqa: RUF012
        log = []  # noqa: RUF012

    monkeypatch.setattr(scheduler, "WorkerProcess", Own)
    return Own


def run(out: Path, jobs: int = 1, pack: int = 1, **changed: Any) -> tuple[scheduler.Outcome, str]:
    text = io.StringIO()
    display = PlainBoard(Console(file=text, width=200))
    outcome = scheduler.run_cells(
        [replace(c, pack=pack, **changed) for c in CELLS],
        out,
        jobs,
        display,
        name="tiny",
        pace=Forecast(),
        already=0,
        keep=None,
    )
    return outcome, text.getvalue()


def test_the_longest_cells_go_first_and_workers_are_kept(
    tmp_path: Path, pretend: type[Pretender]
) -> None:
    outcome, text = run(tmp_path)
    assert pretend.log[0].startswith("long/")
    assert len(outcome.finished) == 8
    assert pretend.hired == 1
    says(text, "fd", "long", "seed 1", "return 10.0", "worst 5.00", "(0:02)")


def test_a_cell_that_kills_its_worker_fails_and_the_others_go_on(
    tmp_path: Path, pretend: type[Pretender]
) -> None:
    pretend.script["long/fd/seed-000"] = [[STARTED, Event(event="gone")]]
    pretend.script["short/fd/seed-001"] = [[STARTED, Event(event="failed", reason="bad luck")]]
    outcome, text = run(tmp_path, jobs=2)
    assert {c.folder: f.reason for c, f in outcome.failed.items()} == {
        "long/fd/seed-000": "its worker process was killed",
        "short/fd/seed-001": "bad luck",
    }
    assert len(outcome.finished) == 6
    says(text, "FAILED", "fd", "short", "seed 1", "bad luck")
    (killed,) = (c for c in CELLS if c.folder == "long/fd/seed-000")
    kept = read_failure(tmp_path, killed)
    assert kept is not None
    assert kept.trace == "some words"


def test_a_cell_that_is_killed_is_tried_once_more(tmp_path: Path, pretend: type[Pretender]) -> None:
    pretend.killed = True
    gone = [STARTED, Event(event="gone")]
    pretend.script["long/fd/seed-000"] = [gone]
    pretend.script["short/fd/seed-001"] = [gone, gone]
    outcome, text = run(tmp_path)
    assert [c.folder for c in outcome.failed] == ["short/fd/seed-001"]
    assert len(outcome.finished) == 7
    assert pretend.log.count("long/fd/seed-000") == 2
    says(text, "fd", "long", "seed 0", "killed")


def test_a_cell_that_does_not_answer_is_named_and_given_up(
    tmp_path: Path, pretend: type[Pretender], capsys: pytest.CaptureFixture[str]
) -> None:
    def end(self: Pretender) -> None:
        self.events.put((self, Event(event="gone")))  # type: ignore[arg-type]

    pretend.end = end  # type: ignore[attr-defined]
    pretend.killed = True
    pretend.script["long/fd/seed-000"] = [[STARTED]]
    hasty = msgspec.structs.replace(CELLS[0].run, patience=0.5, patience_stop=1.0)
    outcome, _ = run(tmp_path, run=hasty)
    assert [c.folder for c in outcome.failed] == ["long/fd/seed-000"]
    (failure,) = outcome.failed.values()
    says(failure.reason, "fd", "long", "seed 0", "training", "pid")
    says(capsys.readouterr().err, "fd", "long", "seed 0", "pid", "training")


def test_what_a_cell_waits_for_is_passed_on(
    tmp_path: Path, pretend: type[Pretender], capsys: pytest.CaptureFixture[str]
) -> None:
    silent = Event(event="silent", reason="no answer from environment 'Moor-v0'")
    pretend.script["long/fd/seed-000"] = [[STARTED, Event(event="alive"), silent, DONE]]
    outcome, _ = run(tmp_path)
    assert len(outcome.finished) == 8
    says(capsys.readouterr().err, "environment 'Moor-v0'", "long", "seed 0")


def test_a_seed_that_kills_its_worker_fails_alone_not_with_its_pack(
    tmp_path: Path, pretend: type[Pretender]
) -> None:
    """The pack of two dies; then its first seed dies again, by itself, and the second goes on."""
    gone = [STARTED, Event(event="gone")]
    pretend.script["long/fd/seed-000"] = [gone, gone]
    outcome, _ = run(tmp_path, pack=2)
    assert [c.folder for c in outcome.failed] == ["long/fd/seed-000"]
    assert len(outcome.finished) == 7
    assert "long/fd/seed-000 long/fd/seed-001" in pretend.log
    assert {"long/fd/seed-000", "long/fd/seed-001"} < set(pretend.log)


def test_a_worker_that_dies_before_its_cell_begins_is_not_the_cells_fault(
    tmp_path: Path, pretend: type[Pretender]
) -> None:
    pretend.script["short/local/seed-000"] = [[Event(event="gone")]]
    outcome, _ = run(tmp_path)
    assert not outcome.failed
    assert len(outcome.finished) == 8
    assert pretend.log.count("short/local/seed-000") == 2


def test_workers_that_never_start_fail_every_cell_once(
    tmp_path: Path, pretend: type[Pretender], monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend.script |= {c.folder: [[Event(event="gone")]] for c in CELLS}
    monkeypatch.setattr(Pretender, "__init__", _silent)
    outcome, _ = run(tmp_path)
    assert len(outcome.failed) == 8


def _silent(self: Pretender, events: Events, keep: int | None) -> None:
    type(self).hired += 1
    self.pid, self.events = self.hired, events


def test_a_signal_stops_after_the_rounds_in_progress(
    tmp_path: Path, pretend: type[Pretender]
) -> None:
    class Interrupting(list[Event]):
        def __iter__(self):  # type: ignore[no-untyped-def]
            os.kill(os.getpid(), signal.SIGINT)
            return super().__iter__()

    pretend.script[_first()] = [Interrupting([STARTED])]
    outcome, text = run(tmp_path)
    assert outcome.stopped
    assert outcome.finished == []
    assert outcome.failed == {}
    assert len(pretend.log) == 1
    assert "stopping" in text


def _first() -> str:
    return Forecast().longest_packs_first([[c] for c in CELLS])[0][0].folder


def test_an_old_failure_goes_when_the_cell_is_tried_again(
    tmp_path: Path, pretend: type[Pretender]
) -> None:
    write_failure(tmp_path, CELLS[0], outputs.Failure("yesterday"))
    assert failure_path(tmp_path, CELLS[0]).name == "seed-000.failed.json"
    run(tmp_path)
    assert read_failure(tmp_path, CELLS[0]) is None


def cell(setting: str, method: str) -> Cell:
    return next(c for c in CELLS if (c.setting, c.method) == (setting, method))


def test_pace_prefers_what_it_knows() -> None:
    pace = Forecast()
    assert pace.seconds(cell("short", "fd")) is None
    assert pace.left([cell("short", "fd")], {}, 2) is None
    pace.add(cell("short", "fd"), 4.0)  # 200 agent steps: 0.02 s each
    assert pace.seconds(cell("long", "fd")) == pytest.approx(12.0)
    assert pace.seconds(cell("long", "local")) == pytest.approx(12.0)
    pace.add(cell("long", "fd"), 6.0)
    assert pace.seconds(cell("long", "fd")) == pytest.approx(6.0)
    assert pace.seconds(cell("short", "fd")) == pytest.approx(4.0)
    assert pace.seconds(cell("short", "local")) == pytest.approx(3.0)
    # 6 s and half of 4 s, on two workers: the longest bounds it from below
    assert pace.left([cell("long", "fd")], {cell("short", "fd"): 0.5}, 2) == pytest.approx(6.0)
    assert pace.left([cell("long", "fd")], {cell("short", "fd"): 0.5}, 1) == pytest.approx(8.0)
    assert pace.left([], {}, 2) == 0.0
    packs = [[cell("short", "local")], [cell("long", "fd")]]
    ordered = [c for pack in pace.longest_packs_first(packs) for c in pack]
    assert ordered[0].setting == "long"


def test_budgets_of_episodes_are_timed_by_episodes() -> None:
    """Ten episodes of two agents take 4 s, so thirty take 12 s, whatever steps they may take."""
    few, many = (
        replace(c, run=msgspec.structs.replace(c.run, episodes=n, steps=s))
        for c, n, s in ((CELLS[0], 10, 5500), (CELLS[0], 30, 11000))
    )
    pace = Forecast()
    pace.add(few, 4.0)
    assert pace.seconds(many) == pytest.approx(12.0)
    assert pace.seconds(CELLS[0]) is None  # nothing is known of steps


def drawn(board: Board) -> str:
    text = io.StringIO()
    Console(file=text, width=120).print(render(board))
    return text.getvalue()


def test_the_board_shows_cells_failures_and_time_left() -> None:
    pace = Forecast()
    board = Board("tiny", 8, 2, pace, finished=3, failed=1, pending=CELLS[:1])
    board.running = {7: Running([cell("long", "fd")])}
    board.running[7].fractions[0] = 0.5
    assert "- left" in drawn(Board("tiny", 8, 2, pace, pending=CELLS[:1]))
    board.running[7].since -= 90.0
    # 90 s for half of 600 agent steps: 60 s pending beside 90 s running
    assert "about 1:30 left" in drawn(board)
    pace.add(cell("short", "local"), 60.0)
    text = drawn(board)
    says(text, "fd", "long", "seed 0")
    assert "50%" in text
    says(text, "3 of 8", "1 failed")
    # 60 s pending and half of 180 s running: 75 s on two workers, but the running one needs 90
    assert "about 1:30 left" in text
    assert board.fraction == pytest.approx(4.5 / 8)
    says(
        done_line(CELLS[0], None, None, 61),
        "local",
        "short",
        "seed 0",
        "return -",
        "worst -",
        "(1:01)",
    )


def test_live_bars_and_plain_lines() -> None:
    text = io.StringIO()
    live = LiveBoard(Console(file=text, force_terminal=True, width=100))
    live.show(Board("tiny", 8, 2, Forecast(), finished=2))
    live.say("FAILED [it]", style="bold red")
    live.close()
    assert "FAILED [it]" in text.getvalue()
    says(text.getvalue(), "2 of 8")
    lines = io.StringIO()
    plain = PlainBoard(Console(file=lines), seconds=0.0)
    plain.show(Board("tiny", 8, 2, Forecast(), finished=2, pending=CELLS[2:]))
    plain.close()
    assert lines.getvalue().startswith(" 25% · 2 of 8 runs finished · 0:00 elapsed · - left")


def test_one_bench_at_a_time(tmp_path: Path) -> None:
    with locked(tmp_path) as held:
        assert held is not None
        with (
            pytest.raises(FdrlError, match="another fdrl bench is working in"),
            locked(tmp_path, patience=0.15),
        ):
            pass
    with locked(tmp_path, patience=0.0) as held:
        assert held is not None


def sizes(packs: list[list[Cell]]) -> list[int]:
    return [len(pack) for pack in packs]


@given(pack=st.integers(1, 9), jobs=st.integers(1, 5), seeds=st.integers(1, 12))
def test_packs_hold_every_cell_once_and_never_two_pairs(pack: int, jobs: int, seeds: int) -> None:
    cells = [replace(c, seed=s) for c in CELLS[:4] for s in range(seeds)]
    packs = scheduler.cut([replace(c, pack=pack) for c in cells], jobs)
    held = sorted((c.folder, c.seed) for p in packs for c in p)
    assert held == sorted((c.folder, c.seed) for c in cells)
    assert all(1 <= len(p) <= pack for p in packs)
    assert all(len({(c.setting, c.method) for c in p}) == 1 for p in packs)


def test_packs_are_cut_so_that_no_worker_is_idle() -> None:
    cells = [replace(CELLS[0], seed=s, pack=50) for s in range(50)]
    assert sizes(scheduler.cut(cells, 1)) == [50]
    assert sizes(scheduler.cut(cells, 2)) == [25, 25]
    assert sizes(scheduler.cut(cells[:1], 2)) == [1]
    more = [replace(c, seed=s, pack=10) for c in CELLS[:3] for s in range(10)]
    assert sorted(sizes(scheduler.cut(more, 2))) == [5, 5, 10, 10]
    by_seed = sorted((replace(c, pack=1) for c in more), key=lambda c: c.seed)
    assert scheduler.cut(by_seed, 2) == [[c] for c in by_seed]
    single = [replace(c, pack=1) for c in more[:11]]
    assert sorted(sizes(scheduler.cut([*single, *more[20:]], 2))) == [1] * 11 + [10]


def test_the_cells_of_a_pack_end_one_by_one(tmp_path: Path, pretend: type[Pretender]) -> None:
    fail = Event(event="failed", cell=0, reason="bad luck")
    gone = Event(event="gone")
    pretend.script["long/fd/seed-000"] = [[STARTED, fail, msgspec.structs.replace(DONE, cell=1)]]
    pretend.script["long/local/seed-000"] = [[STARTED, msgspec.structs.replace(DONE, cell=1), gone]]
    outcome, _ = run(tmp_path, pack=2)
    assert len(pretend.log) == 4
    assert {c.folder: f.reason for c, f in outcome.failed.items()} == {
        "long/fd/seed-000": "bad luck",
        "long/local/seed-000": "its worker process was killed",
    }
    assert len(outcome.finished) == 6
