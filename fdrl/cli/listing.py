"""``fdrl envs``, ``fdrl agents``, ``fdrl strategies``: what is registered, with its defaults."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Literal, get_args, get_origin

import msgspec
from rich.console import Console
from rich.table import Table
from tyro.conf import Positional

from fdrl.cli import options
from fdrl.cli.options import argument, field_help
from fdrl.core import terminal
from fdrl.core.registry import (
    AGENTS,
    ENVS,
    PARALLEL,
    STRATEGIES,
    EnvSpec,
    StrategySpec,
    able,
    load_object,
)

# ---- Tables of what is registered, and of a settings class with its defaults ----


def print_table(headers: Sequence[str], rows: Iterable[Sequence[str]], *, title: str = "") -> None:
    """Print a table; the first column is never cut, the last one takes the room that is left.

    No word is cut in two: where they do not fit beside each other, every row is a block of lines.
    """
    console, lines = terminal.console(), [*rows]
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
    return terminal.console().width


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
                width = max(8, console.width - 1)
                wrapped = textwrap.fill(text, width, initial_indent="  ", subsequent_indent="    ")
                console.print(wrapped, highlight=False, markup=False)


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


# ---- ``fdrl agents [NAME]``: list learners, or one learner's settings ----


class Agents(msgspec.Struct, frozen=True, kw_only=True):
    """List learners, or one's settings."""

    name: Annotated[Positional[str], argument("[NAME]", "(default: list all)")] = ""
    """The one whose settings are listed."""


def agents(argv: list[str]) -> int:
    """Print the table of learners, or the settings of one."""
    asked = options.read(Agents, argv, "agents")

    if asked.name:
        spec = AGENTS.spec(asked.name)
        print_settings("agent", spec.name, spec.summary, load_object(spec.settings))
        return 0
    print_table(("agent", ""), ((s.name, s.summary) for s in AGENTS))
    print("\nfdrl agents NAME lists a learner's settings")
    return 0


# ---- ``fdrl envs``: list environments ----


class Environments(msgspec.Struct, frozen=True, kw_only=True):
    """List the environments that fdrl knows.

    Any other Gymnasium id with a Box (flat or images) of observations and actions that are Discrete
    or a flat, bounded Box works too, and module:Id-v0 for one of your own.
    """


def _row(spec: EnvSpec) -> tuple[str, str, str, str]:
    varying = ", ".join(n for n, p in spec.physics.items() if p.varies)
    threshold = "" if spec.threshold is None else f"{spec.threshold:g}"
    needs = f" (extra {spec.extra})" if spec.extra else ""
    return spec.name, threshold, varying, spec.summary + needs


def envs(argv: list[str]) -> int:
    """Print the table of environments."""
    options.read(Environments, argv, "envs")

    print_table(("environment", "solved at", "dynamics vary", ""), map(_row, ENVS))
    shared = "worlds that several agents share (docs/multiagent.md): "
    print("\n" + textwrap.fill(shared + ", ".join(sorted(PARALLEL)), max(60, console_width())))
    print('an extra is installed with: pip install "fdrl[EXTRA]"')
    print("and any Gymnasium id, or module:Id-v0 (see fdrl check ID)")
    return 0


# ---- ``fdrl strategies [NAME]``: list methods, or one method's settings ----


class Strategies(msgspec.Struct, frozen=True, kw_only=True):
    """List methods, or one's settings."""

    name: Annotated[Positional[str], argument("[NAME]", "(default: list all)")] = ""
    """The one whose settings are listed."""


def strategies(argv: list[str]) -> int:
    """Print the table of methods, or the settings of one."""
    asked = options.read(Strategies, argv, "strategies")

    if asked.name:
        spec = STRATEGIES.spec(asked.name)
        print_settings("strategy", spec.name, _about(spec), load_object(spec.settings))
        return 0
    rows = ((s.name, s.moves, _about(s)) for s in STRATEGIES)
    print_table(("strategy", "what moves", ""), rows)
    print("\nfdrl strategies NAME lists a method's settings")
    return 0


def _about(spec: StrategySpec) -> str:
    """Return what a method is, with the learners it is for if it is not for all."""
    learners = able(spec.needs).replace(" or ", ", ") if spec.needs else ""
    return f"{spec.summary} ({learners})" if learners else spec.summary
