"""What is wrong with a config, in one line: the place, the value, and the nearest right answer."""

from __future__ import annotations

import codecs
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import msgspec

from fdrl.core.errors import FdrlError, nearest, short
from fdrl.core.files import read_file

Known = dict[str, Any]
WORDS = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "str": "text",
    "array": "a list",
    "object": "a table",
}
"""msgspec's names of types, in words."""
BOUNDS = {">=": ("of", "at least"), "<=": ("of", "at most"), ">": ("", "above"), "<": ("", "below")}


def config_error(error: msgspec.ValidationError, where: str, cls: Any, raw: Any) -> FdrlError:
    """Turn msgspec's message about `raw`, which is no `cls`, into ours."""
    text, path = str(error), ""
    match = re.search(r" - at `\$\.?(.*?)`$", text)
    if match:
        text, path = text[: match.start()], match.group(1)
    place = ".".join(p for p in (where, path) if p)
    unknown = re.search(r"unknown field `(.*?)`", text)
    if unknown:
        name = unknown.group(1)
        known = [n for c in _structs_at(cls, path) for n in _kinds(c)]
        return _line(f"unknown field {name!r}{nearest(name, known)}", place)
    value = _value_at(raw, path)
    tags = _tags_at(cls, path)
    if tags and isinstance(value, str):
        text = f"unknown type {value!r}{nearest(value, tags)}"
        return _line(text, place.removesuffix(".type"))
    choices = _choices_at(cls, path)
    if choices and isinstance(value, str):
        return _line(f"unknown value {value!r}{nearest(value, choices)}", place)
    if text.startswith("Expected `"):
        wanted = in_words(text.partition(", got")[0])
        return _line(f"{wanted}, got {_got(value)}", place)
    missing = re.search(r"missing required field `(.*?)`", text)
    if missing:
        return _line(f"{missing.group(1)!r} is missing", place)
    return _line(f"{text[0].lower()}{text[1:]}", place)


def in_words(text: str) -> str:
    """Return msgspec's ``Expected `int` >= 1`` as a reader of no Python would say it."""
    match = re.match(r"Expected `([^`]*)`(?: of length)?(?: (>=|<=|>|<) (\S+))?", text)
    if match is None:
        return text[0].lower() + text[1:]
    kinds = [WORDS.get(kind, kind) for kind in match.group(1).split(" | ") if kind != "null"]
    words = f"expected {' or '.join(kinds)}"
    if match.group(2):
        bound = f"{float(match.group(3)):g}" if match.group(3)[-1].isdigit() else match.group(3)
        of = "with" if " of length " in text else ""
        words += f" {of or BOUNDS[match.group(2)][0]} {BOUNDS[match.group(2)][1]} {bound}".replace(
            "  ", " "
        )
        words += " entries" if of else ""
    return words


def _got(value: Any) -> str:
    if isinstance(value, Mapping):
        return "a table"
    if isinstance(value, bool):
        return str(value).lower()
    text = repr(list(value) if isinstance(value, tuple) else value)
    return short(text) if value is not None else "nothing"


def check_finite(settings: msgspec.Struct, where: str = "") -> None:
    """Raise for a number in settings (nested ones too) that is infinite or NaN, naming its place.

    TOML can say ``inf`` and so can a flag, but no setting means anything by it: it trains NaNs.
    Arguments of environments are tables, not settings, and those are the environment's to check.
    """
    for field in msgspec.structs.fields(type(settings)):
        value, place = getattr(settings, field.name), f"{where}.{field.name}".lstrip(".")
        for number in value if isinstance(value, tuple) else (value,):
            if isinstance(number, float) and not math.isfinite(number):
                raise _line(f"expected a finite number, got {number}", place)
        if isinstance(value, msgspec.Struct):
            check_finite(value, place)


def _line(text: str, place: str) -> FdrlError:
    return FdrlError(f"config: {text}" + (f" (at {place})" if place else ""))


def _parts(path: str) -> list[str]:
    return [p for p in re.split(r"[.\[\]]+", path) if p and p != "..."]


def _value_at(raw: Any, path: str) -> Any:
    """Return the value at a path such as ``cohorts[0].agents``; None if there is none."""
    for part in _parts(path):
        if isinstance(raw, Mapping):
            raw = raw.get(part)
        elif isinstance(raw, list | tuple) and part.isdecimal() and int(part) < len(raw):
            raw = raw[int(part)]
        else:
            return None
    return raw


def _kinds(cls: Any) -> Known:
    return {f.name: f.type for f in msgspec.structs.fields(cls)}


def _leaves(kind: Any) -> list[Any]:
    """Return the plain types in an annotation: unions, containers and Annotated taken apart."""
    if get_origin(kind) is Literal or not get_args(kind):
        return [kind]
    return [leaf for part in get_args(kind) for leaf in _leaves(part)]


def _structs(kind: Any) -> list[Any]:
    return [t for t in _leaves(kind) if isinstance(t, type) and issubclass(t, msgspec.Struct)]


def _structs_at(cls: Any, path: str) -> list[Any]:
    """Return the Struct classes that may stand at a path below `cls`."""
    here = [cls]
    for name in _parts(path):
        if not name.isdecimal():
            here = [s for c in here for s in _structs(_kinds(c).get(name))] or here
    return here


def _tags_at(cls: Any, path: str) -> list[str]:
    if _parts(path)[-1:] != ["type"]:
        return []
    members = _structs_at(cls, path.removesuffix("type").rstrip("."))
    return [str(c.__struct_config__.tag) for c in members if c.__struct_config__.tag]


def _choices_at(cls: Any, path: str) -> list[str]:
    parts = _parts(path)
    if not parts:
        return []
    found = [_kinds(c).get(parts[-1]) for c in _structs_at(cls, ".".join(parts[:-1]))]
    literals = [t for kind in found for t in _leaves(kind) if get_origin(t) is Literal]
    return [str(a) for t in literals for a in get_args(t)]


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
