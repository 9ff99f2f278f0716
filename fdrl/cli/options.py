"""One reader for the flags of every verb: tyro turns words into values, msgspec checks them.

A verb's options are one frozen class with a text per field. `read` fills it from words; `given`
returns only what the words name, for verbs that lay their flags over a file. What is wrong is said
in one line, in the same words for all verbs.
"""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import inspect
import io
import itertools
import os
import re
import shutil
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from types import NoneType, UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

import msgspec
import tyro
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from fdrl.config.errors import check_finite, config_error
from fdrl.core.errors import FdrlError, nearest
from fdrl.core.settings import convert

T = TypeVar("T", bound=msgspec.Struct)

MOST = 10**15
"""Whole numbers below this are taken."""
SWITCHED = {"true": True, "false": False, "none": None}
_NUMBER = re.compile(r"-?\d[\w.,+-]*")


def flag(metavar: str, unset: str = "") -> Any:
    """Describe a flag in an annotation: what stands for its value, and what it is if unset."""
    hint = f"(default: {unset})" if unset else ""
    return tyro.conf.arg(metavar=metavar, help_behavior_hint=hint)


def argument(metavar: str, hint: str = "") -> Any:
    """Describe an argument that no flag stands before, for an annotation."""
    return tyro.conf.arg(metavar=metavar, help_behavior_hint=hint)


Switch = Annotated[bool, flag("")]
"""A flag that takes no value."""


def kinds_of(cls: type[msgspec.Struct], prefix: str = "") -> dict[str, Any]:
    """Return the fields of a class and their annotations; those of inner classes with a dot."""
    kinds: dict[str, Any] = {}
    for field in msgspec.structs.fields(cls):
        inner = isinstance(field.type, type) and issubclass(field.type, msgspec.Struct)
        name = prefix + field.name
        kinds |= kinds_of(field.type, f"{name}.") if inner else {name: field.type}
    return kinds


def name_of(word: str) -> str:
    """Return the field that a flag names: ``--held-out=1`` names ``held_out``."""
    return word.lstrip("-").partition("=")[0].replace("-", "_")


def is_flag(word: str) -> bool:
    """Say whether a word is a flag, and no value such as ``-5``."""
    return bool(re.match(r"--?[A-Za-z]", word))


def wants_help(words: Sequence[str]) -> bool:
    """Say whether a command line asks for its help."""
    return "--help" in words or "-h" in words


def read(cls: type[T], argv: Sequence[str], verb: str, *, about: str = "", keys: bool = False) -> T:
    """Read a verb's words into its options; `FdrlError` says what is wrong, in one line.

    ``--help`` prints the options and exits. `about` stands for the class's docstring; `keys` shows
    names with underscores, as in files.
    """
    found = named(cls, argv, verb, about=about, keys=keys)
    for field in msgspec.structs.fields(cls):
        if field.required and found.get(field.name, ()) == ():
            raise FdrlError(_missing(cls, field.name, verb))
    return checked(cls, found, argv)


def checked(cls: type[T], found: Mapping[str, Any], argv: Sequence[str]) -> T:
    """Make the options of what flags say; `argv` are the words that said it."""
    raw: dict[str, Any] = {}
    for name, value in found.items():
        *path, last = name.split(".")
        table = raw
        for key in path:
            table = table.setdefault(key, {})
        table[last] = value
    with naming_flags(argv):
        try:
            made: T = convert(raw, cls)
        except msgspec.ValidationError as error:
            raise config_error(error, "", cls, raw) from None
        check_finite(made)
        return made


def named(
    cls: type[msgspec.Struct], argv: Sequence[str], verb: str, *, about: str = "",
    keys: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """Return the values of the options that the words name, as `read` does, but not checked."""
    if wants_help(argv):
        show(cls, verb, about=about, keys=keys)
    kinds = kinds_of(cls)
    for word in filter(is_flag, argv):
        check_known(word, kinds, keys=keys)
    found = given(kinds, positionals_first(argv, kinds))
    return {name: value for name, value in found.items() if value is not None}


def _missing(cls: type[msgspec.Struct], name: str, verb: str) -> str:
    """Say what a verb needs, in the words of that argument's help."""

    what = re.split(r"[.,:;(]", field_help(cls)[name])[0].strip()
    usage = " ".join(_metavar(k) for k in kinds_of(cls).values() if _is_positional(k))
    return f"fdrl {verb} needs {what[0].lower()}{what[1:]}: fdrl {verb} {usage}"


def usage(cls: type[msgspec.Struct], verb: str, *, about: str = "") -> int:
    """Print a verb's help where nothing was said; return the exit code."""
    with contextlib.suppress(SystemExit):
        show(cls, verb, about=about)
    return 2


def show(cls: type[msgspec.Struct], verb: str, *, about: str = "", keys: bool = False) -> None:
    """Print a verb's help, and exit."""
    widen()
    tyro.cli(
        cls, args=["--help"], prog=f"fdrl {verb}", description=about or cls.__doc__,
        use_underscores=keys, config=(tyro.conf.FlagConversionOff,), registry=RULES,
    )  # fmt: skip


def widen() -> None:
    """Let a help text have columns in which it can be laid out; narrower screens wrap it."""
    if shutil.get_terminal_size().columns < 40:
        os.environ["COLUMNS"] = "40"


def given(kinds: Mapping[str, Any], words: Sequence[str]) -> dict[str, Any]:
    """Return the values of the flags that stand in `words`, by field, in the words' order.

    `kinds` are all fields, dotted ones too, with their annotations. Positional ones are always in
    the result, None where no word stands for them. Every flag must be known.
    """
    after = [*words[1:], ""]
    words = [w for pair in zip(words, after, strict=False) for w in _spelled(*pair, kinds)]
    names = list(dict.fromkeys(name_of(w) for w in words if is_flag(w)))
    free = {name: _optional(kind) for name, kind in kinds.items() if _is_positional(kind)}
    made = flag_class({name: kinds[name] for name in names}, free)
    values = vars(_quietly(made, words, kinds))
    return {name: values[_attribute(name)] for name in [*free, *names]}


def flag_class(kinds: Mapping[str, Any], free: Mapping[str, Any] = {}) -> type[Any]:
    """Return a class with a field for every flag, as tyro reads them; those of `free` are None."""
    fields: list[Any] = []
    for name, kind in kinds.items():
        called = Annotated[kind, tyro.conf.arg(name=name)] if "." in name else kind
        fields.append((_attribute(name), called))
    fields += [(name, kind, None) for name, kind in free.items()]
    return dataclasses.make_dataclass("Flags", fields)


def _attribute(name: str) -> str:
    return name.replace(".", "__")


def _quietly(made: type[Any], words: Sequence[str], kinds: Mapping[str, Any]) -> Any:
    """Let tyro read; its boxes become one line."""
    caught = io.StringIO()
    try:
        with contextlib.redirect_stderr(caught), contextlib.redirect_stdout(caught):
            return tyro.cli(
                made, args=list(words), config=(tyro.conf.FlagConversionOff,), registry=RULES
            )
    except SystemExit:
        raise FdrlError(complaint(caught.getvalue(), kinds, words)) from None


def _spelled(word: str, after: str, kinds: Mapping[str, Any]) -> list[str]:
    """Turn ``--x.no-flag`` into ``--x.flag false``; other words stay. `after` is the next word."""
    name = name_of(word)
    if not is_flag(word) or name in kinds:
        return [word]
    flag, equals, value = word.partition("=")
    field, value = positive(name), value if equals else after
    if equals or (value and not is_flag(value)):
        raise FdrlError(f"flag {flag} takes no value; say --{field} {value}")
    return [f"--{field}", "false"]


def positive(name: str) -> str:
    """Return the field that ``x.no_flag`` switches off: ``x.flag``; other names unchanged."""
    table, dot, last = name.rpartition(".")
    return table + dot + last.removeprefix("no_")


def positionals_first(words: Sequence[str], kinds: Mapping[str, Any]) -> list[str]:
    """Put words that belong to no flag first, where tyro looks for them: ``--seeds 0 1 SUITE``.

    A word that is no number ends a list of numbers.
    """
    first, rest, left = [], [], list(words)
    while left:
        word = left.pop(0)
        if not is_flag(word):
            first.append(word)
            continue
        rest.append(word)
        count = 0 if "=" in word else _takes(kinds.get(name_of(word), bool), left)
        rest += left[:count]
        del left[:count]
    return first + rest


def take(words: Sequence[str], kinds: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Read the flags of `kinds` out of words of which others mean more; return these too."""
    mine: list[str] = []
    rest, left = [], list(words)
    while left:
        word = left.pop(0)
        if not is_flag(word) or name_of(word) not in kinds:
            rest.append(word)
            continue
        count = 0 if "=" in word else _takes(kinds[name_of(word)], left)
        mine += [word, *left[:count]]
        del left[:count]
    return given(kinds, mine), rest


def _takes(kind: Any, after: Sequence[str]) -> int:
    """Return how many of the words after a flag of this kind are its values."""
    values = next((i for i, word in enumerate(after) if is_flag(word)), len(after))
    if is_switch(kind):
        return int(values > 0 and after[0].lower() in SWITCHED)
    if not _is_list(kind):
        return min(values, 1)
    more = next((i for i in range(1, values) if not _NUMBER.fullmatch(after[i])), values)
    return min(values, more)


def check_known(word: str, kinds: Mapping[str, Any], *, keys: bool = False) -> None:
    """Raise for a flag that is no field, naming the nearest one."""
    name = name_of(word)
    if name in kinds and not _is_positional(kinds[name]):
        return
    if is_switch(kinds.get(positive(name))):
        return
    shown = [n if keys else n.replace("_", "-") for n, k in kinds.items() if not _is_positional(k)]
    near = nearest("--" + name.replace("_", "-"), [f"--{n}" for n in shown])
    raise FdrlError(f"unknown flag {word.partition('=')[0]!r}{near}")


@contextlib.contextmanager
def naming_flags(words: Sequence[str]) -> Iterator[None]:
    """Say of a complaint about a setting that a flag gave that the flag is meant."""
    try:
        yield
    except FdrlError as error:
        for word in filter(is_flag, words):
            place = rf"(config: .*\(at ){re.escape(name_of(word))}((?:\[\d+\])?\))"
            if match := re.fullmatch(place, str(error)):
                text = match[1].removeprefix("config: ") + word.partition("=")[0] + match[2]
                raise FdrlError(f"flags: {text}") from None
        raise


def complaint(box: str, kinds: Mapping[str, Any], words: Sequence[str]) -> str:
    """Turn tyro's box into one line: what is wrong, without frame, title and advice.

    A flag is called as it was in the `words`: with dashes or underscores.
    """
    typed = {name_of(w): w.partition("=")[0] for w in words if is_flag(w)}
    blocks: list[list[str]] = [[]]
    for line in box.splitlines():
        text = line.strip("│|+╭╮╰╯─- \t")
        if text and not line.startswith("╭"):
            blocks[-1].append(text)
        elif blocks[-1]:
            blocks.append([])
    # Without box characters the title is a block of its own.
    what = blocks[0] if "╭" in box or len(blocks) < 2 else blocks[1]
    text = re.sub(r"\s+", " ", " ".join(what)) or "the flags cannot be read"
    choices = r"invalid choice (.+) for argument '(\S+)'\. Expected one of \((.*)\)"
    if bad := re.match(r"Error parsing (\S+): (needs .*|takes .*|is .*)", text):
        return f"flags: {typed.get(name_of(bad[1]), bad[1])} {bad[2]}"
    if bad := re.match(choices, text):
        known = [
            k for k in (part.strip(" '") for part in bad[3].split(",")) if k not in ("", "None")
        ]
        flag = typed.get(name_of(bad[2]), bad[2])
        return f"flags: {flag} is one of {', '.join(known)}, not {bad[1]}"
    if bad := re.match(r"Missing value for argument '(\S+?)'", text):
        meant = _metavar(kinds.get(name_of(bad[1])))
        flag = typed.get(name_of(bad[1]), bad[1])
        return f"flags: {flag} needs a value{', ' + meant if meant else ''}"
    if bad := re.match(r"Unrecognized options: (\S+)", text):
        return f"unexpected argument {bad[1]!r}"
    return f"flags: {text}"


def spell(asked: msgspec.Struct, leave_out: Sequence[str] = ()) -> list[str]:
    """Return the flags that give these options, those aside that are as by default."""
    words: list[str] = []
    for field in msgspec.structs.fields(type(asked)):
        value = getattr(asked, field.name)
        if field.required or value == field.default or field.name in leave_out:
            continue
        word = f"--{field.name.replace('_', '-')}"
        if isinstance(value, tuple):
            words += [word, *map(str, value)]
        elif is_flag(str(value)):  # a name that begins with a dash
            words.append(f"{word}={value}")
        else:
            words += [word] if value is True else [word, str(value)]
    return words


# How tyro reads the values


def _plain(kind: Any) -> Any:
    """Take an annotation's remarks off."""
    return _plain(get_args(kind)[0]) if get_origin(kind) is Annotated else kind


def _remarks(kind: Any) -> tuple[Any, ...]:
    return get_args(kind)[1:] if get_origin(kind) is Annotated else ()


def _is_positional(kind: Any) -> bool:
    # tyro's markers compare by what they say, and say it of any type
    return get_args(tyro.conf.Positional[int])[1] in _remarks(kind)


def _metavar(kind: Any) -> str:
    return next((m for m in (getattr(r, "metavar", None) for r in _remarks(kind)) if m), "")


def _optional(kind: Any) -> Any:
    plain, remarks = get_args(kind)[0], get_args(kind)[1:]
    return Annotated[(plain | None, *remarks)]


def _members(kind: Any) -> list[Any]:
    """Return the types of a union, None aside; of any other annotation, itself."""
    kind = _plain(kind)
    parts = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
    return [_plain(p) for p in parts if p is not NoneType]


def _takes_none(kind: Any) -> bool:
    return NoneType in get_args(_plain(kind))


def is_switch(kind: Any) -> bool:
    """Say whether an annotation is ``bool`` or ``bool | None``."""
    return _members(kind) == [bool]


def _is_list(kind: Any) -> bool:
    return any(get_origin(k) is tuple for k in _members(kind))


def whole(text: str) -> int:
    """Read a whole number: ``1e5`` and ``100_000`` are 100000."""
    try:
        value = Decimal(text)
        exact = value.is_finite() and value == value.to_integral_value()
    except InvalidOperation:
        exact = False
    if not exact:
        raise ValueError(f"needs a whole number such as 100000, got {text!r}")
    if abs(value) >= MOST:
        raise ValueError(f"is too large: {text} is not below {MOST:.0e}")
    return int(value)


def number(text: str) -> float:
    """Read a number."""
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"takes a number such as 0.001, not {text!r}") from None


def _wholes(words: list[str]) -> tuple[int, ...]:
    """Read ``64 64``, ``64,64`` or ``[64, 64]``."""
    joined = " ".join(words)
    if not joined.strip():
        raise ValueError("needs one or more whole numbers, such as 64 64")
    if "," in joined or "[" in joined:
        words = joined.replace(",", " ").strip("[]() ").split()
    return tuple(map(whole, words))


def _switch(words: list[str], none: bool) -> bool | None:
    value = SWITCHED.get(words[0].lower(), ...) if words else True
    if value is ... or (value is None and not none):
        raise ValueError(f"is true or false, not {' '.join(words)!r}")
    return value


RULES = ConstructorRegistry()
"""Numbers and switches as people write them."""


@RULES.primitive_rule
def _rule(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
    kind, none = info.type, _takes_none(info.type)
    members = _members(kind)
    if members == [bool]:
        metavar = "{true,false,none}" if none else "{true,false}"
        return _spec((0, 1), metavar, lambda words: _switch(words, none))
    if members in ([int], [float]):
        read: Any = whole if members == [int] else number
        metavar = "INT" if members == [int] else "FLOAT"
        return _spec(1, metavar, lambda w: None if none and w[0].lower() == "none" else read(w[0]))
    lists = [m for m in members if get_origin(m) is tuple and not none]
    of = get_args(lists[0])[:1] if len(members) == len(lists) == 1 else ()
    return _spec("*", "INT [INT ...]", _wholes) if of and _members(of[0]) == [int] else None


def _spec(nargs: Any, metavar: str, read: Any) -> PrimitiveConstructorSpec[Any]:
    return PrimitiveConstructorSpec(
        nargs=nargs, metavar=metavar, instance_from_str=read,
        is_instance=lambda value: True, str_from_instance=_written,
    )  # fmt: skip


def _written(value: Any) -> list[str]:
    if isinstance(value, tuple):
        return [str(v) for v in value]
    return [str(value).lower() if value is None or isinstance(value, bool) else str(value)]


def field_help(cls: type[Any]) -> dict[str, str]:
    """Return the text below each field of a class and its bases, from their sources."""
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        try:
            body = ast.parse(textwrap.dedent(inspect.getsource(base))).body[0]
        except (OSError, TypeError, SyntaxError):
            continue
        lines = body.body if isinstance(body, ast.ClassDef) else []
        for line, after in itertools.pairwise(lines):
            if not (isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name)):
                continue
            if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
                found[line.target.id] = " ".join(str(after.value.value).split())
    return found


def counted(count: int, noun: str) -> str:
    """Return ``1 run`` or ``2 runs``."""
    return f"{count} {noun}{'s' * (count != 1)}"
