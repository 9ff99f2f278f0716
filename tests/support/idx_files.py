"""Small IDX files: forty images of 28 x 28, four of each label."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np


def idx_bytes(array):
    """Write bytes [n, ...] in the IDX format."""
    head = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return head + array.tobytes()


def tiny_idx(folder: Path) -> Path:
    """Write MNIST's four files, the training images compressed; return the folder."""
    labels = np.tile(np.arange(10, dtype=np.uint8), 4)
    rng = np.random.default_rng(1)
    images = rng.integers(0, 60, (40, 28, 28)).astype(np.uint8)
    images[np.arange(40), labels * 2] = 250  # a bright line whose height tells the label
    for part in ("train", "t10k"):
        data = idx_bytes(images)
        if part == "train":
            (folder / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(data))
        else:
            (folder / "t10k-images.idx3-ubyte").write_bytes(data)
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(idx_bytes(labels))
    return folder
