"""Whole numbers on the command line: ``1e5`` and ``100_000`` are 100000."""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from types import NoneType
from typing import Annotated, Any, get_args, get_origin

from fdrl.errors import FdrlError

MOST = 10**15
"""Whole numbers below this are taken."""


def is_whole(kind: Any) -> bool:
    """Say whether an annotation takes whole numbers alone: int, int | None, tuple[int, ...]."""
    if kind in (int, NoneType, ...):
        return True
    if get_origin(kind) is Annotated:
        return is_whole(get_args(kind)[0])
    return {*get_args(kind)} - {NoneType} != set() and all(is_whole(k) for k in get_args(kind))


def apart(flag: str, values: Sequence[str], kind: Any) -> list[str]:
    """Take lists with commas apart, if `kind` is a list: ``64,64`` and ``[64, 64]`` are ``64 64``.

    Raises `FdrlError` for a list without a value.
    """
    inner = get_args(kind)[0] if get_origin(kind) is Annotated else kind
    if get_origin(inner) is not tuple:
        return list(values)
    joined = " ".join(values)
    if not joined.strip():
        raise FdrlError(f"flags: {flag} needs one or more whole numbers: {flag} 64 64")
    if "," not in joined and "[" not in joined:
        return list(values)
    return joined.replace(",", " ").strip("[]() ").split()


def whole(flag: str, text: str) -> str:
    """Spell ``1e5`` and ``100_000`` as digits; other text but ``None`` is an error."""
    if text.lower() == "none":
        return text
    try:
        value = Decimal(text)
        exact = value.is_finite() and abs(value) < MOST and value == value.to_integral_value()
    except InvalidOperation:
        exact = False
    if not exact and re.fullmatch(r"\d[\d_]*(\.\d*)?([eE]\+?\d+)?", text):
        size = Decimal(text)
        if abs(size) >= MOST:
            raise FdrlError(f"flags: {flag} {text} is too large: below {MOST:.0e}")
    if not exact:
        raise FdrlError(f"flags: {flag} needs a whole number such as 100000, got {text!r}")
    return str(int(value))
