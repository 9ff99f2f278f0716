"""What `mkdocs build` does besides: formulas become MathML."""

from __future__ import annotations

import html
import re
from typing import Any

from latex2mathml.converter import convert

INLINE = re.compile(r'<span class="arithmatex">\\\((.*?)\\\)</span>', re.DOTALL)
BLOCK = re.compile(r'<div class="arithmatex">\s*\\\[(.*?)\\\]\s*</div>', re.DOTALL)


def on_page_content(content: str, **_: Any) -> str:
    """Turn formulas into MathML, which browsers draw without a script from somewhere else."""
    content = INLINE.sub(lambda m: convert(html.unescape(m[1])), content)
    return BLOCK.sub(lambda m: convert(html.unescape(m[1]), display="block"), content)
