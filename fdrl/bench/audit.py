"""Re-check finished runs against their suite, from what lies on the disk alone."""

from __future__ import annotations

import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from fdrl.bench.grid import Cell
from fdrl.bench.outputs import read_failure
from fdrl.bench.suite import Suite, Tuned
from fdrl.bench.tuning import check_tuned
from fdrl.config.run import Run, chosen_steps, differences, digest
from fdrl.core.errors import FdrlError
from fdrl.core.records import RoundRecord, Summary
from fdrl.runs.folder import CONFIG, read_data, read_records, read_summary

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
    return Finished(cell, read_data(folder), summary, read_records(folder))


def check_run(f: Finished) -> Iterator[str]:
    """Yield in what a run differs from its cell, and its summary from its log."""
    for name in differences(f.cell.run, f.run):
        yield f"config: {name} is not what the suite says"
    if f.summary.config != digest(f.run):
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
    yield from check_budget(f.run, f.summary, f.records[-1])
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


def check_budget(run: Run, summary: Summary, last: RoundRecord) -> Iterator[str]:
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


# ---- Whether a run's summary follows from its log, and both from themselves ----


def check_totals(summary: Summary, records: Sequence[RoundRecord]) -> Iterator[str]:
    """Yield where a summary does not follow from the log, or either from itself."""
    last = records[-1]
    logged = {
        "rounds": last.round,
        "env_steps": max(last.env_steps),
        "bytes_up": last.bytes_up,
        "bytes_down": last.bytes_down,
        "sim_seconds": last.sim_seconds,
        "exchanges": sum(r.exchanged for r in records),
        "completed": last.completed,
    }
    yield from unequal(summary, logged, "metrics.jsonl")
    yield from _check_returns(summary)
    yield from _check_rising(records)
    yield from check_means(records)


def unequal(summary: Summary, expected: dict[str, Any], source: str) -> Iterator[str]:
    """Yield the fields of a summary that are not as expected."""
    for name, value in expected.items():
        have = getattr(summary, name)
        same = have == value
        if isinstance(have, float) and isinstance(value, int | float):
            same = (math.isnan(have) and math.isnan(value)) or _close(have, value)
        if not same:
            yield f"summary.json: {name} is {have}, but {source} says {value}"


def _close(a: float, b: float) -> bool:
    return math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-9)


def _check_returns(summary: Summary) -> Iterator[str]:
    """Yield what is wrong with the agents' final returns, or with what follows from them."""
    own = summary.returns
    if len(own) != summary.agents:
        yield f"summary.json: returns of {len(own)} agents, but there are {summary.agents}"
    unknown = [k for k, value in enumerate(own) if not math.isfinite(value)]
    if unknown:
        yield f"summary.json: the return of agent {unknown[0]} is no finite number"
    if own and not unknown:
        derived = {
            "return_mean": math.fsum(own) / len(own),
            "return_worst": min(own),
            "return_spread": statistics.pstdev(own),
        }
        yield from unequal(summary, derived, "its own returns")


def _check_rising(records: Sequence[RoundRecord]) -> Iterator[str]:
    """Yield what counts from the beginning of the run, and yet goes down: its first round."""
    for name in ("env_steps", "episodes", "bytes_up", "bytes_down", "sim_seconds"):
        for before, after in pairwise(records):
            old, new = getattr(before, name), getattr(after, name)
            pairs = zip(old, new, strict=False) if isinstance(old, list) else [(old, new)]
            if any(b < a for a, b in pairs):
                yield f"metrics.jsonl: {name} goes down in round {after.round}"
                break


def check_means(records: Sequence[RoundRecord]) -> Iterator[str]:
    """Yield the first round whose return_mean is not the mean of the agents' latest returns."""
    latest: dict[int, float] = {}
    episodes = [0] * len(records[0].episodes)
    for r in records:
        for k, value in enumerate(r.returns):
            if value is not None and math.isfinite(value):
                latest[k] = value
            elif k < len(episodes) and k < len(r.episodes) and r.episodes[k] > episodes[k]:
                latest.pop(k, None)  # episodes ended, but their return is no number
        episodes = r.episodes
        if r.return_mean is None or not math.isfinite(r.return_mean) or not latest:
            continue
        mean = math.fsum(latest.values()) / len(latest)
        if not _close(r.return_mean, mean):
            text = f"return_mean of round {r.round} is {r.return_mean}, but its returns say {mean}"
            yield f"metrics.jsonl: {text}"
            return
