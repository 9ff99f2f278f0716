"""Files in a folder that a stranger sent: links and pipes cost nothing outside of it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from fake_federation import FakeFederation
from messages import fails

from fdrl.config.run import make_run
from fdrl.core import files
from fdrl.core.errors import FdrlError
from fdrl.core.files import make_folder, open_file, read_file, remove, sweep, write_atomic
from fdrl.core.records import Summary
from fdrl.runs.folder import RunFolder, read_records
from fdrl.runs.train import train

RUN = make_run(agents=2, steps=256, checkpoint_every=1)
PRECIOUS = b"precious\n" * 1000


@pytest.fixture(params=[True, False], ids=["dir_fd", "without"])
def _system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both kinds of system: names looked up in open folders, and by path."""
    monkeypatch.setattr(files, "_RELATIVE", request.param)
    if not request.param:
        monkeypatch.setattr(files, "_NOFOLLOW", 0)


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    outside = tmp_path / "victim"
    outside.mkdir()
    (outside / "file").write_bytes(PRECIOUS)
    return outside


def content(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def _summary() -> Summary:
    federation = FakeFederation(RUN)
    federation.round()
    return federation.summary()


WRITTEN = [".lock", "config.toml", "metrics.jsonl", "summary.json", "curves.png", "tensorboard"]


@pytest.mark.usefixtures("_system")
@pytest.mark.parametrize("name", WRITTEN)
def test_a_link_in_a_run_folder_is_named_before_anything_is_written(
    name: str, tmp_path: Path, victim: Path
) -> None:
    run = tmp_path / "run"
    RunFolder.create(run, RUN).close()
    kept = (run / "config.toml").read_bytes()
    (run / name).unlink(missing_ok=True)
    (victim / "file").write_bytes(kept if name == "config.toml" else PRECIOUS)
    (run / name).symlink_to("../victim/file")
    before = content(victim)
    with fails(FdrlError, run / name, "symbolic link"):
        RunFolder.resume(run, RUN)
    assert content(victim) == before
    # nor does one that leads nowhere make a file there
    (run / name).unlink()
    (run / "config.toml").write_bytes(kept)
    if name != "config.toml":
        (run / name).symlink_to("../victim/new")
        with fails(FdrlError, run / name, "symbolic link"):
            RunFolder.resume(run, RUN)
    assert content(victim).keys() == before.keys()


@pytest.mark.usefixtures("_system")
def test_a_folder_of_checkpoints_elsewhere_loses_none(tmp_path: Path, victim: Path) -> None:
    run = tmp_path / "run"
    train(RUN, out=victim / "other", federation=FakeFederation, curves=False)
    train(RUN, out=run, federation=FakeFederation, curves=False)
    for path in (run / "checkpoints").iterdir():
        path.unlink()
    (run / "summary.json").unlink()
    (run / "checkpoints").rmdir()
    (run / "checkpoints").symlink_to(victim / "other" / "checkpoints")
    before = content(victim)
    with fails(FdrlError, run / "checkpoints", "symbolic link"):
        train(RUN, out=run, resume=True, federation=FakeFederation)
    assert content(victim) == before


@pytest.mark.usefixtures("_system")
def test_a_link_that_is_planted_during_the_run_is_not_followed(
    tmp_path: Path, victim: Path
) -> None:
    run = tmp_path / "run"
    with RunFolder.create(run, RUN) as folder:
        (run / "checkpoints").symlink_to(victim)
        (run / "summary.json").symlink_to(victim / "file")
        with fails(FdrlError, run / "checkpoints", "symbolic link"):
            folder.checkpoint(1, {}, 0.0)
        with fails(FdrlError, run / "summary.json", "symbolic link"):
            folder.finish(_summary())
    assert content(victim) == {"file": PRECIOUS}


@pytest.mark.usefixtures("_system")
@pytest.mark.parametrize(
    "write",
    [
        lambda path, root: write_atomic(path, b"new", root),
        lambda path, root: os.close(open_file(path, os.O_RDWR | os.O_CREAT, root)),
        lambda path, root: make_folder(path, root),
        lambda path, root: remove(path / "file", root),
    ],
    ids=["write", "open", "make", "remove"],
)
def test_no_component_below_the_root_may_be_a_link(
    write: Callable[[Path, Path], None], tmp_path: Path, victim: Path
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "video").symlink_to(victim)
    link = tmp_path / "run" / "video"
    with fails(FdrlError, link, "symbolic link"):
        write(link / "deep", tmp_path / "run")
    with fails(FdrlError, link, "symbolic link"):
        write(link, tmp_path / "run")
    assert content(victim) == {"file": PRECIOUS}


@pytest.mark.usefixtures("_system")
def test_the_run_folder_itself_may_be_reached_by_a_link(tmp_path: Path) -> None:
    (tmp_path / "scratch").mkdir()
    (tmp_path / "runs").symlink_to("scratch")
    train(RUN, out=tmp_path / "runs" / "a", federation=FakeFederation, curves=False)
    assert len(read_records(tmp_path / "scratch" / "a")) == 4


def test_a_planted_temporary_file_is_neither_followed_nor_in_the_way(
    tmp_path: Path, victim: Path
) -> None:
    for name in (".x.json.tmp", ".fdrl-0000000000000000.tmp"):
        (tmp_path / name).symlink_to(victim / "file")
    write_atomic(tmp_path / "x.json", b"new", tmp_path)
    assert (tmp_path / "x.json").read_bytes() == b"new"
    sweep(tmp_path, tmp_path)
    assert sorted(os.listdir(tmp_path)) == [".x.json.tmp", "victim", "x.json"]
    assert content(victim) == {"file": PRECIOUS}


def test_a_log_with_two_names_is_cut_under_one_of_them(tmp_path: Path) -> None:
    train(RUN, out=tmp_path / "a", federation=FakeFederation, curves=False)
    log, other = tmp_path / "a" / "metrics.jsonl", tmp_path / "backup.jsonl"
    other.hardlink_to(log)
    whole = log.read_bytes()
    newest = sorted((tmp_path / "a" / "checkpoints").iterdir())[-1]
    for path in (newest, tmp_path / "a" / "summary.json"):
        path.unlink()
    RunFolder.resume(tmp_path / "a", RUN)[0].close()
    assert (len(read_records(tmp_path / "a")), other.read_bytes()) == (3, whole)


@pytest.mark.usefixtures("_system")
def test_a_pipe_or_a_device_is_refused_instead_of_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zeros").symlink_to("/dev/zero")
    with fails(FdrlError, tmp_path / "pipe", "pipe"):
        read_file(tmp_path / "pipe")
    with fails(FdrlError, tmp_path / "zeros", "device"):
        read_file(tmp_path / "zeros")
    with fails(FdrlError, tmp_path / "pipe", "pipe"):
        open_file(tmp_path / "pipe", os.O_RDWR, tmp_path)
    with fails(FdrlError, tmp_path / "pipe", "pipe"):
        write_atomic(tmp_path / "pipe", b"", tmp_path)


def test_parents_of_a_new_folder_are_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    if not Path("/proc/self/fd").is_dir():
        pytest.skip("descriptors have no names here")
    make_folder(tmp_path / "a" / "b")
    make_folder(tmp_path / "a" / "b" / "c" / "d", tmp_path / "a" / "b")
    assert synced == [str(tmp_path / p) for p in ("", "a", "a/b", "a/b/c")]
    synced.clear()
    make_folder(tmp_path / "a" / "b" / "c" / "d", tmp_path / "a" / "b")
    assert synced == []


def test_a_run_folder_that_was_deleted_is_not_made_again(tmp_path: Path) -> None:
    with RunFolder.create(tmp_path / "a", RUN) as folder:
        shutil.rmtree(tmp_path / "a")
        with fails(FdrlError, tmp_path / "a" / "checkpoints", "No such file"):
            folder.checkpoint(1, {}, 0.0)
    assert not (tmp_path / "a").exists()


def test_what_stands_where_a_folder_should_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with fails(FdrlError, tmp_path / "file", "no folder"):
        make_folder(tmp_path / "file" / "run")
