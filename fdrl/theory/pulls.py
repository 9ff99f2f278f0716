"""What pulls on an output: the gradient of each loss by the outputs, straight from its definition.

Finite networks train on these, and the check of the closed forms integrates them; no closed form
uses them, except for the mean of the other workers.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from fdrl.theory.labels import Missing
from fdrl.theory.modes import Floats
from fdrl.theory.periodic import others_mean

Teacher = Callable[[int, Floats], Floats]
"""(step, outputs [M, N]) to the teacher's outputs, [M, N] or [N]."""


def pull(outputs: Floats, target: Floats, teacher: Floats, weight: float) -> Floats:
    """Return (f - y) + b (f - teacher), the gradient of the squared losses by the outputs."""
    return np.asarray((outputs - target) + weight * (outputs - teacher))


def fixed_teacher(teacher: Floats) -> Teacher:
    """Return the teacher of KD, whose answers never change."""
    return lambda step, outputs: teacher


def stale_teacher(period: int) -> Teacher:
    """Return the others' mean, fetched anew every `period` steps; 1 is co-distillation."""
    held: list[Floats] = []

    def teacher(step: int, outputs: Floats) -> Floats:
        if step % period == 0 or not held:
            held[:] = [others_mean(outputs)]
        return held[0]

    return teacher


def label_pull(
    outputs: Floats,
    target: Floats,
    worker: NDArray[np.int64],
    label: NDArray[np.int64],
    weight: float,
    missing: Missing,
) -> Floats:
    """Return FD's pull on stacked samples [S, C], computed as devices and server would.

    Devices average their outputs by label, the server hands each label's row to the others:
    the mean over the other owners, or over all others with zeros for those who lack it.
    """
    workers, labels = int(worker.max()) + 1, int(label.max()) + 1
    sums = np.zeros((workers, labels, outputs.shape[1]))
    np.add.at(sums, (worker, label), outputs)
    counts = np.zeros((workers, labels, 1))
    np.add.at(counts, (worker, label), 1)
    rows, own = sums / np.maximum(counts, 1), counts > 0
    others = own.sum(0) - own
    divisor = others if missing == "renormalize" else np.full_like(others, workers - 1)
    teachers = (rows.sum(0) - rows) / np.maximum(divisor, 1)
    heard = (others > 0) | (missing == "zero")
    apart = (outputs - teachers[worker, label]) * heard[worker, label]
    return np.asarray(outputs - target + weight * apart)
