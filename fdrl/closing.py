"""What a person sees when a run has ended: what came out, and what it cost."""

from __future__ import annotations

from pathlib import Path

from rich.table import Table
from rich.text import Text

from fdrl.config import Run
from fdrl.heterogeneity import Nothing
from fdrl.progress import human_bytes, human_return, human_seconds
from fdrl.records import Summary
from fdrl.video import can_film
from fdrl.wording import of_env, wording


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
    where = f" in {folder}" if folder else ""
    if summary.completed is not None:
        where = f"; goal completed {_completion(summary)}{where}"
    return (
        f"{summary.strategy} on {summary.env}, seed {summary.seed}: final "
        f"{of_env(summary.env).value} mean "
        f"{human_return(summary.return_mean)}, worst {human_return(summary.return_worst)}, spread "
        f"{human_return(summary.return_spread)}; up {human_bytes(summary.bytes_up)}, down "
        f"{human_bytes(summary.bytes_down)} per agent{where}"
    )


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


def closing(summary: Summary, run: Run, folder: Path | None) -> Table:
    """Return the end of a run: what came out, what it cost, and where to look further."""
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
    _add_costs(table, summary)
    if folder is not None:
        table.add_row("run folder", str(folder))
        table.add_row("learning curves", str(folder / "curves.png"))
        film = " --video" if can_film(run) else ""
        table.add_row("look further", Text(f"fdrl eval {folder}{film}", style="bold"))
    return table
