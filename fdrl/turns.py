"""PettingZoo environments that cannot be trained as they are: what to tell their users."""

from __future__ import annotations

import inspect
from typing import Any

from fdrl.errors import FdrlError


def check_turns(name: str, found: Any) -> None:
    """Raise if `found` is, or makes, an environment whose agents act one after another.

    `found` is such an environment (an `AECEnv`), its class, a function that makes it, or None.
    """
    from pettingzoo import AECEnv

    if found is None or (inspect.isclass(found) and not issubclass(found, AECEnv)):
        return
    env = found if isinstance(found, AECEnv) else _made(found)
    if env is None and not inspect.isclass(found):
        return
    if env is not None and not isinstance(env, AECEnv):
        return
    known = getattr(env, "metadata", None) or {}
    raise FdrlError(
        f"environment {name!r}: its agents take turns; fdrl trains agents that act at the same "
        "time (PettingZoo's parallel API)" + _conversion(known.get("is_parallelizable"))
    )


def _made(found: Any) -> Any:
    try:
        return found()
    except Exception:  # what it needs is not our business here
        return None


def _conversion(parallelizable: bool | None) -> str:
    if parallelizable is False:
        return ", and it says that it cannot be converted (is_parallelizable is False)"
    said = ", and it says that it can be converted: " if parallelizable else "; if they may: "
    return (
        f"{said}give a function that returns pettingzoo.utils.conversions.aec_to_parallel(env), "
        "as module:function"
    )


def check_missing(name: str, error: ImportError) -> None:
    """Raise if a package is missing that one of PettingZoo's own environments needs."""
    missing = getattr(error, "name", None) or ""
    if not name.startswith("pettingzoo.") or not missing or missing.startswith("pettingzoo"):
        return
    extra = ': pip install "fdrl[butterfly]"' if name.startswith("pettingzoo.butterfly") else ""
    raise FdrlError(f"environment {name!r} needs the package {missing!r}, which is missing{extra}")
