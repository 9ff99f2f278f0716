"""Messages as bytes: encoding, decoding, and the checks that every message must pass."""

from fdrl.wire.checks import (
    Expected,
    check_parameters,
    check_parts,
    check_proxy_update,
    check_table,
    check_transitions,
)
from fdrl.wire.codec import decode, encode

__all__ = [
    "Expected",
    "check_parameters",
    "check_parts",
    "check_proxy_update",
    "check_table",
    "check_transitions",
    "decode",
    "encode",
]
