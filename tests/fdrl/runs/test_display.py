"""What a person sees while a run trains, and how numbers are said."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from fake_federation import STEPS, FakeFederation
from hypothesis import given
from hypothesis import strategies as st
from messages import says
from msgspec.structs import replace
from rich.console import Console

from fdrl.config.run import make_run
from fdrl.core.records import RoundRecord
from fdrl.runs.display import LiveTable, PlainLines, closing, closing_line, render
from fdrl.runs.folder import RunFolder
from fdrl.runs.progress import (
    Progress,
    human_bytes,
    human_return,
    human_seconds,
    pick_rows,
    sparkline,
)


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"), (999, "999 B"), (999.6, "1.0 kB"), (8_160, "8.2 kB"), (114_714.8, "115 kB"),
        (999_600, "1.0 MB"), (5e9, "5.0 GB"), (5e13, "50000 GB"),
    ],
)  # fmt: skip
def test_human_bytes(count: float, text: str) -> None:
    assert human_bytes(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00"), (7.4, "0:07"), (754, "12:34"), (3723, "1:02:03")]
)
def test_human_seconds(seconds: float, text: str) -> None:
    assert human_seconds(seconds) == text


def test_human_return() -> None:
    assert [human_return(v) for v in (None, float("nan"), 1234.56, -0.04, 9.99, 9.996, -9.996)] == [
        "-", "-", "1,234.6", "-0.04", "9.99", "10.0", "-10.0",
    ]  # fmt: skip
    assert human_return(-3.4028e38) == "-3.4e+38"


def test_sparkline_spans_low_to_high() -> None:
    assert sparkline([0, 7, None, 3.5, 99, -9], 0, 7) == "▁█ ▅█▁"
    assert sparkline([3, 3], 3, 3) == "▁▁"


@given(
    latest=st.lists(st.none() | st.floats(-1e6, 1e6), min_size=1, max_size=60),
    limit=st.integers(1, 30),
)
def test_pick_rows_shows_all_or_from_worst_to_best(latest: list[float | None], limit: int) -> None:
    rows = pick_rows(latest, limit)
    assert len(rows) == len(set(rows)) == min(limit, len(latest))
    if len(latest) <= limit:
        assert rows == list(range(len(latest)))
        return
    keys = [float("-inf") if latest[i] is None else latest[i] for i in rows]
    assert keys == sorted(keys)  # type: ignore[type-var]
    known = [v for v in latest if v is not None]
    if limit > 1 and known:
        assert latest[rows[-1]] == max(known)


def progress(agents: int, rounds: int, total: int) -> Progress:
    run = make_run(agents=agents, steps=total * STEPS)
    federation = FakeFederation(run)
    made = Progress(run, federation.ids, federation.labels, width=4)
    for _ in range(rounds):
        made.add(federation.round())
    return made


def test_progress_counts_and_fills_the_history() -> None:
    made = progress(2, 3, 4)
    assert made.fraction == 0.75
    assert len(made.history[0]) == 4
    assert made.worst == min(v for v in made.latest if v is not None)
    # agent 0 had ended no episode in round 1
    assert made.history[0][0] is None
    assert made.left != "-"


def test_a_resumed_run_shows_its_earlier_rounds() -> None:
    run = make_run(agents=2, steps=4 * STEPS)
    federation = FakeFederation(run)
    records = [federation.round() for _ in range(3)]
    whole, resumed = (Progress(run, federation.ids, federation.labels, width=4) for _ in "ab")
    for record in records:
        whole.add(record)
    resumed.recall(records[:2])
    assert resumed.left == "-"
    resumed.add(records[2])
    assert resumed.history == whole.history
    assert resumed.start is not None
    assert resumed.start[1] == 0.5


def screen(made: Progress, width: int, height: int) -> list[str]:
    console = Console(file=io.StringIO(), width=width, height=height)
    console.print(render(made, width, height))
    return console.file.getvalue().splitlines()  # type: ignore[attr-defined, no-any-return]


@pytest.mark.parametrize("width", [80, 120])
def test_the_table_fits_the_terminal(width: int) -> None:
    lines = screen(progress(10, 3, 4), width, 24)
    text = "\n".join(lines)
    assert len(lines) <= 24
    assert max(len(line) for line in lines) <= width
    assert sum(line.startswith("agent-") for line in lines) == 10
    for words in ("fdv on CartPole-v1", "75%", "192 of 256 steps", "up 300 B, down 360 B"):
        assert words in text


def test_many_agents_are_shown_from_worst_to_best() -> None:
    lines = screen(progress(100, 3, 4), 100, 30)
    assert len(lines) <= 30
    says(lines[0], "22", "worst", "best")
    assert sum(line.startswith("agent-") for line in lines) == 22


def test_a_rejected_answer_is_said() -> None:
    run = make_run(agents=2, steps=4 * STEPS)
    federation = FakeFederation(run)
    record = type(federation.round())
    made = Progress(run, federation.ids, federation.labels)
    known = federation.round()
    fields = {name: getattr(known, name) for name in record.__struct_fields__}
    fields["rejected"] = [("agent-01", "not finite"), ("agent-00", "lost")]
    made.add(record(**fields))
    says("\n".join(screen(made, 80, 24)), "agent-01 (not finite)", "1 more")


def test_plain_lines_start_and_end() -> None:
    console = Console(file=io.StringIO(), width=80)
    run = make_run(agents=2, steps=3 * STEPS)
    federation, tracker = FakeFederation(run), PlainLines(console, 1e9, "preset x")
    tracker.start(run, federation.ids, federation.labels)
    for _ in range(3):
        tracker.round(federation.round())
    tracker.finish(federation.summary())
    tracker.close()
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    says(lines[0], "fdv", "CartPole-v1", "2 agents", "seed 0", "preset x")
    assert lines[1].startswith("100% round 3 · 192 of 192 steps per agent")
    says(lines[1], "return mean")
    assert len(lines) == 2


def test_the_live_table_gives_the_terminal_back() -> None:
    console = Console(file=io.StringIO(), width=80, force_terminal=True)
    run = make_run(agents=2, steps=2 * STEPS)
    federation, tracker = FakeFederation(run), LiveTable(console)
    tracker.start(run, federation.ids, federation.labels)
    tracker.round(federation.round())
    tracker.round(federation.round())
    tracker.close()
    tracker.close()
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "100%" in text
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")  # the cursor is back


def test_the_end_says_what_came_out_and_where_it_is() -> None:
    run = make_run(agents=2, steps=2 * STEPS)
    federation = FakeFederation(run)
    federation.round()
    federation.round()
    summary = federation.summary()
    console = Console(file=io.StringIO(), width=80)
    console.print(closing(summary, run, Path("runs/x")))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    for words in (
        "final return (greedy)",
        "with sampled actions",
        "other seeds",
        "worst",
        "200 B up, 240 B down",
        "runs/x/curves.png",
        "fdrl eval",
    ):
        assert words in text
    line = closing_line(summary, Path("runs/x"))
    assert line.startswith("fdv on CartPole-v1, seed 0: final return mean ")
    assert line.endswith("in runs/x")
    assert "run folder" not in str(closing(summary, run, None).columns[0]._cells)


def test_the_end_counts_refused_messages_and_names_agents_that_stopped(tmp_path: Path) -> None:
    run = make_run(agents=2, steps=2 * STEPS)
    federation = FakeFederation(run)
    lost = ("agent-00", "lost on the uplink")
    reasons = [lost, ("agent-01", "claims 9 visits"), ("agent-00", "x")]
    stopped = [("agent-00", "stopped: its loss is not finite any more")]
    with RunFolder.create(tmp_path / "x", run) as folder:
        for rejected in ([], reasons, stopped):
            folder.log(replace(federation.round(), rejected=rejected))
    summary = replace(federation.summary(), stopped=["agent-00"])
    console = Console(file=io.StringIO(), width=80)
    console.print(closing(summary, run, tmp_path / "x"))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    says(text, "messages rejected", 2, "round 2", "agent-01", "claims 9 visits")
    says(text, "agents stopped", "agent-00")
    says(closing_line(summary, None), "stopped", "agent-00")


def test_a_budget_of_episodes_and_a_goal_are_said() -> None:
    run = make_run(agents=2, episodes=50, goal={"mean": 490.0}, agent="reinforce")
    progress = Progress(run, ["a", "b"], ["", ""])
    made = {"round": 1, "returns": [20.0, 30.0], "return_mean": 25.0, "exchanged": True}
    made |= {"bytes_up": 0.0, "bytes_down": 0.0, "env_steps": [300, 400], "episodes": [10, 12]}
    progress.add(RoundRecord(**made, completed=1))
    assert progress.fraction == 0.2
    text = " ".join(" ".join(screen(progress, 120, 24)).split())
    says(text, "10 of 50 episodes", "300 steps", "1 of 2")
    progress.add(RoundRecord(**made | {"round": 2, "completed": 2}))
    assert progress.fraction == 1.0


def test_the_end_says_who_completed_the_goal() -> None:
    run = make_run(agents=2, steps=STEPS)
    summary = FakeFederation(run).summary()
    assert "goal" not in closing_line(summary, None)
    told = {"completed": 2, "first_episodes": 7, "first_steps": 1500}
    both = replace(summary, agents=2, **told, all_episodes=9, all_steps=1900)
    line = closing_line(both, None)
    says(line, "2 of 2 agents", "7 episodes (1,500 steps)", "after 9")
    none = replace(summary, agents=2, completed=0)
    says(closing_line(none, None), "none of 2")
