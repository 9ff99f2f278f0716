"""Finite networks trained by FD with averages by label, beside the closed form.

Every worker has a two-layer network (`networks`) for each output, on its own samples only; outputs
share no weights, so each has the kernel of `kernels.relu_kernel` at infinite width. Devices
average what they answer by label before every step, and the server hands out the others' averages
(`networks.label_gradient`), as in FD.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fdrl.core.arrays import Doubles
from fdrl.core.seeding import Purpose, generator
from fdrl.theory import networks
from fdrl.theory.labels import MISSING, Missing, fd, fd_largest_step
from fdrl.theory.networks import Networks, gap, label_gradient
from fdrl.theory.problem import LabelProblem, Problem, Theory


@dataclass(frozen=True)
class LabelGaps:
    """How networks of W widths and R seeds compare with the theory, by what missing labels do."""

    gaps: dict[Missing, Doubles]
    """[W, R] root mean square over steps, samples and outputs"""
    ends: dict[Missing, Doubles]
    """[2, M] mean over seeds of the last error (networks of the largest width, theory) on labels
    with 1..M owners, in units of the target's norm"""


def start(s: Theory, q: LabelProblem, width: int, seed: int) -> list[Networks]:
    """Return every worker's networks, one an output [C, D, m]."""
    outputs = q.target.shape[1]
    path = (1_000 + seed, width)
    return [
        networks.initial(
            s.inputs, width,
            [generator(s.seed, Purpose.INIT, *path, i, c) for c in range(outputs)],
        )
        for i in range(q.workers)
    ]  # fmt: skip


def answers(nets: list[Networks], q: LabelProblem) -> Doubles:
    """Return the outputs on the stacked samples [S, C]."""
    out = np.empty(q.target.shape)
    for i, own in enumerate(nets):
        out[q.worker == i] = networks.answers(own, q.inputs[q.worker == i]).T
    return out


def train(
    nets: list[Networks], q: LabelProblem, weight: float, eta: float, steps: int, missing: Missing
) -> Doubles:
    """Return the outputs before each step and after the last [steps + 1, S, C].

    The given networks stay as they are.
    """
    moved = [Networks(n.hidden.copy(), n.signs) for n in nets]
    out = []
    for _ in range(steps):
        now = answers(moved, q)
        out.append(now)
        gradients = label_gradient(now, q.target, q.worker, q.label, weight, missing)
        for i, own in enumerate(moved):
            mine = q.worker == i
            _descend(own, q.inputs[mine], gradients[mine], eta)
    out.append(answers(moved, q))
    return np.stack(out)


def _descend(nets: Networks, inputs: Doubles, gradients: Doubles, eta: float) -> None:
    """Move one worker's networks against the gradients [N, C] of their outputs, in place."""
    x = np.ascontiguousarray(inputs, dtype=np.float32)
    scale = np.float32(eta / nets.width**0.5)
    for w, a, g in zip(nets.hidden, nets.signs, gradients.T.astype(np.float32), strict=True):
        active = (x @ w > 0).astype(np.float32)
        w -= scale * a * ((x.T * g) @ active)


def rate(s: Theory, p: Problem, q: LabelProblem) -> float:
    """Return the learning rate: the others', or a quarter of FD's largest stable one if lower."""
    limits = [fd_largest_step(q.kernel, q.worker, q.label, s.weight, m) / 4 for m in MISSING]
    return float(min(p.eta, *limits))


def work(s: Theory, p: Problem, q: LabelProblem) -> float:
    """Return the units of work: steps of one network of width 1 on as many samples as KD's."""
    share = len(q.target) * q.target.shape[1] / len(p.inputs)
    return float(len(MISSING) * s.seeds * p.steps * sum(s.widths) * share)


def compare(s: Theory, p: Problem, q: LabelProblem) -> LabelGaps:
    """Train all widths and seeds, and compare with gradient descent on the infinite-width kernel.

    Theory starts from each network's own first outputs.
    """
    eta, times = rate(s, p, q), np.arange(p.steps + 1, dtype=np.float64)
    gaps = {m: np.empty((len(s.widths), s.seeds)) for m in MISSING}
    last: dict[Missing, list[Doubles]] = {m: [] for m in MISSING}
    for w, width in enumerate(s.widths):
        for seed in range(s.seeds):
            nets = start(s, q, width, seed)
            first = answers(nets, q)
            for m in MISSING:
                real = train(nets, q, s.weight, eta, p.steps, m)
                ideal = fd(
                    q.kernel, first, q.target, q.worker, q.label, s.weight, eta, times, m,
                    "descent",
                )  # fmt: skip
                gaps[m][w, seed] = gap(real, ideal)
                if width == s.widths[-1]:
                    last[m].append(np.stack([_error(f[-1], q) for f in (real, ideal)]))
    return LabelGaps(gaps, {m: np.mean(rows, axis=0) for m, rows in last.items()})


def _error(outputs: Doubles, q: LabelProblem) -> Doubles:
    """Return the largest distance from the target among the samples of each label [M]."""
    distance = np.linalg.norm(outputs - q.target, axis=1)
    return np.array([distance[q.label == c].max() for c in range(q.workers)])
