"""Where each weight of K policy-and-value networks lies in one array [K, P].

Two separate towers, as in Stable-Baselines3's ``MlpPolicy``: the policy's parameters come first,
then the value's; inside a tower layer by layer, weights [in, out] before biases [out]. Both towers
have the same hidden sizes, so one strided view [K, 2, in, out] reaches a layer of both. A Gaussian
policy's tower ends with the logarithms of its D standard deviations.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fdrl.seeding import Purpose, generator

Floats = NDArray[np.float32]
Init = Literal["orthogonal", "torch"]
"""How networks start: as Stable-Baselines3's do, or as plain ``torch.nn.Linear`` layers do."""


@dataclass(frozen=True)
class Layout:
    """The shape of one agent's networks: O inputs, hidden sizes, A actions (or D dimensions)."""

    inputs: int
    hidden: tuple[int, ...]
    n_actions: int
    activation: str = "tanh"
    gaussian: bool = False
    log_std: float = 0.0
    """Where the logarithms of a Gaussian policy's standard deviations start."""

    @property
    def outputs(self) -> int:
        """What a policy puts out for a state: A logits, or D means and D logarithms."""
        return 2 * self.n_actions if self.gaussian else self.n_actions

    @cached_property
    def layers(self) -> list[tuple[int, int]]:
        """(inputs, outputs) of each hidden layer of a tower."""
        sizes = (self.inputs, *self.hidden)
        return list(pairwise(sizes))

    @property
    def features(self) -> int:
        """Inputs of a head."""
        return self.hidden[-1] if self.hidden else self.inputs

    @cached_property
    def trunk_size(self) -> int:
        """Parameters of a tower without its head."""
        return sum(i * o + o for i, o in self.layers)

    @cached_property
    def policy_size(self) -> int:
        """Parameters of the policy tower."""
        spread = self.n_actions if self.gaussian else 0
        return self.trunk_size + (self.features + 1) * self.n_actions + spread

    @cached_property
    def size(self) -> int:
        """P: parameters of policy and value tower."""
        return self.policy_size + self.trunk_size + self.features + 1


class Views:
    """The layers of `rows` [K, P] as arrays that share its memory.

    `w[l]` [K, 2, in, out] and `b[l]` [K, 2, 1, out] are hidden layer l of both towers;
    `policy_w` [K, features, A], `policy_b` [K, A, 1], `value_w` [K, features, 1] and
    `value_b` [K, 1, 1] are the heads; `log_std` [K, D, 1] is empty unless policies are Gaussians.
    """

    def __init__(self, layout: Layout, rows: Floats) -> None:
        if rows.dtype != np.float32 or rows.strides[1] != 4:
            raise ValueError("parameters must be float32 rows without gaps")
        self.w: list[Floats] = []
        self.b: list[Floats] = []
        offset = 0
        towers = layout.policy_size * 4
        for i, o in layout.layers:
            self.w.append(_strided(rows, offset, (2, i, o), (towers, o * 4, 4)))
            self.b.append(_strided(rows, offset + i * o, (2, 1, o), (towers, o * 4, 4)))
            offset += i * o + o
        f, a, v = layout.features, layout.n_actions, layout.policy_size + offset
        self.policy_w = _strided(rows, offset, (f, a), (a * 4, 4))
        self.policy_b = _strided(rows, offset + f * a, (a, 1), (4, 4))
        self.log_std = rows[:, offset + (f + 1) * a : layout.policy_size, None]
        self.value_w = _strided(rows, v, (f, 1), (4, 4))
        self.value_b = _strided(rows, v + f, (1, 1), (4, 4))


def _strided(rows: Floats, offset: int, shape: tuple[int, ...], strides: tuple[int, ...]) -> Floats:
    view: Any = np.lib.stride_tricks.as_strided(
        rows[:, offset:], (rows.shape[0], *shape), (rows.strides[0], *strides)
    )
    return view  # type: ignore[no-any-return]


def orthogonal(rng: np.random.Generator, inputs: int, outputs: int, gain: float) -> Floats:
    """Draw a (semi-)orthogonal matrix [inputs, outputs] times `gain` (Saxe et al. 2014)."""
    tall = rng.standard_normal((max(inputs, outputs), min(inputs, outputs)))
    q, r = np.linalg.qr(tall)
    q = q * np.sign(np.diagonal(r))
    return np.asarray(gain * (q if inputs >= outputs else q.T), dtype=np.float32)


def linear_default(rng: np.random.Generator, inputs: int, outputs: int) -> list[Floats]:
    """Draw weights [inputs, outputs] and biases [outputs] as ``torch.nn.Linear`` does.

    Both are uniform within 1 / sqrt(inputs): Kaiming's rule (He et al. 2015) with a = sqrt(5).
    """
    bound = 1.0 / math.sqrt(inputs)
    shapes = ((inputs, outputs), (outputs,))
    return [rng.uniform(-bound, bound, shape).astype(np.float32) for shape in shapes]


def initial_row(layout: Layout, rng: np.random.Generator, init: Init = "orthogonal") -> Floats:
    """Return one agent's initial parameters [P]; `orthogonal` has Stable-Baselines3's gains."""
    spread = [np.full(layout.n_actions, layout.log_std, np.float32)] if layout.gaussian else []
    towers: list[list[Floats]] = []
    for outputs, gain in ((layout.n_actions, 0.01), (1, 1.0)):
        sizes = [(i, o, math.sqrt(2)) for i, o in layout.layers]
        parts: list[Floats] = []
        for i, o, gain_here in (*sizes, (layout.features, outputs, gain)):
            if init == "torch":
                parts += [p.ravel() for p in linear_default(rng, i, o)]
            else:
                parts += [orthogonal(rng, i, o, gain_here).ravel(), np.zeros(o, np.float32)]
        towers.append(parts)
    return np.concatenate([*towers[0], *spread, *towers[1]])


def initial_rows(
    layout: Layout, seed: int, agents: tuple[int, ...], same: bool, init: Init = "orthogonal"
) -> Floats:
    """Return [K, P]: each agent from its own stream, or all from agent 0's."""
    if same:
        row = initial_row(layout, generator(seed, Purpose.INIT, 0), init)
        return np.repeat(row[None], len(agents), axis=0)
    return np.stack([initial_row(layout, generator(seed, Purpose.INIT, a), init) for a in agents])
