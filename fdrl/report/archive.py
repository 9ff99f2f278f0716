"""Finished runs as one small file to publish: all that comparisons and audits read of them."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Sequence
from pathlib import Path

import msgspec

from fdrl.checkpoint import file_errors, write_atomic
from fdrl.errors import FdrlError
from fdrl.report.collect import MANIFEST, manifests
from fdrl.report.places import below
from fdrl.rundir import CONFIG, METRICS, SUMMARY

ENDING = ".tar.xz"
LEFT_OUT = ("metrics", "seconds", "steps_per_second")
"""Parts of a log's lines that no comparison reads: training metrics, and where time went."""


def check_name(target: str | Path) -> None:
    """Raise unless an archive may have this name: before anything else is written."""
    if not str(target).endswith(ENDING):
        raise FdrlError(f"{target}: an archive's name ends in {ENDING}")


def write_archive(places: Sequence[str | Path], target: str | Path) -> int:
    """Pack the finished runs in `places` into a ``.tar.xz``; return how many they are.

    Each place becomes a folder of its own name, with the run folders' config, summary and log
    (less what is `LEFT_OUT`) and the suites' ``bench.json``; no checkpoints. Unpacked, it gives
    the same report, ``fdrl bench --audit`` checks it, and ``fdrl bench`` runs only what is
    missing in it. The same runs give the same bytes. Raises `FdrlError` if no run is finished, if
    two places have one name, or if a file cannot be read or written.
    """
    check_name(target)
    roots: dict[str, Path] = {}
    for place in map(Path, places):
        name = place.resolve().name
        if roots.setdefault(name, place) != place:
            raise FdrlError(f"{roots[name]} and {place} would both be {name} in an archive")
    files = {
        f"{name}/{path.relative_to(root)}": path
        for name, root in roots.items()
        for path in _files(root)
    }
    runs = sum(path.name == SUMMARY for path in files.values())
    if not runs:
        raise FdrlError(f"nothing to archive: no run in {', '.join(map(str, places))} is finished")
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:xz", preset=9) as archive:
        for name, path in sorted(files.items()):
            data = _content(path)
            entry = tarfile.TarInfo(name)  # no times, no users: the same runs, the same bytes
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    write_atomic(Path(target), buffer.getvalue())
    return runs


def _files(root: Path) -> list[Path]:
    """Return the files of a place that belong in an archive."""
    found = [folder / MANIFEST for folder, _ in manifests([root])]
    for run in below(root):
        if (run / SUMMARY).is_file():
            found += [run / CONFIG, run / METRICS, run / SUMMARY]
    return found


def _content(path: Path) -> bytes:
    with file_errors("read", path):
        data = path.read_bytes()
    return _trimmed(path, data) if path.name == METRICS else data


def _trimmed(path: Path, data: bytes) -> bytes:
    """Drop from a log what is `LEFT_OUT`; numbers keep all their digits."""
    lines = []
    for number, line in enumerate(data.split(b"\n")[:-1], 1):
        try:
            record = msgspec.json.decode(line, type=dict[str, object])
        except msgspec.DecodeError as error:
            raise FdrlError(f"{path}, line {number}: not a round record: {error}") from None
        kept = {key: value for key, value in record.items() if key not in LEFT_OUT}
        lines.append(msgspec.json.encode(kept))
    return b"".join(line + b"\n" for line in lines)
