"""What a user should know of once, and need not act on."""

from __future__ import annotations

import warnings


class Notice(UserWarning):
    """Something fdrl did for the user; the command line prints it as one line."""


_SAID: set[str] = set()


def say_once(text: str) -> None:
    """Warn with a `Notice`, unless this process has said the same before."""
    if text not in _SAID:
        _SAID.add(text)
        warnings.warn(text, Notice, stacklevel=2)
