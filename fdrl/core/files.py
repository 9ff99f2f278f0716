"""Files that are whole or not there, links that are not followed, and errors that name them.

After a crash or a full disk a file is either the old one or the new one: what a run wrote is never
half a file. Everything that is written, cut or deleted goes through this chapter. Whoever names a
`root` (a run folder) is safe in a folder that a stranger sent: no symbolic link below it is
followed, be it the file or a folder on the way, and what is no regular file (a pipe, a device) is
refused. The root itself may be reached through links: that is its user's choice.

`OSError`s become one line that says which file, what was to be done with it, and why not. Where a
system knows no `dir_fd` (Windows), names are looked at before they are used, which is less than
opening one inside the other.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from fdrl.core.errors import FdrlError

_NOFOLLOW: int = getattr(os, "O_NOFOLLOW", 0)
_FOLDER: int = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_CLOEXEC", 0)
_FILE: int = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)
_RELATIVE = bool(_NOFOLLOW) and {os.open, os.mkdir, os.unlink, os.rename} <= os.supports_dir_fd
"""Whether names can be looked up in an open folder, so that none of it is swapped meanwhile."""
_TEMPORARY = ".fdrl-", ".tmp"
_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


@contextmanager
def file_errors(verb: str, path: Path) -> Iterator[None]:
    """Turn an `OSError` (disk full, not writable, ...) into one line that names the file."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise FdrlError(f"cannot {verb} {path}: {reason}") from error


def write_atomic(path: Path, data: bytes, root: Path | None = None) -> None:
    """Write a file so that after a crash it is either the old one or the new one, whole.

    The temporary file beside it has a random name, and goes if the disk refuses. Without a `root` a
    link in place of `path` is replaced by the file; below a root it is an error.
    """
    with file_errors("write", path), _opened(path.parent, root) as folder:
        if root is not None:
            folder.check(path.name)
        name = f"{_TEMPORARY[0]}{secrets.token_hex(8)}{_TEMPORARY[1]}"
        try:
            file = folder.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
            try:
                write_all(file, data)
                os.fsync(file)
            finally:
                os.close(file)
            folder.replace(name, path.name)
        except BaseException:
            with suppress(OSError):
                folder.unlink(name)
            raise
        folder.sync()


def write_all(file: int, data: bytes) -> None:
    """Write all of it to a descriptor: a signal or a nearly full disk may take a part."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(file, rest) :]


def open_file(path: Path, flags: int, root: Path | None = None) -> int:
    """Open a regular file for writing and return its descriptor, for the caller to close.

    With ``os.O_CREAT`` a new file is known to its folder before anything is written to it.
    """
    with file_errors("write", path), _opened(path.parent, root) as folder:
        known = folder.check(path.name)
        file = folder.open(path.name, flags)
        if not stat.S_ISREG(os.fstat(file).st_mode):
            os.close(file)
            raise FdrlError(f"{path} is no regular file: put another one in its place")
        if not known:
            folder.sync()
        return file


def remove(path: Path, root: Path | None = None) -> None:
    """Delete a file, if it is there; a link itself goes, never what it names."""
    with (
        file_errors("delete", path),
        suppress(FileNotFoundError),
        _opened(path.parent, root) as folder,
    ):
        folder.unlink(path.name)


def put_aside(path: Path, name: str, root: Path | None = None) -> None:
    """Give a file another name in its folder."""
    with file_errors("rename", path), _opened(path.parent, root) as folder:
        folder.replace(path.name, name)
        folder.sync()


def read_file(path: Path) -> bytes:
    """Read a regular file; a link to one is followed, but a pipe or a device never answers."""
    with file_errors("read", path):
        file = os.open(path, os.O_RDONLY | _FILE)
        try:
            if not stat.S_ISREG(mode := os.fstat(file).st_mode):
                kind = _KINDS.get(stat.S_IFMT(mode), "something else")
                raise FdrlError(f"{path} is {kind}, not a file")
            with os.fdopen(file, "rb", closefd=False) as opened:
                return opened.read()
        finally:
            os.close(file)


def make_folder(path: Path, root: Path | None = None) -> None:
    """Make a folder and those above it, so that they outlast a power cut; it may be there.

    A `root` must be there: one that was deleted meanwhile is not made again, without what it held.
    """
    with file_errors("write", path):
        if root is not None:
            with _opened(path, root, make=True):
                return
        missing = []
        for folder in (path, *path.parents):
            if folder.is_dir():
                break
            missing.append(folder)
        for folder in reversed(missing):
            try:
                os.mkdir(folder)
            except FileExistsError:  # by somebody else, meanwhile; or it is no folder
                if not folder.is_dir():
                    raise FdrlError(
                        f"cannot write {path}: {folder} is there, and is no folder"
                    ) from None
            with _opened(folder.parent, None) as parent:
                parent.sync()


def check_no_links(root: Path, *names: str) -> None:
    """Raise `FdrlError` if one of these names in a folder is a link, a pipe or a device.

    For what a run writes at its end: it should not learn then that it may not.
    """
    with file_errors("use", root), _opened(root, None) as folder:
        for name in names:
            folder.check(name, folders=True)


def sweep(path: Path, root: Path) -> None:
    """Delete the temporary files that a killed process left in a folder, if it is there."""
    first, last = _TEMPORARY
    with suppress(FileNotFoundError), _opened(path, root) as folder:
        for name in os.listdir(path if folder.descriptor is None else folder.descriptor):
            if name.startswith(first) and name.endswith(last):
                with suppress(OSError):
                    folder.unlink(name)


@dataclass(frozen=True)
class _Folder:
    """An open folder; without a descriptor, only its path."""

    path: Path
    descriptor: int | None

    def _at(self, name: str) -> str:
        return name if self.descriptor is not None else str(self.path / name)

    def open(self, name: str, flags: int) -> int:
        """Open a file in it, no link."""
        try:
            return os.open(self._at(name), flags | _FILE | _NOFOLLOW, 0o644, dir_fd=self.descriptor)
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise _linked(self.path / name) from error
            raise

    def check(self, name: str, *, folders: bool = False) -> bool:
        """Say whether the name is taken; raise `FdrlError` if by what must not be written to."""
        try:
            mode = os.stat(self._at(name), dir_fd=self.descriptor, follow_symlinks=False).st_mode
        except FileNotFoundError:
            return False
        if stat.S_ISLNK(mode):
            raise _linked(self.path / name)
        if not stat.S_ISREG(mode) and not (folders and stat.S_ISDIR(mode)):
            kind = _KINDS.get(stat.S_IFMT(mode), "something else")
            raise FdrlError(f"{self.path / name} is {kind}, not a file: remove it")
        return True

    def replace(self, name: str, new: str) -> None:
        """Rename a file in it."""
        here = self.descriptor
        os.replace(self._at(name), self._at(new), src_dir_fd=here, dst_dir_fd=here)

    def unlink(self, name: str) -> None:
        """Delete a file in it."""
        os.unlink(self._at(name), dir_fd=self.descriptor)

    def sync(self) -> None:
        """Make its names survive a power cut; not every system lets a folder be synced."""
        if self.descriptor is not None:
            with suppress(OSError):
                os.fsync(self.descriptor)

    def enter(self, name: str, *, make: bool) -> _Folder:
        """Open a folder in it, no link."""
        inner = self.path / name
        if make:
            with suppress(FileExistsError):
                os.mkdir(self._at(name), dir_fd=self.descriptor)
                self.sync()
        if self.descriptor is None:
            if inner.is_symlink():
                raise _linked(inner)
            return _Folder(inner, None)
        try:
            return _Folder(inner, os.open(name, _FOLDER | _NOFOLLOW, dir_fd=self.descriptor))
        except OSError:
            if inner.is_symlink():
                raise _linked(inner) from None
            raise


@contextmanager
def _opened(path: Path, root: Path | None, *, make: bool = False) -> Iterator[_Folder]:
    """Open a folder, from `root` on step by step, so that nothing on the way is a link."""
    base = path if root is None else root
    inside = () if root is None else path.relative_to(root).parts
    folder = _Folder(base, os.open(base, _FOLDER) if _RELATIVE else None)
    try:
        for name in inside:
            inner = folder.enter(name, make=make)
            if folder.descriptor is not None:
                os.close(folder.descriptor)
            folder = inner
        yield folder
    finally:
        if folder.descriptor is not None:
            os.close(folder.descriptor)


def _linked(path: Path) -> FdrlError:
    return FdrlError(
        f"{path} is a symbolic link, and none is followed out of a run folder: put a real "
        "file or folder in its place"
    )
