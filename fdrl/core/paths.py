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
    """Finds modules in a folder that nobody else finds.

    It comes after `sys.path`, and after the finders with which ``pip install -e`` installs. The
    folder is no part of `sys.path`: there, a project's folder, which Python takes for a package
    without ``__init__``, would hide the installed project, and a stranger's folder with the right
    files in it would be a plugin.
    """

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return what is in the folder under a name that only it has."""
        if path is not None:
            return None
        for finder in sys.meta_path[sys.meta_path.index(self) + 1 :]:
            if isinstance(finder, Behind):  # it has its own turn: asked from here too, and from
                continue  # each before it, n folders would take 2**n looks
            found = finder.find_spec(fullname, None, target)
            if found is not None:
                return found
        return PathFinder.find_spec(fullname, [self.folder])

    def __reduce__(self) -> tuple[Any, ...]:
        """Be installed in the process that receives it, before what follows is read there."""
        return look_in, (self.folder,)


def look_in(folder: str) -> Behind:
    """Let modules in a folder be found, behind all others."""
    for finder in looked_in():
        if finder.folder == folder:
            return finder
    made = Behind(folder)
    sys.meta_path.append(made)
    return made


def looked_in() -> list[Behind]:
    """Return the finders that `look_in` made: to be handed to other processes."""
    return [finder for finder in sys.meta_path if isinstance(finder, Behind)]
