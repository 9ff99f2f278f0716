"""The look of figures and page: colors, dashes, markers, numbers as text, SVG, the style sheet."""

from __future__ import annotations

import contextlib
import html
import io
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fdrl.stats import Interval

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# ---- The look of figures and page: colors, dashes and markers, and numbers as text ----


# Okabe and Ito's palette (black instead of yellow, which white paper swallows) and three more
# tones, ordered so that neighbors also differ in lightness; the second column is for dark paper.
# Dashes and markers tell methods apart in black and white, and for whom colors look alike.
COLORS = (
    ("#0072b2", "#4fb0f0"),
    ("#d55e00", "#ff8b3d"),
    ("#009e73", "#35d0a2"),
    ("#cc79a7", "#e79cc6"),
    ("#e69f00", "#f0b429"),
    ("#56b4e9", "#a9dcff"),
    ("#111116", "#ffffff"),
    ("#6b2340", "#c2456f"),
    ("#5b4a00", "#e8e25a"),
    ("#a5a5ae", "#8f8f9b"),
)
INK, MUTED, LINE, PAPER = "#1c1c21", "#5d5d68", "#d8d8e0", "#ffffff"
ROLES = {"ink": INK, "muted": MUTED, "line": LINE, "paper": PAPER}
DARK = {"ink": "#ececf1", "muted": "#a9a9b6", "line": "#3b3b45", "paper": "#18181c"}
DASHES: tuple[Any, ...] = (
    "-",
    (0, (5, 1.8)),
    (0, (1.2, 1.4)),
    (0, (6, 1.6, 1.2, 1.6)),
    (0, (6, 1.5, 1.2, 1.5, 1.2, 1.5)),
)
MARKERS = "osD^vPX<>ph"
NONE, MINUS = "\N{EN DASH}", "\N{MINUS SIGN}"


@dataclass(frozen=True)
class Style:
    """How a method is drawn."""

    color: str
    dash: Any
    marker: str


def styles(labels: Sequence[str]) -> dict[str, Style]:
    """Return a style for each method: ten colors, no two styles alike among the first 110.

    Among the first 50 no two have both color and dash in common; the dashes move on by one every
    five methods, so that the palette's two blues, and the like, differ in dash as well.
    """
    return {
        label: Style(COLORS[i % 10][0], DASHES[(i + i // 5) % 5], MARKERS[i % 11])
        for i, label in enumerate(labels)
    }


def number(value: float, sign: bool = False, beside: Sequence[float] = ()) -> str:
    """Return a number as a reader wants it; a dash if there is none.

    Three to five digits, or as many decimals as the largest of the numbers `beside` it deserves.
    """
    if not math.isfinite(value):
        return NONE
    scale = max([abs(v) for v in (value, *beside) if math.isfinite(v)])
    digits = 0 if scale >= 1000 else 1 if scale >= 10 else 2 if scale >= 1 or scale == 0 else 3
    text = f"{value:{'+' if sign else ''},.{digits}f}"
    return text.replace("-", MINUS)


def bounds(interval: Interval, sign: bool = False) -> str:
    """Return an interval's bounds; empty if it has none."""
    if not (math.isfinite(interval.low) and math.isfinite(interval.high)):
        return ""
    low, high = (number(v, sign, interval) for v in (interval.low, interval.high))
    return f"[{low}, {high}]"


def whole(value: float) -> str:
    """Return a count."""
    return f"{value:,.0f}" if math.isfinite(value) else NONE


def size(count: float) -> str:
    """Return bytes in decimal units."""
    if not math.isfinite(count):
        return NONE
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= factor:
            scaled = count / factor
            return f"{scaled:,.0f} {unit}" if scaled >= 99.95 else f"{scaled:.3g} {unit}"
    return f"{count:.0f} B"


# ---- A figure as an SVG in the page: its colors follow the page, light or dark ----


def render(picture: Figure, kind: str) -> bytes:
    """Return a figure as a PNG or SVG file on white paper; the same figure, the same bytes."""
    buffer = io.BytesIO()
    metadata = {"Date": None} if kind == "svg" else {"Software": None}
    picture.savefig(buffer, format=kind, dpi=160, facecolor=PAPER, metadata=metadata)
    return buffer.getvalue()


def _variables(text: str) -> str:
    """Replace the palette's colors by the page's variables."""
    names = {light: f"--c{i}" for i, (light, _) in enumerate(COLORS)}
    names |= {color: f"--{role}" for role, color in ROLES.items()}
    return re.sub(
        r"#[0-9a-f]{6}\b",
        lambda m: f"var({names[m[0]]})" if m[0] in names else m[0],
        text,
    )


def inline(picture: Figure, prefix: str, title: str) -> str:
    """Return a figure as an ``<svg>`` element whose ids begin with `prefix`."""
    buffer = io.BytesIO()
    picture.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue().decode()
    text = text[text.index("<svg") :]
    view = re.search(r'viewBox="([^"]+)"', text)
    assert view is not None
    text = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", text, flags=re.DOTALL)
    # Shorter coordinates, inside tags only: a hundredth of a point is below what a screen shows.
    text = re.sub(r"<[^>]+>", lambda m: re.sub(r"(\d+\.\d\d)\d+", r"\1", m[0]), text)
    # Most ids name groups that nothing refers to; the others must be unique in the page.
    used = set(re.findall(r"(?:url\(#|href=\"#)([^)\"]+)", text))
    text = re.sub(
        r' id="([^"]+)"', lambda m: f' id="{prefix}-{m[1]}"' if m[1] in used else "", text
    )
    text = re.sub(r"(url\(#|href=\"#)", rf"\g<1>{prefix}-", text).replace("xlink:href", "href")
    text = re.sub(r"font: ([\d.]+)px [^;\"]+", r"font: \1px system-ui, sans-serif", text)
    label = html.escape(title, quote=True)
    opening = f'<svg viewBox="{view[1]}" role="img" aria-label="{label}">'
    text = opening + text[text.index(">") + 1 :]
    return _variables(re.sub(r"\s*\n\s*", "\n", text)).strip()


# ---- The page's style sheet: no script, no font, no address; light, dark, print and phone ----


_SHEET = """
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%}
body{margin:0 auto;padding:1.5rem 1.25rem 4rem;max-width:72rem;background:var(--paper);
 color:var(--ink);font:1rem/1.5 system-ui,-apple-system,"Segoe UI",sans-serif;
 overflow-wrap:anywhere}
h1{font-size:1.6rem;line-height:1.2;margin:0 0 .5rem}
h2{font-size:1.2rem;line-height:1.3;margin:2.6rem 0 .6rem;padding-top:.9rem;
 border-top:1px solid var(--line)}
h3{font-size:1rem;margin:1.6rem 0 .3rem}
p{margin:.35rem 0;max-width:46rem}
ul{margin:.35rem 0;padding-left:1.2rem;max-width:46rem}
dl{display:grid;grid-template-columns:fit-content(14rem) 1fr;gap:.2rem 1rem;margin:.35rem 0;
 max-width:46rem}
dt{font-weight:600}
dd{margin:0}
.lead{font-size:1.08rem}
.note,small,figcaption{color:var(--muted);font-size:.84rem}
small{white-space:nowrap;font-variant-numeric:tabular-nums}
a{color:inherit;text-underline-offset:.15em}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums;margin:.5rem 0}
th,td{text-align:right;padding:.38rem .55rem;border-bottom:1px solid var(--line);
 vertical-align:baseline}
th:first-child{text-align:left;padding-left:0}
td:last-child{padding-right:0}
thead th{font-size:.82rem;font-weight:600;color:var(--muted);vertical-align:bottom}
tbody th{font-weight:600}
td small{display:block}
td>div>span{white-space:nowrap}
.swatch{width:1.9rem;height:.6rem;margin-right:.5rem;vertical-align:.05em}
.best,.tied{font-size:.72rem;font-weight:600;padding:.05rem .35rem;border-radius:.3rem;
 border:1px solid var(--muted);white-space:nowrap;margin-right:.3rem}
.tied{color:var(--muted)}
.best{background:var(--ink);color:var(--paper);border-color:var(--ink)}
.figures{display:grid;grid-template-columns:1fr 1fr;gap:1.2rem 1.8rem;margin:.8rem 0}
figure{margin:0;min-width:0;break-inside:avoid;display:grid;grid-template-rows:subgrid;
 grid-row:span 2;row-gap:.3rem}
figure svg{display:block;width:100%;height:auto}
figcaption b{display:block;color:var(--ink);font-size:.95rem}
.left th,.left td,.left td:last-child{text-align:left;font-weight:400}
.wide{overflow-x:auto}
.matrix{width:auto}
.matrix th,.matrix td{text-align:center;padding:2px}
.matrix th{font-size:.82rem;padding:.3rem .5rem;overflow-wrap:normal}
.matrix tbody th{text-align:left;white-space:nowrap;padding-left:0}
.heat,.same{display:block;min-width:5.6rem;padding:.3rem .4rem;border-radius:.25rem}
.win{background:color-mix(in srgb,var(--c0) var(--p),transparent)}
.lose{background:color-mix(in srgb,var(--c1) var(--p),transparent)}
.few{color:var(--muted);opacity:.7}
nav ul{columns:2 22rem;list-style:none;padding:0;max-width:none;font-size:.92rem}
code,pre{font:.84rem/1.45 ui-monospace,SFMono-Regular,Consolas,monospace}
pre{background:color-mix(in srgb,var(--line) 35%,transparent);padding:.7rem .8rem;
 border-radius:.4rem;white-space:pre-wrap;margin:.4rem 0;overflow-wrap:anywhere}
details{margin:.3rem 0;border-bottom:1px solid var(--line);padding:.3rem 0}
summary{cursor:pointer}
summary .swatch{margin-left:.2rem}
@media (max-width:44rem){
 body{padding:1.1rem 1rem 3rem}
 h1{font-size:1.35rem}
 .figures{grid-template-columns:1fr}
 figure{overflow-x:auto;grid-template-columns:minmax(0,1fr)}
 figure svg{min-width:29rem}
 .cards thead{position:absolute;clip-path:inset(50%);width:1px;height:1px;overflow:hidden}
 .cards,.cards tbody,.cards tr,.cards th,.cards td{display:block;width:100%}
 .cards tr{padding:.55rem 0;border-bottom:1px solid var(--line)}
 .cards th,.cards td{border:0;padding:.1rem 0}
 .cards td{display:flex;gap:0 .5rem;align-items:baseline;text-align:left}
 .cards td::before{content:attr(data-label);color:var(--muted);font-size:.84rem;flex:0 0 7.5rem}
 .cards td>div{flex:1;min-width:0}
 .cards td small{display:inline;margin-left:.25rem}
}
@media print{
 body{max-width:none;padding:0;font-size:9.5pt}
 h2{break-after:avoid;margin-top:1.4rem}
 h3{break-after:avoid}
 tr{break-inside:avoid}
 .figures{grid-template-columns:1fr 1fr}
 .wide{overflow:visible}
 .heat,.same{min-width:0}
 nav{display:none}
 .best{background:none;color:inherit}
}
@page{margin:14mm}
"""


def _root(roles: dict[str, str], column: int) -> str:
    values = {f"--{k}": v for k, v in roles.items()}
    values |= {f"--c{i}": pair[column] for i, pair in enumerate(COLORS)}
    return ":root{" + ";".join(f"{k}:{v}" for k, v in values.items()) + "}"


def sheet() -> str:
    """Return the style sheet; paper is always white on paper."""
    light, dark = _root(ROLES, 0), _root(DARK, 1)
    scheme = ":root{color-scheme:light dark}"
    return f"{light}{scheme}@media screen and (prefers-color-scheme:dark){{{dark}}}{_SHEET}"


RC: dict[Any, Any] = {
    "svg.fonttype": "none",
    # Element ids come from this salt, so the same runs give the same files.
    "svg.hashsalt": "fdrl",
    "font.size": 9.5,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
}


def style_context() -> contextlib.AbstractContextManager[None]:
    """Return the context in which figures must be drawn and saved."""
    import matplotlib

    context: contextlib.AbstractContextManager[None] = matplotlib.rc_context(RC)
    return context
