"""Draw the README's figure of results from the published tables: learning against bytes.

    python benchmarks/summary_figure.py [--out docs/figures/summary.png]

The numbers are those of docs/results/cartpole.md and lunarlander.md, read from their tables.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fdrl.report import theme

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ROOT = Path(__file__).resolve().parent.parent
METHODS = {
    "fd": "fd",
    "fdv": "fdv",
    "fedavg": "FedAvg",
    "fedavg-equal-bytes": "FedAvg, as few\nbytes as fd",
    "local": "alone",
    "frd": "FRD",
    "fedhpd": "FedHPD",
    "pooled": "all data\nin one place",
}
PANELS = {
    "CartPole, physics spread": ("cartpole.md", "### Physics spread by 0.8"),
    "LunarLander, all alike": ("lunarlander.md", "### Identical environments: tables"),
}
NOTHING = 45.0
"""Where 0 kB stands on the logarithmic axis."""


@dataclass(frozen=True)
class Point:
    """A method's area under the learning curve with its 95% interval, and its kB per agent."""

    area: float
    low: float
    high: float
    sent: float


def read_table(text: str, heading: str) -> dict[str, Point]:
    """Return the first table below a heading, by method."""
    part = text[text.index(f"\n{heading}\n") + len(heading) + 2 :]
    found: dict[str, Point] = {}
    for line in part[part.index("| method |") :].splitlines()[2:]:
        cells = [c.strip() for c in line.strip("| ").split("|")]
        if len(cells) < 5:
            break
        area, low, high = (float(v) for v in re.findall(r"-?[\d.]+", cells[3].replace(",", "")))
        found[cells[0]] = Point(area, low, high, float(cells[4].replace(",", "")))
    return found


def draw(axis: Axes, points: Mapping[str, Point], styles: Mapping[str, theme.Style]) -> None:
    """Draw a panel: a mark with its interval and its name for each method."""
    from matplotlib.ticker import FixedLocator, NullLocator

    axis.set_xscale("log")
    axis.set_xlim(NOTHING / 1.7, 60_000)
    axis.xaxis.set_major_locator(FixedLocator([NOTHING, 200, 1000, 10_000]))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.xaxis.set_major_formatter(lambda x, _: "0 B" if x == NOTHING else theme.size(1000 * x))
    for name, style in styles.items():
        p = points[name]
        x = p.sent or NOTHING
        axis.vlines(x, p.low, p.high, color=style.color, lw=1.6)
        axis.plot([x], [p.area], color=style.color, marker=style.marker, ms=9, mec=theme.PAPER)
        left = name == "frd"  # at the right it would lie on another's
        axis.annotate(
            METHODS[name], (x, p.area), xytext=(-8 if left else 8, 0), textcoords="offset points",
            ha="right" if left else "left", va="center", fontsize=9, linespacing=0.95,
            fontweight="bold" if name in ("fd", "fdv") else "normal",
        )  # fmt: skip
    axis.set_xlabel("bytes sent and received per agent")


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=ROOT / "docs/figures/summary.png")
    out = parser.parse_args(argv).out
    with theme.style_context():
        from matplotlib.figure import Figure

        picture = Figure(figsize=(8.6, 3.5), layout="constrained", facecolor=theme.PAPER)
        styles = theme.styles([*METHODS])
        for axis, (title, (page, heading)) in zip(
            picture.subplots(1, 2), PANELS.items(), strict=True
        ):
            text = (ROOT / "docs/results" / page).read_text(encoding="utf-8")
            draw(axis, read_table(text, heading), styles)
            axis.set_title(title, fontsize=10.5, loc="left", fontweight="bold")
            axis.set_axisbelow(True)
        picture.axes[0].set_ylabel("return while learning")
        picture.savefig(out, dpi=160, metadata={"Software": None})


if __name__ == "__main__":
    main()
