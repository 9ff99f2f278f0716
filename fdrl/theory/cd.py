"""Co-distillation (CD): each of M workers has the mean of the others' outputs as its teacher.

dF_i/dt = -eta K_i ((F_i - y) + b (F_i - mean of F_j over j != i)); no gradient flows into a
teacher. Stacked: dF/dt = -eta blkdiag(K_i) (G x I) (F - 1 x y), with G of `coupling`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from fdrl.theory.modes import Floats, Modes, Rule, largest_step, propagate, symmetric_modes


def coupling(workers: int, weight: float) -> Floats:
    """Return G [M, M] = (1 + b) I - b / (M - 1) (11' - I).

    Its eigenvalues are 1 on the mean and 1 + b M / (M - 1) on every deviation from it. Raises
    ValueError for fewer than two workers, who have nobody to learn from.
    """
    if workers < 2:
        raise ValueError(f"co-distillation needs at least two workers, not {workers}")
    eye, ones = np.eye(workers), np.ones((workers, workers))
    return np.asarray((1 + weight) * eye - weight / (workers - 1) * (ones - eye))


def deviation_rate(workers: int, weight: float) -> float:
    """Return 1 + b M / (M - 1), how much faster workers agree than they learn."""
    coupling(workers, weight)
    return 1 + weight * workers / (workers - 1)


def cd(
    kernel: ArrayLike,
    start: ArrayLike,
    target: ArrayLike,
    weight: float,
    eta: float,
    times: ArrayLike,
    rule: Rule = "flow",
) -> Floats:
    """Return the outputs F(t) [T, M, N, ...] of M workers; all of them end at y.

    `kernel` is [N, N], the same for all, or [M, N, N]; `start` [M, N, ...], `target` [N, ...].
    """
    if np.ndim(kernel) == 3:
        return _unequal(kernel, start, target, weight, eta, times, rule)
    return _equal(kernel, start, target, weight, eta, times, rule)


def _equal(
    kernel: ArrayLike, start: ArrayLike, target: ArrayLike,
    weight: float, eta: float, times: ArrayLike, rule: Rule,
) -> Floats:  # fmt: skip
    """The mean error decays with exp(-eta K t), deviations with exp(-eta (1+bM/(M-1)) K t)."""
    first, y = np.asarray(start, dtype=np.float64), np.asarray(target, dtype=np.float64)
    faster = deviation_rate(len(first), weight)
    modes, mean = symmetric_modes(kernel), first.mean(0)
    learned = propagate(modes, mean - y, eta, times, rule)
    apart = propagate(modes, np.moveaxis(first - mean, 0, -1), eta * faster, times, rule)
    return y + learned[:, None] + np.moveaxis(apart, -1, 1)


def cd_modes(kernels: ArrayLike, weight: float) -> Modes:
    """Decompose blkdiag(K_i) (G x I), [M N, M N], of kernels [M, N, N].

    With R = sqrt(G) x I the matrix R blkdiag(K_i) R is symmetric and has the same eigenvalues:
    they are real, and positive if all kernels are, so CD ends at y whatever the kernels.
    """
    ks = np.asarray(kernels, dtype=np.float64)
    m, n = ks.shape[:2]
    values, vectors = np.linalg.eigh(coupling(m, weight))
    root = (vectors * np.sqrt(values)) @ vectors.T
    # R blkdiag(K) R in blocks: block (i, j) is sum over k of R_ik R_kj K_k.
    blocks = np.einsum("ik,kj,kab->iajb", root, root, ks).reshape(m * n, m * n)
    inner = symmetric_modes(blocks)
    inverse = np.kron((vectors / np.sqrt(values)) @ vectors.T, np.eye(n))
    return Modes(inner.rates, inner.into @ np.kron(root, np.eye(n)), inverse @ inner.back)


def _unequal(
    kernels: ArrayLike, start: ArrayLike, target: ArrayLike,
    weight: float, eta: float, times: ArrayLike, rule: Rule,
) -> Floats:  # fmt: skip
    first, y = np.asarray(start, dtype=np.float64), np.asarray(target, dtype=np.float64)
    if len(first) != np.shape(kernels)[0]:
        raise ValueError(f"{np.shape(kernels)[0]} kernels for {len(first)} workers")
    flat = (first - y).reshape(-1, *first.shape[2:])
    error = propagate(cd_modes(kernels, weight), flat, eta, times, rule)
    return y + error.reshape(-1, *first.shape)


def cd_largest_step(kernel: ArrayLike, weight: float, workers: int = 0) -> float:
    """Return the learning rate below which gradient descent is stable.

    2 / ((1 + b M / (M - 1)) lambda_max) for one kernel [N, N] shared by M = `workers`;
    2 / lambda_max of blkdiag(K_i) (G x I) for kernels [M, N, N], which say themselves how many
    workers there are. Raises `ValueError` for one kernel without `workers` of at least 2.
    """
    if np.ndim(kernel) == 3:
        return largest_step(cd_modes(kernel, weight).rates)
    slowest = symmetric_modes(kernel).rates.max()
    return float(2 / (deviation_rate(workers, weight) * slowest))
