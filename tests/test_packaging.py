"""What is installed, and who imports whom."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = {"fdrl": "fdrl", "envs": "fdrl.envs", "agents": "fdrl.agents", "configs": "fdrl.configs"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Build a wheel from a copy of the sources, offline; return the names inside."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for folder in PACKAGES:
        skip = shutil.ignore_patterns("__pycache__", "*.egg-info")
        shutil.copytree(ROOT / folder, source / folder, ignore=skip)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    pip = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index"]
    done = subprocess.run(
        [*pip, "--wheel-dir", str(out), str(source)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = out.glob("fdrl-*.whl")
    with zipfile.ZipFile(path) as archive:
        return archive.namelist()


def test_the_only_top_level_name_is_fdrl(wheel: list[str]) -> None:
    tops = {name.split("/")[0] for name in wheel if ".dist-info/" not in name}
    assert tops == {"fdrl"}


def test_every_module_and_preset_is_in_the_wheel(wheel: list[str]) -> None:
    expected = {"fdrl/py.typed"}
    for folder, package in PACKAGES.items():
        for path in (ROOT / folder).rglob("*"):
            if path.suffix in (".py", ".toml", ".tmpl"):
                inside = path.relative_to(ROOT / folder).as_posix()
                expected.add(f"{package.replace('.', '/')}/{inside}")
    assert "fdrl/configs/quickstart.toml" in expected
    assert "fdrl/scaffold/templates/env/.gitignore.tmpl" in expected
    assert expected - set(wheel) == set()


def test_the_license_is_in_the_wheel(wheel: list[str]) -> None:
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in wheel)
    assert (ROOT / "LICENSE").read_text().count("Apache License") >= 1


def imported(path: Path) -> Iterator[str]:
    """Yield every module that a file imports, at the top or inside a function."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


SOURCES = sorted((ROOT / "fdrl").rglob("*.py"))


def test_the_sources_are_found() -> None:
    assert len(SOURCES) > 30


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_the_federation_imports_no_environment_and_no_learner(path: Path) -> None:
    banned = ("fdrl.envs", "fdrl.agents", "envs", "agents")
    # fdrl/cli/envs.py and agents.py are verbs: relative imports could hide the packages
    names = list(imported(path))
    assert not [n for n in names if n in banned or n.startswith(tuple(f"{b}." for b in banned))]
    assert not [n for n in names if n.startswith(".")]
    assert "pickle" not in names


@pytest.mark.parametrize("folder", ["envs", "agents"])
def test_plugins_import_public_modules_only(folder: str) -> None:
    own = f"fdrl.{folder}"
    for path in sorted((ROOT / folder).rglob("*.py")):
        names = list(imported(path))
        # siblings relatively: a user's copy of the folder works under any name
        assert not [n for n in names if n == own or n.startswith(f"{own}.")], path
        assert not [n for n in names if n.startswith("fdrl.") and "._" in n], path
        assert "pickle" not in names, path


def test_importing_the_command_line_imports_nothing_heavy(tmp_path: Path) -> None:
    code = """
import sys
import fdrl.cli
print([m for m in ("torch", "numpy", "stable_baselines3", "gymnasium") if m in sys.modules])
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_the_public_names_are_few_lazy_and_there(tmp_path: Path) -> None:
    code = """
import sys
import fdrl
names = list(fdrl.__all__)
assert 10 <= len(names) <= 20, names
assert set(names) <= set(dir(fdrl))
assert "numpy" not in sys.modules
for name in names:
    getattr(fdrl, name)
try:
    fdrl.nothing
except AttributeError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "nothing" in done.stdout
