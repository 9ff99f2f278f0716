"""How proxy states are chosen: one settings class a kind, told apart by ``type`` in a config."""

from __future__ import annotations

import msgspec

from fdrl.core.errors import FdrlError

MAX_SIZE = 2**20


def _positive(where: str, **values: int) -> None:
    for name, value in values.items():
        if not 1 <= value <= MAX_SIZE:
            raise FdrlError(f"{where}.{name} must be between 1 and {MAX_SIZE}, got {value}")


class Grid(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="type", tag="grid"):
    """Visited cells of a grid, each agent's own (FRD); there is no common list of states."""

    bins: int = 30
    """Intervals in each observation component."""

    def __post_init__(self) -> None:
        _positive("proxy", bins=self.bins)


class Uniform(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="type", tag="uniform"
):
    """States drawn uniformly from the box."""

    size: int = 256
    """Number of proxy states."""

    def __post_init__(self) -> None:
        _positive("proxy", size=self.size)


class Sobol(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="type", tag="sobol"):
    """States spread evenly over the box by a Sobol sequence, scrambled by the seed."""

    size: int = 256
    """Number of proxy states; powers of two are the most even."""

    def __post_init__(self) -> None:
        _positive("proxy", size=self.size)


class Visited(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="type", tag="visited"
):
    """Centers of the grid cells that agents visit most; Sobol states until enough are known."""

    size: int = 256
    """Number of proxy states."""
    bins: int = 40
    """Intervals in each observation component."""
    refresh: int = 8
    """Rounds between two choices of cells."""

    def __post_init__(self) -> None:
        _positive("proxy", size=self.size, bins=self.bins, refresh=self.refresh)


class Mix(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="type", tag="mix"):
    """Part Sobol states that stay, part visited cells that are chosen anew."""

    size: int = 256
    """Number of proxy states."""
    bins: int = 40
    """Intervals in each observation component."""
    refresh: int = 8
    """Rounds between two choices of cells."""
    wide: float = 0.5
    """Fraction of the states that are Sobol states and stay."""

    def __post_init__(self) -> None:
        _positive("proxy", size=self.size, bins=self.bins, refresh=self.refresh)
        if not 0 <= self.wide <= 1:
            raise FdrlError(f"proxy.wide must be between 0 and 1, got {self.wide}")


class File(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="type", tag="file"):
    """The user's own states, sent to the agents once."""

    path: str = ""
    """A .npy file of numbers [N, *O]."""


class Rollout(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="type", tag="rollout"
):
    """States that a random policy visits in a public copy of the environment, sent to the agents.

    The server takes as many steps as it needs states; they are counted as its own.
    """

    size: int = 256
    """Number of proxy states, one a step."""

    def __post_init__(self) -> None:
        _positive("proxy", size=self.size)


ProxySettings = Grid | Uniform | Sobol | Visited | Mix | File | Rollout
