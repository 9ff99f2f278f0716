"""The run folder: what is written, that it is whole, and what damaged or foreign folders say."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from fake_federation import FakeFederation
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from messages import fails, says

from fdrl.config.run import Run, digest, make_run
from fdrl.core import files
from fdrl.core.errors import FdrlError, Notice
from fdrl.core.records import RoundRecord
from fdrl.runs import checkpoint as checkpoint_module
from fdrl.runs.checkpoint import (
    Checkpoint,
    DamagedCheckpoint,
    checkpoint_path,
    load_checkpoint,
    save_checkpoint,
)
from fdrl.runs.folder import (
    RunFolder,
    check_free,
    latest_checkpoint,
    new_path,
    own_checkpoint,
    read_records,
    read_run,
    read_summary,
)

RUN = make_run(agents=2, steps=256)
ARRAYS = hnp.arrays(
    dtype=st.sampled_from(["<f4", "<f8", "<i8", "<u8", "|b1", "|u1", "<f2"]),
    shape=hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3),
)


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """No waiting for the disk."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


def record(number: int, **fields: Any) -> RoundRecord:
    return RoundRecord(
        round=number, env_steps=[4, 4], episodes=[1, 0], returns=[1.5, None], return_mean=1.5,
        bytes_up=8.0, bytes_down=2.0, exchanged=True, **fields,
    )  # fmt: skip


@settings(deadline=None)
@given(state=st.dictionaries(st.text("ab.0", min_size=1, max_size=6), ARRAYS, max_size=4))
def test_checkpoint_keeps_every_bit(
    state: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("c") / "checkpoints" / "round-000001.safetensors"
    save_checkpoint(path, Checkpoint(7, state, "abc", 123, 0.1))
    back = load_checkpoint(path)
    assert (back.round, back.config, back.metrics_bytes, back.wall_seconds) == (7, "abc", 123, 0.1)
    assert back.state.keys() == state.keys()
    for name, value in state.items():
        assert back.state[name].dtype == value.dtype
        assert back.state[name].shape == value.shape
        assert back.state[name].tobytes() == value.tobytes()


def some_checkpoint(folder: Path, **fields: Any) -> Path:
    path = checkpoint_path(folder, 1)
    save_checkpoint(path, Checkpoint(1, {"x": np.arange(9.0)}, "abc", 0, 0.0, **fields), folder)
    return path


@pytest.mark.parametrize("size", [0, 4, 60, -1])
def test_a_truncated_checkpoint_is_damaged(tmp_path: Path, size: int) -> None:
    path = some_checkpoint(tmp_path)
    path.write_bytes(path.read_bytes()[:size])
    with fails(DamagedCheckpoint, path):
        load_checkpoint(path)


def test_every_flipped_bit_of_a_checkpoint_is_noticed(tmp_path: Path) -> None:
    path = some_checkpoint(tmp_path, metrics_sha256="0" * 64)
    data = path.read_bytes()
    assert load_checkpoint(path).metrics_sha256 == "0" * 64
    for bit in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(DamagedCheckpoint):
            checkpoint_module.decoded(bytes(flipped), path)


def format_1(folder: Path, **fields: str) -> Path:
    """Write a checkpoint as fdrl 0.1 did."""
    from safetensors.numpy import save

    state = {"x": np.arange(9.0)}
    metadata = {
        "format": "1", "round": "1", "config": digest(RUN), "metrics_bytes": "0",
        "wall_seconds": "0.5", "sha256": checkpoint_module.state_hash(state),
    }  # fmt: skip
    path = checkpoint_path(folder, 1)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(save(state, metadata | fields))
    return path


def test_checkpoints_of_format_1_are_read_as_before(tmp_path: Path) -> None:
    back = load_checkpoint(path := format_1(tmp_path))
    assert (back.round, back.config, back.metrics_bytes) == (1, digest(RUN), 0)
    assert (back.wall_seconds, back.metrics_sha256) == (0.5, "")
    assert back.state["x"].tolist() == list(range(9))
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)
    with fails(DamagedCheckpoint, path, "checksum"):
        load_checkpoint(path)


def test_another_format_names_who_made_it_and_who_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint_module, "FORMAT", "3")
    monkeypatch.setattr(checkpoint_module, "_version", lambda: "9.9")
    path = some_checkpoint(tmp_path)
    monkeypatch.undo()
    with fails(FdrlError, path, "format 3", "fdrl 9.9", "formats 1 and 2") as caught:
        load_checkpoint(path)
    assert not isinstance(caught.value, DamagedCheckpoint)
    assert "delete" not in str(caught.value)
    # Another version may have a checksum of another kind; but a flipped bit is no other version.
    data = some_checkpoint(tmp_path).read_bytes()
    for number, error in (("7", FdrlError), ("3", DamagedCheckpoint)):
        path.write_bytes(data.replace(b'"format":"2"', f'"format":"{number}"'.encode()))
        with pytest.raises(FdrlError) as caught:
            load_checkpoint(path)
        assert caught.type is error


def test_write_atomic_leaves_the_old_file_when_the_disk_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.json"
    files.write_atomic(path, b"old")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with fails(FdrlError, path, "No space left on device"):
        files.write_atomic(path, b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["x.json"]


def test_a_new_folder_holds_the_config_without_its_own_name(tmp_path: Path) -> None:
    run = msgspec.structs.replace(RUN, out=str(tmp_path / "a"))
    with RunFolder.create(tmp_path / "a", run):
        pass
    kept = read_run(tmp_path / "a")
    assert kept.out == ""
    assert msgspec.structs.replace(kept, out=run.out) == run
    assert read_records(tmp_path / "a") == []
    assert read_summary(tmp_path / "a") is None
    assert latest_checkpoint(tmp_path / "a") is None


def test_records_come_back_and_two_checkpoints_stay(tmp_path: Path) -> None:
    with RunFolder.create(tmp_path / "a", RUN) as folder:
        for number in range(1, 5):
            folder.log(record(number))
            folder.checkpoint(number, {"n": np.array(number)}, 0.5)
    assert read_records(tmp_path / "a") == [record(n) for n in range(1, 5)]
    names = sorted(os.listdir(tmp_path / "a" / "checkpoints"))
    assert names == ["round-000003.safetensors", "round-000004.safetensors"]
    newest = latest_checkpoint(tmp_path / "a")
    assert newest is not None
    assert newest.round == 4
    assert newest.metrics_bytes == (tmp_path / "a" / "metrics.jsonl").stat().st_size


def test_whoever_only_reads_is_told_of_a_damaged_checkpoint_and_changes_nothing(
    tmp_path: Path,
) -> None:
    with RunFolder.create(tmp_path / "a", RUN) as folder:
        for number in (1, 2):
            folder.log(record(number))
            newest = folder.checkpoint(number, {"n": np.array(number)}, 0.5)
    os.truncate(newest, 20)
    with pytest.warns(Notice) as said:
        kept = own_checkpoint(tmp_path / "a", RUN)
    says(said[0].message, newest, "damaged", "round 1")
    assert kept is not None
    assert kept.round == 1
    assert newest.stat().st_size == 20


def test_a_damaged_checkpoint_is_put_aside_by_the_one_who_goes_on(tmp_path: Path) -> None:
    with RunFolder.create(tmp_path / "a", RUN) as folder:
        for number in (1, 2):
            folder.log(record(number))
            newest = folder.checkpoint(number, {"n": np.array(number)}, 0.5)
    os.truncate(newest, 20)
    with pytest.warns(Notice, match="damaged"):
        folder, checkpoint = RunFolder.resume(tmp_path / "a", RUN)
    with folder:
        assert checkpoint is not None
        assert (checkpoint.round, len(read_records(tmp_path / "a"))) == (1, 1)
        folder.log(record(2))
        folder.checkpoint(2, {"n": np.array(2)}, 0.5)
    names = sorted(os.listdir(tmp_path / "a" / "checkpoints"))
    assert names == [
        f"round-00000{n}.safetensors{e}" for n, e in ((1, ""), (2, ""), (2, ".damaged"))
    ]


def test_nan_survives_json(tmp_path: Path) -> None:
    run_folder = RunFolder.create(tmp_path / "a", RUN)
    federation = FakeFederation(RUN)
    federation.round()
    run_folder.log(record(1, metrics={"train/loss": float("nan"), "train/x": 2.0}))
    run_folder.finish(federation.summary())
    run_folder.close()
    (back,) = read_records(tmp_path / "a")
    assert np.isnan(back.metrics["train/loss"])
    assert back.metrics["train/x"] == 2.0
    assert back.returns == [1.5, None]
    summary = read_summary(tmp_path / "a")
    assert summary is not None
    assert np.isnan(summary.return_held_out)


def test_resume_cuts_the_log_back_to_the_checkpoint(tmp_path: Path) -> None:
    with RunFolder.create(tmp_path / "a", RUN) as folder:
        folder.log(record(1))
        folder.checkpoint(1, {"n": np.array(1)}, 0.5)
        folder.log(record(2))
    with (tmp_path / "a" / "metrics.jsonl").open("ab") as log:
        log.write(b'{"round": 3, "half a line')
    assert len(read_records(tmp_path / "a")) == 2
    folder, checkpoint = RunFolder.resume(tmp_path / "a", RUN)
    with folder:
        assert checkpoint is not None
        folder.log(record(2))
    assert read_records(tmp_path / "a") == [record(1), record(2)]


def test_a_log_shorter_than_the_checkpoint_says_is_an_error(tmp_path: Path) -> None:
    with RunFolder.create(tmp_path / "a", RUN) as folder:
        folder.log(record(1))
        folder.checkpoint(1, {"n": np.array(1)}, 0.5)
    os.truncate(tmp_path / "a" / "metrics.jsonl", 10)
    with fails(FdrlError, "metrics.jsonl", 10):
        RunFolder.resume(tmp_path / "a", RUN)
    assert (tmp_path / "a" / "metrics.jsonl").stat().st_size == 10


def test_two_writers_cannot_have_one_run(tmp_path: Path) -> None:
    with (
        RunFolder.create(tmp_path / "a", RUN),
        fails(FdrlError, "another process", tmp_path / "a"),
    ):
        RunFolder.resume(tmp_path / "a", RUN)
    RunFolder.resume(tmp_path / "a", RUN)[0].close()


def test_a_foreign_config_names_the_fields_that_differ(tmp_path: Path) -> None:
    RunFolder.create(tmp_path / "a", RUN).close()
    other = make_run(agents=2, steps=300, strategy={"type": "fd", "beta": 2.0}, threads=2)
    with fails(FdrlError, "steps, strategy.beta"):
        RunFolder.resume(tmp_path / "a", other)
    local = msgspec.structs.replace(RUN, threads=2, checkpoint_every=1)
    RunFolder.resume(tmp_path / "a", local)[0].close()


def test_a_checkpoint_of_another_config_is_refused(tmp_path: Path) -> None:
    with RunFolder.create(tmp_path / "a", RUN) as folder:
        saved = Checkpoint(1, {"n": np.array(1)}, "0" * 16, 0, 0.0)
        save_checkpoint(checkpoint_path(folder.path, 1), saved)
    with fails(FdrlError, "round-000001.safetensors", "config"):
        RunFolder.resume(tmp_path / "a", RUN)


def test_what_is_no_run_folder_says_why(tmp_path: Path) -> None:
    with fails(FdrlError, tmp_path / "nothing", "run folder"):
        read_run(tmp_path / "nothing")
    with fails(FdrlError, tmp_path, "config.toml"):
        RunFolder.resume(tmp_path, RUN)


def test_only_an_absent_or_empty_folder_is_free(tmp_path: Path) -> None:
    check_free(tmp_path / "absent")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / ".lock").touch()
    check_free(tmp_path / "empty")
    (tmp_path / "empty" / "notes.txt").touch()
    with fails(FdrlError, tmp_path / "empty", "empty"):
        check_free(tmp_path / "empty")
    with fails(FdrlError, tmp_path / "empty" / "notes.txt", "file"):
        check_free(tmp_path / "empty" / "notes.txt")
    RunFolder.create(tmp_path / "run", RUN).close()
    # a run that never got to a checkpoint lost nothing
    other = make_run(seed=5)
    with RunFolder.create(tmp_path / "run", other) as folder:
        assert read_run(tmp_path / "run").seed == 5
        with fails(FdrlError, "another process", tmp_path / "run"):
            RunFolder.create(tmp_path / "run", RUN)
        folder.checkpoint(1, {"a": np.zeros(1)}, 0.0)
    with fails(FdrlError, tmp_path / "run", "resume=True"):
        RunFolder.create(tmp_path / "run", RUN)


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with fails(FdrlError, tmp_path / "file" / "run"):
        RunFolder.create(tmp_path / "file" / "run", RUN)


def test_a_full_disk_leaves_no_half_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with RunFolder.create(tmp_path / "a", RUN) as folder:
        folder.log(record(1))
        real = os.write

        def half(descriptor: int, data: bytes) -> int:
            if len(data) < 50:
                raise OSError(errno.ENOSPC, "No space left on device")
            return real(descriptor, data[: len(data) // 2])

        monkeypatch.setattr(os, "write", half)
        with fails(FdrlError, "metrics.jsonl", "No space left on device"):
            folder.log(record(2))
        monkeypatch.undo()
        assert read_records(tmp_path / "a") == [record(1)]
        assert (tmp_path / "a" / "metrics.jsonl").read_bytes().endswith(b"}\n")


def test_a_log_that_is_no_log_names_the_line(tmp_path: Path) -> None:
    RunFolder.create(tmp_path / "a", RUN).close()
    (tmp_path / "a" / "metrics.jsonl").write_text('{"round": 1}\n')
    with fails(FdrlError, "metrics.jsonl", "line 1"):
        read_records(tmp_path / "a")
    (tmp_path / "a" / "summary.json").write_text("[]")
    with fails(FdrlError, "summary.json"):
        read_summary(tmp_path / "a")


def test_new_path_counts_up_and_makes_names_safe(tmp_path: Path) -> None:
    run: Run = msgspec.structs.replace(RUN, env="my_package:MyEnv-v0", seed=4)
    assert new_path(run, tmp_path) == tmp_path / "my_package-MyEnv-v0-fdv-4"
    (tmp_path / "my_package-MyEnv-v0-fdv-4").mkdir()
    assert new_path(run, tmp_path) == tmp_path / "my_package-MyEnv-v0-fdv-4-2"
