"""Raw tables before they are read: where they come from, and what they mean by default.

Presets and TOML files give tables; their ``type`` decides which settings class reads each, and
where they name none, the registry's defaults do.
"""

from __future__ import annotations

import codecs
import importlib.resources
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from fdrl.channels.settings import MacAnalog
from fdrl.core.errors import FdrlError, nearest, short
from fdrl.core.files import read_file
from fdrl.core.registry import AGENTS, STRATEGIES, Registry, load_object
from fdrl.core.settings import Exchange, LearnerSettings

# ---- What a table's type means, and what is meant without one ----

PLUGINS: dict[str, tuple[Registry[Any], type[msgspec.Struct]]] = {
    "agent": (AGENTS, LearnerSettings),
    "strategy": (STRATEGIES, Exchange),
}
"""Tables whose ``type`` is a plugin's name: where it is registered, and what its settings are."""

ADDING = str(MacAnalog.__struct_config__.tag)
"""The channel on which uploads add up in the air."""


def settings_class(key: str, name: str) -> Any:
    """Return the settings class of a learner or strategy; `key` is "agent" or "strategy"."""
    registry, base = PLUGINS[key]
    cls = load_object(registry.spec(name).settings)
    if not (isinstance(cls, type) and issubclass(cls, base)):
        raise FdrlError(
            f"{key} {name!r}: its settings must derive from {base.__module__}.{base.__qualname__}"
        )
    return cls


def comes_with_fdrl(key: str, name: str) -> bool:
    """Say whether a learner or strategy is one of fdrl's own; nothing is imported to know it."""
    registry = PLUGINS[key][0]
    return name in registry and registry.spec(name).settings.startswith("fdrl.")


def type_of(raw: Mapping[str, Any], key: str) -> str:
    """Return the learner or strategy of raw tables; `key` is "agent" or "strategy"."""
    table = raw.get(key, {})
    if not isinstance(table, Mapping):
        raise FdrlError(f'config: {key} must be a table: [{key}] type = "...", not {table!r}')
    if "type" in table:
        return str(table["type"])
    return _usual_strategy(raw) if key == "strategy" else AGENTS.default().name


def _usual_strategy(raw: Mapping[str, Any]) -> str:
    """Return the strategy of raw tables that name none: the best that their learners can all take.

    Where messages add up in the air, it is one that only averages.
    """
    cohorts = raw.get("cohorts")
    tables = [raw.get("agent")] if not isinstance(cohorts, list | tuple) or not cohorts else cohorts
    names = map(_learner, tables)
    # Nothing is imported to find out: one's own learners do not say what they can.
    abilities = [set(AGENTS.spec(n).abilities if n in AGENTS else ()) for n in names]
    channel = raw.get("channel")
    adding = isinstance(channel, Mapping) and channel.get("type") == ADDING
    for spec in STRATEGIES.defaults(set[str].intersection(*abilities)):
        settings: Any = settings_class("strategy", spec.name)
        if not (adding and settings().why_no_mean()):
            return spec.name
    return STRATEGIES.default().name


def _learner(table: Any) -> str:
    """Return the learner of an agent's or a cohort's table; nonsense is complained of later."""
    table = table.get("agent", table) if isinstance(table, Mapping) else {}
    named = table.get("type") if isinstance(table, Mapping) else None
    return named if isinstance(named, str) else AGENTS.default().name


# ---- Inner tables of a config that say a part: the rest is as the outer table has it ----


def merge_defaults(table: Mapping[str, Any], cls: type[msgspec.Struct]) -> dict[str, Any]:
    """Return a table in which what inner tables leave out is as `cls` has it.

    Otherwise it would be as the inner table's class has it: of a strategy that distills at 2e-3,
    ``distill = { steps = 64 }`` would change the learning rate too. What is given `instead` of
    another setting (see `fdrl.core.settings.DistillSettings`) leaves that one as the inner class
    has it. Inner tables of another ``type`` than usual are left alone.
    """
    out = dict(table)
    for field in msgspec.structs.fields(cls):
        given = out.get(field.encode_name)
        if isinstance(given, Mapping) and isinstance(field.default, msgspec.Struct):
            usual = msgspec.to_builtins(field.default)
            for name, other in getattr(field.default, "instead", {}).items():
                if name in given:
                    del usual[other]
            if given.get("type", usual.get("type")) == usual.get("type"):
                out[field.encode_name] = {**usual, **given}
    return out


# ---- The text of a TOML file, which is UTF-8 whatever an editor or a shell made of it ----


MARKS = {
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}
"""How files of other encodings begin."""


def toml_text(path: str | Path, what: str) -> str:
    """Read a TOML file's text; a byte-order mark before it, as Notepad writes one, is left out.

    Raises `FdrlError` that names the file, what it is, and the encoding that it appears to have.
    """
    try:
        data = read_file(Path(path))
    except FdrlError as error:
        if not isinstance(error.__cause__, OSError):
            raise
        why = error.__cause__.strerror or error.__cause__
        raise FdrlError(f"cannot read the {what} {path}: {why}") from None
    try:
        if b"\0" not in data[:4]:
            return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        found = f"byte {data[error.start]:#04x} at position {error.start} is not UTF-8"
    else:
        found = "it has zero bytes"
    marked = (name for mark, name in MARKS.items() if data.startswith(mark))
    seems = next(marked, "UTF-16" if b"\0" in data[:4] else "Latin-1 or Windows-1252")
    raise FdrlError(
        f"cannot read the {what} {path}: {found}, it appears to be {seems}; TOML is UTF-8: save it "
        "as that"
    )


DEEPEST = 50
"""How many tables and lists may stand inside one another: what reads them calls itself."""


def toml_tables(text: str, source: object) -> dict[str, Any]:
    """Read TOML; raises `FdrlError` that names where it stands, for what no config means too."""
    try:
        tables: dict[str, Any] = msgspec.toml.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise FdrlError(f"{source}: not valid TOML: {short(error)}") from None
    except ValueError:  # Python's own: it reads no whole number of thousands of digits
        raise FdrlError(f"{source}: not valid TOML: a number has thousands of digits") from None
    check_depth(tables, source)
    return tables


def check_depth(tables: Any, source: object = "config") -> None:
    """Raise `FdrlError` if more than `DEEPEST` tables or lists stand inside one another."""
    inside = [tables]
    for _ in range(DEEPEST):
        inside = [
            value
            for one in inside
            for value in (one.values() if isinstance(one, Mapping) else one)
            if isinstance(value, Mapping | list | tuple)
        ]
        if not inside:
            return
    raise FdrlError(f"{source}: more than {DEEPEST} tables or lists stand inside one another")


# ---- Where raw configs come from: the presets that ship with fdrl, and TOML files ----


def presets() -> dict[str, str]:
    """Return the TOML text of every preset that ships with fdrl, by name."""
    folder = importlib.resources.files("fdrl.configs")
    files = sorted((f for f in folder.iterdir() if f.name.endswith(".toml")), key=lambda f: f.name)
    return {f.name.removesuffix(".toml"): f.read_text(encoding="utf-8") for f in files}


def read_tables(source: str) -> dict[str, Any]:
    """Read a preset's name or a TOML file's path into raw tables; errors name file and place."""
    if source.endswith(".toml") or Path(source).is_file():
        text = toml_text(source, "config")
    else:
        known = presets()
        if Path(source).is_dir():
            run = (Path(source) / "config.toml").is_file()
            quoted = shlex.quote(source)
            hint = f": to go on with its run, fdrl train --resume {quoted}" if run else ""
            raise FdrlError(f"{source} is a folder, not a preset or FILE.toml{hint}")
        if source not in known:
            raise FdrlError(f"unknown preset {source!r}{nearest(source, known)} (or FILE.toml)")
        text = known[source]
    return toml_tables(text, source)
