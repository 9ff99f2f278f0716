"""A run that is killed before, in or after any operation on any file resumes to the bit.

So does one whose power went: of what it wrote there is only what was synced.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from fake_federation import STEPS, FakeFederation
from kill_points import Content, Moment, Recorder, restore
from run_folders import what_it_says

from fdrl.config.run import Run, make_run
from fdrl.federation.loop import Federation
from fdrl.runs.checkpoint import DamagedCheckpoint, checkpoint_files, decoded, load_checkpoint
from fdrl.runs.train import train

Build = Callable[..., Any]
FAKE = make_run(agents=2, steps=4 * STEPS, checkpoint_every=1)
PPO = {"type": "ppo", "n_envs": 2, "n_steps": 16, "hidden": [8], "n_epochs": 1}
METHODS: dict[str, dict[str, Any]] = {
    "fd": {"proxy": {"type": "mix", "size": 8, "refresh": 2}},
    "frd": {},
    "fdv": {"proxy": {"type": "rollout", "size": 8}},
    "fedavg": {},
    "pooled": {},
    "pd": {},
}


def real(strategy: str, rounds: int, every: int) -> Run:
    return make_run(
        agents=2, steps=rounds * 32, strategy=strategy, agent=PPO, checkpoint_every=every,
        evaluation={"episodes": 1}, **METHODS[strategy],
    )  # fmt: skip


def continued(run: Run, folder: Path, build: Build) -> tuple[Any, ...]:
    """Train to the end what a folder holds, and return what it then says."""
    train(run, out=folder, resume=(folder / "config.toml").exists(), federation=build, curves=False)
    return what_it_says(folder)


def recorded(
    run: Run, place: Path, build: Build, start: Content | None = None
) -> tuple[list[Moment], tuple[Any, ...]]:
    """Return all moments of a sitting that goes to the end, and what the run then says.

    It begins with `start`, what another one left, or with nothing.
    """
    restore(start or {}, place)
    recorder = Recorder(place)
    with recorder.listening():
        ended = continued(run, place / "a", build)
    return recorder.moments, ended


def left(moments: list[Moment]) -> Iterator[tuple[str, Content]]:
    """Return what each moment leaves, with its name; killed, and after a power cut."""
    for m in moments:
        yield f"killed {m.when} {m.operation}", m.killed
        yield f"power lost {m.when} {m.operation}", m.unsynced


def survives(
    run: Run, place: Path, build: Build, points: list[tuple[str, Content]], ended: tuple[Any, ...]
) -> int:
    """Assert that what is left at each point goes on to the same end; return the points.

    Points that leave the same files are one to whoever resumes, and tried once.
    """
    known: dict[int, str] = {}
    for number, (name, content) in enumerate(points):
        key = hash(frozenset(content.items()))
        if key in known:
            continue
        known[key] = name
        restore(content, place / str(number))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "fsync", lambda descriptor: None)  # which takes most of the time
            assert continued(run, place / str(number) / "a", build) == ended, name
    return len(points)


def test_a_run_may_be_killed_at_any_operation(tmp_path: Path) -> None:
    moments, ended = recorded(FAKE, tmp_path / "whole", FakeFederation)
    points = list(left(moments))
    done = {m.operation.split()[0] for m in moments}
    assert done == {"mkdir", "open", "write", "fsync", "ftruncate", "replace", "unlink"}
    assert survives(FAKE, tmp_path / "again", FakeFederation, points, ended) > 200


def test_a_resumed_run_may_be_killed_at_any_operation(tmp_path: Path) -> None:
    run = msgspec.structs.replace(FAKE, checkpoint_every=2)
    first, ended = recorded(run, tmp_path / "whole", FakeFederation)
    halfway = [m for m in first if m.when == "in" and m.operation.startswith("write .fdrl-")][2]
    moments, again = recorded(run, tmp_path / "second", FakeFederation, halfway.killed)
    assert again == ended
    assert survives(run, tmp_path / "again", FakeFederation, list(left(moments)), ended) > 60


def test_a_real_run_may_be_killed_at_an_operation(tmp_path: Path) -> None:
    moments, ended = recorded(real("fd", 3, 1), tmp_path / "whole", Federation)
    points = random.Random(0).sample(list(left(moments)), 12)
    survives(real("fd", 3, 1), tmp_path / "again", Federation, points, ended)


@pytest.mark.slow
def test_a_thousand_points_of_all_kinds_of_runs(tmp_path: Path) -> None:
    draw, points = random.Random(1), 0
    for sitting, strategy in enumerate(METHODS):
        run = real(strategy, draw.randint(3, 4), draw.randint(1, 2))
        place = tmp_path / strategy
        moments, ended = recorded(run, place / "whole", Federation)
        points += survives(run, place / "again", Federation, list(left(moments)), ended)
        # The one that picks it up is killed as well.
        then = draw.choice(moments).killed if sitting % 2 else draw.choice(moments).unsynced
        moments, again = recorded(run, place / "second", Federation, then)
        assert again == ended
        points += survives(run, place / "third", Federation, list(left(moments)), ended)
    assert points >= 1000


@pytest.mark.slow
def test_every_bit_of_a_real_checkpoints_header_is_checked(tmp_path: Path) -> None:
    run = real("fd", 3, 1)
    train(run, out=tmp_path / "a", curves=False)
    older, newest = checkpoint_files(tmp_path / "a")
    data = newest.read_bytes()
    header = 8 * (8 + int.from_bytes(data[:8], "little"))
    draw = random.Random(0)
    bits = [*range(header), *(draw.randrange(header, 8 * len(data)) for _ in range(2000))]
    for bit in bits:
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(DamagedCheckpoint):
            decoded(bytes(flipped), newest)
    assert load_checkpoint(older).round == 2
