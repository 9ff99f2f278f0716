"""Linear dynamics in the basis where each component decays alone.

With constant kernels all errors obey de/dt = -eta A e. A is decomposed once; then any time of
the gradient flow, or any step of gradient descent, costs one product.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Rule = Literal["flow", "descent"]
"""Gradient flow in continuous time, or gradient descent in whole steps."""


@dataclass(frozen=True)
class Modes:
    """A matrix A [n, n] = back diag(rates) into, with into = inverse of back."""

    rates: NDArray[Any]
    """[n], real for symmetric products, else possibly complex in conjugate pairs."""
    into: NDArray[Any]
    back: NDArray[Any]


def symmetric_modes(kernel: ArrayLike) -> Modes:
    """Decompose a symmetric matrix [n, n]. Raises ValueError if it is none."""
    matrix = np.asarray(kernel, dtype=np.float64)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ValueError(f"a kernel must be square [N, N], not {matrix.shape}")
    if not np.allclose(matrix, matrix.T, rtol=1e-6, atol=1e-9):
        raise ValueError("a kernel must be symmetric")
    rates, vectors = np.linalg.eigh((matrix + matrix.T) / 2)
    return Modes(rates, vectors.T, vectors)


def general_modes(matrix: ArrayLike) -> Modes:
    """Decompose any diagonalizable matrix [n, n]."""
    rates, vectors = np.linalg.eig(np.asarray(matrix, dtype=np.float64))
    return Modes(rates, np.linalg.inv(vectors), vectors)


def decay(rates: ArrayLike, eta: float, times: ArrayLike, rule: Rule = "flow") -> NDArray[Any]:
    """Return what is left [T, n] of components with rates [n] at times [T].

    ``exp(-eta rate t)`` for the flow and ``(1 - eta rate)**t`` for descent, whose times must be
    whole numbers of steps (ValueError otherwise).
    """
    r, t = np.asarray(rates), np.asarray(times, dtype=np.float64)
    if t.ndim != 1 or (t < 0).any():
        raise ValueError("times must be [T] and not negative")
    if rule == "flow":
        return np.asarray(np.exp(-eta * np.outer(t, r)))
    if not np.array_equal(t, np.rint(t)):
        raise ValueError("gradient descent has whole steps only")
    return np.asarray((1 - eta * r)[None, :] ** np.rint(t).astype(np.int64)[:, None])


def propagate(
    modes: Modes, start: ArrayLike, eta: float, times: ArrayLike, rule: Rule = "flow"
) -> Floats:
    """Return the solution [T, n, ...] of de/dt = -eta A e from `start` [n, ...]."""
    inside = np.tensordot(modes.into, np.asarray(start, dtype=np.float64), axes=1)
    left = decay(modes.rates, eta, times, rule)
    left = left.reshape(left.shape + (1,) * (inside.ndim - 1))
    out = np.moveaxis(np.tensordot(modes.back, left * inside[None], axes=(1, 1)), 0, 1)
    return np.ascontiguousarray(out.real, dtype=np.float64)


def largest_step(rates: ArrayLike) -> float:
    """Return the learning rate below which descent shrinks every component: |1 - eta rate| < 1.

    2 / rate for a real rate, 2 Re(rate) / |rate|**2 in general; 0 if a component grows under the
    flow itself. Rates of zero never move and are left out; without any other, infinite.
    """
    r = np.asarray(rates)
    r = r[np.abs(r) > 1e-12 * np.abs(r).max(initial=0.0)]
    if r.size == 0:
        return float(np.inf)
    return float(max(0.0, np.min(2 * r.real / np.abs(r) ** 2)))
