"""A run folder: everything a run leaves behind, and an exact way back into it.

``config.toml`` the resolved config · ``metrics.jsonl`` a line a round · ``checkpoints/`` the last
two states · ``summary.json`` written last, so its presence says that the run is finished ·
``curves.png``, ``curves.svg``. A process that dies at any moment leaves a folder that resumes: the
log is cut back to where the last checkpoint was written, and grows again from there to the bit.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, get_type_hints

import msgspec

from fdrl.config.run import Run, differences, digest, parse, read_tables, to_tables, to_toml
from fdrl.config.trust import check_trusted, same_names
from fdrl.core.arrays import Array
from fdrl.core.errors import FdrlError, HoldsRun, OtherConfig
from fdrl.core.files import file_errors, write_atomic
from fdrl.core.paths import absolute
from fdrl.core.records import RoundRecord, Summary
from fdrl.core.settings import convert
from fdrl.runs.checkpoint import (
    Checkpoint,
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
    with file_errors("read", path):
        lines = path.read_bytes().split(b"\n")[:-1]
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
    with file_errors("read", path):
        data = path.read_bytes()
    try:
        summary: Summary = _revive(msgspec.json.decode(data), Summary)
    except (msgspec.DecodeError, AttributeError) as error:
        raise FdrlError(f"{path} is not a run's summary: {error}") from None
    return summary


def latest_checkpoint(folder: str | Path) -> Checkpoint | None:
    """Load the newest checkpoint; None if there is none yet."""
    files = checkpoint_files(Path(folder))
    return load_checkpoint(files[-1]) if files else None


def own_checkpoint(folder: str | Path, run: Run) -> Checkpoint | None:
    """Load the newest checkpoint; raise if it was written by another config than `run`."""
    checkpoint = latest_checkpoint(folder)
    if checkpoint is not None and checkpoint.config != digest(run):
        newest = checkpoint_files(Path(folder))[-1]
        raise FdrlError(f"checkpoint {newest} belongs to another config than {CONFIG}")
    return checkpoint


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


class RunFolder:
    """A run folder that this process is writing. One process at a time: the others get an error."""

    def __init__(self, path: str | Path, run: Run) -> None:
        self.path = Path(path)
        self.run = run
        self._digest = digest(run)
        self._log: int | None = None
        self._length = 0
        with file_errors("write to", self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(self.path / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
        self._take_lock()

    @classmethod
    def create(cls, path: str | Path, run: Run) -> RunFolder:
        """Start a run in a folder that `check_free` lets us have."""
        check_free(path)
        folder = cls(path, run)
        try:
            check_free(path)
            # A config that names its own folder could not be used to start the run again.
            kept = msgspec.structs.replace(run, out="")
            write_atomic(folder.path / CONFIG, to_toml(kept).encode())
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

        Raises `FdrlError` if the folder is no run, is being written, belongs to another config
        than `run`, or its last checkpoint is damaged; the folder is then left as it was.
        """
        kept = check_same(path, run)
        folder = cls(path, run or kept)
        try:
            checkpoint = own_checkpoint(folder.path, folder.run)
            folder._open_log(checkpoint.metrics_bytes if checkpoint else 0)
        except BaseException:
            folder.close()
            raise
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

    def _open_log(self, length: int) -> None:
        path = self.path / METRICS
        with file_errors("write", path):
            log = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
            self._log = log
            found = os.fstat(log).st_size
            if found < length:
                raise FdrlError(
                    f"{path} has {found} bytes, but had {length} at the last checkpoint: "
                    "it was changed, so the run cannot continue exactly"
                )
            os.ftruncate(log, length)
        self._length = length

    def log(self, record: RoundRecord) -> None:
        """Append one round; if the disk refuses it, the file ends with the round before."""
        assert self._log is not None
        line = msgspec.json.encode(record) + b"\n"
        with file_errors("write", self.path / METRICS):
            try:
                rest = memoryview(line)
                while rest:
                    rest = rest[os.write(self._log, rest) :]
            except OSError:
                os.ftruncate(self._log, self._length)
                raise
        self._length += len(line)

    def checkpoint(self, round: int, state: Mapping[str, Array], wall_seconds: float) -> Path:
        """Save the state after `round` rounds; the last two checkpoints are kept."""
        assert self._log is not None
        with file_errors("write", self.path / METRICS):
            os.fsync(self._log)
        path = checkpoint_path(self.path, round)
        saved = Checkpoint(round, dict(state), self._digest, self._length, wall_seconds)
        save_checkpoint(path, saved)
        for old in checkpoint_files(self.path)[:-KEEP]:
            with file_errors("delete", old):
                old.unlink()
        return path

    def finish(self, summary: Summary) -> None:
        """Write ``summary.json``, which ends the run."""
        data = msgspec.json.format(msgspec.json.encode(summary), indent=2)
        write_atomic(self.path / SUMMARY, data + b"\n")

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
