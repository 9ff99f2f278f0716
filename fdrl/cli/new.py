"""``fdrl new KIND NAME``: begin a project of your own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
from tyro.conf import Positional

from fdrl.cli import options
from fdrl.cli.options import argument, flag
from fdrl.errors import FdrlError, nearest
from fdrl.scaffold.project import KINDS, write


class New(msgspec.Struct, frozen=True, kw_only=True):
    """Write a small installable project that passes its own tests at once."""

    kind: Annotated[Positional[str], argument("KIND")]
    """A kind: env, agent or strategy."""
    name: Annotated[Positional[str], argument("NAME", "(required)")] = ""
    """The Python package: small letters, digits and underscores."""
    into: Annotated[str, flag("FOLDER", "here")] = "."
    """Where the project's folder is made."""


NEXT = """{folder} holds:
{files}

next, in that folder:
  pip install -e . pytest   fdrl then knows it by its name, from every folder
  python -m pytest          its own tests
  {try_it}
"""
TRY = {
    "env": "fdrl check {Name}-v0; fdrl train train.toml",
    "agent": "fdrl train train.toml",
    "strategy": "fdrl train train.toml",
}


def _about() -> str:
    kinds = "\n".join(f"  {kind:<10}{text}" for kind, text in KINDS.items())
    return f"Write a small installable project that passes its own tests at once, with\n\n{kinds}"


def main(argv: list[str]) -> int:
    """Write the project and say what to do next; 2 without arguments."""
    if not argv:
        return options.usage(New, "new", about=_about())
    asked = options.read(New, argv, "new", about=_about())
    kind, name = asked.kind, asked.name
    if kind not in KINDS:
        raise FdrlError(f"unknown kind {kind!r}{nearest(kind, KINDS)}; use: fdrl new KIND NAME")
    if not name:
        raise FdrlError(f"name the package: fdrl new {kind} NAME")
    folder = write(kind, name, Path(asked.into))
    made = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    title = "".join(part.capitalize() for part in name.split("_"))
    listing = "\n".join(f"  {path}" for path in made)
    print(NEXT.format(folder=folder, files=listing, try_it=TRY[kind].format(Name=title)), end="")
    return 0
