"""How the agents' environments differ, as keyword arguments for each agent's environment.

Agent i of K stands at u_i, evenly spaced in [-1, 1] (one agent alone stands at 0). Every kind also
names held-out environments, which no agent trains in, to measure generalization.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import msgspec

from fdrl.core.errors import FdrlError
from fdrl.core.registry import ENVS, EnvSpec, Physics

HELD_OUT = 5
"""Held-out environments of every kind but `none`."""


class _Kind(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="type"):
    """The members of the tagged union say which they are in the field ``type``."""


class Nothing(_Kind, tag="none", frozen=True):
    """Every agent has the same environment; only the random streams differ."""


class Dynamics(_Kind, tag="dynamics", frozen=True):
    """Every agent has its own physics: each physical parameter times 1 + level * u."""

    level: float = 0.8
    """How far physical parameters spread around their defaults, in [0, 1)."""

    def __post_init__(self) -> None:
        if not 0.0 <= self.level < 1.0:
            raise FdrlError(
                f"heterogeneity 'dynamics': level is {self.level:g}, but must lie in [0, 1); "
                "at 1 a mass or a length would be zero"
            )


class Outlier(_Kind, tag="outlier", frozen=True):
    """One agent's physics are far from everybody else's."""

    factor: float = 3.6
    """What the outlier's physical parameters are multiplied by."""
    agent: int = -1
    """Which agent is the outlier; negative numbers count from the end, -1 is the last."""

    def __post_init__(self) -> None:
        if not 0.0 < self.factor < math.inf:
            raise FdrlError(
                f"heterogeneity 'outlier': factor is {self.factor:g}, but must be positive"
            )


class Init(_Kind, tag="init", frozen=True):
    """Every agent's episodes start in another part of the state space."""

    level: float = 1.0
    """How far initial states shift, in units of the shift that the environment registered."""

    def __post_init__(self) -> None:
        if not 0.0 <= self.level < math.inf:
            raise FdrlError(
                f"heterogeneity 'init': level is {self.level:g}, but must not be negative"
            )


class Conflict(_Kind, tag="conflict", frozen=True):
    """Half of the agents want something else, up to the opposite, in the same world."""

    level: float = 1.0
    """At 0 all agree, at 1 what the first half wants is opposite to what the others want."""

    def __post_init__(self) -> None:
        if not 0.0 <= self.level <= 1.0:
            raise FdrlError(
                f"heterogeneity 'conflict': level is {self.level:g}, but must lie in [0, 1]"
            )


Heterogeneity = Nothing | Dynamics | Outlier | Init | Conflict


def positions(agents: int) -> list[float]:
    """Return u [K], evenly spaced in [-1, 1]; a single agent stands at 0."""
    return [2 * k / (agents - 1) - 1 for k in range(agents)] if agents > 1 else [0.0]


def held_out_positions(agents: int) -> list[float]:
    """Return 5 values of u between the trained ones, never equal to one of them.

    The midpoints of the gaps between neighbors, thinned evenly to 5; with fewer than 5 gaps each
    gap is cut into more equal parts.
    """
    trained = positions(agents) if agents > 1 else [-1.0, 0.0, 1.0]
    gaps = len(trained) - 1
    inside = math.ceil(HELD_OUT / gaps)
    between = [
        low + (high - low) * part / (inside + 1)
        for low, high in pairwise(trained)
        for part in range(1, inside + 1)
    ]
    chosen = (round(j * (len(between) - 1) / (HELD_OUT - 1)) for j in range(HELD_OUT))
    return [between[i] for i in chosen]


def scaled(physics: Physics, factor: float) -> float:
    """Return a parameter at `factor` times its default, clipped to its range.

    A default of 0 (no wind) has no scale of its own: factor 1 leaves it at 0, a larger one goes
    1 - 1/factor of the way to `high`, a smaller one 1 - factor of the way to `low`.
    """
    if physics.default != 0.0:
        value = physics.default * factor
    elif factor == 1.0:
        value = 0.0
    else:
        value = (1 - 1 / factor) * physics.high if factor > 1 else (1 - factor) * physics.low
        if not math.isfinite(value):
            raise FdrlError("a physical parameter whose default is 0 needs a finite low and high")
    return min(max(value, physics.low), physics.high)


def agent_kwargs(spec: EnvSpec, hetero: Heterogeneity, agents: int) -> list[dict[str, float]]:
    """Return what each of K agents' environments is given, on top of what all share."""
    match hetero:
        case Nothing():
            return [{} for _ in range(agents)]
        case Dynamics(level):
            return [_physics(spec, "dynamics", 1 + level * u) for u in positions(agents)]
        case Outlier(factor, agent):
            if not -agents <= agent < agents:
                raise FdrlError(
                    f"heterogeneity 'outlier': there is no agent {agent} among {agents} agents"
                )
            odd = _physics(spec, "outlier", factor)
            return [odd if k == agent % agents else {} for k in range(agents)]
        case Init(level):
            return _shifted(spec, level, positions(agents))
        case Conflict(level):
            return [_turned(spec, level if k < agents // 2 else 0.0) for k in range(agents)]


def held_out_kwargs(spec: EnvSpec, hetero: Heterogeneity, agents: int) -> list[dict[str, float]]:
    """Return what the environments are given that no agent trains in.

    `dynamics` and `init`: u between the agents'; `outlier`: factors between 1 and the outlier's;
    `conflict`: levels between 0 and the first agents'; `none`: one environment with the same
    physics, which is held out by its seeds alone.
    """
    match hetero:
        case Nothing():
            return [{}]
        case Dynamics(level):
            between = held_out_positions(agents)
            return [_physics(spec, "dynamics", 1 + level * u) for u in between]
        case Outlier(factor):
            parts = [j / (HELD_OUT + 1) for j in range(1, HELD_OUT + 1)]
            factors = [1 + (factor - 1) * part for part in parts]
            return [_physics(spec, "outlier", f) for f in factors]
        case Init(level):
            return _shifted(spec, level, held_out_positions(agents))
        case Conflict(level):
            return [_turned(spec, level * j / (HELD_OUT + 1)) for j in range(1, HELD_OUT + 1)]


def _physics(spec: EnvSpec, kind: str, factor: float) -> dict[str, float]:
    varying = {name: p for name, p in spec.physics.items() if p.varies}
    if not varying:
        raise FdrlError(
            f"heterogeneity {kind!r}: environment {spec.name!r} has no registered physical "
            "parameter to vary; give each agent its own arguments in [[agent_kwargs]] tables of a "
            "TOML file (one per agent), or register its parameters: fdrl.register_env(..., "
            'physics={"name": fdrl.core.registry.Physics(default)})'
        )
    return {name: scaled(p, factor) for name, p in varying.items()}


def _shifted(spec: EnvSpec, level: float, where: Sequence[float]) -> list[dict[str, float]]:
    if spec.init is None:
        raise FdrlError(
            f"heterogeneity 'init': environment {spec.name!r} has no registered interval of "
            "initial states; give each agent its own environment kwargs instead, or register the "
            "environment with init=(low, high, shift)"
        )
    low, high, shift = spec.init
    return [
        {"init_low": low + level * u * shift, "init_high": high + level * u * shift} for u in where
    ]


def _turned(spec: EnvSpec, level: float) -> dict[str, float]:
    """Return what an agent wants, times 1 - 2 * level."""
    wants = {name: p for name, p in spec.physics.items() if p.conflicts}
    if not wants:
        known = [s.name for s in ENVS if any(p.conflicts for p in s.physics.values())]
        raise FdrlError(
            f"heterogeneity 'conflict': environment {spec.name!r} has no registered parameter for "
            f"what an agent wants; use {' or '.join(known)}, or register one: "
            'fdrl.register_env(..., physics={"name": fdrl.core.registry.Physics(default, '
            "conflicts=True)})"
        )
    return {name: p.default * (1 - 2 * level) for name, p in wants.items()}
