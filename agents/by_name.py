"""Objects as data that TOML can hold: plain values as they are, classes and functions by name.

What any process can import is named (``{"@object": "torch.nn:ReLU"}``); what only this process has
(a lambda, a class of the script that runs) is described (``{"@local": ...}``), so that two that do
the same are told apart from two that do not, and cannot be read back. Nothing is pickled.
"""

from __future__ import annotations

import hashlib
import importlib
import math
from collections.abc import Mapping
from types import CodeType, FunctionType
from typing import Any

import numpy as np


def encode(value: Any) -> Any:
    """Return a value as TOML can hold it: data as it is, objects by name."""
    if isinstance(value, bool | int | str):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    if isinstance(value, np.generic):
        return encode(value.item())
    if value is None:
        return {"@none": True}
    if isinstance(value, list | tuple):
        return [encode(v) for v in value]
    if isinstance(value, Mapping) and all(isinstance(n, str) for n in value):
        return {n: encode(v) for n, v in value.items()}
    name = _import_name(value)
    return {"@object": name} if name else {"@local": _describe(value)}


def _import_name(value: Any) -> str:
    """Return "module:name" if any process finds a class or function under it; else nothing."""
    module, name = getattr(value, "__module__", None), getattr(value, "__qualname__", "")
    if not module or module == "__main__" or not name.isidentifier():
        return ""
    try:
        found = getattr(importlib.import_module(module), name, None)
    except ImportError:
        return ""
    return f"{module}:{name}" if found is value else ""


def _describe(value: Any) -> str:
    """Return a local object's name and a hash of what it does, as far as that can be told."""
    kind = value if isinstance(value, type | FunctionType) else type(value)
    name = f"{kind.__module__}.{kind.__qualname__}"
    facts = _facts(value)
    return f"{name}#{hashlib.sha256(repr(facts).encode()).hexdigest()[:8]}"


def _facts(value: Any) -> Any:
    """Return data that differs if a local object's behavior does: code, constants, settings."""
    if isinstance(value, FunctionType):
        cells = [_plain(c.cell_contents) for c in value.__closure__ or ()]
        return [_code(value.__code__), _plain(value.__defaults__), cells]
    if isinstance(value, type):
        return [
            [n, _code(f.__code__)]
            for n, f in sorted(vars(value).items())
            if isinstance(f, FunctionType)
        ]
    return sorted((n, _plain(v)) for n, v in getattr(value, "__dict__", {}).items())


def _code(code: CodeType) -> Any:
    inner = [_code(c) if isinstance(c, CodeType) else repr(c) for c in code.co_consts]
    return [code.co_code.hex(), list(code.co_names), inner]


def _plain(value: Any) -> str:
    """Return data as text; of other objects the type alone, as their text may hold an address."""
    simple = (bool, int, float, str, type(None))
    if isinstance(value, simple):
        return repr(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(_plain(v) for v in value)}]"
    return type(value).__qualname__


def decode(value: Any) -> Any:
    """Return what `encode` was given; raises for a name that cannot be imported."""
    if isinstance(value, list):
        return [decode(v) for v in value]
    if not isinstance(value, Mapping):
        return value
    if set(value) == {"@none"}:
        return None
    if set(value) == {"@object"}:
        module, _, name = str(value["@object"]).partition(":")
        return getattr(importlib.import_module(module), name)
    return {n: decode(v) for n, v in value.items()}


def local_names(value: Any) -> set[str]:
    """Return the names of all local objects in a table."""
    if isinstance(value, list):
        return set().union(*map(local_names, value))
    if not isinstance(value, Mapping):
        return set()
    if set(value) == {"@local"}:
        return {str(value["@local"]).partition("#")[0]}
    return set().union(*map(local_names, value.values()))
