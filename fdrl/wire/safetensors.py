"""The safetensors layout, written and read byte by byte with nothing wasted and nothing trusted.

    8 bytes   header length, little endian
    JSON      {"__metadata__": {str: str}, name: {"dtype", "shape", "data_offsets"}, ...}
    buffers   one after another, in the header's order, without gaps

`safetensors.numpy.load` opens what `pack` wrote.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from fdrl.core.arrays import Array
from fdrl.core.errors import BadMessage

LIMIT = 2**28
"""Bytes of the largest message that is read, unless told otherwise."""
HEADER_LIMIT = 2**16
MARKS = 2**11
"""Brackets, quotes and commas of a header; an array needs 21. A text of little else takes twenty
times its size once it is read."""
DTYPES: dict[str, np.dtype[Any]] = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "I64": np.dtype("<i8"),
    "I32": np.dtype("<i4"),
    "U8": np.dtype("u1"),
    "BOOL": np.dtype("?"),
}
_NAMES = {dtype: name for name, dtype in DTYPES.items()}


def require(ok: bool | np.bool_, reason: str) -> None:
    """Raise `BadMessage` with the reason unless `ok`."""
    if not ok:
        raise BadMessage(reason)


def pack(metadata: Mapping[str, str], tensors: Mapping[str, Array]) -> bytes:
    """Write metadata and tensors; a dtype that is not in `DTYPES` raises `BadMessage`."""
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    buffers = []
    end = 0
    for name, tensor in tensors.items():
        code = _NAMES.get(tensor.dtype.newbyteorder("<"))
        if code is None:
            known = ", ".join(str(dtype) for dtype in _NAMES)
            raise BadMessage(f"array {name!r} is {tensor.dtype}, which does not travel: {known} do")
        data = tensor.astype(DTYPES[code], order="C", copy=False).tobytes()
        begin, end = end, end + len(data)
        header[name] = {"dtype": code, "shape": list(tensor.shape), "data_offsets": [begin, end]}
        buffers.append(data)
    text = json.dumps(header, separators=(",", ":")).encode()
    return b"".join([len(text).to_bytes(8, "little"), text, *buffers])


def unpack(data: bytes, limit: int = LIMIT) -> tuple[dict[str, str], dict[str, Array]]:
    """Read what `pack` wrote; anything else raises `BadMessage` before memory is taken for it."""
    if len(data) > limit:
        raise BadMessage(f"message of {len(data)} bytes is over the limit of {limit}")
    if len(data) < 10:
        raise BadMessage(f"message of {len(data)} bytes is too short")
    size = int.from_bytes(data[:8], "little")
    if size > min(len(data) - 8, HEADER_LIMIT):
        raise BadMessage(f"header length {size} is wrong")
    header = _parse(data[8 : 8 + size])
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict):
        raise BadMessage("metadata is not an object")
    if not all(isinstance(v, str) for v in metadata.values()):
        raise BadMessage("metadata must be strings")
    body = memoryview(data)[8 + size :]
    tensors: dict[str, Array] = {}
    end = 0
    for name, entry in header.items():
        tensors[name], end = _tensor(name[:40], entry, body, end)
    if end != len(body):
        raise BadMessage(f"{len(body) - end} trailing bytes")
    return metadata, tensors


def _parse(text: bytes) -> dict[str, Any]:
    marks = sum(map(text.count, (b"[", b"{", b'"', b",")))
    if marks > MARKS:
        raise BadMessage(f"header is not JSON that describes arrays: {marks} brackets and commas")
    try:
        header = json.loads(text.decode("utf-8"), object_pairs_hook=_no_duplicates)
    except (ValueError, RecursionError) as error:
        raise BadMessage(f"header is not JSON: {error}") from None
    if not isinstance(header, dict):
        raise BadMessage("header is not an object")
    return header


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        raise BadMessage("header has duplicate keys")
    return table


def _integers(value: Any) -> bool:
    return isinstance(value, list) and all(type(v) is int and v >= 0 for v in value)


def _tensor(name: str, entry: Any, body: memoryview, start: int) -> tuple[Array, int]:
    """Return one tensor and where it ends; it must start where the last one ended."""
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise BadMessage(f"tensor {name!r} is not described by dtype, shape and data_offsets")
    dtype = DTYPES.get(entry["dtype"]) if isinstance(entry["dtype"], str) else None
    if dtype is None:
        raise BadMessage(f"tensor {name!r} has unknown dtype {str(entry['dtype'])[:40]!r}")
    shape, offsets = entry["shape"], entry["data_offsets"]
    if not _integers(shape) or len(shape) > 8:
        raise BadMessage(f"tensor {name!r} has a bad shape")
    if not _integers(offsets) or len(offsets) != 2:
        raise BadMessage(f"tensor {name!r} has bad offsets")
    begin, end = offsets
    if begin != start:
        raise BadMessage(f"tensor {name!r} starts at {begin}, not at {start}")
    if end > len(body):
        raise BadMessage(f"tensor {name!r} ends at {end} of {len(body)} bytes")
    # max(d, 1): zero elements with astronomic other dimensions are refused, too.
    if math.prod(max(d, 1) for d in shape) > 2**40:
        raise BadMessage(f"tensor {name!r} has a bad shape")
    size = math.prod(shape) * dtype.itemsize
    if end - begin != size:
        raise BadMessage(f"tensor {name!r} has {end - begin} bytes instead of {size}")
    # Bytes stay where they are (and cannot be written to); numbers must be aligned.
    raw = np.asarray(body[begin:end], dtype=np.uint8)
    if dtype.kind == "b" and raw.max(initial=0) > 1:
        raise BadMessage(f"tensor {name!r} is not boolean")
    if dtype.itemsize > 1:
        raw = raw.copy()
    return raw.view(dtype).reshape(shape).astype(dtype.newbyteorder("="), copy=False), end
