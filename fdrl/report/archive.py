"""Finished runs as one small file to publish: all that comparisons and audits read of them."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from fdrl.bench.suite import TUNED
from fdrl.bench.tuning import is_tuning
from fdrl.core.errors import FdrlError
from fdrl.core.files import read_file, write_atomic
from fdrl.report.collect import MANIFEST, find, read
from fdrl.runs.folder import CONFIG, METRICS, SUMMARY

ENDING = ".tar.xz"
LEFT_OUT = ("metrics", "seconds", "steps_per_second")
"""Parts of a log's lines that no comparison reads: training metrics, and where time went."""


@dataclass(frozen=True)
class Archived:
    """How many runs an archive holds, and how many it does not."""

    runs: int
    left_out: int
    """Runs that are not finished, or of whose log something is missing."""


def check_name(target: str | Path) -> None:
    """Raise unless an archive may have this name: before anything else is written."""
    if not str(target).endswith(ENDING):
        raise FdrlError(f"{str(target)!r}: an archive's name ends in {ENDING}")


def write_archive(places: Sequence[str | Path], target: str | Path) -> Archived:
    """Pack the finished runs in `places` into a ``.tar.xz``; return how many they are.

    It holds the run folders' config, summary and log (less what is `LEFT_OUT`), and with runs of
    a suite its ``bench.json`` and ``tuned.toml``, below a folder named as the suite's folder, or
    as the place. Unpacked, these runs give the same numbers and curves, ``fdrl bench --audit``
    checks them, and ``fdrl bench`` runs only what is missing. The same runs give the same bytes.
    Raises `FdrlError` if no run is finished, if two folders would get one name, if they are
    tuning runs, or if a file cannot be read or written.
    """
    check_name(target)
    files: dict[str, Path] = {}
    runs = left_out = 0
    for run, root in _roots(places).items():
        if not read(run).whole:
            left_out += 1
            continue
        runs += 1
        inside = [run / CONFIG, run / METRICS, run / SUMMARY]
        inside += [p for p in (root / MANIFEST, root / TUNED) if p.is_file()]
        for path in inside:
            name = f"{root.name or 'runs'}/{path.relative_to(root)}"
            if files.setdefault(name, path) != path:
                raise FdrlError(f"{files[name]} and {path} would both be {name} in an archive")
    if not runs:
        raise FdrlError(f"nothing to archive: no run in {', '.join(map(str, places))} is finished")
    write_atomic(Path(target), _packed(files))
    return Archived(runs, left_out)


def _roots(places: Sequence[str | Path]) -> dict[Path, Path]:
    """Return every run below `places`, and the folder that it is packed with: the suite's, else
    the place."""
    found: dict[Path, Path] = {}
    for place in map(Path, places):
        for run in (folder.resolve() for folder in find([place])):
            tuning = next((p for p in run.parents if is_tuning(p)), None)
            if tuning is not None:
                raise FdrlError(f"{tuning} holds tuning runs, which no comparison may rest on")
            suite = run.parents[2] if len(run.parents) > 2 else run
            found.setdefault(run, suite if (suite / MANIFEST).is_file() else place.resolve())
    return found


def _packed(files: dict[str, Path]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:xz", preset=9) as archive:
        for name, path in sorted(files.items()):
            data = _content(path)
            entry = tarfile.TarInfo(name)  # no times, no users: the same runs, the same bytes
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


def _content(path: Path) -> bytes:
    """Return what an archive holds of a file; numbers keep all their digits."""
    data = read_file(path)
    if path.name != METRICS:
        return data
    lines = []
    for line in data.split(b"\n")[:-1]:
        record = msgspec.json.decode(line, type=dict[str, object])
        kept = {key: value for key, value in record.items() if key not in LEFT_OUT}
        lines.append(msgspec.json.encode(kept) + b"\n")
    return b"".join(lines)
