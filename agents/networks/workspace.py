"""Scratch memory that is asked for again and again: one buffer a name, for the whole thread.

Temporaries above malloc's threshold are mapped and unmapped on every operation, which costs more
than the arithmetic. All cohorts of a thread run one after another and share one `Workspace`; what
lies in it is only good until somebody asks for the same name again.
"""

from __future__ import annotations

import math
import threading
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray


class Workspace(threading.local):
    """Named buffers that grow to the largest size asked for."""

    def __init__(self) -> None:
        self._buffers: dict[str, NDArray[np.uint8]] = {}
        self._views: dict[tuple[str, tuple[int, ...], Any], NDArray[Any]] = {}

    def take(
        self, name: str, shape: tuple[int, ...], dtype: DTypeLike = np.float32
    ) -> NDArray[Any]:
        """Return an uninitialized array; the same name and shape give the same memory."""
        key = (name, shape, dtype)
        view = self._views.get(key)
        return self._make(key) if view is None else view

    def zeros(
        self, name: str, shape: tuple[int, ...], dtype: DTypeLike = np.float32
    ) -> NDArray[Any]:
        """Return `take` filled with zeros."""
        view = self.take(name, shape, dtype)
        view.fill(0)
        return view

    def _make(self, key: tuple[str, tuple[int, ...], Any]) -> NDArray[Any]:
        name, shape, dtype = key
        size = math.prod(shape) * np.dtype(dtype).itemsize
        buffer = self._buffers.get(name)
        if buffer is None or buffer.nbytes < size:
            buffer = self._buffers[name] = _aligned(size)
            self._views = {k: v for k, v in self._views.items() if k[0] != name}
        if len(self._views) > 4096:  # many odd shapes: views are cheap to make again
            self._views.clear()
        view: NDArray[Any] = buffer[:size].view(dtype).reshape(shape)
        self._views[key] = view
        return view

    def clear(self) -> None:
        """Forget all buffers (their memory goes once nobody holds a view)."""
        self._buffers.clear()
        self._views.clear()


def _aligned(size: int, boundary: int = 64) -> NDArray[np.uint8]:
    """Return `size` bytes that start on a cache line."""
    raw = np.empty(size + boundary, dtype=np.uint8)
    start = -raw.ctypes.data % boundary
    return raw[start : start + size]


SHARED = Workspace()
"""The workspace of whichever thread asks."""
