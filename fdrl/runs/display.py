"""What a person sees: a live table or plain lines while a run trains, and a table when it ends."""

from __future__ import annotations

import shutil
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from fdrl.config.run import Run
from fdrl.config.trust import command
from fdrl.core import terminal
from fdrl.core.errors import plain
from fdrl.core.records import RoundRecord, Summary
from fdrl.core.watch import PULSE
from fdrl.runs.folder import METRICS, read_records
from fdrl.runs.metric_names import of_env, wording
from fdrl.runs.progress import (
    Progress,
    human_bytes,
    human_return,
    human_seconds,
    pick_rows,
    sparkline,
)
from fdrl.runs.video import can_film
from fdrl.vector.heterogeneity import Nothing

# ---- What a person sees while a run trains: a live table on a terminal, plain lines elsewhere


MOST_ROWS = 24
WIDE = 100
NARROW = 45
"""Columns; with fewer nothing is laid out side by side."""


def _labels_room(p: Progress, rows: Sequence[int], width: int) -> int:
    """Return how wide the column of labels may be beside the others; too little: it is left out."""
    said = wording(p.run)
    others = max(len(p.ids[i]) for i in rows) + max(len(f"{p.run.steps:,}"), len(said.steps))
    others += len("accuracy") if said.labels else len("episodes") + len("1,000.0")
    room = min(28, width - others - p.width - 2 * 5)
    return room if room >= 12 else 0


def _table(p: Progress, limit: int, width: int) -> Table:
    rows = pick_rows(p.latest, limit)
    room = _labels_room(p, rows, width)
    table = Table(box=None, padding=(0, 1), header_style="bold", pad_edge=False)
    table.add_column("agent", no_wrap=True)
    said = wording(p.run)
    if room:
        table.add_column(
            said.learns, no_wrap=True, style="dim", overflow="ellipsis", max_width=room
        )
    for name in (said.steps, *([] if said.labels else ["episodes"]), said.value):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("so far", no_wrap=True, style="cyan", min_width=p.width)
    known = [v for row in p.history for v in row if v is not None]
    low, high = (min(known), max(known)) if known else (0.0, 1.0)
    for i in rows:
        steps, episodes = (
            (p.record.env_steps[i], p.record.episodes[i]) if p.record is not None else (0, 0)
        )
        table.add_row(
            p.ids[i],
            *([p.labels[i]] if room else []),
            f"{steps:,}",
            *([] if said.labels else [f"{episodes:,}"]),
            Text(human_return(p.latest[i]), style="bold"),
            sparkline(p.history[i], low, high),
        )
    return table


def _facts(p: Progress) -> list[str]:
    r, said = p.record, wording(p.run)
    early = p.run.goal is not None and p.run.goal.stop and p.left != "-"
    facts = [
        _budget(p),
        f"{human_seconds(p.elapsed)} elapsed",
        f"{'at most ' if early else ''}{p.left} left",
    ]
    if r is not None and r.completed is not None:
        facts[0] += f", goal completed by {r.completed} of {p.run.agents}"
    if r is not None:
        facts += [
            f"{r.steps_per_second:,.0f} {said.steps}/s",
            f"up {human_bytes(r.bytes_up)}, down {human_bytes(r.bytes_down)} per agent",
            f"{said.training} mean {human_return(r.return_mean)}, worst {human_return(p.worst)}",
        ]
    return facts


def _budget(p: Progress) -> str:
    """Say how much of its budget the last agent has used up, in what limits it."""
    steps, episodes = (min(p.record.env_steps), min(p.record.episodes)) if p.record else (0, 0)
    if not p.run.episodes:
        return f"{steps:,} of {p.run.steps:,} {wording(p.run).steps} per agent"
    return f"{episodes:,} of {p.run.episodes:,} episodes per agent, {steps:,} steps"


def _earlier(folder: Path | None) -> list[RoundRecord]:
    """Return what a continued run wrote before; the log ends where its checkpoint was saved."""
    return read_records(folder) if folder is not None and (folder / METRICS).is_file() else []


def render(p: Progress, width: int, height: int, source: str = "") -> RenderableType:
    """Draw the whole screen for a terminal of `width` x `height` characters.

    `source` says where the config comes from.
    """
    limit = max(1, min(MOST_ROWS, height - 8))
    if width < NARROW:
        return _narrow(p, limit)
    title = Text(f"{p.run.strategy_name} on {p.run.env}", style="bold")
    count = len(p.ids)
    title.append(f"  {count} agent{'s' * (count != 1)}, seed {p.run.seed}", style="dim")
    if source:
        title.append(f" ({source})", style="dim")
    title.overflow, title.no_wrap = "ellipsis", True
    if count > limit:
        title.append(f"; {limit} of them shown, from worst to best", style="dim")
    bar = Table.grid(padding=(0, 1))
    bar.add_row(
        ProgressBar(total=1.0, completed=p.fraction, width=min(60, width - 8)),
        f"{p.fraction:4.0%}",
    )
    facts = _facts(p)
    lines = [" · ".join(facts[:3]), " · ".join(facts[3:5]), " · ".join(facts[5:])]
    text = Text("\n".join(line for line in lines if line), overflow="ellipsis", no_wrap=True)
    parts: list[RenderableType] = [title, Text(), _table(p, limit, width), Text(), bar, text]
    if p.record is not None and p.record.rejected:
        parts.append(Text(_rejected(p.record), style="yellow", overflow="ellipsis", no_wrap=True))
    return Group(*parts)


def _narrow(p: Progress, limit: int) -> RenderableType:
    """Draw the screen in lines of words, folded: nothing has room beside anything else."""
    said = [f"{p.ids[i]} {human_return(p.latest[i])}" for i in pick_rows(p.latest, limit)]
    rejected = [_rejected(p.record)] if p.record is not None and p.record.rejected else []
    head = f"{p.run.strategy_name} on {p.run.env}"
    lines = [head, *said, f"{p.fraction:.0%}", *_facts(p), *rejected]
    return Text("\n".join(lines), overflow="fold")


def _rejected(record: RoundRecord) -> str:
    agent, reason = record.rejected[0]
    more = f" and {len(record.rejected) - 1} more" if len(record.rejected) > 1 else ""
    return f"round {record.round}: not used: {agent} ({reason}){more}"


START = 2.0
"""Seconds of start-up that nothing is said of."""


@contextmanager
def building() -> Iterator[None]:
    """Say on the error output what takes so long, until it is done.

    A terminal has one line that changes; anything else gets a line now and then.
    """
    done = threading.Event()
    tty = sys.stderr.isatty()

    def show() -> None:
        pause, said = START, ""
        while not done.wait(pause):
            who, doing = PULSE.where()
            text = f"{doing}: {who}" if who not in doing else doing
            if tty:
                sys.stderr.write(f"\r\x1b[K{text[: shutil.get_terminal_size().columns - 1]}")
                sys.stderr.flush()
                pause = 0.5
            else:
                if text != said:
                    terminal.say(text)
                pause = min(60.0, max(5.0, 2 * pause))
            said = text
        if tty and said:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()

    thread = threading.Thread(target=show, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


class LiveTable:
    """A tracker that redraws a table on a terminal.

    `source` says where the config comes from; rounds written in `folder` before are shown too.
    """

    def __init__(self, console: Console, source: str = "", folder: Path | None = None) -> None:
        self._console = console
        self._source, self._folder = source, folder
        self._live: Live | None = None
        self._progress: Progress | None = None

    def start(self, run: Run, ids: Sequence[str], labels: Sequence[str]) -> None:
        """Begin to draw."""
        width = 20 if self._console.width >= WIDE else 10
        self._progress = Progress(run, ids, labels, width)
        self._progress.recall(_earlier(self._folder))
        self._live = Live(
            console=self._console, refresh_per_second=2, get_renderable=self._render,
            redirect_stderr=sys.stderr.isatty(),
        )  # fmt: skip
        self._live.start()

    def _render(self) -> RenderableType:
        assert self._progress is not None
        return render(self._progress, self._console.width, self._console.height, self._source)

    def round(self, record: RoundRecord) -> None:
        """Take in one round; the next redraw shows it."""
        assert self._progress is not None
        self._progress.add(record)
        terminal.check_reader()

    def finish(self, summary: Summary) -> None:
        """Leave the last table on the screen."""

    def close(self) -> None:
        """Give the terminal back."""
        if self._live is not None:
            self._live.stop()
            self._live = None


class PlainLines:
    """A tracker that prints a line every few seconds, for logs and pipes.

    `source` says where the config comes from; rounds written in `folder` before are counted too.
    """

    def __init__(
        self,
        console: Console,
        seconds: float = 5.0,
        source: str = "",
        folder: Path | None = None,
    ) -> None:
        self._source, self._folder = source, folder
        self._console = console
        self._seconds = seconds
        self._progress: Progress | None = None
        self._printed = time.monotonic()

    def _print(self, text: str) -> None:
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)
        self._console.file.flush()
        terminal.check_reader()

    def start(self, run: Run, ids: Sequence[str], labels: Sequence[str]) -> None:
        """Say what starts."""
        self._progress = Progress(run, ids, labels)
        self._progress.recall(_earlier(self._folder))
        source = f" ({self._source})" if self._source else ""
        agents = f"{len(ids)} agent{'s' * (len(ids) != 1)}"
        self._print(f"{run.strategy_name} on {run.env}: {agents}, seed {run.seed}{source}")

    def round(self, record: RoundRecord) -> None:
        """Take in one round; print it if the last line is old, or something was rejected."""
        assert self._progress is not None
        self._progress.add(record)
        if record.rejected:
            self._print(_rejected(record))
        now = time.monotonic()
        if now - self._printed >= self._seconds or self._progress.fraction >= 1:
            self._printed = now
            facts = " · ".join(_facts(self._progress))
            self._print(f"{self._progress.fraction:4.0%} round {record.round} · {facts}")

    def finish(self, summary: Summary) -> None:
        """Say nothing: the closing lines do."""

    def close(self) -> None:
        """Nothing is open."""


# ---- What a person sees when a run has ended: what came out, and what it cost ----


def _completion(summary: Summary) -> str:
    """Say how many agents completed the goal, and when the first and the last of them did."""
    if not summary.completed:
        return f"by none of {summary.agents} agents"
    text = f"by {summary.completed} of {summary.agents} agents"
    text += f"; the first after {summary.first_episodes:,} episodes ({summary.first_steps:,} steps)"
    if summary.all_episodes is not None and summary.agents > 1:
        text += f", all after {summary.all_episodes:,} ({summary.all_steps:,})"
    return text


def closing_line(summary: Summary, folder: Path | None) -> str:
    """Return the run in one line, for ``--quiet``."""
    where = f" in {plain(str(folder))}" if folder else ""
    if summary.stopped:
        where = f"; stopped: {_names(summary.stopped)}{where}"
    if summary.completed is not None:
        where = f"; goal completed {_completion(summary)}{where}"
    return (
        f"{summary.strategy} on {summary.env}, seed {summary.seed}: final "
        f"{of_env(summary.env).value} mean "
        f"{human_return(summary.return_mean)}, worst {human_return(summary.return_worst)}, spread "
        f"{human_return(summary.return_spread)}; up {human_bytes(summary.bytes_up)}, down "
        f"{human_bytes(summary.bytes_down)} per agent{where}"
    )


NOT_REFUSED = ("stopped: ", "lost on ")
"""How reasons begin of messages that nobody refused: there were none, or they were lost."""


def _names(agents: Sequence[str], most: int = 5) -> str:
    """Return the first of some names, and how many more there are."""
    rest = len(agents) - most
    return ", ".join(agents[:most]) + (f" and {rest} more" if rest > 0 else "")


def _refused(folder: Path | None) -> str:
    """Say how many messages were refused, and the first reason; nothing if none was."""
    found = [
        (r.round, *one)
        for r in _earlier(folder)
        for one in r.rejected
        if not one[1].startswith(NOT_REFUSED)
    ]
    if not found:
        return ""
    number, agent, reason = found[0]
    return f"{len(found):,}; the first in round {number}: {agent} ({reason})"


def _add_costs(table: Table, summary: Summary) -> None:
    """Add what a run cost: bytes, simulated time if there is any, and time."""
    table.add_row(
        "sent per agent",
        f"{human_bytes(summary.bytes_up)} up, {human_bytes(summary.bytes_down)} down "
        f"in {summary.exchanges:,} exchanges",
    )
    if summary.sim_seconds:
        table.add_row(
            "simulated time",
            f"{summary.sim_seconds:,.2f} s; {summary.lost_up:,} uploads and "
            f"{summary.lost_down:,} downloads lost",
        )
    table.add_row(
        "training time",
        f"{human_seconds(summary.wall_seconds)}, {summary.steps_per_second:,.0f} "
        f"{of_env(summary.env).steps}/s",
    )


def closing(summary: Summary, run: Run, folder: Path | None, width: int = 80) -> RenderableType:
    """Return the end of a run: what came out, what it cost, and where to look further.

    On a screen of few columns every value stands below its label, folded.
    """
    table = _results(summary, run, folder)
    if width >= NARROW:
        return table
    labels, values = (list(column.cells) for column in table.columns)
    lines: list[RenderableType] = []
    for label, value in zip(labels, values, strict=True):
        text = Text() + value if isinstance(value, Text) else Text(str(value))
        text.overflow = "fold"
        lines += [Text(str(label), style="dim", overflow="fold"), text]
    return Group(*lines)


def _results(summary: Summary, run: Run, folder: Path | None) -> Table:
    """Return a table of a label and a value a row."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    mean, worst = human_return(summary.return_mean), human_return(summary.return_worst)
    labels = wording(run).labels
    table.add_row(
        "final accuracy" if labels else "final return (greedy)",
        Text.assemble(
            ("mean ", ""), (mean, "bold"), f" · worst {worst} · spread ",
            human_return(summary.return_spread),
            ("  (test examples)" if labels else f"  ({run.evaluation.episodes} episodes)", "dim"),
        ),
    )  # fmt: skip
    if not labels:
        table.add_row("with sampled actions", human_return(summary.return_stochastic))
    if summary.completed is not None:
        table.add_row("goal completed", _completion(summary))
    if not labels:
        # Where nothing differs between the agents, only the random streams are new.
        alike = isinstance(run.hetero, Nothing) and not run.agent_kwargs
        others = "other seeds" if alike else "unseen environments"
        table.add_row(others, human_return(summary.return_held_out))
    if summary.stopped:
        table.add_row("agents stopped", Text(_names(summary.stopped), style="bold red"))
    if refused := _refused(folder):
        table.add_row("messages rejected", Text(refused, style="yellow"))
    _add_costs(table, summary)
    if folder is not None:
        table.add_row("run folder", str(folder))
        table.add_row("learning curves", str(folder / "curves.png"))
        look = command("fdrl eval", folder, run, "--video" if can_film(run) else "")
        table.add_row("look further", Text(look, style="bold"))
    return table
