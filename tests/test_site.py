"""The documentation: the site builds, needs no network, and README, pages and figures are true."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)]+)\)")


@pytest.mark.slow
def test_the_site_builds_whole_and_needs_no_network(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs")
    pytest.importorskip("latex2mathml")
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    done = subprocess.run(build, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    pages = {p.relative_to(tmp_path).as_posix(): p.read_text() for p in tmp_path.rglob("*.html")}
    for name, page in pages.items():
        assert not re.search(r"<(?:script|img|link)[^>]+(?:src|href)=\"(?:https?:)?//", page), name
        # nothing that a hook should have replaced is left
        assert "<!-- output:" not in page, name
        assert "<!-- modules:" not in page, name
        # every table scrolls in a frame of its own
        tables = re.findall(r"<table>", page)
        assert len(tables) == page.count('<div class="wide" tabindex="0"><table>'), name
    assert pages["strategies/fd.html"].count("<math") >= 4
    assert pages["index.html"].count("data-md-color-scheme=") >= 2
    assert "usage: fdrl train" in pages["reference/cli.html"]
    for name in ("api/index.html", "api/extending.html", "api/parts.html"):
        assert "<blockquote>" not in pages[name], "an example that is no code"
    assert '<span class="gp">&gt;&gt;&gt; </span>' in pages["api/index.html"]


def test_the_readme_reads_on_a_package_index() -> None:
    """Links that work everywhere are whole addresses; pictures say in words what they show."""
    for picture, text, target in LINK.findall(README):
        if picture:
            assert (ROOT / target).is_file()
            assert len(text.split()) >= 12
        else:
            assert target.startswith("https://")
    named = re.findall(r"`((?:docs|configs|benchmarks)/[\w./-]+|[A-Z]+\.md)`", README)
    assert named
    assert all((ROOT / path).exists() for path in named)


def packages(page: Path, pattern: str) -> list[str]:
    """Return the packages that a page lists, in its order."""
    return re.findall(pattern, page.read_text(encoding="utf-8"), re.MULTILINE)


def test_pages_list_the_packages_as_they_are_in_one_order() -> None:
    found = packages(ROOT / "CONTRIBUTING.md", r"^\d+\. `fdrl\.(\w+)`")
    assert found == packages(ROOT / "docs/api/packages.md", r"^## `fdrl\.(\w+)`")
    there = {p.parent.name for p in (ROOT / "fdrl").glob("*/__init__.py")}
    assert set(found) == there
    assert len(found) == len(there)


def test_decisions_are_numbered_dated_and_point_to_each_other() -> None:
    text = (ROOT / "docs/decisions.md").read_text(encoding="utf-8")
    heads = re.findall(
        r"^### (\d+)\. .* \{ #d(\d+) \}\n\n\*(\d{4}-\d\d-\d\d)\.\*", text, re.MULTILINE
    )
    assert len(heads) == text.count("\n### ")
    assert all(shown == anchor for shown, anchor, _ in heads)
    by_number = {int(n): date for n, _, date in heads}
    assert sorted(by_number) == list(range(1, len(heads) + 1))
    dates = [by_number[n] for n in sorted(by_number)]
    assert dates == sorted(dates), "a later number has an earlier date"
    replaced = [int(n) for n in re.findall(r"\*Superseded by \[(\d+)\]\(#d\1\)", text)]
    assert replaced
    assert set(replaced) <= set(by_number)


@pytest.fixture(scope="module")
def summary() -> ModuleType:
    path = ROOT / "benchmarks/summary_figure.py"
    spec = importlib.util.spec_from_file_location("summary_figure", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_the_figure_of_results_shows_the_published_tables(summary: ModuleType) -> None:
    page, heading = summary.PANELS["CartPole, physics spread"]
    text = (ROOT / "docs/results" / page).read_text(encoding="utf-8")
    points = summary.read_table(text, heading)
    assert len(points) == 13
    assert points["fdv"] == summary.Point(458.3, 455.9, 461.9, 223.9)
    assert points["fedavg"].sent == 11_755
    page, heading = summary.PANELS["LunarLander, all alike"]
    text = (ROOT / "docs/results" / page).read_text(encoding="utf-8")
    assert summary.read_table(text, heading)["frd"] == summary.Point(-51.6, -56.7, -46.9, 7630)


def test_the_figure_of_results_is_drawn(summary: ModuleType, tmp_path: Path) -> None:
    summary.main(["--out", str(tmp_path / "summary.png")])
    assert (tmp_path / "summary.png").read_bytes()[:4] == b"\x89PNG"


def test_the_tests_that_pages_name_are_there() -> None:
    page = (ROOT / "docs" / "robustness.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if line.startswith("| ") and "`" in line]
    assert len(rows) > 40
    for row in rows:
        cell = row.rstrip("| ").rpartition(" | ")[2]
        files = re.findall(r"[\w/]+\.py", cell)
        texts = [
            path.read_text(encoding="utf-8")
            for name in files
            for path in (*ROOT.glob(f"tests/**/{name}"), ROOT / name)
            if path.is_file()
        ]
        assert len(texts) >= len(files) > 0, row
        for name in re.findall(r"\btest_\w+\b(?!\.py)", cell):
            assert any(f"def {name}(" in text for text in texts), name


def test_the_long_tests_are_there() -> None:
    """A name that no test has would leave a long one among the fast ones without a word."""
    conftest = (ROOT / "tests" / "conftest.py").read_text(encoding="utf-8")
    long = re.findall(r'^    "(test_\w+\.py)::(\w+)(?:\[.*\])?",$', conftest, re.MULTILINE)
    assert len(long) == conftest.partition("LONG = (")[2].partition("\n)")[0].count("::") > 10
    for file, name in long:
        texts = [p.read_text(encoding="utf-8") for p in ROOT.glob(f"tests/**/{file}")]
        assert any(f"def {name}(" in text for text in texts), name
