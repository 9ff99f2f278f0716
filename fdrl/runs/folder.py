"""A run folder: everything a run leaves behind, and an exact way back into it.

``config.toml`` the resolved config · ``metrics.jsonl`` a line a round · ``checkpoints/`` the last
two states · ``summary.json`` written last, so its presence says that the run is finished ·
``curves.png``, ``curves.svg``. A process that dies at any moment leaves a folder that resumes: the
log is cut back to where the last checkpoint was written, and grows again from there to the bit.

A checkpoint is used if it and the log that belongs to it are what was written; else the one before
it is, and a line says so. A folder is data that may come from anywhere: see `fdrl.core.files`.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, get_type_hints

import msgspec

from fdrl.config.run import Run, differences, digest, parse, to_tables, to_toml
from fdrl.config.tables import read_tables
from fdrl.config.trust import check_trusted, remember, same_names
from fdrl.core.arrays import Array
from fdrl.core.errors import FdrlError, HoldsRun, OtherConfig, warn_once
from fdrl.core.files import (
    check_no_links,
    file_errors,
    make_folder,
    open_file,
    put_aside,
    read_file,
    remove,
    sweep,
    write_all,
    write_atomic,
)
from fdrl.core.paths import absolute
from fdrl.core.records import RoundRecord, Summary
from fdrl.core.settings import convert
from fdrl.runs.checkpoint import (
    Checkpoint,
    DamagedCheckpoint,
    checkpoint_files,
    checkpoint_path,
    load_checkpoint,
    save_checkpoint,
)

try:
    import fcntl
except ImportError:  # not a POSIX system: two writers are then the user's own care
    fcntl = None  # type: ignore[assignment]

KEEP = 2
CONFIG, METRICS, SUMMARY, LOCK = "config.toml", "metrics.jsonl", "summary.json", ".lock"
_WRITTEN = (
    CONFIG, METRICS, SUMMARY, "checkpoints", "tensorboard", "curves.png", "curves.svg",
)  # fmt: skip
"""What a run writes into its folder, where no link may be."""


def read_config(folder: str | Path) -> dict[str, Any]:
    """Read the config of a run folder as raw tables."""
    path = Path(folder)
    if not (path / CONFIG).is_file():
        what = f"it has no {CONFIG}" if path.is_dir() else "no such folder"
        what = "it is a file" if path.is_file() else what
        raise FdrlError(f"{folder} is not a run folder: {what}")
    return read_tables(str(path / CONFIG))


def read_run(folder: str | Path, *, trust: bool = False) -> Run:
    """Read the config of a run folder, to go on with the run.

    Raises `FdrlError` if it names what is not registered, unless you `trust` who made the folder.
    """
    tables = read_config(folder)
    if not trust:
        check_trusted(folder, tables)
    return parse(tables)


def read_data(folder: str | Path) -> Run:
    """Read the config of a run folder, to look at it: nothing is imported that it names."""
    return parse(read_config(folder), data=True)


def _revive(raw: dict[str, Any], cls: type[Any]) -> Any:
    """Put back the NaNs that JSON cannot hold and msgspec therefore writes as null."""
    nan = float("nan")
    hints = get_type_hints(cls)
    fixed = {k: nan if v is None and hints.get(k) is float else v for k, v in raw.items()}
    for key in ("metrics", "returns"):
        value = fixed.get(key)
        if isinstance(value, dict):
            fixed[key] = {k: nan if v is None else v for k, v in value.items()}
        elif isinstance(value, list) and hints[key] == list[float]:
            fixed[key] = [nan if v is None else v for v in value]
    return convert(fixed, cls)


def read_records(folder: str | Path) -> list[RoundRecord]:
    """Read ``metrics.jsonl``; a last line cut off by a crash is left out."""
    path = Path(folder) / METRICS
    lines = read_file(path).split(b"\n")[:-1]
    records = []
    for number, line in enumerate(lines, 1):
        try:
            records.append(_revive(msgspec.json.decode(line), RoundRecord))
        except (msgspec.DecodeError, AttributeError) as error:
            raise FdrlError(f"{path}, line {number}: not a round record: {error}") from None
    return records


def read_summary(folder: str | Path) -> Summary | None:
    """Read ``summary.json``; None while the run is not finished."""
    path = Path(folder) / SUMMARY
    if not path.is_file():
        return None
    data = read_file(path)
    try:
        summary: Summary = _revive(msgspec.json.decode(data), Summary)
    except (msgspec.DecodeError, AttributeError) as error:
        raise FdrlError(f"{path} is not a run's summary: {error}") from None
    return summary


@dataclass(frozen=True)
class Found:
    """The newest checkpoint that can be used, and what is wrong with those after it, by file."""

    checkpoint: Checkpoint | None
    unusable: Mapping[Path, str]

    def said(self) -> str:
        """Return in one line what was wrong, and which round is gone back to."""
        reasons = "; ".join(self.unusable.values())
        assert self.checkpoint is not None
        return f"{reasons}: went back to the checkpoint of round {self.checkpoint.round}"


Check = Callable[[Checkpoint, Path], None]
"""Raises `DamagedCheckpoint` for a checkpoint that cannot be used."""


def find_checkpoint(folder: Path, check: Check = lambda made, path: None) -> Found:
    """Look for the newest checkpoint that is whole and passes `check`.

    Raises `FdrlError` if there are some, and none can be used.
    """
    unusable: dict[Path, str] = {}
    for path in reversed(checkpoint_files(folder)):
        try:
            checkpoint = load_checkpoint(path)
            check(checkpoint, path)
            return Found(checkpoint, unusable)
        except DamagedCheckpoint as error:
            unusable[path] = str(error)
    if unusable:
        newest, *older = unusable.values()
        others = f"nor can {len(older)} before it" if older else "and there is none before it"
        raise FdrlError(
            f"{newest}; {others}: the run can only be trained again from the start, "
            f"with {folder / CONFIG} and another out"
        )
    return Found(None, {})


def latest_checkpoint(folder: str | Path) -> Checkpoint | None:
    """Load the newest checkpoint; None if there is none yet.

    A damaged one is passed over for the one before it, which a notice says.
    """
    found = find_checkpoint(Path(folder))
    if found.unusable:
        warn_once(found.said())
    return found.checkpoint


def own_checkpoint(folder: str | Path, run: Run) -> Checkpoint | None:
    """Load the newest checkpoint; raise if it was written by another config than `run`."""
    checkpoint = latest_checkpoint(folder)
    if checkpoint is not None:
        _check_config(Path(folder), checkpoint, digest(run))
    return checkpoint


def _check_config(folder: Path, checkpoint: Checkpoint, config: str) -> None:
    if checkpoint.config != config:
        path = checkpoint_path(folder, checkpoint.round)
        raise FdrlError(f"checkpoint {path} belongs to another config than {CONFIG}")


def check_free(path: str | Path) -> None:
    """Raise unless a new run may be written to `path`: it must be absent, or empty.

    A run without a summary or any checkpoint lost nothing that it could go on from: it may be
    written over.
    """
    folder = Path(path)
    with file_errors("use", folder):
        if not folder.exists():
            return
        if not folder.is_dir():
            raise FdrlError(f"{folder} is a file, not a folder")
        inside = [n for n in os.listdir(folder) if n != LOCK and not n.endswith(".tmp")]
    if CONFIG in inside:
        if SUMMARY not in inside and not checkpoint_files(folder):
            return
        raise HoldsRun(
            f"{folder} holds a run already: pass resume=True to continue it, or another out"
        )
    if inside:
        raise FdrlError(f"{folder} is not empty; name a new folder for the run")


def check_same(path: str | Path, run: Run | None = None) -> Run:
    """Return the folder's config; raise if `run` differs from it in more than local fields."""
    tables = read_config(path)
    if run is None:
        check_trusted(path, tables)
    # What the caller's own run names may be imported for that; else the two are compared as data.
    kept = parse(tables, data=run is not None and not same_names(tables, to_tables(run)))
    if run is not None and digest(kept) != digest(run):
        names = differences(kept, run)
        raise OtherConfig(
            f"{path} is a run of another config: {', '.join(names)} "
            f"differ{'s' if len(names) == 1 else ''}"
        )
    return kept


def new_path(run: Run, parent: str | Path = "runs") -> Path:
    """Return a folder name nothing uses yet: ``runs/ENV-STRATEGY-SEED``, then ``...-2``."""
    env = re.sub(r"[^\w.-]+", "-", run.env).strip("-.")
    strategy = re.sub(r"[^\w.+-]+", "-", run.strategy_name)
    base = Path(parent) / f"{env}-{strategy}-{run.seed}"
    path, number = base, 2
    while absolute(path).exists():
        path, number = base.with_name(f"{base.name}-{number}"), number + 1
    return path


@dataclass(frozen=True)
class Mark:
    """How long the log was at some moment, and the digest of what it held."""

    length: int
    sha256: str


def check_log(path: Path, checkpoint: Checkpoint, saved: Path) -> None:
    """Raise `DamagedCheckpoint` unless a log begins as it was when the checkpoint was saved."""
    length, digest = checkpoint.metrics_bytes, checkpoint.metrics_sha256
    data = read_file(path) if path.exists() else b""
    kept = data[:length]
    if digest and hashlib.sha256(kept).hexdigest() == digest:
        return
    windows = b"\r\n"
    if not digest and len(kept) == length and windows not in data and kept[-1:] in (b"", b"\n"):
        return  # all that is known of a log beside a checkpoint of format 1
    before = data.replace(windows, b"\n")[:length]
    if windows in data and digest in ("", hashlib.sha256(before).hexdigest()):
        raise FdrlError(
            f"{path}: its line endings were changed from LF to CRLF, by an editor or by a copy in "
            "text mode; change them back, and the run goes on exactly from its last checkpoint"
        )
    how = f"was changed in its first {length} bytes since"
    if len(kept) < length:
        how = f"has {len(kept)} bytes, but had {length} at"
    raise DamagedCheckpoint(f"{path} {how} checkpoint {saved}, so nothing can be appended to it")


def _start_of(log: int, length: int) -> bytes:
    """Read the first bytes of an open file."""
    os.lseek(log, 0, os.SEEK_SET)
    parts, left = [], length
    while left and (part := os.read(log, left)):
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


class RunFolder:
    """A run folder that this process is writing. One process at a time: the others get an error."""

    def __init__(self, path: str | Path, run: Run) -> None:
        self.path = Path(path)
        self.run = run
        self._digest = digest(run)
        self._log: int | None = None
        self._length, self._hash = 0, hashlib.sha256()
        make_folder(self.path)
        self._lock = open_file(self.path / LOCK, os.O_RDWR | os.O_CREAT, self.path)
        self._take_lock()

    @classmethod
    def create(cls, path: str | Path, run: Run) -> RunFolder:
        """Start a run in a folder that `check_free` lets us have."""
        check_free(path)
        folder = cls(path, run)
        try:
            check_free(path)
            folder._tidy()
            # A config that names its own folder could not be used to start the run again.
            kept = msgspec.structs.replace(run, out="")
            write_atomic(folder.path / CONFIG, to_toml(kept).encode(), folder.path)
            remember(folder.path, read_config(folder.path))
            folder._open_log(0)
        except BaseException:
            folder.close()
            raise
        return folder

    @classmethod
    def resume(
        cls, path: str | Path, run: Run | None = None
    ) -> tuple[RunFolder, Checkpoint | None]:
        """Go back to the last checkpoint (None: to the start), cutting the log back to it.

        A checkpoint that is damaged, or whose part of the log was changed, is put aside with a
        notice, and the one before it is used. Raises `FdrlError` if the folder is no run, is being
        written, belongs to another config than `run`, or if none of its checkpoints can be used;
        the folder is then left as it was.
        """
        kept = check_same(path, run)
        folder = cls(path, run or kept)
        try:
            check_no_links(folder.path, *_WRITTEN)
            found = find_checkpoint(folder.path, partial(check_log, folder.path / METRICS))
            checkpoint = found.checkpoint
            if checkpoint is not None:
                _check_config(folder.path, checkpoint, folder._digest)
            folder._tidy()
            for damaged in found.unusable:
                put_aside(damaged, f"{damaged.name}.damaged", folder.path)
            folder._open_log(checkpoint.metrics_bytes if checkpoint else 0)
        except BaseException:
            folder.close()
            raise
        if found.unusable:
            warn_once(found.said())
        return folder, checkpoint

    def _take_lock(self) -> None:
        if fcntl is None:
            return
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.close()
            raise FdrlError(f"another process is writing the run {self.path}") from None
        except OSError:
            # Some network file systems have no locks; a run there is better than none.
            return

    def _tidy(self) -> None:
        """Delete what a killed process had not finished to write."""
        sweep(self.path, self.path)
        sweep(self.path / "checkpoints", self.path)

    def _open_log(self, length: int) -> None:
        """Open the log and cut it to so many bytes, which `check_log` has found to be ours."""
        path = self.path / METRICS
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND
        log = self._log = open_file(path, flags, self.path)
        with file_errors("write", path):
            kept = _start_of(log, length)
            if os.fstat(log).st_nlink > 1:
                # Another name of the same file, as `cp -al` makes, must not lose its end.
                write_atomic(path, kept, self.path)
                os.close(log)
                log = self._log = open_file(path, flags, self.path)
            os.ftruncate(log, length)
        self._length, self._hash = length, hashlib.sha256(kept)

    def log(self, record: RoundRecord) -> None:
        """Append one round; if the disk refuses it, the file ends with the round before."""
        assert self._log is not None
        line = msgspec.json.encode(record) + b"\n"
        with file_errors("write", self.path / METRICS):
            try:
                write_all(self._log, line)
            except OSError:
                os.ftruncate(self._log, self._length)
                raise
        self._length += len(line)
        self._hash.update(line)

    def mark(self) -> Mark:
        """Return what the log is now, for a checkpoint of this moment that is saved later."""
        return Mark(self._length, self._hash.hexdigest())

    def checkpoint(
        self,
        round: int,
        state: Mapping[str, Array],
        wall_seconds: float,
        mark: Mark | None = None,
    ) -> Path:
        """Save the state after `round` rounds; the last two checkpoints are kept.

        `mark` is what the log was then, if it has grown since.
        """
        assert self._log is not None
        with file_errors("write", self.path / METRICS):
            os.fsync(self._log)
        at = mark or self.mark()
        path = checkpoint_path(self.path, round)
        saved = Checkpoint(
            round, dict(state), self._digest, at.length, wall_seconds, metrics_sha256=at.sha256
        )
        save_checkpoint(path, saved, self.path)
        for old in checkpoint_files(self.path)[:-KEEP]:
            remove(old, self.path)
        return path

    def finish(self, summary: Summary) -> None:
        """Write ``summary.json``, which ends the run."""
        data = msgspec.json.format(msgspec.json.encode(summary), indent=2)
        write_atomic(self.path / SUMMARY, data + b"\n", self.path)

    def close(self) -> None:
        """Let go of the folder; another process may then resume it."""
        for descriptor in (self._log, self._lock):
            if descriptor is not None and descriptor >= 0:
                os.close(descriptor)
        self._log, self._lock = None, -1

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
