"""Reading IDX files, the format in which MNIST and Fashion-MNIST are published.

Four bytes of magic (0, 0, type, number of axes), then each axis as a big-endian 32-bit integer,
then the values: http://yann.lecun.com/exdb/mnist describes it.
"""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fdrl.errors import FdrlError

UNSIGNED_BYTE = 0x08


def read_idx(path: Path) -> NDArray[np.uint8]:
    """Read an array of bytes, of any number of axes; gzip is recognized by its first bytes.

    Raises `FdrlError` naming the file if it is missing, cut off, or something else.
    """
    try:
        data = path.read_bytes()
        if data[:2] == b"\x1f\x8b":
            data = gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise FdrlError(f"IDX file {path}: cannot be read: {error}") from None
    if len(data) < 4 or data[0] or data[1] or data[2] != UNSIGNED_BYTE or not data[3]:
        raise FdrlError(f"IDX file {path}: starts with {data[:4].hex(' ')}, not with 00 00 08")
    start = 4 + 4 * data[3]
    axes = data[4:start]
    shape = [int.from_bytes(axes[i : i + 4], "big") for i in range(0, len(axes), 4)]
    if len(axes) != 4 * data[3] or len(data) - start != math.prod(shape):
        raise FdrlError(
            f"IDX file {path}: its header promises {shape} values, but {len(data) - start} follow: "
            "the file is damaged, fetch it again"
        )
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape)


def find_idx(folder: Path, stem: str) -> Path:
    """Return the file ``stem`` in a folder, plain or ``.gz``, with a dash or a dot before idx."""
    names = [s + end for s in (stem, stem.replace("-idx", ".idx")) for end in ("", ".gz")]
    for name in names:
        if (folder / name).is_file():
            return folder / name
    place = "at env_kwargs.data_dir, or FDRL_DATA"
    if not folder.is_dir():
        raise FdrlError(f"no folder {folder} of IDX files ({place})")
    raise FdrlError(f"no {stem} (or {stem}.gz) in {folder} ({place})")


def read_images(folder: Path, part: str) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Read images [M, 28, 28] and labels [M] of ``part`` ("train" or "t10k")."""
    where = find_idx(folder, f"{part}-images-idx3-ubyte")
    images = read_idx(where)
    labels = read_idx(find_idx(folder, f"{part}-labels-idx1-ubyte"))
    if images.ndim != 3 or labels.shape != images.shape[:1] or not len(labels):
        raise FdrlError(f"{where}: {list(images.shape)} images for {list(labels.shape)} labels")
    if labels.max() > 9:
        raise FdrlError(f"{where}: label {labels.max()}, but labels must be 0 to 9")
    return images, labels.astype(np.int64)
