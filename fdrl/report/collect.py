"""Finding run folders, and reading of each what a comparison needs."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from fdrl.bench.tuning import is_tuning
from fdrl.config.run import Run
from fdrl.core.arrays import Doubles
from fdrl.core.errors import FdrlError
from fdrl.core.files import read_file
from fdrl.core.records import Summary
from fdrl.runs.curves import carried, mean_over_agents, smooth
from fdrl.runs.folder import CONFIG, LOCK, METRICS, SUMMARY, read_data, read_summary

MANIFEST = "bench.json"
"""What ``fdrl bench`` writes into a suite's folder."""


@dataclass(frozen=True, eq=False)
class Trace:
    """A run's learning curve, M rounds."""

    steps: Doubles
    """[M] environment steps so far, mean over agents."""
    episodes: Doubles
    """[M] training episodes so far, mean over agents."""
    bytes: Doubles
    """[M] bytes so far per agent, up and down."""
    seconds: Doubles
    """[M] simulated seconds so far; 0 with an ideal channel."""
    returns: Doubles
    """[M] return of training episodes: trailing mean over a twentieth of the rounds, then over
    the agents that have ended an episode; NaN before any has."""


@dataclass(frozen=True, eq=False)
class Entry:
    """A run folder, as far as it could be read."""

    path: str
    run: Run | None = None
    summary: Summary | None = None
    trace: Trace | None = None
    problem: str = ""
    """Why it is not a finished run; empty if it is one."""
    given: tuple[str, str] | None = None
    """Setting and method as a suite calls them."""

    @property
    def finished(self) -> bool:
        """Whether its result counts."""
        return self.run is not None and self.summary is not None

    @property
    def whole(self) -> bool:
        """Whether it is finished and has every round of its learning curve."""
        rounds = 0 if self.trace is None else len(self.trace.steps)
        return self.run is not None and self.summary is not None and rounds >= self.summary.rounds


class _Line(msgspec.Struct, frozen=True):
    """The part of a `RoundRecord` that curves need: decoding the rest would take most time."""

    env_steps: list[int]
    episodes: list[int]
    returns: list[float | None]
    bytes_up: float
    bytes_down: float
    sim_seconds: float = 0.0


_LINE = msgspec.json.Decoder(_Line)


def find(places: Sequence[str | Path]) -> list[Path]:
    """Return the run folders that `places` are or contain, at any depth, in order of name.

    Hidden folders and those of ``fdrl bench --tune`` are left out, unless named themselves: a
    comparison must not see the runs that settings were chosen on. Raises `FdrlError` if a place
    does not exist or holds no run.
    """
    found: dict[Path, Path] = {}
    for place in map(Path, places):
        if not place.is_dir():
            raise FdrlError(f"{place}: {'not a folder' if place.exists() else 'no such folder'}")
        inside = below(place)
        if not inside:
            tuning = tuning_folders([place])
            hint = f"a run folder has a {CONFIG} and a {METRICS} (fdrl train writes one)"
            if tuning:
                hint = f"those in {tuning[0]} are tuning runs; name that folder to compare them"
            raise FdrlError(f"{place} holds no run: {hint}")
        for folder in inside:
            found.setdefault(folder.resolve(), folder)
    return sorted(found.values(), key=str)


def _lines(folder: Path) -> list[_Line]:
    """Read ``metrics.jsonl``; a last line cut off by a crash is left out."""
    path = folder / METRICS
    rows = read_file(path).split(b"\n")[:-1]
    lines = []
    for number, row in enumerate(rows, 1):
        try:
            lines.append(_LINE.decode(row))
        except msgspec.DecodeError as error:
            raise FdrlError(f"{path}, line {number}: not a round record: {error}") from None
    return lines


def read_trace(folder: str | Path) -> Trace | None:
    """Read a run's learning curve; None before its first round."""
    lines = _lines(Path(folder))
    if not lines:
        return None
    returns = np.array([[np.nan if v is None else v for v in r.returns] for r in lines])
    smoothed = smooth(carried(returns.astype(np.float64)), max(1, len(lines) // 20))
    return Trace(
        steps=np.array([np.mean(r.env_steps) for r in lines], dtype=np.float64),
        episodes=np.array([np.mean(r.episodes) for r in lines], dtype=np.float64),
        bytes=np.array([r.bytes_up + r.bytes_down for r in lines], dtype=np.float64),
        seconds=np.array([r.sim_seconds for r in lines], dtype=np.float64),
        returns=mean_over_agents(smoothed),
    )


def _given(folder: Path) -> tuple[str, str] | None:
    """Return what a suite calls a run in ``SUITE/SETTING/METHOD/seed-NNN``."""
    parents = folder.resolve().parents
    if not folder.name.startswith("seed-") or len(parents) < 3:
        return None
    return (parents[1].name, parents[0].name) if (parents[2] / MANIFEST).is_file() else None


def _failure(folder: Path) -> str:
    """Return why a suite's run failed, as written beside its folder; empty if it did not."""
    try:
        told = msgspec.json.decode(read_file(folder.with_name(f"{folder.name}.failed.json")))
    except (FdrlError, msgspec.DecodeError):
        return ""
    return str(told.get("reason", "")) if isinstance(told, dict) else ""


class _Cell(msgspec.Struct, frozen=True):
    setting: str
    method: str
    folder: str = ""
    state: str = ""
    reason: str = ""


class Named(msgspec.Struct, frozen=True):
    """What a suite calls a setting or a method, and a few more words for it."""

    name: str
    label: str = ""


class Manifest(msgspec.Struct, frozen=True):
    """The part of a suite's ``bench.json`` that run folders cannot tell."""

    suite: str = ""
    about: str = ""
    settings: list[Named] = []
    methods: list[Named] = []
    cells: list[_Cell] = []
    not_applicable: list[_Cell] = []


_MANIFEST = msgspec.json.Decoder(Manifest)


def manifests(places: Sequence[str | Path]) -> list[tuple[Path, Manifest]]:
    """Read the suites whose folders are among `places` or in them; damaged ones are left out."""
    found = []
    for place in map(Path, places):
        for folder, names, files in walk(place):
            if MANIFEST in files:
                names.clear()
                try:
                    data = read_file(folder / MANIFEST)
                    found.append((folder, _MANIFEST.decode(data)))
                except (FdrlError, msgspec.DecodeError):
                    continue
    return found


def never_started(suites: Sequence[tuple[Path, Manifest]]) -> list[Entry]:
    """Return a suite's failed or waiting runs that left no run folder."""
    return [
        Entry(
            str(folder / cell.folder),
            problem=f"failed: {cell.reason}" if cell.reason else "not started",
            given=(cell.setting, cell.method),
        )
        for folder, manifest in suites
        for cell in manifest.cells
        if cell.state != "finished" and not is_run(folder / cell.folder)
    ]


def _missing_rounds(summary: Summary, trace: Trace | None) -> str:
    """Say how much of a finished run's log is missing; nothing if it is whole."""
    rounds = 0 if trace is None else len(trace.steps)
    if rounds >= summary.rounds:
        return ""
    return f"its {METRICS} has {rounds:,} of {summary.rounds:,} rounds"


def read(folder: str | Path) -> Entry:
    """Read a run folder; what is wrong with it becomes its `problem`, never an exception."""
    path = Path(folder)
    try:
        run = read_data(path)
    except FdrlError as error:
        return Entry(str(folder), problem=f"its config cannot be read: {error}")
    problems, trace, summary = [], None, None
    try:
        trace = read_trace(path)
    except FdrlError as error:
        problems.append(str(error))
    try:
        summary = read_summary(path)
    except FdrlError as error:
        problems.append(str(error))
    if summary is not None and not problems and (text := _missing_rounds(summary, trace)):
        problems.append(text)
    if summary is not None and not np.isfinite(summary.return_mean):
        problems.append("its final return is not a number")
        summary = None
    if summary is None and not problems:
        unit = "episodes" if run.episodes else "steps"
        done = 0 if trace is None else int(getattr(trace, unit)[-1])
        reason = _failure(path)
        how = f"failed ({reason})" if reason else "not finished (stopped, crashed or still running)"
        problems.append(f"{how} at {done:,} of {run.episodes or run.steps:,} {unit}")
    return Entry(str(folder), run, summary, trace, "; ".join(problems), _given(path))


# ---- Which folders hold runs that may be compared, and which hold tuning runs ----


def is_run(folder: Path) -> bool:
    """A config alone may be somebody else's; a run has one of its other files too."""
    return (folder / CONFIG).is_file() and any(
        (folder / name).exists() for name in (LOCK, METRICS, SUMMARY)
    )


def walk(place: Path) -> Iterator[tuple[Path, list[str], list[str]]]:
    """Yield the folders in a place as `os.walk` does, but no hidden ones and no tuning folders."""
    for folder, names, files in os.walk(place):
        here = Path(folder)
        names[:] = sorted(n for n in names if not n.startswith(".") and not is_tuning(here / n))
        yield here, names, files


def below(place: Path) -> list[Path]:
    """Return the run folders that a place is or contains, tuning runs only if it is their own."""
    if is_run(place):
        return [place]
    found = []
    for here, names, _ in walk(place):
        if here != place and is_run(here):
            found.append(here)
            names.clear()
    return found


def tuning_folders(places: Sequence[str | Path]) -> list[Path]:
    """Return the folders of tuning runs inside `places`, in order of name."""
    found: set[Path] = set()
    for place in map(Path, places):
        for folder, names, _ in os.walk(place):
            names[:] = [n for n in names if not n.startswith(".")]
            found.update(Path(folder, n) for n in names if is_tuning(Path(folder, n)))
    return sorted(found)


def tuning_runs(places: Sequence[str | Path], found: Sequence[Path]) -> int:
    """Count the tuning runs inside `places` that are not among the runs `found` there."""
    own = {folder.resolve() for folder in found}
    inside = {run.resolve() for folder in tuning_folders(places) for run in below(folder)}
    return len(inside - own)
