"""Inner tables of a config that say a part: the rest is as the outer table has it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec


def filled(table: Mapping[str, Any], cls: type[msgspec.Struct]) -> dict[str, Any]:
    """Return a table in which what inner tables leave out is as `cls` has it.

    Otherwise it would be as the inner table's class has it: of a strategy that distills at 2e-3,
    ``distill = { steps = 64 }`` would change the learning rate too. What is given `instead` of
    another setting (see `fdrl.distill.DistillSettings`) leaves that one as the inner class has it.
    Inner tables of another ``type`` than usual are left alone.
    """
    out = dict(table)
    for field in msgspec.structs.fields(cls):
        given = out.get(field.encode_name)
        if isinstance(given, Mapping) and isinstance(field.default, msgspec.Struct):
            usual = msgspec.to_builtins(field.default)
            for name, other in getattr(field.default, "instead", {}).items():
                if name in given:
                    del usual[other]
            if given.get("type", usual.get("type")) == usual.get("type"):
                out[field.encode_name] = {**usual, **given}
    return out
