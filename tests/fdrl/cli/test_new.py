"""`fdrl new`: whole projects or nothing, and names that packages can have."""

from __future__ import annotations

import ast
import io
import json
import re
import tokenize
import tomllib
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from messages import fails, says
from newcomer import Machine

from fdrl import cli
from fdrl.cli import new
from fdrl.cli.new import KINDS
from fdrl.config.run import parse
from fdrl.core.errors import FdrlError

KINDS_PROJECT = sorted(new.KINDS)


@pytest.mark.parametrize("kind", KINDS_PROJECT)
def test_a_project_has_all_that_it_needs(kind: str, tmp_path: Path) -> None:
    folder = new.write(kind, "sea_lion", tmp_path)
    assert folder == tmp_path / "sea_lion"
    made = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    wanted = ["pyproject.toml", "README.md", "train.toml", "sea_lion/__init__.py"]
    assert made >= {*wanted, "tests/test_sea_lion.py", ".gitignore"}
    assert [p.name for p in tmp_path.iterdir()] == ["sea_lion"]  # no draft is left behind
    for path in folder.rglob("*"):
        if path.is_file():
            text = path.read_text()
            assert "{{" not in text, path
            assert not re.search(r"\bNAME\b", text), path
            if path.suffix == ".py":
                ast.parse(text)
                assert max(map(len, text.splitlines())) <= 100, path
    installs = tomllib.loads((folder / "pyproject.toml").read_text())
    assert installs["project"]["name"] == "sea_lion"
    assert installs["project"]["entry-points"]["fdrl.plugins"] == {"sea_lion": "sea_lion:register"}


NO_CODE = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT}


def code_lines(text: str) -> int:
    """Count the lines of Python that are not blank, not comments and not docstrings."""
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in NO_CODE and token.string:
            lines |= set(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            lines -= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return len(lines)


def test_lines_of_code_are_counted() -> None:
    text = (
        '"""Title.\n\nMore.\n"""\n\n# why\nx = [\n    1,\n]  # this\n\n\ndef f():\n    """Doc."""\n'
    )
    assert code_lines(text) == 4


@pytest.mark.parametrize(
    ("kind", "modules", "most"),
    [("strategy", ["strategy"], 60), ("agent", ["learner", "linear"], 150)],
)
def test_a_project_is_short(kind: str, modules: list[str], most: int) -> None:
    made = new.files(kind, "sea_lion")
    assert sum(code_lines(made[f"sea_lion/{m}.py"]) for m in modules) < most


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("my-env", "did you mean 'my_env'"),
        ("MyEnv", "did you mean 'my_env'"),
        ("my env", "did you mean 'my_env'"),
        ("../escape", "did you mean 'escape'"),
        ("a/b", "did you mean 'a_b'"),
        ("trailing_", "did you mean 'trailing'"),
        ("2fast", "letter"),
        ("", "letter"),
        ("väg", "did you mean 'v_g'"),
        ("class", "Python's own name; did you mean 'my_class'"),
        ("random", "Python's own name; did you mean 'my_random'"),
        ("fdrl", "installed already"),
        ("gymnasium", "installed already"),
    ],
)
def test_bad_names_are_refused_with_a_better_one(name: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(FdrlError, match=words):
        new.write("env", name, tmp_path)
    assert list(tmp_path.iterdir()) == []


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=12))
def test_a_name_is_a_package_or_an_error(name: str) -> None:
    with suppress(FdrlError):
        new.check_name(name)
        assert name.isidentifier()
        assert name == name.lower()


def test_what_exists_is_left_alone(tmp_path: Path) -> None:
    mine = tmp_path / "my_env"
    mine.mkdir()
    (mine / "notes.txt").write_text("keep")
    with fails(FdrlError, mine, "exists"):
        new.write("env", "my_env", tmp_path)
    assert [p.name for p in mine.iterdir()] == ["notes.txt"]
    (tmp_path / "other").write_text("a file")
    with fails(FdrlError, tmp_path / "other", "exists"):
        new.write("env", "other", tmp_path)


def test_no_folder_to_write_into(tmp_path: Path) -> None:
    with pytest.raises(FdrlError, match="no folder"):
        new.write("env", "my_env", tmp_path / "nowhere")


def test_a_full_disk_leaves_nothing_half_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_text, calls = Path.write_text, []

    def full(path: Path, *args: object, **kwargs: object) -> int:
        calls.append(path)
        if len(calls) == 3:
            raise OSError(28, "No space left on device")
        return write_text(path, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(Path, "write_text", full)
    with fails(FdrlError, tmp_path / "my_env", "No space left on device"):
        new.write("env", "my_env", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_environments_configs_are_valid(tmp_path: Path) -> None:
    made = new.files("env", "sea_lion")
    assert parse(tomllib.loads(made["train.toml"])).env == "SeaLion-v0"
    assert tomllib.loads(made["suite.toml"])["base"]["env"] == "SeaLion-v0"


def test_the_command_says_what_to_do_next(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["new", "env", "sea_lion", "--into", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "pip install -e ." in out
    assert "fdrl check SeaLion-v0" in out
    assert "sea_lion/world.py" in out


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["new", "envy", "x"], "unknown kind 'envy'; did you mean 'env'?"),
        (["new", "env"], "name the package: fdrl new env NAME"),
        (["new", "env", "a", "b"], "unexpected argument 'b'"),
    ],
)
def test_mistakes_on_the_command_line(
    argv: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(argv) == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["env", "agent", "strategy"])
def test_the_next_steps_work_in_a_fresh_environment(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A bare ``pytest`` may be another environment's, and an install of fdrl alone has none."""
    assert cli.main(["new", kind, "my_thing", "--into", str(tmp_path)]) == 0
    readme = (tmp_path / "my_thing" / "README.md").read_text()
    for text in (capsys.readouterr().out, readme):
        assert "pip install -e . pytest" in text
        assert "python -m pytest" in text


def test_a_name_of_a_project_that_is_not_installed_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["new", "env", "my_unseen", "--into", str(tmp_path)]) == 0
    monkeypatch.chdir(tmp_path / "my_unseen")
    for words in (["train", "train.toml"], ["train", "--strategy", "my_unseen"]):
        capsys.readouterr()
        assert cli.main(words) == 2
        told = capsys.readouterr().err
        assert told.endswith("the project in this folder is not installed yet: pip install -e .\n")


# ---- A newcomer's path: a new project, installed, checked, trained in and compared, fdrl
# untouched


SMALL = ["--agent.n_envs", "2", "--agent.n_steps", "64", "--agent.batch_size", "32"]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_new_project_passes_its_own_tests_at_once(kind: str, machine: Machine) -> None:
    machine.fdrl("new", kind, "sea_lion")
    said = machine.python("-m", "pytest", "-q", cwd=machine.home / "sea_lion")
    assert " passed" in said


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "verb"), [("agent", "agents"), ("strategy", "strategies")])
def test_a_new_learner_or_strategy_is_installed_and_trains(
    kind: str, verb: str, machine: Machine
) -> None:
    machine.fdrl("new", kind, "sea_lion")
    machine.install(machine.home / "sea_lion")
    elsewhere = machine.home / "elsewhere"
    elsewhere.mkdir()
    assert "sea_lion" in machine.fdrl(verb, "sea_lion", cwd=elsewhere)
    toml = str(machine.home / "sea_lion/train.toml")
    machine.fdrl("train", toml, "--steps", "512", "--out", "run", cwd=elsewhere)
    summary = json.loads((elsewhere / "run/summary.json").read_text())
    assert summary["bytes_up"] > 0


@pytest.mark.slow
def test_a_new_environment_is_installed_checked_and_trained_in(machine: Machine) -> None:
    machine.fdrl("new", "env", "sea_lion")
    project = machine.home / "sea_lion"
    machine.install(project)
    elsewhere = machine.home / "elsewhere"
    elsewhere.mkdir()
    assert "SeaLion-v0" in machine.fdrl("envs", cwd=elsewhere)
    said = machine.fdrl("check", "SeaLion-v0", cwd=elsewhere)
    says(said, "SeaLion-v0", "0 errors", "0 warnings")
    train = ["train", str(project / "train.toml"), "--steps", "512", "--out", "run", *SMALL]
    machine.fdrl(*train, cwd=elsewhere)
    summary = json.loads((elsewhere / "run/summary.json").read_text())
    assert summary["bytes_up"] > 0


@pytest.mark.slow
def test_a_new_environment_is_compared_with_a_suite(machine: Machine) -> None:
    machine.fdrl("new", "env", "sea_lion")
    project = machine.home / "sea_lion"
    machine.install(project)
    suite = project / "suite.toml"
    suite.write_text(
        suite.read_text().replace("4_096", "1_024").replace("agents = 4", "agents = 2")
    )
    machine.fdrl("bench", "suite.toml", cwd=project)
    assert len(list(project.glob("runs/sea_lion/**/summary.json"))) == 4
