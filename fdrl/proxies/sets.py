"""Proxy states: the N states that agents are asked about, agreed without sending them.

A proxy set is rebuilt by every agent from settings and seed, and from the numbers of grid cells
where it depends on where agents have been; only a user's own states travel. Its `version`, a hash
of all of that, is in every message, so that nobody averages answers to different questions.
"""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from fdrl.core.arrays import Array
from fdrl.core.errors import BadMessage, FdrlError
from fdrl.core.message import ProxyUpdate, Recipe
from fdrl.core.paths import absolute
from fdrl.core.seeding import Purpose, generator
from fdrl.ops.sobol import sobol
from fdrl.proxies.grid import CellCounts, GridCells, check_box, most_visited
from fdrl.proxies.settings import File, Grid, Mix, ProxySettings, Rollout, Sobol, Visited
from fdrl.wire.parts import NextSet


@dataclass(frozen=True, eq=False)
class ProxySet:
    """N proxy states and the hash that names them.

    `cells` [m] are the grid cells among them; with fixed wide states first, then cells, then
    filling. Of a `grid` there are none: agents bring their own.
    """

    kind: str
    states: NDArray[np.float32]
    version: str
    cells: NDArray[np.int64] | None = None


Visit = Callable[[int], NDArray[np.float32]]
"""Returns so many states [N, *O] that a random policy visits in a public copy."""


def build(
    settings: ProxySettings, low: Array, high: Array, seed: int, visit: Visit | None = None
) -> ProxySet:
    """Return the proxy set that a run starts with, in the box low, high [*O].

    The same on every machine. `visit` finds the states of a `Rollout`, which only a server can.
    Raises `FdrlError` for an unbounded box or an unusable file.
    """
    if isinstance(settings, Rollout):
        if visit is None:
            raise FdrlError("'rollout' proxies come from a server: use --proxy mix or file")
        return given(settings, visit(settings.size), low, high, seed)
    return restore(settings, low, high, seed, None)


def given(settings: File | Rollout, states: Array, low: Array, high: Array, seed: int) -> ProxySet:
    """Return a set of states that cannot be worked out from the settings, and so must travel."""
    states = np.asarray(states, dtype=np.float32)
    return ProxySet(_kind(settings), states, _version(settings, seed, states, low, high))


def restore(
    settings: ProxySettings, low: Array, high: Array, seed: int, cells: Array | None
) -> ProxySet:
    """Return the set with these grid cells [m], strictly increasing, and Sobol states for the rest.

    What `refresh` chose, or `build` if `cells` is None; cells of kinds without any are an error.
    """
    if isinstance(settings, Grid | Visited | Mix):
        return _from_cells(settings, low, high, seed, np.zeros(0) if cells is None else cells)
    if cells is not None:
        raise FdrlError(f"{_kind(settings)!r} proxies are not made of grid cells")
    if isinstance(settings, Rollout):
        raise FdrlError("'rollout' proxies cannot be rebuilt from settings: they are sent")
    if isinstance(settings, File):
        states = _load(settings.path, np.shape(low))
    elif isinstance(settings, Sobol):
        states = _sobol_states(settings.size, low, high, seed)
    else:
        stream = generator(seed, Purpose.PROXY)
        states = _in_box(stream.random((settings.size, np.size(low))), low, high)
    return ProxySet(_kind(settings), states, _version(settings, seed, states, low, high))


def _from_cells(
    settings: Grid | Visited | Mix, low: Array, high: Array, seed: int, cells: Array
) -> ProxySet:
    grid = GridCells(settings.bins, low, high)
    cells = np.asarray(cells, dtype=np.int64)
    if isinstance(settings, Grid):
        states = grid.centers(cells)
    else:
        wide = _wide(settings)
        if len(cells) > settings.size - wide:
            raise FdrlError(f"{len(cells)} cells for {settings.size - wide} proxy states")
        spread = _sobol_states(settings.size - len(cells), low, high, seed)
        states = np.concatenate([spread[:wide], grid.centers(cells), spread[wide:]])
    version = _version(settings, seed, states, low, high)
    return ProxySet(_kind(settings), states, version, cells)


def refresh(
    settings: ProxySettings, current: ProxySet, counts: CellCounts, low: Array, high: Array,
    seed: int,
) -> ProxySet:  # fmt: skip
    """Return the next set: the cells visited most, by ``{cell: visits}`` or (cells, visits) arrays.

    Deterministic (ties go to the lower cell). Kinds that never change return `current`.
    """
    if not isinstance(settings, Visited | Mix):
        return current
    cells, _ = most_visited(counts, settings.size - _wide(settings))
    return restore(settings, low, high, seed, cells)


def grid_of(settings: ProxySettings, low: Array, high: Array) -> GridCells | None:
    """Return the grid that visited cells are numbered by, None for kinds without."""
    if isinstance(settings, Grid | Visited | Mix):
        return GridCells(settings.bins, low, high)
    return None


def refresh_every(settings: ProxySettings) -> int:
    """Return the rounds between two refreshes, 0 for proxies that stay."""
    return settings.refresh if isinstance(settings, Visited | Mix) else 0


def saved(made: ProxySet) -> dict[str, Array]:
    """Return what a checkpoint needs of a set: its cells, or the states of a user's file."""
    if made.cells is not None:
        return {"cells": made.cells}
    return {"states": made.states} if made.kind in ("file", "rollout") else {}


def load_saved(
    kept: Mapping[str, Array], settings: ProxySettings, low: Array, high: Array, seed: int,
    version: str,
) -> ProxySet:  # fmt: skip
    """Return the set that `saved` wrote; `FdrlError` if it is no longer the set of that hash."""
    if "states" in kept and isinstance(settings, File | Rollout):
        made = given(settings, kept["states"], low, high, seed)
    else:
        made = restore(settings, low, high, seed, kept.get("cells"))
    if made.version != version:
        raise FdrlError(
            f"the checkpoint has proxy set {version!r}, but the config makes {made.version!r}"
        )
    return made


def to_update(proxies: ProxySet, settings: ProxySettings, round: int) -> ProxyUpdate:
    """Return the message from which `from_update` rebuilds the set: a recipe, cells or states.

    The seed is not in it: agents have it from the run's config, and the hash proves that it fits.
    """
    states = proxies.states if isinstance(settings, File | Rollout) else None
    cells = proxies.cells if proxies.cells is not None and len(proxies.cells) else None
    return ProxyUpdate(round, proxies.version, _recipe(settings), cells, states)


def announced(refreshed: ProxySet | None) -> NextSet | None:
    """Return the part of a message that announces a refreshed set, None if there is none."""
    if refreshed is None or refreshed.cells is None:
        return None
    return NextSet(refreshed.cells, refreshed.version)


def from_update(
    update: ProxyUpdate, settings: ProxySettings, low: Array, high: Array, seed: int
) -> ProxySet:
    """Rebuild the set on the agent's side, from what its own config says and the message.

    Raises `BadMessage` if the recipe is not the config's, or the hash is not the one promised.
    """
    ours = _recipe(settings)
    for key in [*ours, *update.recipe]:
        theirs = update.recipe.get(key)
        if theirs != ours.get(key):
            raise BadMessage(f"proxy recipe: {key} is {theirs}, but {ours.get(key)} in this run")
    if isinstance(settings, File | Rollout):
        if update.states is None or update.states.shape[1:] != np.shape(low):
            raise BadMessage(f"proxy {_kind(settings)}: expected states [N, *{np.shape(low)}]")
        if isinstance(settings, Rollout) and len(update.states) != settings.size:
            raise BadMessage(f"proxy rollout: {len(update.states)} states, not {settings.size}")
        made = given(settings, update.states, low, high, seed)
    else:
        try:
            made = restore(settings, low, high, seed, update.cells)
        except FdrlError as error:
            raise BadMessage(f"proxy update: {error}") from None
    if made.version != update.version:
        raise BadMessage(
            f"proxy set {update.version!r} was rebuilt as {made.version!r}: the seed or the box"
            " of states differs"
        )
    return made


def _recipe(settings: ProxySettings) -> Recipe:
    fields = msgspec.to_builtins(settings)
    fields.pop("path", None)
    return {"kind": fields.pop("type"), **fields}


def _wide(settings: Visited | Mix) -> int:
    return round(settings.wide * settings.size) if isinstance(settings, Mix) else 0


def _kind(settings: ProxySettings) -> str:
    return str(type(settings).__struct_config__.tag)


def _version(settings: ProxySettings, seed: int, states: Array, low: Array, high: Array) -> str:
    """Return 8 hex digits of a hash of everything the set is made from.

    Of a file only the states count: neither its path nor the box makes a difference.
    """
    digest = hashlib.sha256(_kind(settings).encode())
    if not isinstance(settings, File):
        digest.update(msgspec.json.encode([settings, seed]))
        digest.update(np.asarray([low, high], dtype="<f4").tobytes())
    digest.update(msgspec.json.encode(states.shape))
    digest.update(np.asarray(states, dtype="<f4").tobytes())
    return digest.hexdigest()[:8]


def _sobol_states(count: int, low: Array, high: Array, seed: int) -> NDArray[np.float32]:
    shift = generator(seed, Purpose.PROXY).integers(2**32, size=np.size(low), dtype=np.uint64)
    return _in_box(sobol(count, np.size(low), shift), low, high)


def _in_box(unit: Array, low: Array, high: Array) -> NDArray[np.float32]:
    """Map [n, D] from the unit cube to states [n, *O]."""
    check_box(np.asarray(low), np.asarray(high))
    lo, hi = (np.asarray(x, dtype=np.float64).ravel() for x in (low, high))
    return (lo + unit * (hi - lo)).astype(np.float32).reshape(len(unit), *np.shape(low))


def _load(path: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Read states [N, *O] from a .npy file; never unpickles."""
    if not path:
        raise FdrlError("proxy file: proxy.path is not set; it names a .npy file of states")
    if not absolute(path).is_file():
        raise FdrlError(f"proxy file: no such file: {path}")
    try:
        with open(absolute(path), "rb") as file:  # `np.load` leaves open what it gives up on
            states = np.load(file, allow_pickle=False)
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise FdrlError(f"proxy file: {path} is not a plain .npy array: {error}") from None
    if not isinstance(states, np.ndarray):
        states.close()
        raise FdrlError(f"proxy file: {path} is an .npz, but must hold one array (np.save)")
    if states.dtype.kind not in "fiu":
        raise FdrlError(f"proxy file: {path} must hold one array of numbers (np.save)")
    if states.shape[1:] != shape or len(states) == 0:
        expected = ", ".join(["N", *map(str, shape)])
        raise FdrlError(f"proxy file: {path} has shape {list(states.shape)}, not [{expected}]")
    with np.errstate(over="ignore"):
        states = states.astype(np.float32)
    if not np.isfinite(states).all():
        raise FdrlError(f"proxy file: {path} contains NaN or infinity")
    return states
