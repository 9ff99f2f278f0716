"""What is wrong with a config, in one line: the place, the value, and the nearest right answer."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, Literal, get_args, get_origin

import msgspec

from fdrl.core.errors import FdrlError, nearest, short

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
