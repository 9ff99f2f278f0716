"""The order of the packages: each imports only from those before it, and files form no circle."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ORDER = (
    "core", "ops", "wire", "vector", "proxies", "channels", "config", "strategies", "federation",
    "runs", "packs", "checks", "stats", "bench", "report", "theory", "cli",
)  # fmt: skip
TOPS = {"fdrl": "fdrl", "agents": "fdrl.agents", "envs": "fdrl.envs", "configs": "fdrl.configs"}


def module_of(path: Path) -> str:
    """Return the dotted name under which a file is imported."""
    top, *parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join([TOPS[top], *(parts[:-1] if parts[-1] == "__init__" else parts)])


FILES = {
    module_of(path): path
    for top in TOPS
    for path in sorted((ROOT / top).rglob("*.py"))
    if "templates" not in path.parts
}


def imports(module: str, path: Path) -> Iterator[str]:
    """Yield the modules of ours that a file imports: lazily, for types, relatively or not."""
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, *([base] if base else [])])
            # `from package import module` imports the module, anything else the package
            names = [n if (n := f"{base}.{a.name}") in FILES else base for a in node.names]
        else:
            continue
        yield from (name for name in names if name in FILES and name != module)


ARROWS = {module: sorted(set(imports(module, path))) for module, path in FILES.items()}


def place(module: str) -> str:
    """Return a module's package: ``core`` to ``cli``, ``agents``, ``envs``, ``configs``, or ''."""
    return [*module.split("."), ""][1]


def test_every_package_has_its_place_in_the_order() -> None:
    folders = {p.name for p in (ROOT / "fdrl").iterdir() if (p / "__init__.py").exists()}
    assert folders == set(ORDER)
    assert len(FILES) > 150
    assert sum(map(len, ARROWS.values())) > 500


@pytest.mark.parametrize("package", ORDER)
def test_a_package_imports_only_from_those_before_it(package: str) -> None:
    allowed = {*ORDER[: ORDER.index(package) + 1]}
    wrong = [
        f"{module} imports {name}"
        for module, names in ARROWS.items()
        if place(module) == package
        for name in names
        if place(name) not in allowed
    ]
    assert wrong == []


@pytest.mark.parametrize("plugin", ["agents", "envs"])
def test_plugins_import_core_and_ops_alone(plugin: str) -> None:
    wrong = [
        f"{module} imports {name}"
        for module, names in ARROWS.items()
        if place(module) == plugin
        for name in names
        if place(name) not in (plugin, "core", "ops")
    ]
    assert wrong == []


def test_no_files_import_each_other_in_a_circle() -> None:
    open_, done = set[str](), set[str]()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in open_, " -> ".join([*path[path.index(module) :], module])
        if module in done:
            return
        open_.add(module)
        for name in ARROWS[module]:
            visit(name, (*path, module))
        open_.discard(module)
        done.add(module)

    # The face of the package names everything, lazily, and is named by nobody within.
    for module in FILES:
        if module != "fdrl":
            assert "fdrl" not in ARROWS[module], module
            visit(module, ())


SHORT = {
    "fdrl.__main__": "what `python -m fdrl` starts",
    "fdrl.core.arrays": "the types of annotations",
    "fdrl.cli.report": "a verb of the command line",
    "fdrl.ops.privacy": "one equation with its paper",
    "fdrl.agents.sb3.settings": "a table of settings",
    "fdrl.envs.lunar_lander": "an environment is a file of its own",
    "fdrl.envs.classic_control.pendulum": "an environment is a file of its own",
}
"""Files that may have fewer than 60 lines, and why."""


def test_files_are_chapters() -> None:
    lines = {m: len(p.read_text(encoding="utf-8").splitlines()) for m, p in FILES.items()}
    assert {m: n for m, n in lines.items() if n > 500} == {}
    short = {m for m, n in lines.items() if n < 60 and FILES[m].name != "__init__.py"}
    assert short - SHORT.keys() == set()
    assert len([n for n in lines.values() if n]) <= 200
