"""Helpers: what two run folders must have in common to be of the same run."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np

from fdrl.config.run import Run, make_run
from fdrl.config.tables import read_tables
from fdrl.core.records import WALL_CLOCK
from fdrl.runs.checkpoint import checkpoint_files, load_checkpoint

PACE = ("wall_seconds", "steps_per_second")


def preset(name: str, **fields) -> Run:
    """Return a preset's run with some tables laid over it."""
    raw = {k: v for k, v in read_tables(name).items() if k not in fields}
    return make_run(**raw, **fields)


def seeded(run: Run, count: int) -> list[Run]:
    return [msgspec.structs.replace(run, seed=7 + 2 * i) for i in range(count)]


def records(folder: Path) -> list[dict]:
    lines = (folder / "metrics.jsonl").read_bytes().splitlines()
    return [{k: v for k, v in msgspec.json.decode(n).items() if k not in WALL_CLOCK} for n in lines]


def summary(folder: Path) -> dict:
    raw = msgspec.json.decode((folder / "summary.json").read_bytes())
    return {k: v for k, v in raw.items() if k not in PACE}


def assert_same_state(one: dict, two: dict) -> None:
    assert one.keys() == two.keys()
    for name in one:
        if name == "tally.seconds":
            continue
        assert one[name].dtype == two[name].dtype, name
        assert one[name].shape == two[name].shape, name
        np.testing.assert_array_equal(one[name], two[name], err_msg=name)


def assert_same_run(packed: Path, alone: Path) -> None:
    """Compare everything but clocks, to the bit."""
    assert records(packed) == records(alone)
    assert summary(packed) == summary(alone)
    one, two = checkpoint_files(packed), checkpoint_files(alone)
    assert [f.name for f in one] == [f.name for f in two]
    for a, b in zip(one, two, strict=True):
        assert_same_state(load_checkpoint(a).state, load_checkpoint(b).state)
