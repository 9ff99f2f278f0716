"""What can go wrong, and what is worth a note, each said in one line."""

from __future__ import annotations

import difflib
import threading
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

# ---- What can go wrong, said in one line to the person who can mend it ----


class FdrlError(Exception):
    """A mistake the user can mend; the command line prints it without a traceback."""

    exit_code: ClassVar[int] = 2
    """What the command line then exits with."""


class Mistakes(FdrlError):
    """Several mistakes of one file, a line each."""


class BadMessage(FdrlError):
    """A message that must not be aggregated; `str(error)` is the reason."""


class HoldsRun(FdrlError):
    """A new run was to be written where another one is; said as Python says it."""


class OtherConfig(FdrlError):
    """A folder's run has another config than the one that was to continue it."""


class UnknownEnvironment(FdrlError):
    """No environment has that `name`; `near` asks whether another one was meant, or is empty."""

    def __init__(self, message: str, name: str = "", near: str = "") -> None:
        super().__init__(message)
        self.name, self.near = name, near


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the closest known name, else the list of names."""
    names = sorted(known)
    lowered = {n.lower(): n for n in names}
    close = difflib.get_close_matches(name.lower(), lowered, n=1, cutoff=0.6)
    if close:
        return f"; did you mean {lowered[close[0]]!r}?"
    return f"; known: {', '.join(names)}" if names else ""


def short(thing: object, most: int = 300) -> str:
    """Return what a thing says of itself in one line of at most so many characters."""
    try:
        line = plain(" ".join(str(thing).split()))
    except Exception:  # somebody else's error that fails even at saying what it is
        line = ""
    return line if len(line) <= most else f"{line[: most - 4]} ..."


_CONTROL = {n: repr(chr(n))[1:-1] for n in (*range(32), *range(127, 160))}


def plain(text: str) -> str:
    r"""Return a text with control characters written out, so that it is one line and nothing else.

    Names of files and what a stranger's environment says may hold any: one of them would end the
    line, another one color the terminal or type into it.

    >>> plain("my\nrun")
    'my\\nrun'
    """
    return text.translate(_CONTROL)


# ---- What a user should know of once, and need not act on ----


class Notice(UserWarning):
    """Something fdrl did for the user; the command line prints it as one line."""


_usual_warning = warnings.formatwarning


def one_line(message: Warning | str, category: type[Warning], *place: Any, **kw: Any) -> str:
    """Format what fdrl did for the user as one line, without the place in the source."""
    if issubclass(category, Notice):
        return f"fdrl: note: {plain(str(message))}\n"
    return _usual_warning(message, category, *place, **kw)


_SAID: set[str] = set()
_HEARERS: list[list[str]] = []
_LOCK = threading.Lock()


@contextmanager
def heard() -> Iterator[list[str]]:
    """Collect what `warn_once` is told meanwhile, also what has been said before, and be silent."""
    notes: list[str] = []
    _HEARERS.append(notes)
    try:
        yield notes
    finally:
        _HEARERS.remove(notes)


def warn_once(text: str) -> None:
    """Warn with a `Notice`, unless this process has said the same before."""
    if _HEARERS:
        _HEARERS[-1].append(text)
        return
    with _LOCK:
        new = text not in _SAID
        _SAID.add(text)
    if new:
        warnings.warn(text, Notice, stacklevel=2)
