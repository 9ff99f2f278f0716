"""One checkpoint: a safetensors file with a run's exact state, which knows when it is damaged.

Its checksum is over every byte of the file, header and metadata too, with zeros where it stands
itself. The metadata also hold the digest of the log that belongs to the state, so that a log which
was changed is found before it is appended to. Files of format 1 (fdrl 0.1) have neither: only
their arrays have a checksum.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Protocol

import numpy as np

from fdrl.core.arrays import Array
from fdrl.core.errors import FdrlError
from fdrl.core.files import make_folder, read_file, write_atomic

FORMAT = "2"
READ = ("1", "2")
"""The formats that `load_checkpoint` knows."""
_BLANK = b"0" * 64
_CHECKSUM = re.compile(rb'"checksum":"([0-9a-f]{64})"')


class DamagedCheckpoint(FdrlError):
    """A checkpoint whose bytes are not those that were written."""


@dataclass(frozen=True)
class Checkpoint:
    """The state after `round` rounds, and what ``metrics.jsonl`` was then."""

    round: int
    state: dict[str, Array]
    config: str
    """Digest of the run's config (`fdrl.config.run.digest`)."""
    metrics_bytes: int
    wall_seconds: float
    metrics_sha256: str = ""
    """Digest of the log's first `metrics_bytes`; empty in files of format 1."""


def state_hash(state: Mapping[str, Array]) -> str:
    """Return the SHA-256 of names, types, shapes and values, in order of names."""
    digest = hashlib.sha256()
    for name in sorted(state):
        value = state[name]
        digest.update(f"{name}|{value.dtype.str}|{value.shape}|".encode())
        digest.update(value.tobytes())
    return digest.hexdigest()


def checkpoint_path(folder: Path, round: int) -> Path:
    """Return ``FOLDER/checkpoints/round-000040.safetensors``."""
    return folder / "checkpoints" / f"round-{round:06d}.safetensors"


def checkpoint_files(folder: Path) -> list[Path]:
    """Return a run's checkpoints, oldest first."""
    found = (folder / "checkpoints").glob("round-*.safetensors")
    numbered = [f for f in found if re.fullmatch(r"round-\d{6,}", f.stem)]
    return sorted(numbered, key=lambda f: (int(f.stem[6:]), f.name))


def save_checkpoint(path: Path, checkpoint: Checkpoint, root: Path | None = None) -> None:
    """Write a checkpoint atomically; raises `FdrlError` if the disk refuses it."""
    from safetensors.numpy import save

    # np.require keeps 0-d arrays 0-d, which np.ascontiguousarray does not.
    state = {k: np.require(v, requirements="C") for k, v in checkpoint.state.items()}
    metadata = {
        "format": FORMAT,
        "fdrl": _version(),
        "round": str(checkpoint.round),
        "config": checkpoint.config,
        "metrics_bytes": str(checkpoint.metrics_bytes),
        "metrics_sha256": checkpoint.metrics_sha256,
        "wall_seconds": repr(checkpoint.wall_seconds),
        "checksum": _BLANK.decode(),
    }
    make_folder(path.parent, root)
    write_atomic(path, _sealed(save(state, metadata)), root)


def _sealed(data: bytes) -> bytes:
    """Put the checksum of everything into its place."""
    place = _place(data)
    assert place is not None
    return b"".join([data[: place[0]], _checksum(data, *place).encode(), data[place[1] :]])


def _place(data: bytes) -> tuple[int, int] | None:
    """Return where in a file the checksum begins and ends; None if it has none."""
    found = _CHECKSUM.search(data, 8, 8 + int.from_bytes(data[:8], "little"))
    return None if found is None else found.span(1)


def _checksum(data: bytes, begin: int, end: int) -> str:
    digest, view = hashlib.sha256(), memoryview(data)
    for part in (view[:begin], _BLANK, view[end:]):
        digest.update(part)
    return digest.hexdigest()


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint; a damaged one raises `DamagedCheckpoint`, one of another format says so.

    What a newer fdrl wrote is whole: only that version can read it, and nothing is wrong with it.
    """
    return decoded(read_file(path), path)


def decoded(data: bytes, path: Path) -> Checkpoint:
    """Return the checkpoint whose bytes were read from a file; errors as in `load_checkpoint`."""
    try:
        return _decode(data)
    except _OtherFormat as other:
        raise FdrlError(
            f"checkpoint {path} is of format {other.format}, made by fdrl {other.maker}; this is "
            f"fdrl {_version()}, which reads formats {' and '.join(READ)}: go on with the version "
            "that made it"
        ) from None
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise DamagedCheckpoint(f"checkpoint {path} is damaged ({reason})") from error


class Stateful(Protocol):
    """What a checkpoint can be loaded into."""

    def load_state(self, state: Mapping[str, Array], /) -> None:
        """Continue from a state."""


def continue_from(checkpoint: Checkpoint, path: Path, learner: Stateful) -> None:
    """Load a checkpoint that is whole; `FdrlError` if what it holds is not what is asked for.

    That is so where somebody's learner, strategy or environment was changed since.
    """
    try:
        learner.load_state(checkpoint.state)
    except (KeyError, ValueError, IndexError) as error:
        missing = f"it has no {error}" if isinstance(error, KeyError) else str(error)
        raise FdrlError(
            f"checkpoint {path} does not fit this run's agents ({' '.join(missing.split())}): was "
            "the code of the learner, the strategy or the environment changed since?"
        ) from error


class _OtherFormat(Exception):
    def __init__(self, metadata: Mapping[str, str]) -> None:
        self.format = str(metadata.get("format"))[:20]
        self.maker = str(metadata.get("fdrl", "of an unknown version"))[:40]


def _decode(data: bytes) -> Checkpoint:
    from safetensors.numpy import load

    place = _place(data)
    unknown = _unknown_format(data)
    sealed = place is not None and _checksum(data, *place) == data[place[0] : place[1]].decode()
    # Another version may seal its files in another way; a flipped bit is no other version.
    if unknown is not None and (sealed or not _one_bit_off(unknown["format"])):
        raise _OtherFormat(unknown)
    if place is not None and not sealed:
        raise ValueError("its contents do not match its checksum")
    metadata = _metadata(data)
    if metadata.get("format") not in READ:
        raise ValueError("its format cannot be read")
    if place is None and metadata["format"] != "1":
        raise ValueError("it has no checksum")
    state: dict[str, Array] = load(data)
    if place is None and state_hash(state) != metadata["sha256"]:
        raise ValueError("its contents do not match its checksum")
    return Checkpoint(
        round=int(metadata["round"]),
        state=state,
        config=metadata["config"],
        metrics_bytes=int(metadata["metrics_bytes"]),
        wall_seconds=float(metadata["wall_seconds"]),
        metrics_sha256=metadata.get("metrics_sha256", ""),
    )


def _metadata(data: bytes) -> dict[str, str]:
    size = int.from_bytes(data[:8], "little")
    if size > len(data) - 8:
        raise ValueError("it ends inside its header")
    metadata: dict[str, str] = json.loads(data[8 : 8 + size]).get("__metadata__", {})
    return metadata


def _unknown_format(data: bytes) -> Mapping[str, str] | None:
    """Return the metadata of a file of a format that is none of ours; None if it is, or if nothing
    can be read."""
    try:
        metadata = _metadata(data)
        named = metadata.get("format") is not None and metadata["format"] not in READ
    except (ValueError, AttributeError):
        return None
    return metadata if named else None


def _one_bit_off(text: str) -> bool:
    """Whether a flipped bit makes this of the number of a format that we know."""
    return len(text) == 1 and any((ord(text) ^ ord(known)).bit_count() == 1 for known in READ)


@cache
def _version() -> str:
    try:
        return importlib.metadata.version("fdrl")
    except importlib.metadata.PackageNotFoundError:  # run from its source, not installed
        return "unknown"
