"""What a user typed means the place where it was typed; what lies there hides nothing installed."""

from __future__ import annotations

import importlib
import importlib.util
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import Any

import pytest
from messages import fails, says

from fdrl import cli
from fdrl.core.errors import FdrlError
from fdrl.core.paths import Behind, absolute, look_in, looked_in, meant, started

Capture = pytest.CaptureFixture[str]
SMALL = ["--agents", "2", "--steps", "64", "--agent.n_envs", "2", "--agent.n_steps", "32"]
SMALL += ["--agent.hidden", "8", "--evaluation.episodes", "1", "--quiet"]
WANDERER = """
import os
import gymnasium
from gymnasium.envs.classic_control import CartPoleEnv
class Wanderer(CartPoleEnv):
    def __init__(self):
        super().__init__()
        os.chdir(os.environ["WANDERS_TO"])
gymnasium.register("Wanderer-v0", entry_point=Wanderer, max_episode_steps=20)
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder to be in, and the search for modules as it was before."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", list(sys.path))
    others = [finder for finder in sys.meta_path if not isinstance(finder, Behind)]
    monkeypatch.setattr(sys, "meta_path", others)
    yield folder
    for name in ("wanderer", "bakery_of_tests", "own_of_tests"):
        sys.modules.pop(name, None)


def test_a_path_means_the_place_where_it_was_typed(here: Path) -> None:
    (here / "away").mkdir()
    with started() as start:
        assert start == str(here)
        assert meant("runs/a") == Path("runs/a")
        os.chdir("away")
        with started() as inner:  # what is called inside belongs to the same command
            assert inner == start
        assert absolute("runs/a") == meant("runs/a") == here / "runs/a"
        assert absolute(here / "b") == here / "b"
    assert absolute("runs/a") == here / "away/runs/a"


def test_a_run_lies_where_the_command_said_although_the_world_moves(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    away = here.parent / "away"
    away.mkdir()
    (here / "wanderer.py").write_text(WANDERER)
    monkeypatch.setenv("WANDERS_TO", str(away))
    words = ["train", "--env", "wanderer:Wanderer-v0", "--out", "runs/a", *SMALL]
    assert cli.main(words) == 0
    says(capsys.readouterr().out, "in runs/a")
    assert Path.cwd() == away
    assert (here / "runs/a/summary.json").is_file()
    os.chdir(here)
    assert cli.main(["eval", "runs/a", "--episodes", "1"]) == 0
    os.chdir(here)
    assert cli.main(["train", "--resume", "runs/a", "--trust"]) == 0
    says(capsys.readouterr().out, "runs/a is finished", "fdrl eval runs/a")
    assert list(away.iterdir()) == []


def test_a_deleted_current_folder_is_one_line_or_nothing_at_all(
    here: Path, capsys: Capture
) -> None:
    here.rmdir()
    assert cli.main(["--version"]) == 0
    for words in (
        ["train", *SMALL], ["train", "--out", "x", *SMALL], ["eval", "x"], ["report", "x"],
        ["bench", "smoke"], ["new", "env", "bakery_of_tests"],
    ):  # fmt: skip
        capsys.readouterr()
        assert cli.main(words) == 2
        said = capsys.readouterr().err
        assert len(said.splitlines()) == 1
        assert "deleted" in said
    assert cli.main(["train", "--out", str(here.parent / "x"), *SMALL]) == 0
    with started() as start, fails(FdrlError, "deleted"):
        assert start == ""
        meant(absolute("x"))


def test_the_current_folder_comes_behind_what_is_installed(here: Path) -> None:
    installed = here.parent / "installed"
    for folder in (installed / "bakery_of_tests", here / "bakery_of_tests/bakery_of_tests"):
        folder.mkdir(parents=True)
        (folder / "__init__.py").write_text("")
    (here / "own_of_tests").mkdir()  # a package without __init__ of the user's own
    (here / "own_of_tests/part.py").write_text("WHAT = 'own'")

    class Editable:  # as pip install -e makes one, at the end
        @staticmethod
        def find_spec(name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
            file = installed / name / "__init__.py"
            if path is not None or not file.is_file():
                return None
            return importlib.util.spec_from_file_location(
                name, file, submodule_search_locations=[str(file.parent)]
            )

    made = look_in(str(here))
    assert look_in(str(here)) is made
    assert str(here) not in sys.path
    sys.meta_path.append(Editable)
    found = importlib.import_module("bakery_of_tests")
    assert str(found.__file__) == str(installed / "bakery_of_tests/__init__.py")
    assert importlib.import_module("own_of_tests.part").WHAT == "own"


def test_each_of_many_folders_is_looked_at_once(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for i in range(40):
        (here / str(i)).mkdir()
        look_in(str(here / str(i)))
    (here / "39" / "only_there.py").write_text("X = 3\n")
    looks: list[str] = []
    find = PathFinder.find_spec

    def counted(name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        looks.extend(path or [])
        return find(name, path, target)

    monkeypatch.setattr(PathFinder, "find_spec", counted)
    assert importlib.import_module("only_there").X == 3
    assert len(looks) <= 40 + len(sys.path)
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("nowhere_at_all")


def test_another_process_looks_in_the_same_folders(here: Path) -> None:
    made = look_in(str(here))
    sent = pickle.dumps([made])  # as multiprocessing sends it to a worker
    sys.meta_path.remove(made)
    (received,) = pickle.loads(sent)
    assert isinstance(received, Behind)
    assert received in looked_in()


def test_a_plugin_that_merely_lies_in_the_current_folder_is_none(here: Path) -> None:
    (here / "own_of_tests.py").write_text("open('imported', 'w')\ndef register(): pass\n")
    for group in ("fdrl.plugins", "gymnasium.envs"):
        info = here / f"{group.replace('.', '_')}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {group}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[{group}]\nevil = own_of_tests:register\n")
    code = "import sys; del sys.path[0]; from fdrl.cli import main; sys.exit(main(['envs']))"
    for words in (["-c", code], ["-m", "fdrl", "check", "CartPole-v1"]):
        subprocess.run([sys.executable, *words], check=True, capture_output=True)
    assert not (here / "imported").exists()
