"""Drawing small pictures with NumPy alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Color = tuple[int, int, int]

WHITE: Color = (255, 255, 255)
PALE: Color = (232, 234, 237)
GRAY: Color = (150, 155, 160)
DARK: Color = (60, 64, 67)
RED: Color = (204, 37, 41)
GREEN: Color = (62, 150, 81)
COLORS: tuple[Color, ...] = ((57, 106, 177), (218, 124, 48), (62, 150, 81), (107, 76, 154))
"""One color per agent."""


def canvas(height: int, width: int) -> Image:
    """Return a white picture [height, width, 3]."""
    return np.full((height, width, 3), 255, np.uint8)


def box(image: Image, top: int, left: int, height: int, width: int, color: Color) -> None:
    """Fill a rectangle, cut off at the borders."""
    image[max(top, 0) : max(top + height, 0), max(left, 0) : max(left + width, 0)] = color


def disk(image: Image, y: float, x: float, radius: float, color: Color) -> None:
    """Fill a disk around (y, x), in pixels."""
    rows, columns = np.ogrid[: image.shape[0], : image.shape[1]]
    image[(rows - y) ** 2 + (columns - x) ** 2 <= radius**2] = color
