"""Messages to bytes and back; what a message costs is the length of these bytes.

The layout is that of safetensors (`fdrl.wire.safetensors`). The first metadata key is the
message's kind and its value the round; names are one or two letters, because a default uplink is
512 bytes of numbers and every name is sent again in every round. What else a table or parameters
carry is written and read by its part (`fdrl.wire.parts`).

    kind             metadata                tensors
    g  GaussTable    v version, and parts    g codes, r ranges, and parts
    p  ProbTable     v version, and parts    p probs, and parts
    w  Parameters    a part, n steps,        w values, and parts
                     and parts
    t  Transitions                           the arrays, by name
    u  ProxyUpdate   v version, r recipe     c cells, x states

Where answers and visit counts (n) are both of bytes they share a tensor, pv or gv.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable

import numpy as np

from fdrl.core.arrays import Array
from fdrl.core.errors import BadMessage
from fdrl.core.message import (
    CODINGS,
    PARTS,
    AnyTable,
    Coding,
    GaussTable,
    Message,
    Parameters,
    ProbTable,
    ProxyUpdate,
    Recipe,
    Transitions,
)
from fdrl.wire import safetensors
from fdrl.wire.coding import (
    blocks,
    code_cells,
    code_moments,
    code_probs,
    code_states,
    uncode_moments,
    uncode_probs,
    uncode_states,
)
from fdrl.wire.content import (
    VERSION,
    Fields,
    all_finite,
    as_float32,
    check_cells,
    check_floats,
    check_states,
    decode_parts,
    encode_parts,
    validate_parts,
)
from fdrl.wire.parts import PARAMETERS_PARTS, TABLE_PARTS
from fdrl.wire.safetensors import LIMIT

MAX_ROUND = 2**53
SIMPLEX_TOLERANCE = 1e-4
"""How far from 1 a row of probabilities may sum before it is refused."""

_CODING: dict[str, Coding] = {"float32": "float32", "float16": "float16", "uint8": "uint8"}
_DIGITS = re.compile(r"0|[1-9][0-9]{0,15}")
_INTEGER = re.compile(r"-?[0-9]{1,40}")
_ARRAY_NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")
_RECIPE_WORD = re.compile(r"[A-Za-z][0-9A-Za-z._-]{0,31}")


def encode(message: Message) -> bytes:
    """Return the bytes of a message; raises `BadMessage` for one that could not be used."""
    validate(message)
    if isinstance(message, ProbTable | GaussTable):
        return _encode_table(message)
    if isinstance(message, Parameters):
        metadata = {"w": str(message.round), "a": message.part[0]}
        if message.steps:
            metadata["n"] = str(message.steps)
        fields = Fields(metadata, {"w": as_float32(message.values)})
        encode_parts(message, PARAMETERS_PARTS, fields)
        return safetensors.pack(fields.metadata, fields.tensors)
    if isinstance(message, Transitions):
        return safetensors.pack({"t": str(message.round)}, message.arrays)
    metadata = {"u": str(message.round), "v": message.version}
    if message.recipe:
        metadata["r"] = write_recipe(message.recipe)
    tensors: dict[str, Array] = {}
    if message.cells is not None:
        tensors["c"] = code_cells(message.cells)
    if message.states is not None:
        tensors["x"] = code_states(as_float32(message.states))
    return safetensors.pack(metadata, tensors)


def decode(data: bytes, limit: int = LIMIT) -> Message:
    """Return the message that `encode` wrote, or raise `BadMessage` with the reason.

    Nothing in `data` is trusted: whatever the bytes, the result is a valid message or that error,
    and never takes more memory than a small multiple of ``len(data)``.
    """
    metadata, tensors = safetensors.unpack(data, limit)
    fields = Fields(metadata, tensors)
    kind = next(iter(metadata), "")
    if kind == "t":
        message: Message = Transitions(_integer(fields, "t"), dict(tensors))
        tensors.clear()
    elif kind in _DECODERS:
        message = _DECODERS[kind](fields)
    else:
        raise BadMessage(f"unknown kind of message {kind[:40]!r}")
    for left in (*metadata, *tensors):
        raise BadMessage(f"unknown field {left[:40]!r}")
    validate(message)
    return message


CHECKSUM = 16
"""Bytes by which a message is known, where sender and receiver share a key."""


def sealed(data: bytes, key: bytes, about: str) -> bytes:
    """Return a message with its checksum, HMAC-SHA256 cut to 16 bytes; as it is, without a key.

    `about` joins in: what the receiver knows of it anyhow, as who sent it.
    """
    return data + _checksum(data, key, about) if key else data


def opened(data: bytes, key: bytes, about: str) -> bytes:
    """Return what was `sealed`, or raise `BadMessage`: it may be anybody's."""
    if not key:
        return data
    if len(data) <= CHECKSUM:
        raise BadMessage("a message without a checksum")
    message, checksum = data[:-CHECKSUM], data[-CHECKSUM:]
    if not hmac.compare_digest(checksum, _checksum(message, key, about)):
        raise BadMessage("its checksum is wrong: damaged, or not made with the shared key")
    return message


def _checksum(data: bytes, key: bytes, about: str) -> bytes:
    return hmac.digest(key, about.encode() + b"\0" + data, "sha256")[:CHECKSUM]


def _encode_table(table: AnyTable) -> bytes:
    kind, ranges = "p", None
    if isinstance(table, GaussTable):
        kind = "g"
        codes, ranges = code_moments(table.moments, table.coding)
    else:
        codes = code_probs(table.probs, table.coding)
    metadata = {kind: str(table.round)}
    if table.version:
        metadata["v"] = table.version
    fields = Fields(metadata, {}, table.coding)
    encode_parts(table, TABLE_PARTS, fields)
    visits = fields.tensors.pop("n", None)
    if visits is not None and visits.dtype == codes.dtype == np.uint8:
        # A tensor's description costs as much as 60 proxies, so bytes share one.
        tensors = {f"{kind}v": np.concatenate([codes, visits[:, None]], axis=1)}
    else:
        tensors = {kind: codes} if visits is None else {kind: codes, "n": visits}
    if ranges is not None:
        tensors["r"] = ranges
    return safetensors.pack(metadata, tensors | fields.tensors)


def _decode_table(fields: Fields, kind: str = "p") -> AnyTable:
    columns = _take_answers(fields.tensors, kind)
    fields.coding = _CODING[columns.dtype.name]
    parts = decode_parts(TABLE_PARTS, fields)
    round, version = _integer(fields, kind), fields.metadata.pop("v", "")
    if kind == "p":
        probs = uncode_probs(columns)
        return ProbTable(round, probs, fields.coding, version=version, parts=parts)
    ranges = fields.array("r", "float32") if "r" in fields.tensors else None
    moments = uncode_moments(columns, ranges)
    return GaussTable(round, moments, fields.coding, version=version, parts=parts)


def _take_answers(tensors: dict[str, Array], kind: str) -> Array:
    """Take coded answers out of a table's tensors; visits that share theirs become n."""
    columns, both = tensors.pop(kind, None), tensors.pop(f"{kind}v", None)
    if both is not None:
        if columns is not None or "n" in tensors:
            raise BadMessage(f"a table has its {_WHAT[kind]} twice")
        if both.dtype != np.uint8 or both.ndim != 2 or both.shape[1] < 2:
            raise BadMessage("a table with visits must be uint8 [n, A]")
        columns, tensors["n"] = both[:, :-1], both[:, -1]
    if columns is None:
        raise BadMessage(f"a table has no {_WHAT[kind]}")
    if columns.dtype.name not in _CODING:
        raise BadMessage(f"tensor {kind!r} must not be {columns.dtype}")
    return columns


def _decode_gaussians(fields: Fields) -> AnyTable:
    return _decode_table(fields, "g")


_WHAT = {"p": "probabilities", "g": "Gaussians"}


def _decode_parameters(fields: Fields) -> Parameters:
    letter = fields.metadata.pop("a", "")
    part = next((p for p in PARTS if p[0] == letter), None)
    if part is None or "w" not in fields.tensors:
        raise BadMessage("parameters without " + ("a known part" if part is None else "values"))
    values = fields.array("w", "float32")
    round, steps = _integer(fields, "w"), _integer(fields, "n", "0")
    return Parameters(round, values, part, steps, parts=decode_parts(PARAMETERS_PARTS, fields))


def _decode_proxy_update(fields: Fields) -> ProxyUpdate:
    cells, states = None, None
    if "c" in fields.tensors:
        cells = fields.cells("c")
    if "x" in fields.tensors:
        states = uncode_states(fields.array("x", "float32", "uint8"))
    round, version = _integer(fields, "u"), fields.metadata.pop("v", "")
    recipe = read_recipe(fields.metadata.pop("r", ""))
    return ProxyUpdate(round, version, recipe, cells, states)


_DECODERS: dict[str, Callable[[Fields], Message]] = {
    "p": _decode_table,
    "g": _decode_gaussians,
    "w": _decode_parameters,
    "u": _decode_proxy_update,
}


def _integer(fields: Fields, key: str, default: str = "") -> int:
    """Take a whole number, written in the one way there is."""
    text = fields.metadata.pop(key, default)
    if not _DIGITS.fullmatch(text):
        raise BadMessage(f"field {key!r} is not an integer: {text[:40]!r}")
    return int(text)


def write_recipe(recipe: Recipe) -> str:
    """Write ``kind=mix size=256 wide=0.5``; words start with a letter, so numbers need no mark."""
    return " ".join(f"{key}={value}" for key, value in recipe.items())


def read_recipe(text: str) -> Recipe:
    """Read what `write_recipe` wrote; raises `BadMessage`."""
    recipe: Recipe = {}
    for item in text.split(" ") if text else ():
        key, equals, value = item.partition("=")
        if equals != "=" or value == "" or key in recipe:
            raise BadMessage(f"bad recipe {text[:80]!r}")
        try:
            if value[0].isalpha():
                recipe[key] = value
            else:
                recipe[key] = int(value) if _INTEGER.fullmatch(value) else float(value)
        except ValueError:
            raise BadMessage(f"bad recipe value {value[:40]!r}") from None
    return recipe


def validate(message: Message) -> None:
    """Raise `BadMessage` for a message that no receiver could use; the content, not the context."""
    if not isinstance(message, Message):
        raise BadMessage(f"not a message: {type(message).__name__}")
    _check_int("round", message.round, MAX_ROUND)
    if isinstance(message, ProbTable | GaussTable):
        _validate_table(message)
    elif isinstance(message, Parameters):
        if message.part not in PARTS:
            raise BadMessage(f"unknown part {message.part!r}")
        _check_int("steps", message.steps, 2**53)
        check_floats("values", message.values, (None,))
        validate_parts(message, PARAMETERS_PARTS, 0)
    elif isinstance(message, Transitions):
        for name, array in message.arrays.items():
            if not _ARRAY_NAME.fullmatch(name):
                raise BadMessage(f"bad array name {name[:40]!r}")
            if array.dtype.kind not in "fiub":
                raise BadMessage(f"array {name!r} has dtype {array.dtype}")
            check_floats(name, array, None)
    else:
        _validate_proxy_update(message)


def _validate_table(table: AnyTable) -> None:
    if table.coding not in CODINGS:
        raise BadMessage(f"unknown coding {table.coding!r}")
    if isinstance(table, GaussTable):
        rows = len(table.moments)
        check_moments(table.moments)
    else:
        rows = len(table.probs)
        check_simplex(table.probs)
    _check_version(table.version)
    validate_parts(table, TABLE_PARTS, rows)


def _validate_proxy_update(update: ProxyUpdate) -> None:
    _check_version(update.version)
    for key, value in update.recipe.items():
        if not _RECIPE_WORD.fullmatch(key):
            raise BadMessage(f"bad recipe key {key[:40]!r}")
        if type(value) is str:
            if not _RECIPE_WORD.fullmatch(value):
                raise BadMessage(f"bad recipe value {value[:40]!r}")
        elif type(value) is not int and not (type(value) is float and np.isfinite(value)):
            raise BadMessage(f"recipe value {value!r} is not a finite number or word")
    if update.cells is not None:
        check_cells("cells", update.cells)
    if update.states is not None:
        check_states(update.states, None)


def check_simplex(probs: Array) -> None:
    """Raise `BadMessage` unless probs [n, A >= 2] has finite, nonnegative rows that sum to 1."""
    if probs.ndim != 2:
        raise BadMessage(f"probs must be [n, A], got {list(probs.shape)}")
    if probs.shape[1] < 2:
        raise BadMessage(f"probs need at least 2 actions, got {probs.shape[1]}")
    if probs.dtype.kind != "f":
        raise BadMessage(f"probs must be floats, got {probs.dtype}")
    if not all_finite(probs):
        raise BadMessage("probs contain NaN or infinity")
    for part in blocks(*probs.shape):
        rows = probs[part]
        off = np.abs(rows.sum(1, dtype=np.float64) - 1) > SIMPLEX_TOLERANCE
        off |= rows.min(1, initial=1.0) < 0
        if off.any():
            raise BadMessage(f"row {part.start + int(off.argmax())} of probs is off the simplex")


def check_moments(moments: Array) -> None:
    """Raise `BadMessage` unless moments [n, 2D] are finite, with standard deviations above 0."""
    if moments.ndim != 2 or moments.shape[1] < 2 or moments.shape[1] % 2:
        raise BadMessage(f"moments must be [n, 2D], got {list(moments.shape)}")
    if moments.dtype.kind != "f":
        raise BadMessage(f"moments must be floats, got {moments.dtype}")
    if not all_finite(moments):
        raise BadMessage("moments contain NaN or infinity")
    for part in blocks(*moments.shape):
        low = moments[part, moments.shape[1] // 2 :].min(1, initial=np.inf) <= 0
        if low.any():
            row = part.start + int(low.argmax())
            raise BadMessage(f"row {row} of moments has a standard deviation that is not positive")


def _check_version(version: str) -> None:
    if version != "" and not (isinstance(version, str) and VERSION.fullmatch(version)):
        raise BadMessage(f"bad version {version!r:.80}")


def _check_int(name: str, value: int, below: int) -> None:
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not whole or not 0 <= value < below:
        raise BadMessage(f"{name} must be a nonnegative integer, got {value!r}")
