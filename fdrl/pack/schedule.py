"""Which calls of a pack's members run when, and which of them together."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

from fdrl.pack.members import Call, Collapsed, Member
from fdrl.pack.stack import Stack, kind


def batches(members: Iterable[Member]) -> list[list[Member]]:
    """Return the members whose calls can be one, together; in a fixed order."""
    found: dict[object, list[Member]] = {}
    for member in members:
        call = _call(member)
        found.setdefault((id(call.view.stack), call.method, kind(call)), []).append(member)
    return list(found.values())


def choose(waiting: Sequence[Member]) -> list[Member]:
    """Return whose calls are due.

    What takes little time goes first, so that its callers can join those who learn; then learning,
    cohort by cohort, so that members that are behind catch up; evaluations come last, so that as
    many as possible share one.
    """
    for member in waiting:
        call = _call(member)
        if call.method == "refuse":
            raise call.given["reason"]
    quick = [m for m in waiting if _call(m).method not in ("learn", "evaluate")]
    if quick:
        return quick
    learning = [m for m in waiting if _call(m).method == "learn"]
    if learning:
        first = min(_call(m).view.group for m in learning)
        return [m for m in learning if _call(m).view.group == first]
    return list(waiting)


def serve(waiting: Sequence[Member]) -> list[Member]:
    """Run the calls that are due; return the members that can go on, in order."""
    served: list[Member] = []
    for batch in _compatible(batches(choose(waiting))):
        start = time.perf_counter()
        calls = [_call(m) for m in batch]
        stack, method = calls[0].view.stack, calls[0].method
        through = _run(stack, method, calls)
        share = (time.perf_counter() - start) / len(batch)
        for member in batch:
            member.clock.charge(method, share)
        served += [m for m, c in zip(batch, calls, strict=True) if c in through]
    return sorted(served, key=lambda m: m.number)


def _compatible(found: list[list[Member]]) -> list[list[Member]]:
    """Leave out learning of another kind than what is under way in the same stack."""
    begun = {
        id(_call(m).view.stack): kind(_call(m)) for batch in found for m in batch if _call(m).begun
    }
    out = []
    for batch in found:
        call = _call(batch[0])
        busy = begun.get(id(call.view.stack))
        if call.method != "learn" or busy is None or busy == kind(call):
            out.append(batch)
    return out


def _run(stack: Stack, method: str, calls: list[Call]) -> list[Call]:
    """Run calls as one; whose fault an error is cannot be told, so it ends the pack."""
    try:
        return stack.serve(method, calls)
    except Exception as error:
        raise Collapsed(f"{type(error).__name__}: {error}") from error


def _call(member: Member) -> Call:
    assert member.call is not None
    return member.call
