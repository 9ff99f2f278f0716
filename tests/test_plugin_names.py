"""The core knows no plugin: no file of `fdrl/` holds a learner's, environment's or method's name.

Looked through are the string constants of the sources (docstrings and comments may name examples)
and their imports. Only `fdrl/strategies` may name strategies.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import fdrl
from fdrl.core.registry import AGENTS, ENVS, PARALLEL, STRATEGIES

CORE = Path(fdrl.__file__).parent
WORDS = {"local", "self", "pooled"}
"""Names that are also words of sentences: looked for as whole strings only."""
ALLOWED = (
    ("fedhpd", r"fedhpd", "a value of `networks`, which stands in config files"),
    ("CartPole-v1", r"usage: fdrl VERB.*", "examples that one can type"),
    ("fedavg", r"usage: fdrl VERB.*", "examples that one can type"),
    ("fd", r"fd, [\d,]+ proxy states", "a method whose messages were measured"),
    ("fedavg", r"fedavg, \d+x\d+ PPO", "a method whose messages were measured"),
    ("PPO", r"fedavg, \d+x\d+ PPO", "a network whose messages were measured"),
)
"""A name, the whole string in which it may stand, and why."""
EQUATIONS = {"cd", "fd"}
"""What `fdrl/theory` calls its closed forms: it knows nothing of strategies."""


def _own(entry: str) -> bool:
    return entry.startswith("fdrl.")


PLUGINS = {s.name for s in AGENTS if _own(s.settings)} | {o for s in AGENTS for o in s.offers}
PLUGINS |= {s.name for s in ENVS if _own(s.vector) or _own(s.gym_id)}
PLUGINS |= {name for name, module in PARALLEL.items() if _own(module)}
METHODS = {s.name for s in STRATEGIES if _own(s.settings)}


def _files() -> list[Path]:
    plugins = [CORE / name for name in ("agents", "envs", "configs")]  # where a wheel has them
    files = (p for p in CORE.rglob("*.py") if not any(p.is_relative_to(f) for f in plugins))
    return sorted(files)


def _strings(tree: ast.Module) -> Iterator[str]:
    """Yield the string constants that are not docstrings."""
    said = {id(n.value) for n in ast.walk(tree) if isinstance(n, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in said:
            yield node.value


def _named(text: str, names: set[str]) -> Iterator[str]:
    for name in sorted(names):
        token = rf"(?<![\w+./-]){re.escape(name)}(?![\w+/-])"
        if text == name or (name not in WORDS and re.search(token, text)):
            yield name


def _allowed(name: str, text: str) -> bool:
    return any(n == name and re.fullmatch(t, text, re.DOTALL) for n, t, _ in ALLOWED)


def _imports(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", _files(), ids=lambda p: str(p.relative_to(CORE)))
def test_no_file_of_the_core_names_a_plugin(path: Path) -> None:
    package = path.relative_to(CORE).parts[0]
    names = PLUGINS if package == "strategies" else PLUGINS | METHODS
    names = names - EQUATIONS if package == "theory" else names
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = [(n, t) for t in _strings(tree) for n in _named(t, names) if not _allowed(n, t)]
    assert found == []
    assert [t for t in _strings(tree) if re.match(r"fdrl\.(agents|envs)\b", t)] == []
    foreign = ["fdrl.agents", "fdrl.envs"]
    if package not in ("strategies", "__init__.py"):  # the front door hands on what to subclass
        foreign.append("fdrl.strategies")
    assert [i for i in _imports(tree) if i.startswith(tuple(foreign))] == []


def test_every_exception_is_needed() -> None:
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in _files()]
    texts = {text for tree in trees for text in _strings(tree)}
    unused = [
        (name, pattern)
        for name, pattern, _ in ALLOWED
        if not any(re.fullmatch(pattern, text, re.DOTALL) for text in texts)
    ]
    assert unused == []


def test_a_name_is_found_where_it_stands() -> None:
    assert list(_named("use fd or ppo", {"fd", "fdv", "ppo"})) == ["fd", "ppo"]
    assert list(_named("fd+faug, local learning", {"fd", "local"})) == []
    assert list(_named("local", {"local"})) == ["local"]
