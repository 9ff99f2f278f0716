"""One checkpoint: a safetensors file with a run's exact state, which knows when it is damaged."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fdrl.core.arrays import Array
from fdrl.core.errors import FdrlError
from fdrl.core.files import file_errors, write_atomic

FORMAT = "1"


@dataclass(frozen=True)
class Checkpoint:
    """The state after `round` rounds, and how long ``metrics.jsonl`` was then."""

    round: int
    state: dict[str, Array]
    config: str
    """Digest of the run's config (`fdrl.config.run.digest`)."""
    metrics_bytes: int
    wall_seconds: float


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
    return sorted(f for f in found if re.fullmatch(r"round-\d{6,}", f.stem))


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint atomically; raises `FdrlError` if the disk refuses it."""
    from safetensors.numpy import save

    # np.require keeps 0-d arrays 0-d, which np.ascontiguousarray does not.
    state = {k: np.require(v, requirements="C") for k, v in checkpoint.state.items()}
    metadata = {
        "format": FORMAT,
        "round": str(checkpoint.round),
        "config": checkpoint.config,
        "metrics_bytes": str(checkpoint.metrics_bytes),
        "wall_seconds": repr(checkpoint.wall_seconds),
        "sha256": state_hash(state),
    }
    with file_errors("write", path):
        path.parent.mkdir(exist_ok=True)
    write_atomic(path, save(state, metadata))


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint; a damaged one raises an error that says what to do about it."""
    with file_errors("read", path):
        data = path.read_bytes()
    try:
        return _decode(data)
    except FdrlError:
        raise
    except Exception as error:
        raise FdrlError(
            f"checkpoint {path} is damaged ({_first_line(error)}); "
            "delete it to resume from the one before it, or from the start"
        ) from error


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _decode(data: bytes) -> Checkpoint:
    from safetensors.numpy import load

    state: dict[str, Array] = load(data)
    size = int.from_bytes(data[:8], "little")
    metadata = json.loads(data[8 : 8 + size]).get("__metadata__", {})
    if metadata.get("format") != FORMAT:
        raise ValueError(f"format {metadata.get('format')!r}, this fdrl reads {FORMAT!r}")
    if state_hash(state) != metadata["sha256"]:
        raise ValueError("its contents do not match its checksum")
    return Checkpoint(
        round=int(metadata["round"]),
        state=state,
        config=metadata["config"],
        metrics_bytes=int(metadata["metrics_bytes"]),
        wall_seconds=float(metadata["wall_seconds"]),
    )
