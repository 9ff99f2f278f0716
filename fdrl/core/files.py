"""Files that are whole or not there, and errors that name them.

After a crash or a full disk a file is either the old one or the new one: what a run wrote is never
half a file. `OSError`s become one line that says which file, what was to be done with it, and why
it could not be.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from fdrl.core.errors import FdrlError


@contextmanager
def file_errors(verb: str, path: Path) -> Iterator[None]:
    """Turn an `OSError` (disk full, not writable, ...) into one line that names the file."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise FdrlError(f"cannot {verb} {path}: {reason}") from error


def write_atomic(path: Path, data: bytes) -> None:
    """Write a file so that after a crash it is either the old one or the new one, whole."""
    temporary = path.with_name(f".{path.name}.tmp")
    with file_errors("write", path):
        try:
            with temporary.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            with suppress(OSError):
                temporary.unlink()
            raise
        _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Make a rename survive a power cut; not every system lets a folder be opened for that."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
