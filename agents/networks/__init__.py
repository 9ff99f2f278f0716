"""Which program computes the networks."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fdrl.core.errors import FdrlError

from .base import Network
from .layout import ImageLayout, Layout
from .numpy_network import NumpyNetwork

Backend = Literal["numpy", "torch"]


def make_network(
    backend: Backend, layout: Layout, params: NDArray[np.float32], device: str = "cpu"
) -> Network:
    """Return the networks of K agents over `params` [K, P]; torch is imported only on request.

    Images are torch's business whatever the backend.
    """
    if isinstance(layout, ImageLayout):
        from .torch_network import ImageNetwork

        return ImageNetwork(layout, params, device)
    if backend == "torch":
        from .torch_network import TorchNetwork

        return TorchNetwork(layout, params, device)
    if device != "cpu":
        raise FdrlError(
            f"backend 'numpy' runs on the cpu, not on {device!r}; did you mean backend 'torch'?"
        )
    return NumpyNetwork(layout, params)
