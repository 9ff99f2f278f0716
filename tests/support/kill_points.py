"""Every moment at which a run can be killed, without killing anything.

While a `Recorder` listens, each operation on a file below a folder is noted, and what the folder
held before it, in the middle of it, and after it: exactly what ``kill -9`` would leave. Beside
that it keeps what a disk holds for certain: contents that were synced, under names whose folder
was synced since. A power cut leaves that, and nothing else.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

Inode = tuple[int, int]
Content = dict[str, bytes | None]
"""Files by their path below the folder; None for a folder."""


@dataclass(frozen=True)
class Moment:
    """What a process that ends there leaves: if only it ends, and if the power does."""

    when: str
    """"before", "in" or "after"."""
    operation: str
    killed: Content
    unsynced: Content


@dataclass
class Recorder:
    """Notes operations below `folder`, which the disk holds already as it is."""

    folder: Path
    moments: list[Moment] = field(default_factory=list)
    _files: dict[Inode, bytes] = field(default_factory=dict)
    """Synced contents."""
    _names: dict[Inode, dict[str, Inode]] = field(default_factory=dict)
    """Synced names of a folder: of its files and folders."""
    _used: dict[int, int] = field(default_factory=dict)
    """How often an inode's number was given to a new file: one that is gone may still be synced."""

    def __post_init__(self) -> None:
        for place in (self.folder, *self.folder.rglob("*")):
            self._sync(place)

    def _sync(self, place: Path) -> None:
        if place.is_dir():
            own = {p.name: self._inode(p) for p in place.iterdir()}
            self._names[self._inode(place)] = own
        else:
            self._files[self._inode(place)] = place.read_bytes()

    def _inode(self, place: Path) -> Inode:
        number = place.stat().st_ino
        return number, self._used.get(number, 0)

    def _new(self, place: Path) -> Inode:
        number = place.stat().st_ino
        self._used[number] = self._used.get(number, 0) + 1
        return self._inode(place)

    def _certain(self) -> Content:
        """Return what a power cut leaves."""
        out: Content = {}

        def add(inode: Inode, path: str) -> None:
            for name, inner in self._names.get(inode, {}).items():
                below = f"{path}{name}"
                if inner in self._names:
                    out[below] = None
                    add(inner, f"{below}/")
                else:  # a name may outlast a content that never came to the disk
                    out[below] = self._files.get(inner, b"")

        add(self._inode(self.folder), "")
        return out

    def _note(self, when: str, operation: str) -> None:
        self.moments.append(Moment(when, operation, content(self.folder), self._certain()))

    def _inside(self, descriptor: int) -> Path | None:
        """Return what a descriptor has opened, if it is below the folder."""
        path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        return path if path.is_relative_to(self.folder) else None

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Note what is done from here on."""
        with pytest.MonkeyPatch.context() as patch:
            for name in ("open", "write", "fsync", "ftruncate", "mkdir", "unlink", "replace"):
                patch.setattr(os, name, getattr(self, f"_{name}")(getattr(os, name)))
            yield

    def _named(self, name: Any, at: int | None) -> Path | None:
        if at is None:
            path = Path(os.path.abspath(name))
            return path if path.is_relative_to(self.folder) else None
        base = self._inside(at)
        return None if base is None else base / name

    def _open(self, real: Callable[..., int]) -> Callable[..., int]:
        def open_(name: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
            path = self._named(name, dir_fd)
            if path is None or not flags & os.O_CREAT or path.exists():
                return real(name, flags, mode, dir_fd=dir_fd)
            self._note("before", f"open {path.name}")
            made = real(name, flags, mode, dir_fd=dir_fd)
            self._new(path)
            self._note("after", f"open {path.name}")
            return made

        return open_

    def _write(self, real: Callable[..., int]) -> Callable[..., int]:
        def write(descriptor: int, data: Any) -> int:
            path = self._inside(descriptor)
            if path is None:
                return real(descriptor, data)
            self._note("before", f"write {path.name}")
            half = len(data) // 2
            done = real(descriptor, data[:half])
            self._note("in", f"write {path.name}")
            done += real(descriptor, data[half:])
            self._note("after", f"write {path.name}")
            return done

        return write

    def _fsync(self, real: Callable[[int], None]) -> Callable[[int], None]:
        def fsync(descriptor: int) -> None:
            path = self._inside(descriptor)
            if path is None:
                return
            self._note("before", f"fsync {path.name}")
            self._sync(path)
            self._note("after", f"fsync {path.name}")

        return fsync

    def _ftruncate(self, real: Callable[[int, int], None]) -> Callable[[int, int], None]:
        def ftruncate(descriptor: int, length: int) -> None:
            path = self._inside(descriptor)
            assert path is not None
            self._note("before", f"ftruncate {path.name}")
            real(descriptor, length)
            self._note("after", f"ftruncate {path.name}")

        return ftruncate

    def _mkdir(self, real: Callable[..., None]) -> Callable[..., None]:
        def mkdir(name: Any, mode: int = 0o777, *, dir_fd: int | None = None) -> None:
            path = self._named(name, dir_fd)
            new = path is not None and not path.exists()
            if new:
                self._note("before", f"mkdir {name}")
            real(name, mode, dir_fd=dir_fd)
            if new and path is not None:
                self._names[self._new(path)] = {}
                self._note("after", f"mkdir {name}")

        return mkdir

    def _unlink(self, real: Callable[..., None]) -> Callable[..., None]:
        def unlink(name: Any, *, dir_fd: int | None = None) -> None:
            path = self._named(name, dir_fd)
            if path is None:
                return real(name, dir_fd=dir_fd)
            self._note("before", f"unlink {path.name}")
            real(name, dir_fd=dir_fd)
            self._note("after", f"unlink {path.name}")
            return None

        return unlink

    def _replace(self, real: Callable[..., None]) -> Callable[..., None]:
        def replace(old: Any, new: Any, **at: int | None) -> None:
            path = self._named(new, at.get("dst_dir_fd"))
            if path is None:
                return real(old, new, **at)
            self._note("before", f"replace {path.name}")
            real(old, new, **at)
            self._note("after", f"replace {path.name}")
            return None

        return replace


def content(folder: Path) -> Content:
    """Return what a folder holds."""
    found = sorted(folder.rglob("*"))
    return {str(p.relative_to(folder)): None if p.is_dir() else p.read_bytes() for p in found}


def restore(content: Content, folder: Path) -> None:
    """Make a new folder that holds this."""
    folder.mkdir(parents=True)
    for name, data in content.items():
        if data is None:
            (folder / name).mkdir(parents=True, exist_ok=True)
        else:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(data)
