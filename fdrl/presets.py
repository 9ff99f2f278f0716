"""Where raw configs come from: the presets that ship with fdrl, and TOML files."""

from __future__ import annotations

import importlib.resources
from pathlib import Path
from typing import Any

import msgspec

from fdrl.errors import FdrlError, nearest


def presets() -> dict[str, str]:
    """Return the TOML text of every preset that ships with fdrl, by name."""
    folder = importlib.resources.files("fdrl.configs")
    files = sorted((f for f in folder.iterdir() if f.name.endswith(".toml")), key=lambda f: f.name)
    return {f.name.removesuffix(".toml"): f.read_text(encoding="utf-8") for f in files}


def read_tables(source: str) -> dict[str, Any]:
    """Read a preset's name or a TOML file's path into raw tables; errors name file and place."""
    if source.endswith(".toml") or Path(source).is_file():
        try:
            text = Path(source).read_text(encoding="utf-8")
        except OSError as error:
            raise FdrlError(f"cannot read the config {source}: {error.strerror}") from None
        except UnicodeDecodeError as error:
            raise FdrlError(f"cannot read the config {source}: {error}") from None
    else:
        known = presets()
        if Path(source).is_dir():
            run = (Path(source) / "config.toml").is_file()
            hint = f": to go on with its run, fdrl train --resume {source}" if run else ""
            raise FdrlError(f"{source} is a folder, not a preset or FILE.toml{hint}")
        if source not in known:
            raise FdrlError(f"unknown preset {source!r}{nearest(source, known)} (or FILE.toml)")
        text = known[source]
    try:
        tables = msgspec.toml.decode(text)
    except msgspec.DecodeError as error:
        raise FdrlError(f"{source}: not valid TOML: {error}") from None
    assert isinstance(tables, dict)
    return tables
