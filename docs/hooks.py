"""What `mkdocs build` does besides: formulas, what commands print, tables of modules, docstrings.

In a page ``<!-- output: fdrl train --help -->`` becomes what the command prints, and
``<!-- modules: fdrl/core -->`` a table of a folder's files with what each is for.
"""

from __future__ import annotations

import ast
import html
import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import griffe
from latex2mathml.converter import convert
from mkdocs.exceptions import PluginError

ROOT = Path(__file__).resolve().parent.parent
INLINE = re.compile(r'<span class="arithmatex">\\\((.*?)\\\)</span>', re.DOTALL)
BLOCK = re.compile(r'<div class="arithmatex">\s*\\\[(.*?)\\\]\s*</div>', re.DOTALL)
OUTPUT = re.compile(r"^( *)<!-- output: fdrl (.*?) -->$", re.MULTILINE)
MODULES = re.compile(r"^<!-- modules: (\S+) -->$", re.MULTILINE)
TABLE = re.compile(r"<table>.*?</table>", re.DOTALL)
INTERVAL = re.compile(r"(?<=[>\s])\[[+-]?[\d.,]+, [+-]?[\d.,]+\]")
SHORT = re.compile(r"<td([^>]*)>([^<]{2,14})</td>")
EXAMPLE = re.compile(r"^>>> .*(?:\n(?!\s*$).*)*", re.MULTILINE)
SHAPE = re.compile(
    r"(?<![`\w\]])\[(?:\*?[A-Z][\w']*|\d+)(?:, (?:\*?[A-Z][\w' *+-]*|\d+|\.\.\.))*\]"
)
COLUMNS = 84


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Put in what commands print, and tables of modules."""
    markdown = OUTPUT.sub(lambda m: _fenced(_output(m[2]), m[1]), markdown)
    return MODULES.sub(lambda m: _modules(m[1]), markdown)


def on_page_content(content: str, **_: Any) -> str:
    """Turn formulas into MathML, which browsers draw without a script from somewhere else.

    Tables get a frame that scrolls, so that no page is wider than a phone.
    """
    content = INLINE.sub(lambda m: convert(html.unescape(m[1])), content)
    content = BLOCK.sub(lambda m: convert(html.unescape(m[1]), display="block"), content)
    return TABLE.sub(lambda m: f'<div class="wide" tabindex="0">{_unbroken(m[0])}</div>', content)


def _unbroken(table: str) -> str:
    """Keep intervals and short cells of a table on one line."""
    table = INTERVAL.sub(r'<span class="n">\g<0></span>', table)
    return SHORT.sub(r'<td\1><span class="n">\2</span></td>', table)


@cache
def _output(words: str) -> str:
    """Return what ``fdrl WORDS`` prints, without color."""
    settings = os.environ | {"COLUMNS": str(COLUMNS), "NO_COLOR": "1", "TERM": "dumb"}
    done = subprocess.run(
        [sys.executable, "-m", "fdrl", *words.split()],
        cwd=ROOT, env=settings, capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode:
        raise PluginError(f"fdrl {words} failed: {done.stderr or done.stdout}")
    return done.stdout.rstrip()


def _fenced(text: str, indent: str) -> str:
    lines = ["``` {.text .output}", *(line.rstrip() for line in text.splitlines()), "```"]
    return "\n".join(indent + line if line else line for line in lines)


def _modules(folder: str) -> str:
    """Return a table of the files of a folder with the first sentence of each."""
    files = sorted((ROOT / folder).rglob("*.py"))
    if not files:
        raise PluginError(f"{folder} holds no module")
    rows = ["| file | holds |", "| --- | --- |"]
    for file in files:
        doc = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
        first = doc.split("\n\n")[0].replace("\n", " ").replace("|", "\\|")
        if first:
            rows.append(f"| `{file.relative_to(ROOT / folder).as_posix()}` | {first} |")
    return "\n".join(rows)


class Docstrings(griffe.Extension):
    """Examples are code, and so are shapes: the star of ``[N, *O]`` begins no emphasis."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """Change an object's docstring before it is read as Markdown."""
        if obj.docstring is not None:
            text = SHAPE.sub(lambda m: f"`{m[0]}`", obj.docstring.value)
            obj.docstring.value = EXAMPLE.sub(lambda m: f"```pycon\n{m[0]}\n```", text)
