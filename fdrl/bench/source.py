"""Where suites come from: those that ship with fdrl, and files; tuned values lie beside them."""

from __future__ import annotations

import importlib.resources
from pathlib import Path
from typing import Any

import msgspec

from fdrl.bench.suite import Suite, parse_suite
from fdrl.errors import FdrlError, nearest

TUNED_ENDING = ".tuned.toml"
"""``NAME.tuned.toml`` beside ``NAME.toml`` holds its tuned values."""


def suites() -> dict[str, str]:
    """Return the TOML text of every suite that ships with fdrl, by name."""
    return {n: t for n, t in _shipped().items() if not n.endswith(".tuned")}


def _shipped() -> dict[str, str]:
    folder = importlib.resources.files("fdrl.configs") / "suites"
    files = sorted((f for f in folder.iterdir() if f.name.endswith(".toml")), key=lambda f: f.name)
    return {f.name.removesuffix(".toml"): f.read_text(encoding="utf-8") for f in files}


def decode(text: str, source: str) -> dict[str, Any]:
    """Read TOML text; an error names the file."""
    try:
        tables: dict[str, Any] = msgspec.toml.decode(text)
    except msgspec.DecodeError as error:
        raise FdrlError(f"{source}: not valid TOML: {error}") from None
    return tables


def read_text(source: str) -> tuple[str, str]:
    """Return the text of a suite (a name, or FILE.toml) and of its tuned values, if it has any."""
    if not source.endswith(".toml") and not Path(source).is_file():
        known = suites()
        if source == "theory":
            raise FdrlError(
                "the theory is no suite of training runs: fdrl theory --out DIR makes its tables, "
                "figures and statements"
            )
        if source not in known:
            raise FdrlError(f"unknown suite {source!r}{nearest(source, known)} (or FILE.toml)")
        return known[source], _shipped().get(f"{source}.tuned", "")
    path = Path(source)
    beside = path.with_name(path.name.removesuffix(".toml") + TUNED_ENDING)
    try:
        text = path.read_text(encoding="utf-8")
        return text, beside.read_text(encoding="utf-8") if beside.is_file() else ""
    except (OSError, UnicodeDecodeError) as error:
        raise FdrlError(f"cannot read the suite {source}: {error}") from None


def read_suite(source: str) -> Suite:
    """Read and check a suite: a name from `suites`, or a TOML file's path."""
    return parse_suite(decode(read_text(source)[0], source), source)
