"""Whether a run's summary follows from its log, and both from themselves."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

from fdrl.records import RoundRecord, Summary


def check_totals(summary: Summary, records: Sequence[RoundRecord]) -> Iterator[str]:
    """Yield where a summary does not follow from the log, or either from itself."""
    last = records[-1]
    logged = {
        "rounds": last.round,
        "env_steps": max(last.env_steps),
        "bytes_up": last.bytes_up,
        "bytes_down": last.bytes_down,
        "sim_seconds": last.sim_seconds,
        "exchanges": sum(r.exchanged for r in records),
        "completed": last.completed,
    }
    yield from unequal(summary, logged, "metrics.jsonl")
    yield from _check_returns(summary)
    yield from _check_rising(records)
    yield from _check_means(records)


def unequal(summary: Summary, expected: dict[str, Any], source: str) -> Iterator[str]:
    """Yield the fields of a summary that are not as expected."""
    for name, value in expected.items():
        have = getattr(summary, name)
        same = have == value
        if isinstance(have, float) and isinstance(value, int | float):
            same = (math.isnan(have) and math.isnan(value)) or _close(have, value)
        if not same:
            yield f"summary.json: {name} is {have}, but {source} says {value}"


def _close(a: float, b: float) -> bool:
    return math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-9)


def _check_returns(summary: Summary) -> Iterator[str]:
    """Yield what is wrong with the agents' final returns, or with what follows from them."""
    own = summary.returns
    if len(own) != summary.agents:
        yield f"summary.json: returns of {len(own)} agents, but there are {summary.agents}"
    unknown = [k for k, value in enumerate(own) if not math.isfinite(value)]
    if unknown:
        yield f"summary.json: the return of agent {unknown[0]} is no finite number"
    if own and not unknown:
        derived = {
            "return_mean": math.fsum(own) / len(own),
            "return_worst": min(own),
            "return_spread": statistics.pstdev(own),
        }
        yield from unequal(summary, derived, "its own returns")


def _check_rising(records: Sequence[RoundRecord]) -> Iterator[str]:
    """Yield what counts from the beginning of the run, and yet goes down: its first round."""
    for name in ("env_steps", "episodes", "bytes_up", "bytes_down", "sim_seconds"):
        for before, after in pairwise(records):
            old, new = getattr(before, name), getattr(after, name)
            pairs = zip(old, new, strict=False) if isinstance(old, list) else [(old, new)]
            if any(b < a for a, b in pairs):
                yield f"metrics.jsonl: {name} goes down in round {after.round}"
                break


def _check_means(records: Sequence[RoundRecord]) -> Iterator[str]:
    """Yield the first round whose return_mean is not the mean of the agents' latest returns."""
    latest: dict[int, float] = {}
    episodes = [0] * len(records[0].episodes)
    for r in records:
        for k, value in enumerate(r.returns):
            if value is not None and math.isfinite(value):
                latest[k] = value
            elif k < len(episodes) and k < len(r.episodes) and r.episodes[k] > episodes[k]:
                latest.pop(k, None)  # episodes ended, but their return is no number
        episodes = r.episodes
        if r.return_mean is None or not math.isfinite(r.return_mean) or not latest:
            continue
        mean = math.fsum(latest.values()) / len(latest)
        if not _close(r.return_mean, mean):
            text = f"return_mean of round {r.round} is {r.return_mean}, but its returns say {mean}"
            yield f"metrics.jsonl: {text}"
            return
