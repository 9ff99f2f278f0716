"""What is installed, and who imports whom."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import fdrl
from fdrl.config.run import Run, RunFields
from fdrl.core.errors import FdrlError

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = {"fdrl": "fdrl", "envs": "fdrl.envs", "agents": "fdrl.agents", "configs": "fdrl.configs"}


LEFT_BEHIND = re.compile(
    r"(^|/)(\.git|\.venv|__pycache__|build|dist|\.\w+_cache|\.hypothesis|[^/]*\.egg-info)/"
    r"|^(report|theory|site|runs)/|\.pyc$|(^|/)\.coverage|MUJOCO_LOG"
)


def repository_files() -> list[str]:
    """Return the files of the repository, with or without git."""
    git = ["git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    if (ROOT / ".git").exists() and shutil.which("git"):
        done = subprocess.run(git, capture_output=True, text=True, check=True)
        found = [name for name in done.stdout.split("\0") if name]
    else:
        found = [p.relative_to(ROOT).as_posix() for p in ROOT.rglob("*") if p.is_file()]
    return [n for n in found if not LEFT_BEHIND.search(n) and (ROOT / n).is_file()]


def build(source: Path, kind: str, out: Path) -> Path:
    """Build a "wheel" or an "sdist" of sources, offline; return its path."""
    code = f"from setuptools import build_meta as b; b.build_{kind}({str(out)!r})"
    done = subprocess.run([sys.executable, "-c", code], cwd=source, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = out.glob("fdrl-*")
    return path


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build a source distribution from a copy of the repository."""
    source = tmp_path_factory.mktemp("repository")
    for name in repository_files():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, source / name)
    return build(source, "sdist", tmp_path_factory.mktemp("sdist"))


@pytest.fixture(scope="module")
def unpacked(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder that the source distribution unpacks to."""
    out = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(sdist) as archive:
        archive.extractall(out, filter="data")
    (folder,) = out.iterdir()
    return folder


@pytest.fixture(scope="module")
def wheel_file(unpacked: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build a wheel from the source distribution, as an index's users may have to."""
    return build(unpacked, "wheel", tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def wheel(wheel_file: Path) -> list[str]:
    """Return the names in the wheel."""
    with zipfile.ZipFile(wheel_file) as archive:
        return archive.namelist()


def test_the_source_distribution_is_the_repository(unpacked: Path) -> None:
    inside = {p.relative_to(unpacked).as_posix() for p in unpacked.rglob("*") if p.is_file()}
    ours = set(repository_files())
    assert {"tests/support/fakes.py", "constraints.txt", ".ci/run", "docs/index.md"} <= ours
    assert ours - inside == set()
    made = {n for n in inside - ours if not n.startswith("fdrl.egg-info/")}
    assert made <= {"PKG-INFO", "setup.cfg"}


USER = """
from pathlib import Path

import fdrl
from fdrl import Federation, Run, RoundRecord, Summary
from fdrl.agents.ppo import PPO
from fdrl.envs.vectorized import Vectorized

run: Run = fdrl.make_run(env="CartPole-v1", agents=2, strategy="fd", steps=512, agent=PPO(n_envs=2))
federation = Federation(run)
record: RoundRecord = federation.round()
returns: list[float | None] = record.returns
summary: Summary = fdrl.train(run, out=Path("runs/a"), curves=False)
mean: float = summary.return_mean
version: str = fdrl.__version__
world = Vectorized
fdrl.check_env("CartPole-v1")
print(mean, version, world, returns)
"""
MISTAKES = """
import fdrl

fdrl.make_run(envv="x")
fdrl.make_run(agents="many")
fdrl.nothing
"""


@pytest.mark.slow
def test_a_users_script_is_checked_by_mypy_against_the_wheel(
    wheel_file: Path, tmp_path: Path
) -> None:
    pytest.importorskip("mypy")
    with zipfile.ZipFile(wheel_file) as archive:
        archive.extractall(tmp_path / "site")
    (tmp_path / "user.py").write_text(USER)
    (tmp_path / "wrong.py").write_text(MISTAKES)
    # MYPYPATH alone would hide whether the package says that it is typed.
    assert (tmp_path / "site" / "fdrl" / "py.typed").exists()
    environment = os.environ | {"MYPYPATH": str(tmp_path / "site")}
    mypy = [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent"]
    mypy += ["--cache-dir", str(tmp_path / "cache"), "--config-file", os.devnull]

    def check(name: str) -> str:
        done = subprocess.run(
            [*mypy, name], cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        return done.stdout + done.stderr

    assert check("user.py").startswith("Success")
    told = check("wrong.py")
    assert 'Unexpected keyword argument "envv" for "make_run"' in told
    assert 'incompatible type "str"; expected "int"' in told
    assert 'Module has no attribute "nothing"' in told


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
    assert "fdrl/cli/templates/env/.gitignore.tmpl" in expected
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
    # fdrl/cli/listing.py and agents.py are verbs: relative imports could hide the packages
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


def test_the_public_names_are_listed_alike_thrice() -> None:
    tree = ast.parse((ROOT / "fdrl" / "__init__.py").read_text(encoding="utf-8"))
    typed = next(n for n in tree.body if isinstance(n, ast.If))
    imports = [n for n in typed.body if isinstance(n, ast.ImportFrom)]
    homes = {alias.name: node.module for node in imports for alias in node.names}
    assert homes == fdrl._HOMES
    assert sorted([*homes, "__version__"]) == sorted(fdrl.__all__)


def test_a_run_is_made_of_all_its_fields() -> None:
    fields = {*Run.__struct_fields__} - {"agent", "strategy"}
    assert RunFields.__annotations__.keys() == fields
    with pytest.raises(FdrlError, match="unknown field 'envv'; did you mean 'env'"):
        fdrl.make_run(envv="x")  # type: ignore[call-arg]


TEMPLATES = sorted((ROOT / "fdrl").rglob("*.py.tmpl"))


def test_what_the_templates_import_is_public() -> None:
    """Exported by `fdrl`, or of a module that the documentation of the interface describes."""
    documented = re.findall(
        r"^::: (fdrl\S*)", "\n".join(p.read_text() for p in (ROOT / "docs").rglob("api/*.md")), re.M
    )
    assert len(TEMPLATES) >= 6
    for path in TEMPLATES:
        text = re.sub(r"\{\{(\w+)\}\}", r"\1", path.read_text(encoding="utf-8"))
        for node in ast.walk(ast.parse(text)):
            if not isinstance(node, ast.ImportFrom) or not (node.module or "").startswith("fdrl"):
                continue
            for name in (alias.name for alias in node.names):
                public = name in fdrl.__all__ or node.module in documented
                assert public or f"{node.module}.{name}" in documented, (path, node.module, name)


def test_the_public_names_are_few_lazy_and_there(tmp_path: Path) -> None:
    code = """
import sys
import fdrl
names = list(fdrl.__all__)
assert 15 <= len(names) <= 40, names
assert fdrl.__version__.startswith("0.")
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
