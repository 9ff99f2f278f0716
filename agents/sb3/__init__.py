"""Stable-Baselines3's learners as a cohort: `own` makes a model object the template of all agents.

`own` is imported when it is first used, so that the settings alone need no Stable-Baselines3.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .template import own

__all__ = ["own"]


def __getattr__(name: str) -> Any:
    """Import `own` when it is first used."""
    if name != "own":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from .template import own

    return own
