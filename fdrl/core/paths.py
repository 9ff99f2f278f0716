"""Where a command was given: what its relative paths mean, and which modules are found there.

An environment may change the current folder (simulators do), or somebody may delete it: what a
user typed means the place where it was typed. Modules of the user's own are looked for there too,
behind everything that is installed.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

from fdrl.core.errors import FdrlError

_START: ContextVar[str | None] = ContextVar("start", default=None)


def current_folder() -> str:
    """Return the current folder; "" if it has been deleted."""
    try:
        return os.getcwd()
    except OSError:
        return ""


@contextmanager
def started() -> Iterator[str]:
    """Remember the folder in which a command or a call begins, "" if it is deleted; yield it."""
    start = _START.get()
    token = _START.set(current_folder() if start is None else start)
    try:
        yield str(_START.get())
    finally:
        _START.reset(token)


def absolute(path: str | Path) -> Path:
    """Return a path as it was meant where the command was given, wherever the process is now."""
    if os.path.isabs(path):
        return Path(path)
    start = _START.get()
    start = current_folder() if start is None else start
    if not start:
        raise FdrlError(
            f"the current folder has been deleted, so {str(path)!r} is nowhere: change to another "
            "folder, or give an absolute path"
        )
    return Path(start, path)


def meant(path: str | Path) -> Path:
    """Return a path as it was typed while that still means the same place, else the absolute one.

    For files that messages name: they should be called as the user calls them.
    """
    start = _START.get()
    return Path(path) if start in (None, current_folder()) else absolute(path)


class Behind(MetaPathFinder):
    """Keeps what merely lies in a folder from standing before what is installed.

    The folder is the last of `sys.path`, and yet a project's folder there, which Python takes for a
    package without ``__init__``, would hide what ``pip install -e`` made of that project: pip's
    finders come after `sys.path`.
    """

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return what is installed under a name that the folder has too; None for the rest."""
        if path is not None or PathFinder.find_spec(fullname, [self.folder]) is None:
            return None
        rest = [p for p in sys.path if p not in ("", self.folder)]
        found = PathFinder.find_spec(fullname, rest)
        if found is not None and found.loader is not None:
            return found
        for finder in sys.meta_path:
            if finder is PathFinder or isinstance(finder, Behind):
                continue
            found = finder.find_spec(fullname, None, target)
            if found is not None and found.loader is not None:
                return found
        return None

    def __reduce__(self) -> tuple[Any, ...]:
        """Be installed in the process that receives it, before what follows is read there."""
        return look_in, (self.folder,)


def look_in(folder: str) -> Behind:
    """Let modules in a folder be found, behind all others."""
    if folder not in sys.path and "" not in sys.path:
        sys.path.append(folder)
    for finder in looked_in():
        if finder.folder == folder:
            return finder
    made = Behind(folder)
    sys.meta_path.insert(0, made)
    return made


def looked_in() -> list[Behind]:
    """Return the finders that `look_in` made: to be handed to other processes."""
    return [finder for finder in sys.meta_path if isinstance(finder, Behind)]
