"""What is learned: settings, inputs, targets, a wrong teacher, and the kernels."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import numpy as np
from numpy.typing import ArrayLike, NDArray

from fdrl.config.errors import check_finite, config_error
from fdrl.core.arrays import Doubles
from fdrl.core.errors import FdrlError
from fdrl.core.seeding import Purpose, generator
from fdrl.core.settings import NonNegativeInt, PositiveInt, convert
from fdrl.theory.closed_forms import cd_largest_step, rms
from fdrl.theory.labels import block_diagonal

if TYPE_CHECKING:
    import torch

# ---- The settings of `fdrl theory`, checked ----


NotBelowZero = Annotated[float, msgspec.Meta(ge=0)]
Width = Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]
LARGEST = 1_000
"""Rows of the largest matrix that is decomposed: seconds."""
MOST_STEPS = 4_000
"""How many gradient steps are taken at most if nobody says how many."""


class Theory(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is learned, by how many, for how long."""

    samples: Annotated[int, msgspec.Meta(ge=2, le=500)] = 32
    """Training inputs, random directions of length 1."""
    inputs: Annotated[int, msgspec.Meta(ge=2)] = 16
    """Dimension of an input."""
    widths: Annotated[tuple[Width, ...], msgspec.Meta(min_length=2)] = (
        64, 128, 256, 512, 1024, 2048, 4096, 8192,
    )  # fmt: skip
    """Hidden units of the finite networks."""
    seeds: PositiveInt = 8
    """How many times each width is trained, from other weights; the data stay the same."""
    weight: NotBelowZero = 1.0
    """Weight b of the distillation loss; the targets have weight 1."""
    workers: Annotated[int, msgspec.Meta(ge=2, le=64)] = 3
    """Workers that co-distill."""
    period: PositiveInt = 30
    """Gradient steps between two looks at the others, in periodic co-distillation."""
    teacher_error: NotBelowZero = 1.0
    """Root mean square error of the teacher in KD; the targets have root mean square 1."""
    steps: PositiveInt | None = None
    """Gradient steps; unset: until the slowest error is down to a thousandth, at most 4,000."""
    lr: Annotated[float, msgspec.Meta(gt=0)] | None = None
    """Learning rate; unset: a quarter of the largest stable one of co-distillation."""
    seed: NonNegativeInt = 0
    """Root of all randomness."""
    out: str = "theory"
    """Folder of the figures, tables and results."""


def parse(tables: Mapping[str, Any]) -> Theory:
    """Read a TOML file's tables into checked settings; errors name the place."""
    if tables.get("workers") == 1:
        raise FdrlError("config: co-distillation needs at least 2 workers, got 1 (at workers)")
    widths = tables.get("widths")
    if isinstance(widths, list | tuple) and len(widths) < 2:
        raise FdrlError("config: a slope needs at least two widths (at widths)")
    try:
        made: Theory = convert(dict(tables), Theory)
    except msgspec.ValidationError as error:
        raise config_error(error, "", Theory, dict(tables)) from None
    check_finite(made)
    if len(set(made.widths)) < len(made.widths):
        raise FdrlError("config: a width is given twice (at widths)")
    if made.samples * made.workers > LARGEST:
        raise FdrlError(
            f"config: samples times workers can be {LARGEST:,} at most, got {made.samples} x "
            f"{made.workers} (at samples)"
        )
    return msgspec.structs.replace(made, widths=tuple(sorted(made.widths)))


# ---- What is learned: inputs, targets, a wrong teacher, and the learning rate that is stable


SLOWEST_LEFT = 1e-3
MOST_OWNERS = 6
PER_LABEL = 3


@dataclass(frozen=True)
class Problem:
    """One data set, the same for all methods, widths and seeds."""

    inputs: Doubles
    """[N, D], of length 1"""
    target: Doubles
    """[N], root mean square 1"""
    teacher: Doubles
    """[N], the targets plus the teacher's error"""
    kernel: Doubles
    """[N, N], of infinite width"""
    eta: float
    steps: int

    @property
    def slowest_left(self) -> float:
        """What plain learning leaves of its slowest component after all steps."""
        return float((1 - self.eta * np.linalg.eigvalsh(self.kernel)[0]) ** self.steps)


def directions(draw: np.random.Generator, count: int, dimension: int) -> Doubles:
    """Return random unit vectors [count, dimension]."""
    x = draw.standard_normal((count, dimension))
    return np.asarray(x / np.linalg.norm(x, axis=1, keepdims=True))


def make_problem(s: Theory) -> Problem:
    """Draw the data; choose or check the learning rate. Raises FdrlError naming a passed limit."""
    x = directions(generator(s.seed, Purpose.ENV, 0), s.samples, s.inputs)
    draw = generator(s.seed, Purpose.ENV, 1)
    u, v = directions(draw, 2, s.inputs)
    y = x @ u + 2 * (x @ v) ** 2
    y = y / rms(y)
    wrong = draw.standard_normal(s.samples)
    kernel = relu_kernel(x)
    eta = learning_rate(kernel, s)
    slowest = -math.log1p(-eta * float(np.linalg.eigvalsh(kernel)[0]))
    steps = s.steps or max(1, min(MOST_STEPS, math.ceil(-math.log(SLOWEST_LEFT) / slowest)))
    return Problem(x, y, y + s.teacher_error * wrong / rms(wrong), kernel, eta, steps)


def learning_rate(kernel: Doubles, s: Theory) -> float:
    """Return the learning rate; the smallest limit of the three methods is co-distillation's."""
    limit = cd_largest_step(kernel, s.weight, s.workers)
    if s.lr is None:
        return limit / 4
    if s.lr >= limit:
        raise FdrlError(
            f"config: gradient descent is unstable at this learning rate, got {s.lr:g}; "
            f"co-distillation needs less than {limit:.4g} (at lr)"
        )
    return s.lr


@dataclass(frozen=True)
class LabelProblem:
    """FD by label: label l is owned by workers 0..l, so each number of owners occurs once."""

    kernel: Doubles
    """[S, S], block diagonal"""
    target: Doubles
    """[S, L], one-hot"""
    worker: NDArray[np.int64]
    """[S]"""
    label: NDArray[np.int64]
    """[S]"""
    inputs: Doubles
    """[S, D], of length 1"""

    @property
    def workers(self) -> int:
        """M, which is also the number of labels."""
        return int(self.worker.max()) + 1


def make_label_problem(s: Theory) -> LabelProblem:
    """Draw three samples of every label that a worker owns; at most six workers."""
    m = min(s.workers, MOST_OWNERS)
    pairs = [(i, c) for i in range(m) for c in range(i, m) for _ in range(PER_LABEL)]
    worker, label = np.array(pairs, dtype=np.int64).T
    x = directions(generator(s.seed, Purpose.ENV, 2), len(pairs), s.inputs)
    kernel = block_diagonal([relu_kernel(x[worker == i]) for i in range(m)])
    return LabelProblem(kernel, np.eye(m)[label], worker, label, x)


# ---- Neural tangent kernels K(x, x') = grad f(x) . grad f(x'), analytic and of a given network


def relu_kernel(inputs: ArrayLike) -> Doubles:
    """Return the infinite-width kernel [N, N] of inputs [N, D].

    The network is f(x) = m**-0.5 sum_r a_r relu(w_r . x), a_r = +-1 fixed, w_r ~ N(0, I) trained:
    K_ij = x_i . x_j (pi - angle(x_i, x_j)) / (2 pi), the probability that a unit is active on both
    times the product (Jacot et al. 2018; Du et al. 2019, "Gradient Descent Provably Optimizes
    Over-parameterized Neural Networks", eq. 5). Raises ValueError for an input of length zero.
    """
    x = np.asarray(inputs, dtype=np.float64)
    if x.ndim != 2:
        raise ValueError(f"inputs must be [N, D], not {x.shape}")
    lengths = np.linalg.norm(x, axis=1)
    if not (lengths > 0).all():
        raise ValueError("an input of length zero has no direction")
    products = x @ x.T
    cosines = np.clip(products / np.outer(lengths, lengths), -1, 1)
    # An input with itself is at angle 0; arccos is steep there and would show rounding.
    np.fill_diagonal(cosines, 1.0)
    return np.asarray(products * (np.pi - np.arccos(cosines)) / (2 * np.pi))


def empirical_ntk(network: torch.nn.Module, inputs: torch.Tensor) -> torch.Tensor:
    """Return the kernel [N, N, C, C] of a torch network at its present parameters.

    `inputs` [N, ...]; the network maps a batch to [N, C] or [N] (then C = 1). Only parameters with
    ``requires_grad`` count, as only they train. The Jacobian [N, C, parameters] is held in
    memory: for small networks. Raises ValueError if nothing is trainable.
    """
    import torch
    from torch.func import functional_call, jacrev, vmap

    trained = {n: p.detach() for n, p in network.named_parameters() if p.requires_grad}
    if not trained:
        raise ValueError("the network has no parameter that trains")
    fixed = {n: p.detach() for n, p in network.named_parameters() if not p.requires_grad}
    fixed |= dict(network.named_buffers())

    def answer(parameters: dict[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = functional_call(network, parameters | fixed, (x[None],))
        return out.reshape(-1)

    jacobians = vmap(jacrev(answer), (None, 0))(trained, inputs)
    flat = torch.cat([j.flatten(2) for j in jacobians.values()], dim=2)
    return torch.einsum("icp,jdp->ijcd", flat, flat)
