"""Words of a command line: the few options that verbs read themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fdrl.errors import FdrlError, nearest


@dataclass(frozen=True)
class Option:
    """An option ``--name``. `metavar` empty: it takes no value; "?": the value may be left out."""

    metavar: str = ""
    help: str = ""
    setting: bool = False
    """A key of a config as well: shown with its underscores, as all settings are."""


@dataclass(frozen=True)
class Words:
    """A parsed command line."""

    positional: list[str]
    options: dict[str, str]


def usage(verb: str, arguments: str, about: str, options: Mapping[str, Option]) -> str:
    """Return a verb's help text."""
    lines = [f"usage: fdrl {verb} {arguments} [OPTIONS]".replace("  ", " "), "", about, ""]
    for name, option in options.items():
        spelled = name.replace("-", "_") if option.setting else name
        shown = f"--{spelled} {option.metavar.replace('?', '[VALUE]')}".rstrip()
        lines.append(f"  {shown:<22}{option.help}")
    return "\n".join([*lines, f"  {'--help':<22}show this text", ""])


def read(
    argv: Sequence[str],
    options: Mapping[str, Option],
    *,
    most: int,
    least: int = 0,
) -> Words:
    """Split words into positional arguments (at most `most`) and options; errors name the word.

    While there are fewer than `least`, a word after an option whose value may be left out
    is an argument: ``eval --video RUN``.
    """
    positional: list[str] = []
    maybe: list[str] = []
    found: dict[str, str] = {}
    words = list(argv)
    while words:
        word = words.pop(0)
        if not word.startswith("--"):
            positional.append(word)
            continue
        name, equals, value = _split(word, options)
        option = options[name]
        has_value = bool(words) and not words[0].startswith("--")
        if option.metavar == "?" and not equals and has_value:
            value = words.pop(0)
            maybe.append(name)
        elif option.metavar and option.metavar != "?" and not equals:
            if not has_value:
                raise FdrlError(f"flag --{name} needs a value, {option.metavar}")
            value = words.pop(0)
        found[name] = value
    for name in maybe[: max(least - len(positional), 0)]:
        positional.append(found[name])
        found[name] = ""
    if len(positional) > most:
        raise FdrlError(f"unexpected argument {positional[most]!r}")
    return Words(positional, found)


def _split(word: str, options: Mapping[str, Option]) -> tuple[str, str, str]:
    """Return a known option's name, "=" if a value follows it in the same word, and that value."""
    flag, equals, value = word.partition("=")
    name = flag[2:].replace("_", "-")
    if name not in options:
        near = nearest("--" + name, [f"--{n}" for n in options])
        raise FdrlError(f"unknown flag {flag!r}{near}")
    return name, equals, value


def whole_number(name: str, text: str) -> int:
    """Read a flag's value as a positive whole number."""
    if not text.isdecimal() or int(text) < 1:
        raise FdrlError(f"flag --{name} must be a whole number of at least 1, not {text!r}")
    return int(text)
