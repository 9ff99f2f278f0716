"""Tuned values: what ``--tune`` found on the tuning seeds, as a file that later runs read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import tomli_w

from fdrl.bench.source import decode
from fdrl.bench.suite import Suite
from fdrl.checkpoint import file_errors, write_atomic
from fdrl.complaints import explain
from fdrl.errors import FdrlError

TUNED = "tuned.toml"


class Tried(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A choice of values and its score on the tuning seeds."""

    score: float
    values: dict[str, Any]


class Best(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The best values of a method in a setting."""

    setting: str
    method: str
    score: float
    values: dict[str, Any]
    tried: tuple[Tried, ...] = ()


class Tuned(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What ``tuned.toml`` holds."""

    suite: str
    seeds: tuple[int, ...]
    score: tuple[str, ...]
    best: tuple[Best, ...] = ()

    def values(self, setting: str, method: str) -> dict[str, Any]:
        """Return the tuned values of a pair, by dotted field; none if it was not tuned."""
        for best in self.best:
            if (best.setting, best.method) == (setting, method):
                return dict(best.values)
        return {}


def write_tuned(path: Path, tuned: Tuned) -> None:
    """Write the file, whole or not at all."""
    with file_errors("write", path):
        path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, tomli_w.dumps(msgspec.to_builtins(tuned)).encode())


def parse_tuned(text: str, source: str, suite: Suite) -> Tuned:
    """Read tuned values; refuse those of another suite."""
    raw = decode(text, source)
    try:
        tuned = msgspec.convert(raw, Tuned)
    except msgspec.ValidationError as error:
        message = str(explain(error, "", Tuned, raw)).removeprefix("config: ")
        raise FdrlError(f"{source}: {message}") from None
    if tuned.suite != suite.name:
        raise FdrlError(f"{source} was tuned for suite {tuned.suite!r}, not {suite.name!r}")
    return tuned


def find_tuned(suite: Suite, out: Path, shipped: str) -> tuple[Tuned | None, str]:
    """Return the tuned values in `out`, else those beside the suite, and where they were found."""
    path = out / TUNED
    if path.is_file():
        with file_errors("read", path):
            return parse_tuned(path.read_text(encoding="utf-8"), str(path), suite), str(path)
    if shipped:
        source = f"the tuned values of suite {suite.name!r}"
        return parse_tuned(shipped, source, suite), "the file beside the suite"
    return None, ""
