"""The command `fdrl theory`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from messages import says

from fdrl import cli
from fdrl.cli.theory import read_command
from fdrl.theory import figures
from fdrl.theory import write as write_module

Capture = pytest.CaptureFixture[str]
TINY = ["--samples", "6", "--inputs", "3", "--widths", "8", "32", "--seeds", "2", "--steps", "20"]


def error_of(capsys: Capture, *argv: str) -> str:
    """Run the command, which must fail; return its one line."""
    assert cli.main(["theory", *argv]) == 2
    out = capsys.readouterr()
    assert out.err.count("\n") == 1
    assert out.out == ""
    return out.err


def test_it_prints_tables_and_statements_and_writes_files(
    capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    monkeypatch.setattr(write_module, "FIGURES", {"error": figures.FIGURES["error"]})
    assert cli.main(["theory", *TINY, "--out", str(out)]) == 0
    text = capsys.readouterr().out
    assert "periodic CD" in text
    assert "CD, unequal kernels" in text
    # twenty steps are too few for the first statement: a finding, and no error
    says(text, "DID NOT HOLD", "imperfect teacher")
    says(text, "HELD", "closed forms")
    assert f"{out}: results.json" in text
    assert (out / "error.png").read_bytes().startswith(b"\x89PNG")


def test_no_weight_says_nothing_of_the_floor(
    capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(write_module, "FIGURES", {})  # drawing takes longer than the experiment
    assert cli.main(["theory", *TINY, "--weight", "0", "--out", str(tmp_path)]) == 0
    assert "SAYS NOTHING HERE: KD" in capsys.readouterr().out


def test_flags_win_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "my.toml"
    file.write_text("weight = 2.0\nwidths = [16, 32]\nteacher_error = 0.5\nsamples = 9\n")
    argv = [str(file), "--weight", "3", "--widths", "1e3", "64", "--teacher_error=0.25"]
    made = read_command(argv)
    assert (made.weight, made.widths, made.teacher_error) == (3.0, (64, 1000), 0.25)
    assert made.samples == 9
    assert read_command(["--widths", "8,16"]).widths == (8, 16)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--widths", "0", "8"], "got 0 (at --widths[0])"),
        (["--widths", "8", "-8"], "got -8 (at --widths[1])"),
        (["--widths", "8", "x"], "no file 'x'"),
        (["--widths", "8", "9.5"], "--widths needs a whole number"),
        (["--widths"], "--widths needs one or more whole numbers"),
        (["--weight", "-1"], "got -1.0 (at --weight)"),
        (["--weight", "much"], "--weight takes a number such as 0.001, not 'much'"),
        (["--workers", "1"], "needs at least 2 workers, got 1"),
        (["--period", "0"], "got 0 (at --period)"),
        (["--lr", "50"], "unstable at this learning rate, got 50; co-distillation needs less"),
        (["--wieght", "1"], "unknown flag '--wieght'; did you mean '--weight'"),
        (["headline"], "no file 'headline'"),
        (["none.toml"], "cannot read the config none.toml"),
    ],
)
def test_mistakes_are_one_line(
    argv: list[str], message: str, capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert message in error_of(capsys, *argv)


def test_a_broken_file_and_a_folder_that_cannot_be(capsys: Capture, tmp_path: Path) -> None:
    file = tmp_path / "cut.toml"
    file.write_text("widths = [8, ")
    says(error_of(capsys, str(file)), file, "TOML")
    file.write_text("width = [8, 16]")
    says(error_of(capsys, str(file)), "'width'", nearest="widths")
    says(error_of(capsys, *TINY, "--out", f"{file}/x"), f"{file}/x")


def test_theory_imports_neither_torch_nor_scipy(tmp_path: Path) -> None:
    code = f"""
import sys
import fdrl.theory, fdrl.cli
assert not [m for m in ("numpy", "torch", "scipy", "matplotlib") if m in sys.modules]
from fdrl.theory import figures
for name in ("error", "limit", "energy"):  # one figure imports what all do
    del figures.FIGURES[name]
assert fdrl.cli.main(["theory", *{TINY!r}]) == 0
print([m for m in ("torch", "scipy") if m in sys.modules])
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"
    assert done.stderr == ""
