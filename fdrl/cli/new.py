"""``fdrl new KIND NAME``: begin a project of your own from a template: all of it, or nothing."""

from __future__ import annotations

import importlib.util
import keyword
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated

import msgspec
from tyro.conf import Positional

from fdrl.cli import options
from fdrl.cli.options import argument, flag
from fdrl.core.errors import FdrlError, nearest
from fdrl.core.paths import absolute

# ---- ``fdrl new KIND NAME``: begin a project of your own ----


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
    absolute(asked.into)  # of a deleted current folder this says so
    folder = write(kind, name, Path(asked.into))
    made = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    title = "".join(part.capitalize() for part in name.split("_"))
    listing = "\n".join(f"  {path}" for path in made)
    print(NEXT.format(folder=folder, files=listing, try_it=TRY[kind].format(Name=title)), end="")
    return 0


# ---- Write a new project from a template: all of it, or nothing ----


SUFFIX = ".tmpl"
KINDS = {
    "env": "an environment that agents can differ in",
    "agent": "a learner: a cohort of agents that learn and can be taught",
    "strategy": "a method: what agents send, and what the server makes of it",
}
"""What can be new, and what the project then holds."""


def files(kind: str, name: str) -> dict[str, str]:
    """Return the texts of a new project by their paths inside its folder.

    Raises `FdrlError` for an unknown kind or a name that no Python package can have.
    """
    if kind not in KINDS:
        raise FdrlError(f"unknown kind {kind!r}{nearest(kind, KINDS)}")
    check_name(name)
    words = {
        "{{name}}": name,
        "{{Name}}": "".join(part.capitalize() for part in name.split("_")),
        "{{title}}": name.replace("_", " ").strip().capitalize(),
    }
    root = importlib.resources.files("fdrl.cli") / "templates" / kind
    made = {}
    for path, source in _walk(root, ""):
        text = source.read_text(encoding="utf-8")
        for mark, word in words.items():
            text = text.replace(mark, word)
        made[path.replace("NAME", name).removesuffix(SUFFIX)] = text
    return made


def _walk(folder: Traversable, prefix: str) -> Iterator[tuple[str, Traversable]]:
    for entry in sorted(folder.iterdir(), key=lambda e: e.name):
        if entry.is_dir():
            yield from _walk(entry, f"{prefix}{entry.name}/")
        elif entry.name.endswith(SUFFIX):
            yield prefix + entry.name, entry


def check_name(name: str) -> None:
    """Raise `FdrlError`, with a better name if there is one, unless a package can have this one."""
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or name.endswith("_"):
        better = re.sub(r"[^a-z0-9]+", "_", _snake(name)).strip("_")
        fits = re.fullmatch(r"[a-z][a-z0-9_]*", better) and not keyword.iskeyword(better)
        hint = f"; did you mean {better!r}?" if fits else ""
        raise FdrlError(
            f"{name!r} cannot be a package: a name is made of small letters, digits and "
            f"underscores, and begins with a letter{hint}"
        )
    if keyword.iskeyword(name) or name in sys.stdlib_module_names:
        raise FdrlError(f"{name!r} is Python's own name; did you mean 'my_{name}'?")
    if _is_installed(name):
        raise FdrlError(
            f"a package {name!r} is installed already, and a second one would hide it; "
            f"did you mean 'my_{name}'?"
        )


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def _is_installed(name: str) -> bool:
    """Say whether `import name` finds something; an empty folder of that name does not count."""
    try:
        found = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return True
    return found is not None and found.origin is not None


def write(kind: str, name: str, parent: Path) -> Path:
    """Write a new project into the folder `parent/name`, which must not exist; return it.

    The project appears complete or not at all. Raises `FdrlError` for a bad name, a folder or
    file that is there already, and a place that cannot be written to.
    """
    texts = files(kind, name)
    target = parent / name
    if target.exists() or target.is_symlink():
        raise FdrlError(f"{target} exists already: choose another name, or another --into folder")
    if not parent.is_dir():
        raise FdrlError(f"there is no folder {parent} to write {name!r} into")
    try:
        draft = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=parent))
        try:
            _fill(draft, texts)
            os.rename(draft, target)
        except BaseException:
            shutil.rmtree(draft, ignore_errors=True)
            raise
    except OSError as error:
        raise FdrlError(f"cannot write {target}: {error.strerror or error}") from None
    return target


def _fill(folder: Path, texts: dict[str, str]) -> None:
    folder.chmod(0o777 & ~_umask())  # a temporary folder is its maker's alone
    for path, text in texts.items():
        place = folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text, encoding="utf-8")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
