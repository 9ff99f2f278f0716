"""Classification as an environment: images are observations, labels actions, right answers pay 1.

An episode is one image, so the mean return of a policy is its accuracy. Learners that use labels
(`fdrl.Labeled`) take the samples as they are from `samples`; any other learner plays.
"""

from __future__ import annotations

import functools
import gzip
import importlib.resources
import io
import math
import os
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from fdrl.core.arrays import Floats, Integers
from fdrl.core.errors import FdrlError

DIGITS_TEST = 360
"""Images of the embedded digits, the last ones, that are kept for testing."""


TITLES = {"mnist_784": "MNIST", "Fashion-MNIST": "Fashion-MNIST"}
"""OpenML's names, and what people call them."""
FOLDERS = {"mnist_784": "mnist", "Fashion-MNIST": "fashion"}
"""Folders below ``$FDRL_DATA``."""
FILES = (
    "the four files train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte and "
    "t10k-labels-idx1-ubyte (as published, .gz or not)"
)


@dataclass(frozen=True)
class Samples:
    """Images [M, O] in [0, 1], row by row, with their labels [M]: to train on, and to test on."""

    train: tuple[Floats, Integers]
    test: tuple[Floats, Integers]
    shape: tuple[int, int]
    """Height and width of an image; O is their product."""
    classes: int = 10


def _flat(images: NDArray[np.uint8], largest: int) -> Floats:
    return np.asarray(images.reshape(len(images), -1) / np.float32(largest), np.float32)


@functools.cache
def digits() -> Samples:
    """Return the 1,797 embedded 8 x 8 digits; `envs/data/README.md` says where they come from."""
    raw = (importlib.resources.files("fdrl.envs") / "data" / "digits.npz").read_bytes()
    with np.load(io.BytesIO(raw), allow_pickle=False) as file:
        x, y = _flat(file["images"], 16), file["labels"].astype(np.int64)
    cut = len(y) - DIGITS_TEST
    return Samples((x[:cut], y[:cut]), (x[cut:], y[cut:]), (8, 8))


@functools.lru_cache(maxsize=2)
def from_folder(folder: Path) -> Samples:
    """Read MNIST, or anything published in its form, from a folder of IDX files."""
    parts = []
    for name in ("train", "t10k"):
        images, labels = read_images(folder, name)
        parts.append((_flat(images, 255), labels))
    side = images.shape[1:]
    return Samples(parts[0], parts[1], (int(side[0]), int(side[1])))


def fetch(name: str) -> Samples:
    """Download a set of 70,000 28 x 28 images from OpenML by scikit-learn, which keeps a copy."""
    try:
        from sklearn.datasets import fetch_openml
    except ImportError:
        raise FdrlError(
            f"the {TITLES[name]} images are not here: put {FILES} into a folder DIR and add "
            f"--env_kwargs.data_dir DIR (or set FDRL_DATA to the folder that holds them in "
            f"{FOLDERS[name]}/), or pip install scikit-learn, which downloads them"
        ) from None
    try:
        x, y = fetch_openml(name, version=1, return_X_y=True, as_frame=False)
    except Exception as error:  # whatever the network, or its absence, comes up with
        raise FdrlError(
            f"the {TITLES[name]} images cannot be downloaded ({error}): put {FILES} into a folder "
            "DIR and add --env_kwargs.data_dir DIR"
        ) from None
    images, labels = _flat(np.asarray(x, np.uint8), 255), np.asarray(y).astype(np.int64)
    cut = 60_000
    return Samples((images[:cut], labels[:cut]), (images[cut:], labels[cut:]), (28, 28))


class ImageLabels(gymnasium.Env[Floats, np.int64]):
    """Name the label of one training image after another.

    >>> env = gymnasium.make("fdrl/Digits-v0")
    >>> image, info = env.reset(seed=1)  # image: float32 [64]
    >>> image, reward, terminated, truncated, info = env.step(3)  # 1.0 if it showed a three
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 4}  # noqa: RUF012

    def __init__(self, samples: Samples, render_mode: str | None = None) -> None:
        self.samples = samples
        self.render_mode = render_mode
        size = samples.train[0].shape[1]
        self.observation_space = spaces.Box(0.0, 1.0, (size,), np.float32)
        self.action_space = spaces.Discrete(samples.classes)
        self._shown = 0

    def _look(self) -> Floats:
        return np.array(self.samples.train[0][self._shown])

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Floats, dict[str, Any]]:
        """Draw an image."""
        super().reset(seed=seed)
        self._shown = int(self.np_random.integers(len(self.samples.train[1])))
        return self._look(), {}

    def step(self, action: np.int64) -> tuple[Floats, float, bool, bool, dict[str, Any]]:
        """Pay 1 for the right label; that ends the episode."""
        right = int(action) == int(self.samples.train[1][self._shown])
        return self._look(), float(right), True, False, {}

    def render(self) -> Any:
        """Draw the image, eight pixels for one."""
        gray = (255 * self._look().reshape(self.samples.shape)).astype(np.uint8)
        return np.repeat(np.repeat(np.repeat(gray[:, :, None], 3, 2), 8, 0), 8, 1)


def make_digits(render_mode: str | None = None) -> ImageLabels:
    """Build ``fdrl/Digits-v0``."""
    return ImageLabels(digits(), render_mode)


def published(data_dir: str, folder: str, name: str) -> Samples:
    """Return samples from `data_dir`, else from ``$FDRL_DATA/folder``, else by a download."""
    common = os.environ.get("FDRL_DATA", "")
    if data_dir or common:
        return from_folder(Path(data_dir or Path(common, folder)))
    return fetch(name)


def make_mnist(data_dir: str = "", render_mode: str | None = None) -> ImageLabels:
    """Build ``fdrl/MNIST-v0`` from a folder of IDX files, else by a download."""
    return ImageLabels(published(data_dir, "mnist", "mnist_784"), render_mode)


def make_fashion(data_dir: str = "", render_mode: str | None = None) -> ImageLabels:
    """Build ``fdrl/FashionMNIST-v0`` from a folder of IDX files, else by a download."""
    return ImageLabels(published(data_dir, "fashion", "Fashion-MNIST"), render_mode)


MAKERS = {"Digits": make_digits, "MNIST": make_mnist, "FashionMNIST": make_fashion}
for _name, _make in MAKERS.items():
    gymnasium.register(f"fdrl/{_name}-v0", entry_point=f"fdrl.envs.images:{_make.__name__}")

# ---- Reading IDX files, the format in which MNIST and Fashion-MNIST are published ----
#
# Four bytes of magic (0, 0, type, number of axes), then each axis as a big-endian 32-bit integer,
# then the values: http://yann.lecun.com/exdb/mnist describes it.


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
