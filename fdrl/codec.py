"""Messages to bytes and back; what a message costs is the length of these bytes.

The layout is that of safetensors (`fdrl.wire`). The first metadata key is the message's kind and
its value the round; names are one or two letters, because a default uplink is 512 bytes of
numbers and every name is sent again in every round.

    kind             metadata                                   tensors
    g  GaussTable    as p                                       g codes, gv codes and visits,
                                                                r ranges, others as p
    p  ProbTable     v version, s score, d next_version         p probs, pv probs and visits,
                                                                n visits, c cells, x states,
                                                                s seen, w seen_visits, d next_cells,
                                                                b values, i seeds, l seed_labels
    w  Parameters    a part, n steps, s score, d next_version   w values, o optimizer, d next_cells,
                                                                m wanted
    t  Transitions                                              the arrays, by name
    u  ProxyUpdate   v version, r recipe                        c cells, x states
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fdrl import wire
from fdrl.coding import (
    code_cells,
    code_probs,
    code_states,
    code_visits,
    uncode_probs,
    uncode_visits,
)
from fdrl.errors import BadMessage
from fdrl.fields import Fields, read_recipe, write_recipe
from fdrl.gauss_coding import code_moments, uncode_moments
from fdrl.payload import (
    PARTS,
    Coding,
    GaussTable,
    Message,
    Parameters,
    ProbTable,
    ProxyUpdate,
    Transitions,
    VisitCoding,
    table_of,
)
from fdrl.validity import validate
from fdrl.value_coding import code_values
from fdrl.wire import LIMIT, require

Array = NDArray[Any]

_CODING: dict[str, Coding] = {"float32": "float32", "float16": "float16", "uint8": "uint8"}


def encode(message: Message) -> bytes:
    """Return the bytes of a message; raises `BadMessage` for one that could not be used."""
    validate(message)
    if isinstance(message, ProbTable | GaussTable):
        return _encode_table(message)
    if isinstance(message, Parameters):
        metadata = {"w": str(message.round), "a": message.part[0]}
        if message.steps:
            metadata["n"] = str(message.steps)
        _put_score(metadata, message.score)
        tensors: dict[str, Array] = {"w": _float32(message.values)}
        if message.optimizer is not None:
            tensors["o"] = _float32(message.optimizer)
        _put_next(metadata, tensors, message)
        if message.wanted is not None:
            tensors["m"] = code_cells(message.wanted)
        return wire.pack(metadata, tensors)
    if isinstance(message, Transitions):
        return wire.pack({"t": str(message.round)}, message.arrays)
    metadata = {"u": str(message.round), "v": message.version}
    if message.recipe:
        metadata["r"] = write_recipe(message.recipe)
    tensors = {}
    if message.cells is not None:
        tensors["c"] = code_cells(message.cells)
    if message.states is not None:
        tensors["x"] = code_states(_float32(message.states))
    return wire.pack(metadata, tensors)


def decode(data: bytes, limit: int = LIMIT) -> Message:
    """Return the message that `encode` wrote, or raise `BadMessage` with the reason.

    Nothing in `data` is trusted: whatever the bytes, the result is a valid message or that error,
    and never takes more memory than a small multiple of ``len(data)``.
    """
    metadata, tensors = wire.unpack(data, limit)
    fields = Fields(metadata, tensors)
    kind = next(iter(metadata), "")
    if kind == "t":
        message: Message = Transitions(fields.integer("t"), dict(tensors))
        tensors.clear()
    elif kind in _DECODERS:
        message = _DECODERS[kind](fields)
    else:
        raise BadMessage(f"unknown kind of message {kind[:40]!r}")
    fields.finish()
    validate(message)
    return message


def _encode_table(table: ProbTable | GaussTable) -> bytes:
    kind, ranges = "p", None
    if isinstance(table, GaussTable):
        kind = "g"
        codes, ranges = code_moments(table.moments, table.coding)
    else:
        codes = code_probs(table.probs, table.coding)
    metadata = {kind: str(table.round)}
    if table.version:
        metadata["v"] = table.version
    _put_score(metadata, table.score)
    one_byte = table.visit_coding == "uint8"
    tensors: dict[str, Array] = {}
    if table.visits is not None and one_byte and table.coding == "uint8":
        # A tensor's description costs as much as 60 proxies, so bytes share one.
        tensors[f"{kind}v"] = np.concatenate([codes, code_visits(table.visits)[:, None]], axis=1)
    else:
        tensors[kind] = codes
        if table.visits is not None:
            tensors["n"] = code_visits(table.visits) if one_byte else _float32(table.visits)
    if ranges is not None:
        tensors["r"] = ranges
    _put_extras(table, metadata, tensors)
    return wire.pack(metadata, tensors)


def _put_extras(
    table: ProbTable | GaussTable, metadata: dict[str, str], tensors: dict[str, Array]
) -> None:
    """Add what a table may say beside its answers and visits."""
    if table.cells is not None:
        tensors["c"] = code_cells(table.cells)
    if table.states is not None:
        tensors["x"] = code_states(_float32(table.states))
    if table.values is not None:
        tensors["b"] = code_values(_float32(table.values), table.coding)
    if table.seen is not None:
        tensors["s"] = code_cells(table.seen)
    if table.seen_visits is not None:
        seen = table.seen_visits
        tensors["w"] = code_visits(seen) if table.visit_coding == "uint8" else _float32(seen)
    _put_next(metadata, tensors, table)
    if table.seeds is not None and table.seed_labels is not None:
        tensors |= {"i": table.seeds, "l": table.seed_labels}


def _put_next(
    metadata: dict[str, str],
    tensors: dict[str, Array],
    message: ProbTable | GaussTable | Parameters,
) -> None:
    if message.next_cells is not None:
        metadata["d"] = message.next_version
        tensors["d"] = code_cells(message.next_cells)


def _decode_table(fields: Fields, kind: str = "p") -> ProbTable | GaussTable:
    both = fields.tensor(f"{kind}v", "uint8")
    columns = fields.tensor(kind, "float32", "float16", "uint8")
    visits = fields.tensor("n", "uint8", "float32")
    if both is not None:
        require(columns is None and visits is None, f"a table has its {_WHAT[kind]} twice")
        require(both.ndim == 2 and both.shape[1] >= 2, "a table with visits must be [n, A]")
        columns, visits = both[:, :-1], both[:, -1]
    if columns is None:
        raise BadMessage(f"a table has no {_WHAT[kind]}")
    seen_visits = fields.tensor("w", "uint8", "float32")
    codings = {a.dtype.name for a in (visits, seen_visits) if a is not None}
    require(len(codings) < 2, "visits and seen_visits are coded differently")
    visit_coding: VisitCoding = "float32" if codings == {"float32"} else "uint8"
    if kind == "g":
        answers = uncode_moments(columns, fields.tensor("r", "float32"))
    else:
        answers = uncode_probs(columns)
    return table_of(
        answers,
        kind == "g",
        round=fields.integer(kind),
        coding=_CODING[columns.dtype.name],
        version=fields.text("v"),
        cells=fields.cells("c"),
        states=fields.states(),
        visits=_read_visits(visits),
        visit_coding=visit_coding,
        score=fields.score(),
        values=fields.values(columns.dtype.name),
        seen=fields.cells("s"),
        seen_visits=_read_visits(seen_visits),
        next_cells=fields.cells("d"),
        next_version=fields.text("d"),
        seeds=fields.tensor("i", "uint8", "float32"),
        seed_labels=fields.tensor("l", "uint8"),
    )


def _decode_gaussians(fields: Fields) -> ProbTable | GaussTable:
    return _decode_table(fields, "g")


_WHAT = {"p": "probabilities", "g": "Gaussians"}


def _decode_parameters(fields: Fields) -> Parameters:
    letter = fields.text("a")
    part = next((p for p in PARTS if p[0] == letter), None)
    values = fields.tensor("w", "float32")
    if part is None or values is None:
        raise BadMessage("parameters without " + ("a known part" if part is None else "values"))
    steps = fields.integer("n", "0")
    score, optimizer = fields.score(), fields.tensor("o", "float32")
    cells, version = fields.cells("d"), fields.text("d")
    round, wanted = fields.integer("w"), fields.cells("m")
    return Parameters(round, values, part, steps, score, optimizer, cells, version, wanted)


def _decode_proxy_update(fields: Fields) -> ProxyUpdate:
    return ProxyUpdate(
        round=fields.integer("u"),
        version=fields.text("v"),
        recipe=read_recipe(fields.text("r")),
        cells=fields.cells("c"),
        states=fields.states(),
    )


_DECODERS: dict[str, Callable[[Fields], Message]] = {
    "p": _decode_table,
    "g": _decode_gaussians,
    "w": _decode_parameters,
    "u": _decode_proxy_update,
}


def _float32(array: Array) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):
        cast = np.asarray(array, dtype=np.float32)
    require(np.isfinite(cast).all(), "a value does not fit in float32")
    return cast


def _put_score(metadata: dict[str, str], score: float | None) -> None:
    if score is not None:
        metadata["s"] = f"{score:.6g}"


def _read_visits(codes: Array | None) -> Array | None:
    return uncode_visits(codes) if codes is not None and codes.dtype == np.uint8 else codes
