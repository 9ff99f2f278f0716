"""The page's style sheet: no script, no font, no address; light, dark, print and phone."""

from __future__ import annotations

from fdrl.report import look

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
 figure{overflow-x:auto}
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
    values |= {f"--c{i}": pair[column] for i, pair in enumerate(look.COLORS)}
    return ":root{" + ";".join(f"{k}:{v}" for k, v in values.items()) + "}"


def sheet() -> str:
    """Return the style sheet; paper is always white on paper."""
    light, dark = _root(look.ROLES, 0), _root(look.DARK, 1)
    scheme = ":root{color-scheme:light dark}"
    return f"{light}{scheme}@media screen and (prefers-color-scheme:dark){{{dark}}}{_SHEET}"
