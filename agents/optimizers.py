"""Adam, RMSprop and SGD over rows [K, P], one agent a row, and clipping per row: all in place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from .workspace import SHARED

Floats = NDArray[np.float32]
Kind = Literal["adam", "rmsprop", "sgd"]
BETA1, BETA2, ALPHA = 0.9, 0.999, 0.99
SLOTS: dict[str, int] = {"adam": 2, "rmsprop": 1, "sgd": 0}


def clip_rows(grad: Floats, limit: float) -> NDArray[np.float64]:
    """Scale each row to a norm of at most `limit` (0: never), as torch does; return the norms."""
    squares = np.matmul(grad[:, None, :], grad[:, :, None])[:, 0, 0]
    norms = np.sqrt(squares.astype(np.float64))
    if limit > 0:
        factor = np.minimum(limit / (norms + 1e-6), 1.0)
        if (factor < 1).any():
            np.multiply(grad, factor.astype(np.float32)[:, None], out=grad)
    return np.asarray(norms)


def _column(values: NDArray[np.float64]) -> Floats:
    return values.astype(np.float32)[:, None]


def adam(
    params: Floats,
    grad: Floats,
    moments: Floats,
    count: NDArray[np.int64],
    lr: NDArray[np.float64],
    eps: float = 1e-5,
) -> None:
    """One step of Adam (Kingma & Ba 2015) for every row; advances `count` [K].

    `moments` [K, 2, P] hold m / (1 - beta1) and v / (1 - beta2): the constant factors go into the
    step size, which saves two passes over memory. `lr` is [K] or, one rate a parameter, [K, P].
    """
    m, v = moments[:, 0], moments[:, 1]
    count += 1
    steps = count.astype(np.float64)
    spread = np.sqrt((1 - BETA2) / (1 - BETA2**steps))
    rate = (1 - BETA1) / (1 - BETA1**steps) / spread
    scratch = SHARED.take("optimizer", params.shape)
    np.multiply(m, np.float32(BETA1), out=m)
    np.add(m, grad, out=m)
    np.multiply(v, np.float32(BETA2), out=v)
    np.multiply(grad, grad, out=scratch)
    np.add(v, scratch, out=v)
    np.sqrt(v, out=scratch)
    np.add(scratch, _column(eps / spread), out=scratch)
    np.divide(m, scratch, out=scratch)
    _descend(params, scratch, rate, lr)


def rmsprop(
    params: Floats,
    grad: Floats,
    moments: Floats,
    count: NDArray[np.int64],
    lr: NDArray[np.float64],
    eps: float = 1e-5,
) -> None:
    """One step of RMSprop as torch and SB3's A2C have it; `moments` [K, 1, P]."""
    v = moments[:, 0]
    count += 1
    scratch = SHARED.take("optimizer", params.shape)
    np.multiply(v, np.float32(ALPHA), out=v)
    np.multiply(grad, grad, out=scratch)
    np.multiply(scratch, np.float32(1 - ALPHA), out=scratch)
    np.add(v, scratch, out=v)
    np.sqrt(v, out=scratch)
    np.add(scratch, np.float32(eps), out=scratch)
    np.divide(grad, scratch, out=scratch)
    _descend(params, scratch, np.ones(len(count)), lr)


def sgd(
    params: Floats,
    grad: Floats,
    moments: Floats,
    count: NDArray[np.int64],
    lr: NDArray[np.float64],
) -> None:
    """One step of plain gradient descent; `moments` [K, 0, P] hold nothing."""
    count += 1
    scratch = SHARED.take("optimizer", params.shape)
    np.copyto(scratch, grad)
    _descend(params, scratch, np.ones(len(count)), lr)


def _descend(
    params: Floats, direction: Floats, rate: NDArray[np.float64], lr: NDArray[np.float64]
) -> None:
    """Subtract rate [K] * lr ([K] or [K, P]) * direction; overwrites `direction`."""
    if lr.ndim == 1:
        np.multiply(direction, _column(rate * lr), out=direction)
    else:
        np.multiply(direction, (rate[:, None] * lr).astype(np.float32), out=direction)
    np.subtract(params, direction, out=params)


STEPS: dict[str, Callable[..., None]] = {"adam": adam, "rmsprop": rmsprop, "sgd": sgd}
