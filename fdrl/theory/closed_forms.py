"""Closed forms of distillation and co-distillation: modes, limits, stale teachers, energies."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fdrl.core.arrays import Doubles

# ---- Linear dynamics in the basis where each component decays alone ----
#
# With constant kernels all errors obey de/dt = -eta A e. A is decomposed once; then any time of
# the gradient flow, or any step of gradient descent, costs one product.


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
) -> Doubles:
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


# ---- Knowledge distillation (KD): one student, a fixed teacher on the same inputs ----
#
# Loss L(f) = |f - y|**2 / 2 + b |f - phi|**2 / 2, teacher's outputs phi, weight b. Hence
# df/dt = -eta K ((1 + b) f - y - b phi): the student ends between the targets and its teacher.


def kd_limit(target: ArrayLike, teacher: ArrayLike, weight: float) -> Doubles:
    """Return f* = (y + b phi) / (1 + b), where KD ends if K has no zero eigenvalue.

    The error there is the floor b / (1 + b) |phi - y|: zero for a perfect teacher only.
    """
    y, phi = np.asarray(target, dtype=np.float64), np.asarray(teacher, dtype=np.float64)
    return np.asarray((y + weight * phi) / (1 + weight))


def kd(
    kernel: ArrayLike,
    start: ArrayLike,
    target: ArrayLike,
    teacher: ArrayLike,
    weight: float,
    eta: float,
    times: ArrayLike,
    rule: Rule = "flow",
) -> Doubles:
    """Return f(t) = f* + exp(-eta (1 + b) K t) (f0 - f*), [T, N, ...].

    `kernel` [N, N]; `start`, `target` and `teacher` [N, ...]. With ``rule="descent"`` the
    exponential is (I - eta (1 + b) K)**t: the exact course of gradient descent.
    """
    limit = kd_limit(target, teacher, weight)
    error = np.asarray(start, dtype=np.float64) - limit
    return limit + propagate(symmetric_modes(kernel), error, eta * (1 + weight), times, rule)


def kd_largest_step(kernel: ArrayLike, weight: float) -> float:
    """Return 2 / ((1 + b) lambda_max): gradient descent is stable below this learning rate."""
    return float(2 / ((1 + weight) * symmetric_modes(kernel).rates.max()))


# ---- Co-distillation (CD): each of M workers has the mean of the others' outputs as its teacher
#
# dF_i/dt = -eta K_i ((F_i - y) + b (F_i - mean of F_j over j != i)); no gradient flows into a
# teacher. Stacked: dF/dt = -eta blkdiag(K_i) (G x I) (F - 1 x y), with G of `coupling`.


def coupling(workers: int, weight: float) -> Doubles:
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
) -> Doubles:
    """Return the outputs F(t) [T, M, N, ...] of M workers; all of them end at y.

    `kernel` is [N, N], the same for all, or [M, N, N]; `start` [M, N, ...], `target` [N, ...].
    """
    if np.ndim(kernel) == 3:
        return _unequal(kernel, start, target, weight, eta, times, rule)
    return _equal(kernel, start, target, weight, eta, times, rule)


def _equal(
    kernel: ArrayLike, start: ArrayLike, target: ArrayLike,
    weight: float, eta: float, times: ArrayLike, rule: Rule,
) -> Doubles:  # fmt: skip
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
) -> Doubles:  # fmt: skip
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


# ---- Co-distillation with stale teachers: the others' outputs are fetched every P steps ----
#
# Within a period every worker does KD from a frozen teacher. P to 0 is co-distillation, P to
# infinity is KD from the others' first outputs: the period interpolates between the two.


def others_mean(outputs: ArrayLike) -> Doubles:
    """Return each worker's teacher [M, N, ...]: the mean of the other workers' outputs."""
    f = np.asarray(outputs, dtype=np.float64)
    if len(f) < 2:
        raise ValueError("one worker has no other to learn from")
    return np.asarray((f.sum(0) - f) / (len(f) - 1))


def periodic(
    kernel: ArrayLike,
    start: ArrayLike,
    target: ArrayLike,
    weight: float,
    eta: float,
    times: ArrayLike,
    period: float,
    rule: Rule = "flow",
) -> Doubles:
    """Return F(t) [T, M, N, ...] with teachers refreshed at 0, P, 2P, ...; P = `period`.

    Per period F_i -> f*_i + exp(-eta (1 + b) K_i P) (F_i - f*_i), f*_i = (y + b phi_i) / (1 + b).
    `kernel` [N, N] or [M, N, N], `start` [M, N, ...], `target` [N, ...], `times` [T] rising.
    Period 0 is `cd`, ``inf`` is KD. In descent the period is a whole number of steps.
    """
    if period == 0:
        return cd(kernel, start, target, weight, eta, times, rule)
    t = np.asarray(times, dtype=np.float64)
    if (np.diff(t) < 0).any():
        raise ValueError("times must rise")
    f, y = np.asarray(start, dtype=np.float64), np.asarray(target, dtype=np.float64)
    kernels = np.broadcast_to(np.asarray(kernel), (len(f), *np.shape(kernel)[-2:]))
    parts, first, now = [], 0, 0.0
    whole = _one_period(kernels, eta * (1 + weight), period, rule)
    while first < len(t):
        last = int(np.searchsorted(t, now + period, side="left"))
        teacher, inside = others_mean(f), t[first:last] - now
        if last > first:
            parts.append(_frozen(kernels, f, y, teacher, weight, eta, inside, rule))
        limit = kd_limit(y, teacher, weight)
        f = limit + np.stack(
            [np.tensordot(w, e, axes=1) for w, e in zip(whole, f - limit, strict=True)]
        )
        first, now = last, now + period
    return np.concatenate(parts)


def _one_period(kernels: Doubles, eta: float, period: float, rule: Rule) -> Doubles:
    """Return what a period does to each worker's distance to its goal, [M, N, N]."""
    eye = np.eye(kernels.shape[-1])
    if math.isinf(period):
        return np.zeros_like(kernels)
    return np.stack([propagate(symmetric_modes(k), eye, eta, [period], rule)[0] for k in kernels])


def _frozen(
    kernels: Doubles, start: Doubles, target: Doubles, teacher: Doubles,
    weight: float, eta: float, times: Doubles, rule: Rule,
) -> Doubles:  # fmt: skip
    each = zip(kernels, start, teacher, strict=True)
    return np.stack([kd(k, f, target, p, weight, eta, times, rule) for k, f, p in each], axis=1)


def period_factors(
    rate: float, workers: int, weight: float, eta: float, period: float, rule: Rule = "flow"
) -> tuple[float, float]:
    """Return the factors by which a period multiplies mean error and deviations along one mode.

    With q = exp(-eta (1 + b) rate P): (b + q) / (1 + b) for the mean of the workers, and
    q - (1 - q) b / ((1 + b)(M - 1)) for what sets them apart. One kernel for all workers.
    """
    x = eta * (1 + weight) * rate
    q = math.exp(-x * period) if rule == "flow" else (1 - x) ** round(period)
    coupling(workers, weight)
    apart = q - (1 - q) * weight / ((1 + weight) * (workers - 1))
    return (weight + q) / (1 + weight), apart


def periodic_largest_step(kernel: ArrayLike, weight: float, workers: int, period: float) -> float:
    """Return the learning rate below which descent with a period of P whole steps is stable.

    An even P has KD's limit; an odd one can overshoot its frozen teacher as well, and has
    (1 + ((1 - c) / (1 + c))**(1/P)) / ((1 + b) lambda_max), c = b / ((1 + b)(M - 1)): CD's limit
    at P = 1, KD's as P grows. One kernel [N, N] for all workers.
    """
    if period == 0:
        return cd_largest_step(kernel, weight, workers)
    single = kd_largest_step(kernel, weight)
    if math.isinf(period) or round(period) % 2 == 0:
        return single
    c = weight / ((1 + weight) * (workers - 1))
    return single / 2 * (1 + math.pow((1 - c) / (1 + c), 1 / round(period)))


# ---- Energies of M workers: how wrong they are together, and how far apart ----
#
# All are means over samples (and output axes) of squares, in squared units of the outputs.


def _pair(outputs: ArrayLike, target: ArrayLike) -> tuple[Doubles, Doubles]:
    f, y = np.asarray(outputs, dtype=np.float64), np.asarray(target, dtype=np.float64)
    if f.ndim != y.ndim + 2 or f.shape[2:] != y.shape:
        shape = ", ".join(["T", "M", *map(str, y.shape)])
        raise ValueError(f"outputs must be [{shape}], not {f.shape}")
    return f, y


def _square(values: Doubles, keep: int) -> Doubles:
    """Return the mean square over all axes but the first `keep`."""
    return np.asarray((values**2).mean(axis=tuple(range(keep, values.ndim))))


def rms(values: ArrayLike, keep: int = 0) -> Doubles:
    """Return the root mean square over all axes but the first `keep`."""
    return np.asarray(np.sqrt(_square(np.asarray(values, dtype=np.float64), keep)))


def consensus(outputs: ArrayLike, target: ArrayLike) -> Doubles:
    """Return |mean of F_i - y|**2, [T], of outputs [T, M, N, ...]: the error that all share."""
    f, y = _pair(outputs, target)
    return _square(f.mean(1) - y, 1)


def disagreement(outputs: ArrayLike) -> Doubles:
    """Return the mean over workers of |F_i - mean of F_j|**2, [T], of outputs [T, M, N, ...]."""
    f = np.asarray(outputs, dtype=np.float64)
    return _square(f - f.mean(1, keepdims=True), 1)


def total(outputs: ArrayLike, target: ArrayLike) -> Doubles:
    """Return the mean over workers of |F_i - y|**2, [T]: consensus plus disagreement, exactly."""
    f, y = _pair(outputs, target)
    return _square(f - y, 1)


def potential(outputs: ArrayLike, target: ArrayLike, weight: float) -> Doubles:
    """Return V [T], which co-distillation lowers at all times, whatever the kernels.

    V = mean over i of |F_i - y|**2 / 2 + b M / (M - 1) disagreement / 2. CD is its gradient flow,
    preconditioned by the kernels: dV/dt = -eta (grad V)' K (grad V) <= 0, up to the means.
    """
    f, _ = _pair(outputs, target)
    m = f.shape[1]
    return np.asarray(0.5 * (total(f, target) + weight * m / (m - 1) * disagreement(f)))
