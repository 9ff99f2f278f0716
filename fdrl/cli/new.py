"""``fdrl new KIND NAME``: begin a project of your own."""

from __future__ import annotations

from pathlib import Path

from fdrl.cli import options
from fdrl.cli.options import Option
from fdrl.errors import FdrlError, nearest
from fdrl.scaffold.project import KINDS, write

OPTIONS = {"into": Option("FOLDER", "where the project's folder is made; default: here")}
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
    return (
        "Write a small installable project that passes its own tests at once, with\n\n"
        f"{kinds}\n\nNAME is the Python package: small letters, digits and underscores."
    )


def main(argv: list[str]) -> int:
    """Write the project and say what to do next; 2 without arguments."""
    if not argv or "--help" in argv or "-h" in argv:
        print(options.usage("new", "KIND NAME", _about(), OPTIONS))
        return 0 if argv else 2
    words = options.read(argv, OPTIONS, most=2, least=2)
    if not words.positional or words.positional[0] not in KINDS:
        asked = words.positional[0] if words.positional else ""
        raise FdrlError(f"unknown kind {asked!r}{nearest(asked, KINDS)}; use: fdrl new KIND NAME")
    if len(words.positional) < 2:
        raise FdrlError(f"name the package: fdrl new {words.positional[0]} NAME")
    kind, name = words.positional
    folder = write(kind, name, Path(words.options.get("into", ".")))
    made = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    title = "".join(part.capitalize() for part in name.split("_"))
    listing = "\n".join(f"  {path}" for path in made)
    print(NEXT.format(folder=folder, files=listing, try_it=TRY[kind].format(Name=title)), end="")
    return 0
