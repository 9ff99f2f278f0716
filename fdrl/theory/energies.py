"""Energies of M workers: how wrong they are together, and how far apart.

All are means over samples (and output axes) of squares, in squared units of the outputs.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from fdrl.theory.modes import Floats


def _pair(outputs: ArrayLike, target: ArrayLike) -> tuple[Floats, Floats]:
    f, y = np.asarray(outputs, dtype=np.float64), np.asarray(target, dtype=np.float64)
    if f.ndim != y.ndim + 2 or f.shape[2:] != y.shape:
        shape = ", ".join(["T", "M", *map(str, y.shape)])
        raise ValueError(f"outputs must be [{shape}], not {f.shape}")
    return f, y


def _square(values: Floats, keep: int) -> Floats:
    """Return the mean square over all axes but the first `keep`."""
    return np.asarray((values**2).mean(axis=tuple(range(keep, values.ndim))))


def rms(values: ArrayLike, keep: int = 0) -> Floats:
    """Return the root mean square over all axes but the first `keep`."""
    return np.asarray(np.sqrt(_square(np.asarray(values, dtype=np.float64), keep)))


def consensus(outputs: ArrayLike, target: ArrayLike) -> Floats:
    """Return |mean of F_i - y|**2, [T], of outputs [T, M, N, ...]: the error that all share."""
    f, y = _pair(outputs, target)
    return _square(f.mean(1) - y, 1)


def disagreement(outputs: ArrayLike) -> Floats:
    """Return the mean over workers of |F_i - mean of F_j|**2, [T], of outputs [T, M, N, ...]."""
    f = np.asarray(outputs, dtype=np.float64)
    return _square(f - f.mean(1, keepdims=True), 1)


def total(outputs: ArrayLike, target: ArrayLike) -> Floats:
    """Return the mean over workers of |F_i - y|**2, [T]: consensus plus disagreement, exactly."""
    f, y = _pair(outputs, target)
    return _square(f - y, 1)


def potential(outputs: ArrayLike, target: ArrayLike, weight: float) -> Floats:
    """Return V [T], which co-distillation lowers at all times, whatever the kernels.

    V = mean over i of |F_i - y|**2 / 2 + b M / (M - 1) disagreement / 2. CD is its gradient flow,
    preconditioned by the kernels: dV/dt = -eta (grad V)' K (grad V) <= 0, up to the means.
    """
    f, _ = _pair(outputs, target)
    m = f.shape[1]
    return np.asarray(0.5 * (total(f, target) + weight * m / (m - 1) * disagreement(f)))
