"""Re-check finished runs against their suite, from what lies on the disk alone."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fdrl import config
from fdrl.bench.grid import Cell
from fdrl.bench.ledger import read_failure
from fdrl.bench.suite import Suite
from fdrl.bench.totals import check_totals, unequal
from fdrl.bench.tuned import Tuned
from fdrl.bench.tuned_checks import check_tuned
from fdrl.budget import chosen_steps
from fdrl.config import Run
from fdrl.errors import FdrlError
from fdrl.records import RoundRecord, Summary
from fdrl.rundir import CONFIG, read_records, read_run, read_summary

SAME = (
    "env", "env_kwargs", "agent_kwargs", "agents", "steps", "episodes", "goal", "networks",
    "hetero", "channel", "evaluation",
)  # fmt: skip
"""Fields in which the methods of a setting must not differ, or they are not comparable."""
OUTDATED = ("rows are of proxy set ", "a table came before any proxy set")
"""How the server refuses answers of agents that a proxy set did not reach."""


@dataclass(frozen=True)
class Deviation:
    """Something that is not as the suite says, and where."""

    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


@dataclass(frozen=True)
class Finished:
    """A finished run, as its folder has it."""

    cell: Cell
    run: Run
    summary: Summary
    records: list[RoundRecord]


def audit(suite: Suite, cells: Sequence[Cell], out: Path, tuned: Tuned | None) -> list[Deviation]:
    """Return every deviation of the runs below `out` from the suite."""
    found, runs = [], []
    for cell in cells:
        where = str(out / cell.folder)
        try:
            read = _read(out, cell)
        except FdrlError as error:
            found.append(Deviation(where, str(error)))
            continue
        if isinstance(read, str):
            found.append(Deviation(where, read))
            continue
        runs.append(read)
        found += [Deviation(where, what) for what in check_run(read)]
    found += [Deviation(str(out), what) for what in check_suite(suite, cells, tuned)]
    found += [Deviation(str(out / f.cell.folder), what) for f, what in check_equal(runs)]
    return found + _strays(out, cells)


def _read(out: Path, cell: Cell) -> Finished | str:
    """Read a cell's run; return what is missing if it is not finished."""
    folder = out / cell.folder
    failure = read_failure(out, cell)
    if not (folder / CONFIG).is_file():
        return f"failed: {failure.reason}" if failure else "not started"
    summary = read_summary(folder)
    if summary is None:
        return f"failed: {failure.reason}" if failure else "not finished"
    return Finished(cell, read_run(folder), summary, read_records(folder))


def check_run(f: Finished) -> Iterator[str]:
    """Yield in what a run differs from its cell, and its summary from its log."""
    for name in config.differences(f.cell.run, f.run):
        yield f"config: {name} is not what the suite says"
    if f.summary.config != config.digest(f.run):
        yield "summary.json belongs to another config than config.toml"
    named = {"strategy": f.run.strategy_name, "env": f.run.env}
    yield from unequal(
        f.summary, named | {"seed": f.run.seed, "agents": f.run.agents}, "config.toml"
    )
    numbers = [r.round for r in f.records]
    if numbers != list(range(1, len(numbers) + 1)):
        yield "metrics.jsonl: rounds are missing or repeated"
    if not f.records:
        yield "metrics.jsonl is empty"
        return
    yield from check_totals(f.summary, f.records)
    yield from _check_budget(f.run, f.summary, f.records[-1])
    yield from _check_messages(f.summary, f.records)


def _check_messages(summary: Summary, records: Sequence[RoundRecord]) -> Iterator[str]:
    """Yield how many messages were not used, unless a lossy channel is why.

    What it lost is part of the experiment, and counted in the summary; and so is what an agent
    then answers that missed a download.
    """
    excused = (
        *(["lost on the "] if summary.lost_up or summary.lost_down else []),
        *(OUTDATED if summary.lost_down else []),
    )
    told = [(r.round, *own) for r in records for own in r.rejected]
    unused = [u for u in told if not u[2].startswith(excused)]
    if unused:
        number, agent, reason = unused[0]
        were = "1 message was" if len(unused) == 1 else f"{len(unused)} messages were"
        yield f"{were} not used; first in round {number}: {agent} ({reason})"


def _check_budget(run: Run, summary: Summary, last: RoundRecord) -> Iterator[str]:
    """Yield where a run's end is not the one of its budget: of steps, of episodes, or a goal."""
    if run.goal is not None and run.goal.stop and last.completed == run.agents:
        return
    if not run.episodes:
        if min(last.env_steps) != max(last.env_steps):
            yield f"agents took between {min(last.env_steps):,} and {max(last.env_steps):,} steps"
        if summary.env_steps != run.steps:
            yield f"{summary.env_steps:,} steps per agent, but the budget is {run.steps:,}"
        return
    budgets = f"the budget is {run.episodes:,} episodes, or {run.steps:,} steps"
    for agent, (steps, episodes) in enumerate(zip(last.env_steps, last.episodes, strict=True)):
        # More is no fault: rollouts and batches end with the iteration of the last episode.
        if episodes < run.episodes and steps < run.steps:
            yield f"agent {agent} ended {episodes:,} episodes in {steps:,} steps, but {budgets}"


def check_suite(suite: Suite, cells: Sequence[Cell], tuned: Tuned | None) -> Iterator[str]:
    """Yield what makes the suite itself an unfair comparison."""
    if tuned is not None:
        yield from check_tuned(suite, tuned)
    yield from incomparable(cells)


def incomparable(cells: Sequence[Cell]) -> Iterator[str]:
    """Yield in which settings the methods differ in what they must share."""
    by_setting: dict[str, dict[str, Cell]] = defaultdict(dict)
    for cell in cells:
        by_setting[cell.setting].setdefault(cell.method, cell)
    for setting, methods in by_setting.items():
        for name in SAME:
            yield from _field_differs(setting, name, methods)


def _field_differs(setting: str, name: str, methods: dict[str, Cell]) -> Iterator[str]:
    groups: dict[str, list[str]] = defaultdict(list)
    for method, cell in methods.items():
        value = chosen_steps(cell.run) if name == "steps" else getattr(cell.run, name)
        groups[repr(value)].append(method)
    if len(groups) > 1:
        shown = (f"{value} ({', '.join(names)})" for value, names in sorted(groups.items()))
        yield f"in {setting}, methods differ in {name}: {', '.join(shown)}"


def check_equal(runs: Sequence[Finished]) -> Iterator[tuple[Finished, str]]:
    """Yield in what runs differ that must be alike: budgets in a setting, versions everywhere."""
    groups: dict[str, list[Finished]] = defaultdict(list)
    for f in runs:
        groups[f.cell.setting].append(f)
    for group in groups.values():
        # Runs that end by episodes or by a goal take the steps that these take.
        by_steps = [f for f in group if not f.run.episodes and not (f.run.goal and f.run.goal.stop)]
        for f, value, usual in _odd(by_steps, lambda f: f.summary.env_steps):
            yield f, f"{value:,} steps per agent, but most runs of the setting have {usual:,}"
    for name in sorted({n for f in runs for n in f.summary.versions}):
        for f, value, usual in _odd(runs, lambda f, n=name: f.summary.versions.get(n, "none")):  # type: ignore[misc]
            yield f, f"made with {name} {value}, but most runs with {usual}"


def _odd(
    runs: Iterable[Finished], value: Callable[[Finished], Any]
) -> Iterator[tuple[Finished, Any, Any]]:
    """Yield the runs whose value is not the most frequent one."""
    values = [(f, value(f)) for f in runs]
    if values:
        usual = Counter(v for _, v in values).most_common(1)[0][0]
        yield from ((f, v, usual) for f, v in values if v != usual)


def _strays(out: Path, cells: Sequence[Cell]) -> list[Deviation]:
    """Return run folders below `out` that are no cell of the suite."""
    known = {out / c.folder for c in cells}
    folders = sorted(p.parent for p in out.glob(f"**/{CONFIG}"))
    return [Deviation(str(f), "a run that is not in the suite") for f in folders if f not in known]
