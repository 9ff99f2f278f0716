"""Tables of what is registered, and of a settings class with its defaults."""

from __future__ import annotations

import ast
import inspect
import itertools
import textwrap
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Literal, get_args, get_origin

import msgspec
from rich.console import Console
from rich.table import Table


def print_table(headers: Sequence[str], rows: Iterable[Sequence[str]], *, title: str = "") -> None:
    """Print a table; the first column is never cut, the last one takes the room that is left.

    No word is cut in two: where they do not fit beside each other, every row is a block of lines.
    """
    console, lines = Console(), [*rows]
    if title:
        console.print(title, style="bold", highlight=False)
    least = [_longest([h, *column]) for h, *column in zip(headers, *lines, strict=True)]
    least[0] = max(len(text) for text in (headers[0], *(line[0] for line in lines)))
    if sum(least) + 2 * (len(least) - 1) > console.width:
        _print_blocks(console, headers, lines)
        return
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold", pad_edge=False)
    for index, header in enumerate(headers):
        table.add_column(header, no_wrap=index == 0, overflow="fold", min_width=least[index])
    for line in lines:
        table.add_row(*line)
    console.print(table)


def console_width() -> int:
    """Return how many characters a line of the output has."""
    return Console().width


def _longest(texts: Iterable[str]) -> int:
    """Return the length of the longest word."""
    return max((len(word) for text in texts for word in text.split()), default=0)


def _print_blocks(console: Console, headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print each row as its name and a line for every other cell, indented."""
    for row in rows:
        console.print(row[0], style="bold", highlight=False, markup=False)
        for header, cell in zip(headers[1:], row[1:], strict=True):
            text = f"{header}: {cell}" if header else cell
            if cell:
                width = max(20, console.width - 1)
                wrapped = textwrap.fill(text, width, initial_indent="  ", subsequent_indent="    ")
                console.print(wrapped, highlight=False, markup=False)


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


def type_name(kind: Any) -> str:
    """Return an annotation as a reader of a config file would say it."""
    origin, args = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return type_name(args[0])
    if origin is Literal:
        return " | ".join(str(a) for a in args)
    if args and origin is not dict:
        joined = " | ".join(type_name(a) for a in args if a not in (..., type(None)))
        return f"list of {joined}" if origin in (tuple, list) else joined
    return {int: "integer", float: "number", str: "text", bool: "true | false"}.get(kind, "table")


def settings_rows(cls: Any, prefix: str) -> list[tuple[str, str, str, str]]:
    """Return (flag, type, default, help) of each field of a settings class, nested ones flat."""
    return _rows(cls(), prefix)


def _rows(value: msgspec.Struct, prefix: str) -> list[tuple[str, str, str, str]]:
    helps, rows = field_help(type(value)), []
    for field in msgspec.structs.fields(type(value)):
        inner = getattr(value, field.name)
        name = f"{prefix}.{field.name}"
        if isinstance(inner, msgspec.Struct):
            rows += _rows(inner, name)
            continue
        rows.append((name, type_name(field.type), _default(inner), helps.get(field.name, "")))
    return rows


def _default(value: Any) -> str:
    if isinstance(value, tuple | list):
        return " ".join(str(v) for v in value)
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value)


def print_settings(kind: str, name: str, summary: str, cls: Any) -> None:
    """Print a learner's or a method's settings with their defaults."""
    print(f"{kind} {name}" + (f": {summary}" if summary else ""))
    print(f'In TOML: [{kind}] type = "{name}"; on the command line: --{kind} {name}')
    for flag, kind_of_value, default, text in settings_rows(cls, f"--{kind}"):
        print(f"\n{flag}  ({kind_of_value}{', default ' + default if default else ''})")
        print(textwrap.fill(text, 78, initial_indent="    ", subsequent_indent="    "))
