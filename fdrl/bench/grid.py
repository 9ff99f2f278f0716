"""From a suite to its cells: one checked `Run` and one run folder each."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Protocol

import msgspec

from fdrl.bench.suite import Method, Setting, Suite, Tuned, complain, dotted, listed, merge
from fdrl.config.run import Run, parse
from fdrl.core.errors import FdrlError, nearest


@dataclass(frozen=True, eq=False)
class Cell:
    """One run of the grid."""

    setting: str
    method: str
    seed: int
    folder: str
    """Its run folder, below the suite's."""
    run: Run
    note: str = ""
    """The values that are tried, in a tuning run."""
    pack: int = 1
    """With how many seeds of its method and setting it may run as one program."""

    def __str__(self) -> str:
        note = f", {self.note}" if self.note else ""
        return f"{self.method} in {self.setting}{note}, seed {self.seed}"


@dataclass(frozen=True)
class Absent:
    """A method that cannot run in a setting."""

    setting: str
    method: str
    reason: str


@dataclass(frozen=True, eq=False)
class Point:
    """One choice of a method's tuned values in a setting, and its runs on the tuning seeds."""

    setting: str
    method: str
    values: dict[str, Any]
    cells: tuple[Cell, ...]


def pairs(suite: Suite) -> Iterator[tuple[Setting, Method]]:
    """Yield every setting with every method that runs in it."""
    for setting in suite.settings:
        for method in suite.methods:
            if setting.name not in method.skip:
                yield setting, method


def absent(suite: Suite) -> list[Absent]:
    """Return what the suite declares as not applicable."""
    return [
        Absent(setting.name, method.name, method.skip[setting.name])
        for setting in suite.settings
        for method in suite.methods
        if setting.name in method.skip
    ]


class _Gap(Protocol):
    @property
    def setting(self) -> str: ...
    @property
    def method(self) -> str: ...
    @property
    def reason(self) -> str: ...


def gap_lines(gaps: Iterable[_Gap]) -> list[str]:
    """Return ``METHODS in SETTINGS: REASON``, a line for each reason and set of methods."""
    where: dict[tuple[str, str], list[str]] = {}
    for gap in gaps:
        where.setdefault((gap.reason, gap.method), []).append(gap.setting)
    lines: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for (reason, method), settings in where.items():
        lines.setdefault((reason, tuple(settings)), []).append(method)
    return [
        f"{', '.join(methods)} in {', '.join(settings)}: {reason}"
        for (reason, settings), methods in lines.items()
    ]


def untuned(suite: Suite, tuned: Tuned) -> list[str]:
    """Return ``METHODS in SETTINGS`` for what has a grid, or takes another's, but no values."""
    known = {(best.setting, best.method) for best in tuned.best}
    left = []
    for s, m in pairs(suite):
        like = suite.source(s, m)
        if suite.grid_of(*like) and (like[0].name, like[1].name) not in known:
            left.append(Absent(s.name, m.name, ""))
    return [line.removesuffix(": ") for line in gap_lines(left)]


def tables(
    suite: Suite, setting: Setting, method: Method, values: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the raw config of a pair, without its seed."""
    out = merge(merge(suite.base, setting.tables), method.tables)
    for override in method.overrides:
        if override.setting == setting.name:
            out = merge(out, override.tables)
    for name, value in values.items():
        out = merge(out, dotted(name, value))
    return out


def cells(suite: Suite, tuned: Tuned | None = None) -> list[Cell]:
    """Return all cells, seed by seed; every config that is wrong is reported at once."""
    runs, errors = [], []
    for setting, method in pairs(suite):
        like = suite.source(setting, method)
        values = tuned.values(like[0].name, like[1].name) if tuned else {}
        try:
            run = parse(tables(suite, setting, method, values))
        except FdrlError as error:
            errors.append(f"{method.name} in {setting.name}: {_plain(error)}")
            continue
        runs.append((setting, method.name, run))
    complain(f"suite {suite.name!r}", errors)
    return [
        _cell(suite, setting, method, seed, run, f"{setting.name}/{method}/seed-{seed:03d}")
        for seed in suite.evaluation_seeds
        for setting, method, run in runs
    ]


def _cell(
    suite: Suite, setting: Setting, method: str, seed: int, run: Run, folder: str, note: str = ""
) -> Cell:
    # One process a cell: the cores are busy with other cells.
    own = msgspec.structs.replace(run, seed=seed, out="", threads=1)
    return Cell(setting.name, method, seed, folder, own, note, setting.pack or suite.pack)


def _plain(error: FdrlError) -> str:
    return str(error).removeprefix("config: ")


def described(values: Mapping[str, Any]) -> str:
    """Return ``agent.learning_rate = 0.001``."""
    return ", ".join(f"{k} = {v}" for k, v in values.items())


def points(suite: Suite) -> list[Point]:
    """Return every choice of values that is tuned over; raises if there is nothing to tune."""
    seeds, found, errors = listed(suite.tuning_seeds), [], []
    for setting, method in pairs(suite):
        grid = suite.grid_of(setting, method)
        choices = itertools.product(*grid.values()) if grid else ()
        names: list[str] = []
        for choice in choices:
            values = dict(zip(grid, choice, strict=True))
            try:
                run = parse(tables(suite, setting, method, values))
            except FdrlError as error:
                errors.append(f"grid of {method.name} in {setting.name}: {_plain(error)}")
                continue
            names.append(point_folder(values, names))
            home = f"{setting.name}/{method.name}/{names[-1]}"
            note = described(values)
            own = [
                _cell(suite, setting, method.name, seed, run, f"{home}/seed-{seed:03d}", note)
                for seed in seeds
            ]
            found.append(Point(setting.name, method.name, values, tuple(own)))
    if not found:
        errors.append("there is nothing to tune: no method has a grid")
    elif not seeds:
        errors.append("tuning needs tuning_seeds")
    complain(f"suite {suite.name!r}", errors)
    return found


def point_folder(values: Mapping[str, Any], taken: Sequence[str]) -> str:
    """Return ``point-agent.learning_rate=0.003``: another grid is not taken for this one."""
    told = "point-" + ",".join(f"{name}={value}" for name, value in values.items())
    name = re.sub(r"[^\w.,=+-]+", "_", told)[:120]
    return name if name not in taken else f"{name}-{len(taken)}"


def select(suite: Suite, all_cells: Sequence[Cell], only: str, seeds: Sequence[int]) -> list[Cell]:
    """Return the cells of ``METHOD[/SETTING]`` (``*`` for any; several with commas) and seeds."""
    wanted = chosen_pairs(suite, only)
    found = [c for c in all_cells if (c.setting, c.method) in wanted]
    if only and not found:
        raise FdrlError(f"--only {only}: the suite says that this is not applicable")
    unknown = sorted({*seeds} - {*suite.evaluation_seeds})
    if unknown:
        shown = ", ".join(map(str, suite.evaluation_seeds))
        raise FdrlError(f"--seeds: {unknown[0]} is no seed of the suite ({shown})")
    return [c for c in found if not seeds or c.seed in seeds]


def select_points(suite: Suite, all_points: Sequence[Point], only: str) -> list[Point]:
    """Return the choices of values of ``METHOD[/SETTING]``, as `select` returns cells."""
    wanted = chosen_pairs(suite, only)
    found = [p for p in all_points if (p.setting, p.method) in wanted]
    if not found:
        like = [suite.source(s, m) for s, m in pairs(suite) if (s.name, m.name) in wanted]
        names = sorted({f"{m.name}/{s.name}" for s, m in like if suite.grid_of(s, m)})
        hint = f"; it takes the values of {', '.join(names)}" if names else ""
        raise FdrlError(f"--only {only}: there is no grid to tune it over{hint}")
    return found


def chosen_pairs(suite: Suite, only: str) -> set[tuple[str, str]]:
    """Return the (setting, method) that ``METHOD[/SETTING],...`` is about; all if it is empty."""
    methods, settings = [m.name for m in suite.methods], [s.name for s in suite.settings]
    found: set[tuple[str, str]] = set()
    for pattern in (only or "*").split(","):
        method, _, setting = pattern.strip().partition("/")
        _known("method", method, methods)
        _known("setting", setting or "*", settings)
        found.update(
            (s, m)
            for s in settings
            for m in methods
            if fnmatchcase(m, method) and fnmatchcase(s, setting or "*")
        )
    return found


def _known(kind: str, pattern: str, names: Sequence[str]) -> None:
    if not any(fnmatchcase(name, pattern) for name in names):
        raise FdrlError(f"--only: the suite has no {kind} {pattern!r}{nearest(pattern, names)}")
