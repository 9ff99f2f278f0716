"""Finished runs as one file: what it holds, what it gives again, and what it refuses."""

from __future__ import annotations

import tarfile
from pathlib import Path

import msgspec
import pytest
from messages import fails, says
from run_folders import ROUNDS, write_many, write_run

from fdrl.cli import main
from fdrl.core.errors import FdrlError
from fdrl.report import collect
from fdrl.report.archive import write_archive
from fdrl.report.write import write


def unpack(archive: Path, folder: Path) -> Path:
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    return folder


def add_to_lines(log: Path, **more: object) -> None:
    rows = [msgspec.json.decode(line) | more for line in log.read_bytes().splitlines()]
    log.write_bytes(b"".join(msgspec.json.encode(row) + b"\n" for row in rows))


def test_an_unpacked_archive_gives_the_same_tables_and_curves(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = write_many(tmp_path / "runs", {"fd": [400 / 3, 410.7], "local": [300, 290]})
    command = ["report", str(runs), "--out", str(tmp_path / "a"), "--archive"]
    assert main([*command, str(tmp_path / "r.tar.xz")]) == 0
    assert f"{tmp_path / 'r.tar.xz'}: 4 runs in " in capsys.readouterr().out
    write([unpack(tmp_path / "r.tar.xz", tmp_path / "again")], tmp_path / "b")
    files = sorted(p.name for p in (tmp_path / "a" / "data").iterdir())
    assert "curves-steps.csv" in files
    for name in files:
        old, new = ((tmp_path / out / "data" / name).read_text() for out in "ab")
        assert old.replace(str(runs), "RUNS") == new.replace(f"{tmp_path}/again/runs", "RUNS"), name


def test_it_holds_finished_runs_alone_without_training_metrics_and_checkpoints(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = write_many(tmp_path / "runs", {"fd": [400]})
    write_run(runs / "open", seed=7, finished=False)
    write_run(runs / "torn", seed=8, rounds=ROUNDS - 1)
    (runs / "fd-0" / "checkpoints").mkdir()
    (runs / "fd-0" / "checkpoints" / "round-000020.safetensors").write_bytes(b"state")
    whole = (runs / "fd-0" / "metrics.jsonl").read_bytes()
    add_to_lines(runs / "fd-0" / "metrics.jsonl", metrics={"train/loss": 1.5}, seconds={"learn": 2})
    target = tmp_path / "a.tar.xz"
    command = ["report", str(runs), "--out", str(tmp_path / "page"), "--archive", str(target)]
    assert main(command) == 0
    said = capsys.readouterr().out.splitlines()[-1]
    says(said, target, "1 run", "1 kB", "2 unfinished")
    again = unpack(target, tmp_path / "again")
    names = sorted(str(p.relative_to(again)) for p in again.rglob("*") if p.is_file())
    assert names == [f"runs/fd-0/{n}" for n in ("config.toml", "metrics.jsonl", "summary.json")]
    rows = [msgspec.json.decode(r) for r in whole.splitlines()]
    kept = (again / "runs" / "fd-0" / "metrics.jsonl").read_bytes().splitlines()
    assert [msgspec.json.decode(r) for r in kept] == rows
    assert len(kept) == ROUNDS


def test_the_same_runs_give_the_same_bytes(tmp_path: Path) -> None:
    for part in "ab":
        write_many(tmp_path / part / "runs", {"fd": [400, 410]})
        assert write_archive([tmp_path / part / "runs"], tmp_path / f"{part}.tar.xz").runs == 2
    assert (tmp_path / "a.tar.xz").read_bytes() == (tmp_path / "b.tar.xz").read_bytes()


def test_places_may_stand_side_by_side_inside_each_other_or_be_named_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = write_run(tmp_path / "one")
    many = write_many(tmp_path / "many", {"fd": [1, 2]})
    (tmp_path / "link").symlink_to(many)
    places = [one, many, many / "fd-0", many / "fd-1" / "..", tmp_path / "link"]
    assert write_archive(places, tmp_path / "a.tar.xz").runs == 3
    again = unpack(tmp_path / "a.tar.xz", tmp_path / "again")
    found = sorted(p.parent.relative_to(again).as_posix() for p in again.rglob("summary.json"))
    assert found == ["many/fd-0", "many/fd-1", "one"]
    monkeypatch.chdir(many)
    assert write_archive(["."], tmp_path / "b.tar.xz").runs == 2
    assert (unpack(tmp_path / "b.tar.xz", tmp_path / "b") / "many" / "fd-1").is_dir()


def test_runs_of_a_suite_keep_its_folders_whatever_part_is_packed(tmp_path: Path) -> None:
    """Without ``bench.json`` above them, settings and methods would lose the suite's names."""
    suite = tmp_path / "suite"
    runs = [write_run(suite / "alike" / m / "seed-000", m) for m in ("fd", "local")]
    (suite / "bench.json").write_text('{"suite": "suite"}')
    (suite / "tuned.toml").write_text("values = 1")
    write_archive([suite], tmp_path / "whole.tar.xz")
    write_archive(runs, tmp_path / "runs.tar.xz")
    assert (tmp_path / "whole.tar.xz").read_bytes() == (tmp_path / "runs.tar.xz").read_bytes()
    again = unpack(tmp_path / "runs.tar.xz", tmp_path / "again") / "suite"
    assert (again / "tuned.toml").read_text() == "values = 1"
    assert collect.read(again / "alike" / "fd" / "seed-000").given == ("alike", "fd")


def test_what_cannot_be_archived_is_one_line_and_leaves_no_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = write_many(tmp_path / "runs", {"fd": [400]})
    page = tmp_path / "page"
    for name in ("x.zip", ""):
        assert main(["report", str(runs), "--out", str(page), "--archive", name]) == 2
        says(capsys.readouterr().err, f"'{name}'", ".tar.xz")
        assert not page.exists()
    target = tmp_path / "a.tar.xz"
    with fails(FdrlError, "runs/fd-0/config.toml"):
        write_archive([runs, write_many(tmp_path / "b" / "runs", {"fd": [1]})], target)
    with fails(FdrlError, tmp_path / "open"):
        write_archive([write_run(tmp_path / "open", finished=False)], target)
    with pytest.raises(FdrlError, match="cannot write"):
        write_archive([runs], tmp_path / "nowhere" / "a.tar.xz")
    (runs / "tuning.json").write_text("{}")
    with fails(FdrlError, "runs", "tuning runs"):
        write_archive([runs / "fd-0"], target)
    assert not target.exists()
