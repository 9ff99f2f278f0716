"""Every code block of the README and of the documentation is run, at most capped in its steps."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path

import pytest
from newcomer import Machine
from snippets import Snippet, pages, snippets

from fdrl import cli
from fdrl.bench.suite import parse_suite
from fdrl.cli.train import read_command
from fdrl.config.run import parse

EVERY = [s for page in pages() for s in snippets(page)]
WITH_COMMANDS = sorted({s.page for s in EVERY if s.language == "bash"})
CAP = 2048
"""Environment steps that a training command of a page may take here."""


def where(snippet: Snippet) -> str:
    return f"{snippet.page}:{snippet.line}"


def commands(text: str) -> list[list[str]]:
    """Return the commands of a block as words, comments aside; ``a; b`` are two."""
    lines = [line for line in text.splitlines() if line.strip()]
    words = [shlex.split(line.replace("; ", " ; "), comments=True) for line in lines]
    out: list[list[str]] = []
    for line in words:
        part: list[str] = []
        for word in [*line, ";"]:
            if word != ";":
                part.append(word)
            elif part:
                out.append(part)
                part = []
    return out


def test_there_are_snippets() -> None:
    assert len(EVERY) > 30
    assert {s.language for s in EVERY} == {"bash", "python", "toml"}


@pytest.mark.parametrize("snippet", [s for s in EVERY if s.language == "toml"], ids=where)
def test_toml_is_a_config_or_a_suite(snippet: Snippet) -> None:
    tables = tomllib.loads(snippet.text)
    if "methods" in tables:
        assert parse_suite(tables, snippet.page).methods
    else:
        assert parse(tables).env


@pytest.mark.slow
@pytest.mark.parametrize("snippet", [s for s in EVERY if s.language == "python"], ids=where)
def test_python_runs(snippet: Snippet, tmp_path: Path) -> None:
    if "skip" in snippet.words:
        pytest.skip("marked so")
    (tmp_path / "snippet.py").write_text(shortened(snippet.text))
    Machine(tmp_path).python("snippet.py")


def shortened(text: str) -> str:
    """Return Python that trains for fewer steps."""
    return re.sub(r"steps=([\d_]+)", lambda m: f"steps={min(int(m[1]), CAP)}", text)


@pytest.mark.parametrize("snippet", [s for s in EVERY if s.language == "bash"], ids=where)
def test_commands_exist_and_their_flags_are_known(
    snippet: Snippet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in {s.file for s in EVERY if s.page == snippet.page and s.file}:
        (text,) = [s.text for s in EVERY if s.page == snippet.page and s.file == name]
        (tmp_path / name).write_text(text)
    (tmp_path / "configs").symlink_to(Path(__file__).resolve().parent.parent / "configs")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))  # as the command does with its folder
    for words in commands(snippet.text):
        if words[0] != "fdrl":
            continue
        assert words[1] in cli.VERBS, words
        # where pip is, an earlier block writes and installs the project that is trained
        if words[1] == "train" and "--resume" not in words and "pip" not in snippet.words:
            read_command(words[2:])


@pytest.mark.slow
@pytest.mark.parametrize("page", WITH_COMMANDS)
def test_the_commands_of_a_page_run_one_after_another(page: str, tmp_path: Path) -> None:
    machine, place = Machine(tmp_path), tmp_path
    (tmp_path / "configs").symlink_to(Path(__file__).resolve().parent.parent / "configs")
    for snippet in [s for s in EVERY if s.page == page]:
        if {"skip", "ci"} & set(snippet.words):
            continue
        if snippet.file:
            (tmp_path / snippet.file).write_text(snippet.text)
        for words in commands(snippet.text) if snippet.language == "bash" else []:
            if words[0] == "cd":
                place = tmp_path / words[1]
            elif words[:2] == ["pip", "install"]:
                machine.install(place)
            elif words[:3] == ["python", "-m", "pytest"]:
                continue  # the projects' own tests are run elsewhere
            else:
                run(machine, words, place)
        place = tmp_path


def run(machine: Machine, words: list[str], place: Path) -> None:
    """Run ``fdrl ...`` or ``python ...``, trainings with fewer steps."""
    assert words[0] == "fdrl", words
    verb, rest = words[1], words[2:]
    if verb == "train" and "--resume" not in rest:
        if "--steps" not in rest:
            rest = [*rest, "--steps", str(CAP)]
        at = rest.index("--steps") + 1
        rest[at] = str(min(int(rest[at]), CAP))
        rest = [*rest, "--quiet", "--evaluation.episodes", "1"]
    machine.fdrl(verb, *rest, cwd=place)
