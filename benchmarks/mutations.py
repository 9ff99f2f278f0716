"""Damaged and hostile messages, as many as you like: what do they raise, take, and how long?

    python benchmarks/mutations.py                  # a million, of all kinds
    python benchmarks/mutations.py --count 20000 --seed 3

Messages of every kind are changed: bits flipped, ends cut off or added, two of them spliced,
headers edited, numbers made extreme, shapes and offsets enormous. Each is decoded and, if that
succeeds, checked as a receiver would. Only `BadMessage` may be raised. Reading may take 8 times a
message's size, and `CONSTANT` bytes besides, for what does not depend on it: a header as Python
objects, and a block of numbers. The exit code is 1 if anything else happened.
"""

from __future__ import annotations

import argparse
import json
import time
import tracemalloc
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from fdrl.core.errors import BadMessage
from fdrl.core.message import (
    GaussTable,
    Message,
    Parameters,
    ProbTable,
    ProxyUpdate,
    Transitions,
)
from fdrl.wire.checks import (
    Expected,
    check_parameters,
    check_proxy_update,
    check_table,
    check_transitions,
)
from fdrl.wire.codec import decode, encode
from fdrl.wire.parts import (
    CellRows,
    MissingSeeds,
    NextSet,
    OptimizerState,
    Score,
    SeedSamples,
    Seen,
    StateRows,
    Values,
    Visits,
)

RATIO, CONSTANT = 8, 2**18
"""Bytes that reading may take: for each byte of the message, and besides."""
LARGE = 2**17
"""Bytes from which on a message is large: the constant hardly counts."""
Generator = np.random.Generator


def corpus(rng: Generator) -> list[bytes]:
    """Return messages of all kinds, with all parts, in all codings, small ones and large ones."""
    found: list[Message] = []
    for n in (3, 40, 60_000):
        cells = np.cumsum(rng.integers(1, 300, n))
        probs = rng.dirichlet(np.ones(3), n).astype(np.float32)
        moments = np.concatenate([rng.normal(size=(n, 2)), rng.random((n, 2)) + 0.1], 1)
        alike = np.concatenate([moments[:, :2], np.ones((n, 2))], 1)
        numbers = rng.normal(size=n).astype(np.float32)
        for coding in ("float32", "float16", "uint8"):
            visits = Visits(rng.integers(0, 5, n).astype(np.float32))
            found += [
                ProbTable(1, probs, coding, version="1a2b3c4d", parts=(visits, Score(12.5))),
                ProbTable(1, probs, coding, parts=(CellRows(cells), Values(numbers))),
                GaussTable(1, moments, coding, parts=(Values(numbers), NextSet(cells, "ab"))),
                GaussTable(1, alike, coding, version="1a2b3c4d", parts=(visits,)),
            ]
        seen = Seen(cells, rng.integers(0, 9, n).astype(np.float32))
        pixels = rng.integers(0, 256, (n, 2, 2)).astype(np.float32)
        labels = rng.integers(0, 3, (n, 2)).astype(np.uint8)
        found += [
            ProbTable(1, probs, "uint8", parts=(StateRows(pixels), seen)),
            ProbTable(1, probs[:3], "float32", parts=(SeedSamples(pixels.astype("u1"), labels),)),
            Parameters(1, numbers, "all", 64, parts=(Score(-3.0), OptimizerState(numbers**2))),
            Parameters(1, numbers, "policy", parts=(MissingSeeds(cells), NextSet(cells, "ab"))),
            Transitions(1, _transitions(rng, n)),
            ProxyUpdate(0, "1a2b3c4d", {"kind": "mix", "size": n, "wide": 0.5}, cells=cells),
            ProxyUpdate(0, "1a2b3c4d", {"kind": "file"}, states=pixels[:, 0] + 0.5),
        ]
    return [encode(message) for message in found]


def _transitions(rng: Generator, n: int) -> dict[str, np.ndarray]:
    return {
        "observations": rng.normal(size=(n, 1, 2)).astype(np.float32),
        "actions": rng.integers(0, 3, (n, 1)),
        "rewards": rng.normal(size=(n, 1)).astype(np.float32),
        "terminated": rng.random((n, 1)) < 0.1,
        "truncated": rng.random((n, 1)) < 0.1,
        "next_observations": rng.normal(size=(n, 1, 2)).astype(np.float32),
    }


# ---- Changes: each takes a message and another one, and returns neither ----


def flip(data: bytes, other: bytes, rng: Generator) -> bytes:
    """Flip one to eight bits, half of the time in the header."""
    out, end = bytearray(data), len(data) if rng.random() < 0.5 else _body(data)
    for at in rng.integers(0, end, int(rng.integers(1, 9))).tolist():
        out[at] ^= 1 << int(rng.integers(8))
    return bytes(out)


def cut(data: bytes, other: bytes, rng: Generator) -> bytes:
    """Leave out the end."""
    return data[: int(rng.integers(0, len(data)))]


def extend(data: bytes, other: bytes, rng: Generator) -> bytes:
    """Add bytes at the end."""
    return data + rng.bytes(int(rng.integers(1, 64)))


def splice(data: bytes, other: bytes, rng: Generator) -> bytes:
    """Go on with another message, at any place or after the header."""
    if rng.random() < 0.5:
        return data[: _body(data)] + other[_body(other) :]
    return data[: int(rng.integers(0, len(data)))] + other[int(rng.integers(0, len(other))) :]


def edit(data: bytes, other: bytes, rng: Generator) -> bytes:
    """Change a word or number of the header, and keep the lengths right."""
    head, body = data[8 : _body(data)], data[_body(data) :]
    edits = [
        (b"F32", b"F16"), (b"U8", b"BOOL"), (b"F32", b"I32"), (b"F16", b"U8"), (b"[", b"[-"),
        (b"]", b",0]"), (b'":"', b'":"9'), (b'"p"', b'"g"'), (b'"w"', b'"t"'), (b"{", b"[["),
        (b",", b",1e9,"), (b'"', b"\\u0000"), (b"1", b"999999999999999999999"), (b"0", b"null"),
        (b'"v"', b'"v":"x","v"'), (b"}", b',"z":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}'),
    ]  # fmt: skip
    old, new = edits[int(rng.integers(len(edits)))]
    places = head.count(old)
    if places:
        before = head.split(old)
        at = int(rng.integers(places))
        head = old.join(before[: at + 1]) + new + old.join(before[at + 1 :])
    return len(head).to_bytes(8, "little") + head + body


def extreme(data: bytes, other: bytes, rng: Generator) -> bytes:
    """Overwrite numbers with the largest, the smallest, infinity, NaN, or all bits set."""
    out, start = bytearray(data), _body(data)
    values = np.array([np.inf, -np.inf, np.nan, 3.4e38, -3.4e38, 1e-45, -0.0, 65504], "<f4")
    for _ in range(int(rng.integers(1, 5))):
        if start + 4 < len(out):
            at = start + int(rng.integers(0, (len(out) - start) // 4)) * 4
            word = values[int(rng.integers(len(values)))].tobytes()
            out[at : at + 4] = word if rng.random() < 0.8 else b"\xff" * 4
    return bytes(out[: len(data)])


def enormous(data: bytes, other: bytes, rng: Generator) -> bytes:
    """Claim an enormous shape, offset, or header, or send a header of little but brackets."""
    size = int(2 ** rng.integers(8, 63))
    which = int(rng.integers(4))
    if which == 0:
        return size.to_bytes(8, "little") + data[8:]
    if which == 1:
        junk = rng.choice([b"{},", b"[],", b'"",', b"0,", b'"a":[],']) * int(rng.integers(1, 4000))
        return len(junk).to_bytes(8, "little") + junk
    try:
        header = json.loads(data[8 : _body(data)])
    except ValueError:
        return data
    names = [name for name in header if name != "__metadata__"]
    entry = header[names[int(rng.integers(len(names)))]]
    if which == 2:
        entry["shape"] = [size, *entry["shape"][1:]]
    else:
        entry["shape"], entry["data_offsets"] = [size], [0, size]
    head = json.dumps(header, separators=(",", ":")).encode()
    return len(head).to_bytes(8, "little") + head + data[_body(data) :]


def _body(data: bytes) -> int:
    """Return where a message's arrays begin."""
    return min(len(data), 8 + int.from_bytes(data[:8], "little"))


CHANGES: tuple[Callable[[bytes, bytes, Generator], bytes], ...] = (
    flip, cut, extend, splice, edit, extreme, enormous,
)  # fmt: skip


# ---- What became of them ----


def check(message: Message) -> None:
    """Check a message as the receiver of a round would."""
    visits, cells = (
        Visits.asked(most=200, optional=True),
        CellRows.asked(below=10**6, optional=True),
    )
    asked = (
        visits, cells, Score.asked(optional=True), Values.asked(optional=True),
        StateRows.asked(shape=(2, 2), optional=True), NextSet.asked(below=10**6, optional=True),
        Seen.asked(below=10**6, most=500, most_visits=500, optional=True),
        SeedSamples.asked(shape=(2, 2), most=50, mixed=2, below=3, optional=True),
    )  # fmt: skip
    if isinstance(message, ProbTable | GaussTable):
        gaussian = isinstance(message, GaussTable)
        check_table(message, Expected(1, 2 if gaussian else 3, gaussian, parts=asked))
    elif isinstance(message, Parameters):
        squares = (len(message.values) // 2, len(message.values))
        parts = (
            OptimizerState.asked(squares=squares, optional=True), MissingSeeds.asked(optional=True),
            Score.asked(optional=True), NextSet.asked(optional=True),
        )  # fmt: skip
        check_parameters(message, round=1, parts=parts)
    elif isinstance(message, Transitions):
        check_transitions(
            message, round=1, observation_shape=(2,), n_actions=3, copies=1, most_steps=10**5
        )
    else:
        check_proxy_update(message, round=0)


@dataclass
class Outcome:
    """What became of `count` messages; `seconds` are of all, CPU seconds of the slowest one."""

    count: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    """Accepted, refused, or the name of an exception that is not documented."""
    seconds: float = 0.0
    slowest: float = 0.0
    beyond: int = 0
    """Bytes taken beyond `RATIO` times the size, at the most."""
    ratio: float = 0.0
    """Bytes taken for each byte of a message of at least `LARGE` bytes, at the most."""

    @property
    def undocumented(self) -> dict[str, int]:
        """Exceptions that are no `BadMessage`."""
        return {k: n for k, n in self.kinds.items() if k not in ("accepted", "refused")}

    @property
    def ok(self) -> bool:
        """Whether all messages were read as they should be."""
        return not self.undocumented and self.beyond <= CONSTANT


def read(data: bytes) -> str:
    """Decode and check a message; return what became of it."""
    try:
        check(decode(data))
    except BadMessage:
        return "refused"
    except Exception as error:
        return f"{type(error).__name__}: {error}"[:200]
    return "accepted"


def mutate(count: int, seed: int = 0) -> Outcome:
    """Read `count` changed messages; a large one is every 500th."""
    rng = np.random.default_rng(seed)
    messages = corpus(rng)
    small = [m for m in messages if len(m) < 10_000]
    large = [m for m in messages if len(m) >= 10_000]
    out, start = Outcome(), time.perf_counter()
    tracing = tracemalloc.is_tracing()
    tracemalloc.start()
    for i in range(count):
        pool = large if i % 500 == 0 else small
        data = pool[int(rng.integers(len(pool)))]
        other = pool[int(rng.integers(len(pool)))]
        data = CHANGES[int(rng.integers(len(CHANGES)))](data, other, rng)
        tracemalloc.reset_peak()
        before, began = tracemalloc.get_traced_memory()[0], time.thread_time()
        out.kinds[read(data)] += 1
        out.slowest = max(out.slowest, time.thread_time() - began)
        taken = tracemalloc.get_traced_memory()[1] - before
        out.beyond = max(out.beyond, taken - RATIO * len(data))
        if len(data) >= LARGE:
            out.ratio = max(out.ratio, taken / len(data))
    if not tracing:
        tracemalloc.stop()
    out.count, out.seconds = count, time.perf_counter() - start
    return out


def main() -> int:
    """Print what became of them; return 1 if anything undocumented happened."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--count", type=int, default=1_000_000, help="messages")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    out = mutate(options.count, options.seed)
    print(
        f"{out.count:,} messages in {out.seconds:,.0f} s, {out.count / out.seconds:,.0f} a second"
    )
    print(f"accepted {out.kinds['accepted']:,}, refused {out.kinds['refused']:,}")
    print(f"undocumented exceptions: {out.undocumented or 'none'}")
    print(f"memory: at most {out.ratio:.2f} times the size of messages of {LARGE:,} bytes or more,")
    print(f"at most {max(0, out.beyond):,} bytes beyond {RATIO} times the size of any")
    print(f"CPU time of the slowest message: {out.slowest * 1e3:.1f} ms")
    return 0 if out.ok else 1


if __name__ == "__main__":
    raise SystemExit(main())
