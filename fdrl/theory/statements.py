"""What the theory says, and whether it held in this run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fdrl.core.arrays import Doubles
from fdrl.stats import Interval
from fdrl.theory.closed_forms import rms
from fdrl.theory.experiment import METHODS, Results
from fdrl.theory.labels import Missing
from fdrl.theory.networks import slope

NAMES = {"kd": "KD", "cd": "CD", "periodic": "periodic CD"}
AT_FLOOR, BELOW_FLOOR = 0.05, 0.1
SLOPE, SLOPE_WITHIN = -0.5, 0.15
ODE_WITHIN = 1e-3
DIVERGED = 100.0
"""A gap that only unstable steps make: targets have root mean square 1."""


@dataclass(frozen=True)
class Statement:
    """A claim, whether it held (None: it says nothing at these settings), and the numbers."""

    claim: str
    held: bool | None
    numbers: str


def floor(r: Results, weight: float | None = None) -> float:
    """Return where KD must end: b / (1 + b) |phi - y|."""
    b = r.settings.weight if weight is None else weight
    return float(b / (1 + b) * rms(r.problem.teacher - r.problem.target))


def _ends(table: Doubles) -> dict[str, float]:
    """Return the mean over seeds of the last error of the widest networks, by method."""
    return {m: float(table[i, -1, :, -1].mean()) for i, m in enumerate(METHODS)}


def floor_statement(r: Results) -> Statement:
    """KD ends at its floor within 5%; CD ends below a tenth of it."""
    claim = "KD with an imperfect teacher ends at its predicted floor b/(1+b)|phi - y|, CD does not"
    expected = floor(r)
    if expected == 0:
        return Statement(claim, None, "the floor is 0: the weight or the teacher's error is 0")
    nets, theory = _ends(r.error), _ends(r.theory)
    held = all(
        abs(e["kd"] / expected - 1) <= AT_FLOOR and e["cd"] <= BELOW_FLOOR * expected
        for e in (nets, theory)
    )
    numbers = (
        f"floor {expected:.4g}; KD ends at {nets['kd']:.4g} (theory {theory['kd']:.4g}), "
        f"CD at {nets['cd']:.2g} (theory {theory['cd']:.2g}); networks of width "
        f"{r.settings.widths[-1]:,}, {r.problem.steps:,} steps"
    )
    if not held and r.problem.slowest_left > 0.01:
        numbers += f"; {r.problem.slowest_left:.0%} of the slowest error was left: more --steps"
    return Statement(claim, held, numbers)


def slopes(r: Results, gaps: Doubles) -> dict[str, Interval]:
    """Return each method's slope of log gap [3, W, R] against log width."""
    return {m: slope(r.settings.widths, gaps[i].T) for i, m in enumerate(METHODS)}


def say(found: Interval) -> str:
    """Return a slope with its interval, if it has one."""
    bounds = f" ({found.low:.3f} .. {found.high:.3f})" if np.isfinite(found.low) else ""
    return f"{found.value:.3f}{bounds}"


def slope_statement(r: Results) -> Statement:
    """The slope of all three methods is -1/2 within 0.15."""
    claim = "the gap between finite networks and theory falls with width with slope -1/2 +- 0.15"
    found = slopes(r, r.gaps)
    held = all(abs(f.value - SLOPE) <= SLOPE_WITHIN for f in found.values())
    numbers = ", ".join(f"{NAMES[m]} {say(f)}" for m, f in found.items())
    wild = [w for i, w in enumerate(r.settings.widths) if r.gaps[:, i].max() > DIVERGED]
    if wild:
        which = ", ".join(f"{w:,}" for w in wild)
        numbers += f"; networks of width {which} diverged: a smaller --lr"
    return Statement(claim, held, f"{numbers}; {r.settings.seeds} seeds")


def ode_statement(r: Results) -> Statement:
    """No closed form differs from its differential equation by a thousandth."""
    claim = "the closed forms solve their differential equations: difference below 1e-3"
    worst = max(r.differences, key=lambda d: d.value)
    return Statement(
        claim, worst.value < ODE_WITHIN,
        f"largest of {len(r.differences)}: {worst.value:.1e} ({worst.form})",
    )  # fmt: skip


def label_slopes(r: Results) -> dict[Missing, Interval]:
    """Return FD's slope of log gap against log width, by what becomes of missing labels."""
    return {m: slope(r.settings.widths, g.T) for m, g in r.label_gaps.gaps.items()}


def label_statement(r: Results) -> Statement:
    """FD's networks come closer to the closed form as the others do, and end where it says."""
    claim = "networks trained by FD with averages by label follow their closed form, slope -1/2"
    if r.settings.weight == 0:
        return Statement(claim, None, "the weight is 0: nothing is distilled")
    found = label_slopes(r)
    held = all(abs(f.value - SLOPE) <= SLOPE_WITHIN for f in found.values())
    numbers = ", ".join(f"missing labels {_MISSING[m]} {say(f)}" for m, f in found.items())
    nets, theory = r.label_gaps.ends["zero"]
    return Statement(
        claim, held,
        f"{numbers}; with zeros for missing labels the error on a label with one owner ends at "
        f"{nets[0]:.3g} of the target (theory {theory[0]:.3g}), width {r.settings.widths[-1]:,}",
    )  # fmt: skip


_MISSING: dict[Missing, str] = {"renormalize": "left out", "zero": "as zeros"}


def statements(r: Results) -> Sequence[Statement]:
    """Return all of them."""
    return floor_statement(r), slope_statement(r), ode_statement(r), label_statement(r)
