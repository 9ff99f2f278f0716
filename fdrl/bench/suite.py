"""A suite file, where it comes from, and the tuned values beside it."""

from __future__ import annotations

import importlib.resources
import itertools
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec
import tomli_w

from fdrl.config.errors import config_error
from fdrl.config.tables import toml_tables, toml_text
from fdrl.config.trust import texts, unregistered
from fdrl.core.errors import FdrlError, Mistakes, nearest
from fdrl.core.files import make_folder, write_atomic
from fdrl.core.records import Summary
from fdrl.core.settings import NonNegativeInt, PositiveInt, convert

# ---- A suite file: which methods are compared in which settings, on which seeds ----
#
# A cell's config is ``base``, then the setting's tables, then the method's, then the method's
# ``[[overrides]]`` for that setting, then the tuned values; later tables win. In ``[[settings]]``,
# ``[[methods]]`` and ``[[methods.overrides]]`` every key that is not the suite's own belongs to the
# `Run`.


MOST = 10
"""How many mistakes are listed."""
OURS = ("seed", "out")
"""Fields of a `Run` that the suite sets in every cell."""
_NAME = re.compile(r"[A-Za-z0-9][\w.+-]*")
Grid = dict[str, Annotated[tuple[Any, ...], msgspec.Meta(min_length=1)]]


class _Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Frozen, strict, by keyword: what all tables of a suite are."""


class Range(_Table, frozen=True, kw_only=True):
    """Consecutive seeds."""

    first: NonNegativeInt = 0
    count: PositiveInt


class Setting(_Table, frozen=True, kw_only=True):
    """What is learned: environment, heterogeneity, networks, agents, steps."""

    name: str
    """Names the folder and the rows of the report."""
    label: str = ""
    """A few more words for the report."""
    grid: Grid | None = None
    """Values to tune over here, of methods without a grid of their own; unset: the suite's."""
    tuned_as: str = ""
    """Another setting, whose tuned values hold here too; nothing is tuned here."""
    pack: PositiveInt | None = None
    """How many seeds run as one program here; unset: the suite's."""
    tables: dict[str, Any] = {}


class Override(_Table, frozen=True, kw_only=True):
    """A method's own tables in one setting."""

    setting: str
    tables: dict[str, Any] = {}


class Method(_Table, frozen=True, kw_only=True):
    """Who learns, and how."""

    name: str
    """Names the folder and the rows of the report."""
    label: str = ""
    """A few more words for the report."""
    skip: dict[str, str] = {}
    """Settings in which the method cannot run, and why."""
    grid: Grid | None = None
    """Values to tune over, by dotted field; unset: the suite's; empty: nothing is tuned."""
    tuned_as: str = ""
    """Another method, whose tuned values hold for this one too; it is not tuned itself."""
    overrides: tuple[Override, ...] = ()
    tables: dict[str, Any] = {}


class Tuning(_Table, frozen=True, kw_only=True):
    """What ``--tune`` maximizes."""

    score: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)] = (
        "return_mean",
        "return_worst",
        "return_stochastic",
    )
    """Fields of a run's summary whose sum is the score, averaged over the tuning seeds."""


class Suite(_Table, frozen=True, kw_only=True):
    """A comparison; one TOML file."""

    name: str
    about: str = ""
    """What question the suite answers."""
    out: str = ""
    """Folder of the runs; unset: runs/NAME."""
    seeds: tuple[NonNegativeInt, ...] | Range
    """Evaluation seeds, the same for every method."""
    tuning_seeds: tuple[NonNegativeInt, ...] | Range = ()
    """Seeds of ``--tune``; none of them may be an evaluation seed."""
    tuning: Tuning = Tuning()
    pack: PositiveInt = 1
    """How many seeds of a method in a setting run as one batched program, which changes no number;
    small networks with few environment copies then run many times faster."""
    grid: Grid = {}
    """Values to tune over, of methods without a grid of their own."""
    base: dict[str, Any] = {}
    settings: Annotated[tuple[Setting, ...], msgspec.Meta(min_length=1)]
    methods: Annotated[tuple[Method, ...], msgspec.Meta(min_length=1)]

    @property
    def evaluation_seeds(self) -> tuple[int, ...]:
        """The seeds as a list."""
        return listed(self.seeds)

    def grid_of(self, setting: Setting, method: Method) -> Grid:
        """Return what is tuned for a method in a setting; nothing where others' values hold."""
        if setting.tuned_as or method.tuned_as:
            return {}
        own = setting.grid if method.grid is None else method.grid
        return self.grid if own is None else own

    def source(self, setting: Setting, method: Method) -> tuple[Setting, Method]:
        """Return the pair whose tuned values hold for a pair: itself, or what `tuned_as` names."""
        settings = {s.name: s for s in self.settings}
        methods = {m.name: m for m in self.methods}
        return (
            settings.get(setting.tuned_as, setting),
            methods.get(method.tuned_as, method),
        )


def listed(seeds: tuple[int, ...] | Range) -> tuple[int, ...]:
    """Write a range of seeds out."""
    if isinstance(seeds, Range):
        return tuple(range(seeds.first, seeds.first + seeds.count))
    return seeds


def merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Lay tables over tables; a table that names another ``type`` replaces the one below it."""
    out = dict(below)
    for key, value in above.items():
        old = out.get(key)
        out[key] = value
        if isinstance(old, Mapping) and isinstance(value, Mapping):
            kind = old.get("type")
            out[key] = merge(old, value) if value.get("type", kind) == kind else value
    return out


def dotted(name: str, value: Any) -> dict[str, Any]:
    """Return ``{"agent": {"learning_rate": value}}`` for ``agent.learning_rate``."""
    head, _, rest = name.partition(".")
    return {head: dotted(rest, value) if rest else value}


def _split(raw: Any, cls: type[msgspec.Struct]) -> Any:
    """Move the keys that are not the suite's own into ``tables``."""
    if not isinstance(raw, Mapping):
        return raw
    own = {f.name for f in msgspec.structs.fields(cls)} - {"tables"}
    split: dict[str, Any] = {k: v for k, v in raw.items() if k in own}
    split["tables"] = {k: v for k, v in raw.items() if k not in own}
    return split


def _split_all(raw: Any, cls: type[msgspec.Struct]) -> Any:
    return [_split(r, cls) for r in raw] if isinstance(raw, list) else raw


def parse_suite(raw: Mapping[str, Any], source: str) -> Suite:
    """Check a suite's tables; all that is wrong with names and seeds is reported at once."""
    raw = dict(raw)
    raw["settings"] = _split_all(raw.get("settings", []), Setting)
    raw["methods"] = _split_all(raw.get("methods", []), Method)
    for method in raw["methods"] if isinstance(raw["methods"], list) else []:
        if isinstance(method, dict) and "overrides" in method:
            method["overrides"] = _split_all(method["overrides"], Override)
    try:
        suite: Suite = convert(raw, Suite)
    except msgspec.ValidationError as error:
        text = str(config_error(error, "", Suite, raw)).removeprefix("config: ")
        raise FdrlError(f"{source}: {text}") from None
    complain(source, [*_name_errors(suite), *_seed_errors(suite), *_table_errors(suite)])
    return suite


def complain(source: str, errors: Iterable[str], advice: str = "") -> None:
    """Raise one error that lists all (the first ten of many), if there are any."""
    found = list(dict.fromkeys(errors))
    if len(found) == 1:
        raise FdrlError(f"{source}: {found[0]}" + (f" ({advice})" if advice else ""))
    if found:
        more = [f"... and {len(found) - MOST} more"] if len(found) > MOST else []
        lines = "".join(f"\n  {text}" for text in [*found[:MOST], *more])
        raise Mistakes(f"{source}: {len(found)} mistakes{lines}" + (f"\n{advice}" * bool(advice)))


def _name_errors(suite: Suite) -> Iterable[str]:
    settings, methods = [s.name for s in suite.settings], [m.name for m in suite.methods]
    for kind, names in (("suite", [suite.name]), ("setting", settings), ("method", methods)):
        for name in names:
            if not _NAME.fullmatch(name):
                yield f"{kind} {name!r}: a name is letters, digits, '.', '_', '-', '+' (a folder)"
            if names.count(name) > 1:
                yield f"two {kind}s are called {name!r}"
    for method in suite.methods:
        mentioned = [("skip", s) for s in method.skip]
        mentioned += [("overrides", o.setting) for o in method.overrides]
        for where, name in mentioned:
            if name not in settings:
                text = f"method {method.name!r}: unknown setting {name!r} in {where}"
                yield text + nearest(name, settings)
    yield from _no_source("setting", suite.settings)
    yield from _no_source("method", suite.methods)
    yield from _untuned(suite)
    known = [n for n, k in Summary.__annotations__.items() if k == "float"]
    for name in suite.tuning.score:
        if name not in known:
            yield f"tuning.score: a summary has no number {name!r}{nearest(name, known)}"


def _no_source(kind: str, entries: Iterable[Setting] | Iterable[Method]) -> Iterable[str]:
    """Yield which `tuned_as` do not name an entry that is tuned itself, or stand beside a grid."""
    sources = [e.name for e in entries if not e.tuned_as]
    for entry in entries:
        if entry.tuned_as and entry.grid:
            yield f"{kind} {entry.name!r}: it has a grid, but takes the values of tuned_as"
        if entry.tuned_as and entry.tuned_as not in sources:
            text = f"{kind} {entry.name!r}: tuned_as {entry.tuned_as!r} is no tuned {kind}"
            yield text + nearest(entry.tuned_as, sources)


def _untuned(suite: Suite) -> Iterable[str]:
    """Yield which methods would silently go without the tuned values that the others get."""
    for setting, method in itertools.product(suite.settings, suite.methods):
        like = suite.source(setting, method)
        absent = like[0].name in like[1].skip and setting.name not in method.skip
        if absent and suite.grid_of(*like):
            yield (
                f"method {method.name!r}: in setting {setting.name!r} it takes the values tuned "
                f"for {like[1].name!r} in {like[0].name!r}, which the suite skips: skip both, or "
                "tune it itself"
            )


def _seed_errors(suite: Suite) -> Iterable[str]:
    seeds, tuning = suite.evaluation_seeds, listed(suite.tuning_seeds)
    if not seeds:
        yield "seeds is empty"
    for name, values in (("seeds", seeds), ("tuning_seeds", tuning)):
        twice = sorted({s for s in values if values.count(s) > 1})
        if twice:
            yield f"{name} names {twice[0]} twice"
    both = sorted({*seeds} & {*tuning})
    if both:
        shown = ", ".join(map(str, both))
        yield f"seeds and tuning_seeds share {shown}: what was tuned on cannot be tested on"


def _table_errors(suite: Suite) -> Iterable[str]:
    places = [("base", suite.base)]
    places += [(f"setting {s.name!r}", s.tables) for s in suite.settings]
    for method in suite.methods:
        places.append((f"method {method.name!r}", method.tables))
        places += [(f"method {method.name!r}, {o.setting}", o.tables) for o in method.overrides]
    for where, tables in places:
        for name in OURS:
            if name in tables:
                yield f"{where}: {name!r} is set by the suite in every cell"


# ---- Where suites come from: those that ship with fdrl, and files; tuned values lie beside them


TUNED_ENDING = ".tuned.toml"
"""``NAME.tuned.toml`` beside ``NAME.toml`` holds its tuned values."""


def suites() -> dict[str, str]:
    """Return the TOML text of every suite that ships with fdrl, by name."""
    return {n: t for n, t in _shipped().items() if not n.endswith(".tuned")}


def _shipped() -> dict[str, str]:
    folder = importlib.resources.files("fdrl.configs") / "suites"
    files = sorted((f for f in folder.iterdir() if f.name.endswith(".toml")), key=lambda f: f.name)
    return {f.name.removesuffix(".toml"): f.read_text(encoding="utf-8") for f in files}


def decode(text: str, source: str) -> dict[str, Any]:
    """Read TOML text; an error names the file."""
    return toml_tables(text, source)


def read_text(source: str) -> tuple[str, str]:
    """Return the text of a suite (a name, or FILE.toml) and of its tuned values, if it has any."""
    if not source.endswith(".toml") and not Path(source).is_file():
        known = suites()
        if source == "theory":
            raise FdrlError(
                "the theory is no suite of training runs: fdrl theory --out DIR makes its tables, "
                "figures and statements"
            )
        if source not in known:
            raise FdrlError(f"unknown suite {source!r}{nearest(source, known)} (or FILE.toml)")
        return known[source], _shipped().get(f"{source}.tuned", "")
    path = Path(source)
    beside = path.with_name(path.name.removesuffix(".toml") + TUNED_ENDING)
    tuned = toml_text(beside, "tuned values") if beside.is_file() else ""
    return toml_text(path, "suite"), tuned


def read_suite(source: str) -> Suite:
    """Read and check a suite: a name from `suites`, or a TOML file's path."""
    return parse_suite(decode(read_text(source)[0], source), source)


# ---- Tuned values: what ``--tune`` found on the tuning seeds, as a file that later runs read


TUNED = "tuned.toml"


class Tried(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A choice of values and its score on the tuning seeds."""

    score: float
    values: dict[str, Any]


class Best(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The best values of a method in a setting."""

    setting: str
    method: str
    score: float
    values: dict[str, Any]
    tried: tuple[Tried, ...] = ()


class Tuned(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What ``tuned.toml`` holds."""

    suite: str
    seeds: tuple[int, ...]
    score: tuple[str, ...]
    best: tuple[Best, ...] = ()

    def values(self, setting: str, method: str) -> dict[str, Any]:
        """Return the tuned values of a pair, by dotted field; none if it was not tuned."""
        for best in self.best:
            if (best.setting, best.method) == (setting, method):
                return dict(best.values)
        return {}


def write_tuned(path: Path, tuned: Tuned) -> None:
    """Write the file, whole or not at all."""
    make_folder(path.parent)
    write_atomic(path, tomli_w.dumps(msgspec.to_builtins(tuned)).encode())


def parse_tuned(text: str, source: str, suite: Suite) -> Tuned:
    """Read tuned values; refuse those of another suite."""
    raw = decode(text, source)
    try:
        tuned: Tuned = convert(raw, Tuned)
    except msgspec.ValidationError as error:
        message = str(config_error(error, "", Tuned, raw)).removeprefix("config: ")
        raise FdrlError(f"{source}: {message}") from None
    if tuned.suite != suite.name:
        raise FdrlError(f"{source} was tuned for suite {tuned.suite!r}, not {suite.name!r}")
    return tuned


def _check_names(path: Path, tuned: Tuned, suite: Suite) -> None:
    """Raise if values in a results folder, which is data, name what the suite itself does not."""
    own = {text for _, text in texts(msgspec.to_builtins(suite), ())}
    for best in tuned.best:
        for field, value in best.values.items():
            for place, name in unregistered(dotted(field, value)):
                if name not in own:
                    raise FdrlError(
                        f"{path}: {place} = {name!r} of {best.method} in {best.setting} is not "
                        "registered, nor in the suite: what a results folder names is not imported"
                    )


def find_tuned(suite: Suite, out: Path, shipped: str) -> tuple[Tuned | None, str]:
    """Return the tuned values in `out`, else those beside the suite, and where they were found."""
    path = out / TUNED
    if path.is_file():
        tuned = parse_tuned(toml_text(path, "tuned values"), str(path), suite)
        _check_names(path, tuned, suite)
        return tuned, str(path)
    if shipped:
        source = f"the tuned values of suite {suite.name!r}"
        return parse_tuned(shipped, source, suite), "the file beside the suite"
    return None, ""
