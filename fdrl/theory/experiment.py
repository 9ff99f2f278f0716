"""The experiment: theory, finite networks, and how they differ, for one problem."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from fdrl.core.arrays import Doubles
from fdrl.core.seeding import Purpose, generator
from fdrl.theory import check, closed_forms, label_networks, networks
from fdrl.theory.check import Difference
from fdrl.theory.closed_forms import Rule, cd, cd_largest_step, kd, periodic
from fdrl.theory.label_networks import LabelGaps
from fdrl.theory.labels import MISSING, Missing, fd_limit
from fdrl.theory.networks import Networks, Teacher, fixed_teacher, gap, stale_teacher
from fdrl.theory.problem import LabelProblem, Problem, Theory, make_label_problem, make_problem

METHODS = ("kd", "cd", "periodic")
WEIGHTS = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0)
LIMIT_WIDTH = 1024
Advance = Callable[[float], None]
"""Called with units of work done; a unit is a step of one network of width 1."""


@dataclass(frozen=True)
class Results:
    """What was found. Axes: 3 methods, W widths, R seeds, T steps (with step 0)."""

    settings: Theory
    problem: Problem
    label_problem: LabelProblem
    error: Doubles
    """[3, W, R, T] error of finite networks, root mean square over workers and samples"""
    theory: Doubles
    """[3, W, R, T] the same of the theory, from each network's own first outputs"""
    energy: Doubles
    """[3, 2, W, R, T] of CD: (networks, theory, theory with the networks' own first kernels),
    (consensus, disagreement)"""
    alone: Doubles
    """[R, T] disagreement of the widest networks by theory if nothing is exchanged (b = 0)"""
    gaps: Doubles
    """[3, W, R] between networks and theory with the kernel of infinite width"""
    own_gaps: Doubles
    """[3, W, R] the same with each network's own kernel at its start"""
    kernel_errors: Doubles
    """[2, W, R] of CD: relative Frobenius norm of (own kernel at the start - infinite width's),
    and of (own at the end - own at the start)"""
    weights: Doubles
    """[B] weights at which limits were measured"""
    limits: Doubles
    """[2, B, R] error at the end of (KD, CD) networks of `limit_width`"""
    limit_width: int
    label_bias: dict[Missing, Doubles]
    """[B, M] error of FD's fixed point on a label with 1..M owners, in units of its target"""
    label_gaps: LabelGaps
    """FD by label: finite networks beside the theory"""
    differences: tuple[Difference, ...]
    flow_gap: float
    """largest difference of gradient descent from its flow, in theory, over the three methods"""


def work(s: Theory, p: Problem) -> float:
    """Return the units of work of `run`."""
    nets = 1 + 2 * s.workers
    sweep = sum(_steps(s, p, b)[1] for b in weights(s)) * (1 + s.workers) * limit_width(s)
    labels = label_networks.work(s, p, make_label_problem(s))
    return s.seeds * (nets * p.steps * sum(s.widths) + sweep) + labels


def weights(s: Theory) -> list[float]:
    """Return the weights at which limits are measured, the settings' own among them."""
    return sorted({*WEIGHTS, s.weight})


def limit_width(s: Theory) -> int:
    """Return the width of the networks whose limits are measured: 1,024 or the nearest below."""
    return max((w for w in s.widths if w <= LIMIT_WIDTH), default=min(s.widths))


def course(
    s: Theory, p: Problem, method: str, kernel: Doubles, start: Doubles, rule: Rule = "descent"
) -> Doubles:
    """Return a method's theory [T, M, N] from outputs [M, N]; KD: the first worker alone."""
    times = _times(p)
    if method == "kd":
        own = kernel[0] if kernel.ndim == 3 else kernel
        return kd(own, start[0], p.target, p.teacher, s.weight, p.eta, times, rule)[:, None]
    if method == "cd":
        return cd(kernel, start, p.target, s.weight, p.eta, times, rule)
    return periodic(kernel, start, p.target, s.weight, p.eta, times, s.period, rule)


def _times(p: Problem) -> Doubles:
    return np.arange(p.steps + 1, dtype=np.float64)


def starting(s: Theory, width: int, seed: int) -> Networks:
    """Return the workers' networks of one width and seed, before training."""
    draws = [generator(s.seed, Purpose.INIT, 1 + seed, width, i) for i in range(s.workers)]
    return networks.initial(s.inputs, width, draws)


def _teacher(s: Theory, p: Problem, method: str) -> Teacher:
    if method == "kd":
        return fixed_teacher(p.teacher)
    return stale_teacher(1 if method == "cd" else s.period)


def _alone(nets: Networks) -> Networks:
    return Networks(nets.hidden[:1], nets.signs[:1])


@dataclass(frozen=True)
class _Cell:
    """One width and seed; the first axis is the method."""

    error: Doubles
    theory: Doubles
    energy: Doubles
    alone: Doubles
    gaps: Doubles
    own_gaps: Doubles
    kernel_errors: Doubles


def _cell(s: Theory, p: Problem, width: int, seed: int, advance: Advance) -> _Cell:
    """Train all three methods from the same weights, and compare."""
    nets = starting(s, width, seed)
    start, own = networks.answers(nets, p.inputs), networks.kernels(nets, p.inputs)
    real, ideal, near, after = {}, {}, {}, own
    for method in METHODS:
        these = _alone(nets) if method == "kd" else nets
        teacher = _teacher(s, p, method)
        real[method], moved = networks.train(
            these, p.inputs, p.target, teacher, s.weight, p.eta, p.steps
        )
        advance(len(these.signs) * p.steps * width)
        ideal[method] = course(s, p, method, p.kernel, start)
        near[method] = course(s, p, method, own, start)
        after = networks.kernels(moved, p.inputs) if method == "cd" else after
    runs, y = (real["cd"], ideal["cd"], near["cd"]), p.target
    alone = cd(p.kernel, start, y, 0.0, p.eta, _times(p), "descent")
    size = float(np.linalg.norm(p.kernel))
    off = [np.linalg.norm(k, axis=(1, 2)).mean() / size for k in (own - p.kernel, after - own)]
    return _Cell(
        error=np.stack([np.sqrt(closed_forms.total(real[m], y)) for m in METHODS]),
        theory=np.stack([np.sqrt(closed_forms.total(ideal[m], y)) for m in METHODS]),
        energy=np.array(
            [[closed_forms.consensus(f, y), closed_forms.disagreement(f)] for f in runs]
        ),
        alone=closed_forms.disagreement(alone),
        gaps=np.array([gap(real[m], ideal[m]) for m in METHODS]),
        own_gaps=np.array([gap(real[m], near[m]) for m in METHODS]),
        kernel_errors=np.array(off),
    )  # fmt: skip


def _steps(s: Theory, p: Problem, weight: float) -> tuple[float, int]:
    """Return learning rate and steps at another weight: plain learning gets equally far."""
    eta = min(p.eta, cd_largest_step(p.kernel, weight, s.workers) / 4)
    return eta, int(np.ceil(p.steps * p.eta / eta))


def _limits(s: Theory, p: Problem, weight: float, seed: int, advance: Advance) -> tuple[float, ...]:
    """Return the last error of KD and of CD."""
    eta, steps = _steps(s, p, weight)
    nets, found = starting(s, limit_width(s), seed), []
    for these, teacher in (
        (_alone(nets), fixed_teacher(p.teacher)),
        (nets, stale_teacher(1)),
    ):
        out, _ = networks.train(these, p.inputs, p.target, teacher, weight, eta, steps)
        found.append(float(closed_forms.rms(out[-1] - p.target)))
        advance(len(these.signs) * steps * nets.width)
    return tuple(found)


def _label_bias(q: LabelProblem, weight: float, missing: Missing) -> Iterator[float]:
    limit = fd_limit(q.target, q.worker, q.label, weight, missing)
    distance = np.linalg.norm(limit - q.target, axis=1)
    for label in range(q.workers):
        yield float(distance[q.label == label].max())


def _flow_gap(s: Theory, p: Problem) -> float:
    start = networks.answers(starting(s, max(s.widths), 0), p.inputs)
    gaps = [
        np.abs(course(s, p, m, p.kernel, start) - course(s, p, m, p.kernel, start, "flow")).max()
        for m in METHODS
    ]
    return float(max(gaps))


def run(s: Theory, advance: Advance = lambda done: None) -> Results:
    """Run everything; the same settings give the same numbers. Raises FdrlError (learning rate)."""
    p, q, bs = make_problem(s), make_label_problem(s), weights(s)
    with np.errstate(over="ignore", invalid="ignore"):  # networks that blow up are a finding
        cells = [[_cell(s, p, w, r, advance) for r in range(s.seeds)] for w in s.widths]
        limits = [[_limits(s, p, b, r, advance) for r in range(s.seeds)] for b in bs]
        labels = label_networks.compare(s, p, q)
        advance(label_networks.work(s, p, q))

    def collect(name: str, axes: int) -> Doubles:
        table = np.array([[getattr(c, name) for c in row] for row in cells])
        return np.moveaxis(table, (0, 1), (axes, axes + 1))

    return Results(
        settings=s, problem=p, label_problem=q,
        error=collect("error", 1), theory=collect("theory", 1), energy=collect("energy", 2),
        alone=collect("alone", 0)[-1], gaps=collect("gaps", 1), own_gaps=collect("own_gaps", 1),
        kernel_errors=collect("kernel_errors", 1),
        weights=np.array(bs), limits=np.moveaxis(np.array(limits), -1, 0),
        limit_width=limit_width(s),
        label_bias={m: np.array([[*_label_bias(q, b, m)] for b in bs]) for m in MISSING},
        label_gaps=labels,
        differences=tuple(check.differences(s, p, q)), flow_gap=_flow_gap(s, p),
    )  # fmt: skip
