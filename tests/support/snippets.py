"""The fenced code blocks of the documentation, and the marks above them.

A mark is a comment on the line before a block: ``<!-- file: NAME -->`` writes it to a file for the
blocks below; ``<!-- snippet: WORDS -->`` says how it is run: ``slow``, ``skip`` (needs a network,
or minutes), ``pip`` (installs a project). Blocks of a page run in their order, in one folder.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
MARK = re.compile(r"<!-- (file|snippet|ci): ([^>]*?) -->\s*\Z")
CODE = ("bash", "python", "toml")


@dataclass(frozen=True)
class Snippet:
    """One block: where it stands, its language, its text, the file it is, and how to run it."""

    page: str
    line: int
    language: str
    text: str
    file: str = ""
    words: tuple[str, ...] = ()


def pages() -> list[Path]:
    """Return the README and every page of the site."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def snippets(page: Path) -> list[Snippet]:
    """Return the code blocks of a page in their order."""
    text = page.read_text(encoding="utf-8")
    found = []
    for block in FENCE.finditer(text):
        if block[1] not in CODE:
            continue
        mark = MARK.search(text[: block.start()])
        kind, said = (mark[1], mark[2]) if mark else ("", "")
        words = tuple(re.split(r",\s*", said)) if kind == "snippet" else (kind,) if kind else ()
        line = text.count("\n", 0, block.start()) + 1
        file = said if kind == "file" else ""
        place = page.relative_to(ROOT).as_posix()
        found.append(Snippet(place, line, block[1], block[2], file=file, words=words))
    return found
