"""What the bench itself keeps below OUT: failures, the list of cells, and a lock.

``bench.json`` says for every cell whether it is finished, failed (with the reason) or unfinished,
and what is not applicable; ``seed-000.failed.json`` beside a run folder holds a failure's reason.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from fdrl.bench.grid import Absent, Cell
from fdrl.bench.suite import Suite, complain
from fdrl.core.errors import FdrlError
from fdrl.core.files import make_folder, open_file, read_file, remove, write_atomic
from fdrl.runs.folder import CONFIG, SUMMARY, check_same

try:
    import fcntl
except ImportError:  # not a POSIX system: two benches are then the user's own care
    fcntl = None  # type: ignore[assignment]

MANIFEST, LOCK = "bench.json", ".bench.lock"
PATIENCE = 20.0
"""Seconds to wait for the workers of a bench that was killed: they end by themselves."""


class Failure(msgspec.Struct, frozen=True):
    """Why a cell failed; `trace` is what there is to read beyond that."""

    reason: str
    trace: str = ""


FAILURE = msgspec.json.Decoder(Failure)


def failure_path(out: Path, cell: Cell) -> Path:
    """Return ``OUT/SETTING/METHOD/seed-000.failed.json``."""
    return out / f"{cell.folder}.failed.json"


def write_failure(out: Path, cell: Cell, failure: Failure) -> None:
    """Keep the reason; it goes when the cell is tried again."""
    path = failure_path(out, cell)
    make_folder(path.parent, out)
    write_atomic(path, msgspec.json.format(msgspec.json.encode(failure), indent=2) + b"\n", out)


def clear_failure(out: Path, cell: Cell) -> None:
    """Forget an earlier failure."""
    remove(failure_path(out, cell), out)


def read_failure(out: Path, cell: Cell) -> Failure | None:
    """Return why a cell failed; None if it did not."""
    with suppress(FdrlError, msgspec.DecodeError):
        return FAILURE.decode(read_file(failure_path(out, cell)))
    return None


def finished(out: Path, cell: Cell) -> bool:
    """Say whether a cell's run is finished."""
    return (out / cell.folder / SUMMARY).is_file()


def check_folders(out: Path, cells: Sequence[Cell]) -> None:
    """Raise if a run folder holds a run of another config than its cell, naming all of them."""
    errors = []
    for cell in cells:
        folder = out / cell.folder
        if (folder / CONFIG).is_file():
            try:
                check_same(folder, cell.run)
            except FdrlError as error:
                errors.append(str(error))
    advice = "the suite was changed since; delete these folders, or name another one with --out"
    complain(str(out), errors, advice)


def write_manifest(
    out: Path, suite: Suite, cells: Sequence[Cell], missing: Sequence[Absent]
) -> None:
    """Write ``bench.json``: the state of every cell, and what is not applicable."""
    rows = []
    for cell in cells:
        done, failure = finished(out, cell), read_failure(out, cell)
        row = {
            "setting": cell.setting,
            "method": cell.method,
            "seed": cell.seed,
            "folder": cell.folder,
            "state": "finished" if done else "failed" if failure else "unfinished",
            "reason": "" if done or failure is None else failure.reason,
        }
        rows.append(row)
    manifest = {
        "suite": suite.name,
        "about": suite.about,
        "seeds": suite.evaluation_seeds,
        "settings": [{"name": s.name, "label": s.label} for s in suite.settings],
        "methods": [{"name": m.name, "label": m.label} for m in suite.methods],
        "cells": rows,
        "not_applicable": [
            {"setting": a.setting, "method": a.method, "reason": a.reason} for a in missing
        ],
    }
    data = msgspec.json.format(msgspec.json.encode(manifest), indent=1)
    write_atomic(out / MANIFEST, data + b"\n", out)


@contextmanager
def locked(out: Path, patience: float = PATIENCE) -> Iterator[int | None]:
    """Hold OUT for this bench; yields the lock, which workers inherit and so prolong."""
    make_folder(out)
    descriptor = open_file(out / LOCK, os.O_RDWR | os.O_CREAT, out)
    try:
        yield descriptor if _lock(descriptor, out, patience) else None
    finally:
        os.close(descriptor)


def _lock(descriptor: int, out: Path, patience: float) -> bool:
    """Take the lock; return False where the file system has none."""
    if fcntl is None:
        return False
    end = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= end:
                raise FdrlError(f"another fdrl bench is working in {out}") from None
            time.sleep(0.1)
        except OSError:
            return False
        else:
            return True
