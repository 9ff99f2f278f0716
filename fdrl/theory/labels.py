"""Federated distillation (FD) by label: a sample's teacher is the others' average for its label.

S samples of all workers are stacked; `worker` and `label` [S] say whose and what each one is.
Every worker has its own data, so the kernel [S, S] is block diagonal. With y constant within a
label (one-hot rows), dF/dt = -eta K (H F - y), H = I + b diag(heard)(I - P), where P averages each
label over the samples of every other worker, and those averages over its owners.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fdrl.core.arrays import Doubles
from fdrl.theory.closed_forms import Rule, general_modes, largest_step, propagate

Missing = Literal["renormalize", "zero"]
MISSING: tuple[Missing, ...] = ("renormalize", "zero")
"""A label that a worker lacks: average over its owners, or count a row of zeros for the worker."""


def block_diagonal(kernels: Sequence[ArrayLike]) -> Doubles:
    """Return the kernel [S, S] of workers that share no weights, from their own [N_i, N_i]."""
    blocks = [np.asarray(k, dtype=np.float64) for k in kernels]
    ends = np.cumsum([0, *(len(b) for b in blocks)])
    out = np.zeros((ends[-1], ends[-1]))
    for block, first, last in zip(blocks, ends[:-1], ends[1:], strict=True):
        out[first:last, first:last] = block
    return out


def label_teacher(
    worker: ArrayLike, label: ArrayLike, missing: Missing = "renormalize"
) -> tuple[Doubles, NDArray[np.bool_]]:
    """Return P [S, S] with teachers P F, and which samples have a teacher [S].

    "renormalize": the mean over the label's other owners; a label that nobody else owns has no
    teacher. "zero": workers without the label send a row of zeros, and the mean is over all.
    """
    w, c = np.asarray(worker), np.asarray(label)
    if w.ndim != 1 or w.shape != c.shape:
        raise ValueError(f"worker and label must be [S] both, not {w.shape} and {c.shape}")
    alike = c[:, None] == c[None, :]
    own = w[:, None] == w[None, :]
    count = (alike & own).sum(0)  # samples that the column's worker averages into its row
    table = (alike & ~own) / count
    owners = table.sum(1)
    divisor = owners if missing == "renormalize" else np.full(len(w), len(np.unique(w)) - 1.0)
    table = np.divide(table, divisor[:, None], out=np.zeros_like(table), where=owners[:, None] > 0)
    heard = owners > 0 if missing == "renormalize" else np.ones(len(w), dtype=bool)
    return np.asarray(table, dtype=np.float64), np.asarray(heard)


def label_coupling(
    worker: ArrayLike, label: ArrayLike, weight: float, missing: Missing = "renormalize"
) -> Doubles:
    """Return H [S, S] = I + b diag(heard) (I - P); diagonally dominant, so never singular."""
    table, heard = label_teacher(worker, label, missing)
    eye = np.eye(len(table))
    return np.asarray(eye + weight * heard[:, None] * (eye - table))


def fd_limit(
    target: ArrayLike,
    worker: ArrayLike,
    label: ArrayLike,
    weight: float,
    missing: Missing = "renormalize",
) -> Doubles:
    """Return the fixed point H^-1 y [S, ...], whatever the kernels.

    y itself if missing labels are renormalized and y is constant within each label; shrunk by
    `shrinkage` per label if they count as zeros.
    """
    y = np.asarray(target, dtype=np.float64)
    coupled = label_coupling(worker, label, weight, missing)
    return np.asarray(np.linalg.solve(coupled, y.reshape(len(y), -1))).reshape(y.shape)


def shrinkage(owners: int, workers: int, weight: float) -> float:
    """Return the factor on y for a label that `owners` of M workers own, the others sending zeros.

    1 / (1 + b (M - o) / (M - 1)): a bias of b (M - o) / (M - 1 + b (M - o)) |y|.
    """
    return 1 / (1 + weight * (workers - owners) / (workers - 1))


def fd(
    kernel: ArrayLike,
    start: ArrayLike,
    target: ArrayLike,
    worker: ArrayLike,
    label: ArrayLike,
    weight: float,
    eta: float,
    times: ArrayLike,
    missing: Missing = "renormalize",
    rule: Rule = "flow",
) -> Doubles:
    """Return F(t) [T, S, ...] of FD with per-label averages of the moment.

    `kernel` [S, S] (see `block_diagonal`); `start` and `target` [S, ...].
    """
    limit = fd_limit(target, worker, label, weight, missing)
    modes = general_modes(np.asarray(kernel) @ label_coupling(worker, label, weight, missing))
    return limit + propagate(modes, np.asarray(start) - limit, eta, times, rule)


def fd_largest_step(
    kernel: ArrayLike,
    worker: ArrayLike,
    label: ArrayLike,
    weight: float,
    missing: Missing = "renormalize",
) -> float:
    """Return the largest stable learning rate; 0 if even the flow grows.

    If every worker has as many samples of a label as any other of any label, K H is similar to
    a symmetric positive matrix and the flow converges; unbalanced data carry no such promise.
    """
    coupled = np.asarray(kernel) @ label_coupling(worker, label, weight, missing)
    return largest_step(np.linalg.eigvals(coupled))
