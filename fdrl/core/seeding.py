"""One tree of seeds: every random number is drawn from a leaf named by what it is for.

`SeedSequence(seed, spawn_key=(purpose, agent, copy))` gives each agent, environment copy and
purpose its own stream, whatever the order in which they are asked for. Adding an agent, a thread
or a new purpose changes no other stream, which `seed + i` cannot promise.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray


class Purpose(IntEnum):
    """The first branch of the tree. Numbers are part of every run's result: never renumber."""

    INIT = 0
    ENV = 1
    ACTION = 2
    MINIBATCH = 3
    DISTILL = 4
    PROXY = 5
    EVALUATION = 6
    SERVER = 7
    CHANNEL = 8
    CLIENT = 9
    HELD_OUT = 10
    DATA = 11


def leaf(seed: int, purpose: Purpose, *path: int) -> np.random.SeedSequence:
    """Return the seed of one stream, e.g. ``leaf(3, Purpose.ENV, agent, copy)``."""
    return np.random.SeedSequence(seed, spawn_key=(int(purpose), *path))


def generator(seed: int, purpose: Purpose, *path: int) -> np.random.Generator:
    """Return a fresh PCG64 generator on a leaf of the tree."""
    return np.random.Generator(np.random.PCG64(leaf(seed, purpose, *path)))


def _words(value: int) -> list[int]:
    return [value & 0xFFFFFFFFFFFFFFFF, value >> 64]


def pack_generators(generators: Iterable[np.random.Generator]) -> NDArray[np.uint64]:
    """Write the exact state of n PCG64 generators as ``uint64 [n, 6]``."""
    rows = []
    for g in generators:
        s = g.bit_generator.state
        if s["bit_generator"] != "PCG64":
            raise ValueError(f"only PCG64 can be saved, not {s['bit_generator']}")
        inner = s["state"]
        rows.append(
            _words(inner["state"]) + _words(inner["inc"]) + [int(s["has_uint32"]), s["uinteger"]]
        )
    return np.array(rows, dtype=np.uint64).reshape(-1, 6)


def unpack_generators(
    generators: Sequence[np.random.Generator], packed: NDArray[np.uint64]
) -> None:
    """Put states written by `pack_generators` back into existing generators."""
    if packed.shape != (len(generators), 6):
        raise ValueError(f"expected generator states [{len(generators)}, 6], got {packed.shape}")
    for g, row in zip(generators, packed.tolist(), strict=True):
        g.bit_generator.state = {
            "bit_generator": "PCG64",
            "state": {"state": row[0] | row[1] << 64, "inc": row[2] | row[3] << 64},
            "has_uint32": row[4],
            "uinteger": row[5],
        }
