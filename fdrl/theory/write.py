"""The files of `fdrl theory`: figures, tables, and everything as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from fdrl.core.arrays import Doubles
from fdrl.core.files import make_folder, write_atomic
from fdrl.report.tables import to_csv
from fdrl.report.theme import render, style_context
from fdrl.theory.experiment import METHODS, Results
from fdrl.theory.figures import FIGURES
from fdrl.theory.statements import floor, label_slopes, slopes, statements

JSON = "results.json"


def prepare(folder: Path) -> None:
    """Make the folder now: an hour of work should not end at a name that cannot be written."""
    make_folder(folder)


def write(r: Results, folder: Path) -> list[str]:
    """Write all files into a folder; return their names. Raises FdrlError if it cannot."""
    files = {JSON: to_json(r), "curves.csv": _curves(r), "gap.csv": _gaps(r)}
    files |= {"limit.csv": _limits(r), "limit-labels.csv": _label_limits(r)}
    with style_context():
        for name, make in FIGURES.items():
            picture = make(r)
            files |= {f"{name}.{kind}": render(picture, kind) for kind in ("png", "svg")}
    prepare(folder)
    for name, data in files.items():
        write_atomic(folder / name, data)
    return [*files]


def to_json(r: Results) -> bytes:
    """Return the results as JSON; a number that is not finite is null."""
    s = msgspec.to_builtins(r.settings)
    del s["out"]  # where the files lie is no result
    content: dict[str, Any] = {
        "settings": s,
        "learning_rate": r.problem.eta,
        "steps": r.problem.steps,
        "slowest_left": r.problem.slowest_left,
        "floor": floor(r),
        "statements": [
            {"claim": c.claim, "held": c.held, "numbers": c.numbers} for c in statements(r)
        ],
        "methods": {m: _method(r, i) for i, m in enumerate(METHODS)},
        "slopes": _slopes(r, r.gaps),
        "labels": {
            m: {
                "gap": _mean(r.label_gaps.gaps[m]),
                "slope": {"slope": f.value, "low": f.low, "high": f.high},
                "end_networks": [float(v) for v in r.label_gaps.ends[m][0]],
                "end_theory": [float(v) for v in r.label_gaps.ends[m][1]],
            }
            for m, f in label_slopes(r).items()
        },
        "slopes_own_kernel": _slopes(r, r.own_gaps),
        "kernel_error": {"first": _mean(r.kernel_errors[0]), "moved": _mean(r.kernel_errors[1])},
        "descent_minus_flow": r.flow_gap,
        "ode_differences": {d.form: d.value for d in r.differences},
    }
    return msgspec.json.format(msgspec.json.encode(content), indent=1) + b"\n"


def _mean(rows: Doubles) -> list[float]:
    return [float(v) for v in rows.mean(-1)]


def _method(r: Results, i: int) -> dict[str, Any]:
    return {
        "end_theory": float(r.theory[i, -1, :, -1].mean()),
        "end_networks": _mean(r.error[i, :, :, -1]),
        "gap": _mean(r.gaps[i]),
        "gap_own_kernel": _mean(r.own_gaps[i]),
    }


def _slopes(r: Results, gaps: Doubles) -> dict[str, dict[str, float]]:
    return {m: {"slope": f.value, "low": f.low, "high": f.high} for m, f in slopes(r, gaps).items()}


def _curves(r: Results) -> bytes:
    """Write curves at about 120 steps, means over seeds and the lowest and highest seed."""
    at = np.unique(np.linspace(0, r.problem.steps, 121).astype(int))
    tables = {f"error {m}": (r.error[i], r.theory[i]) for i, m in enumerate(METHODS)}
    for i, name in enumerate(("consensus cd", "disagreement cd")):
        tables[name] = r.energy[0, i], r.energy[1, i]
    rows = [
        [name, width, int(t), float(theory[w, :, t].mean()), *_three(nets[w, :, t])]
        for name, (nets, theory) in tables.items()
        for w, width in enumerate(r.settings.widths)
        for t in at
    ]
    return to_csv(["curve", "width", "step", "theory", "networks", "low", "high"], rows)


def _three(seeds: Doubles) -> tuple[float, float, float]:
    return float(seeds.mean()), float(seeds.min()), float(seeds.max())


def _gaps(r: Results) -> bytes:
    def rows() -> Iterator[list[Any]]:
        for i, m in enumerate(METHODS):
            for w, width in enumerate(r.settings.widths):
                for seed in range(r.settings.seeds):
                    own = float(r.own_gaps[i, w, seed])
                    yield [m, width, seed, float(r.gaps[i, w, seed]), own]

        for missing, gaps in r.label_gaps.gaps.items():
            for w, width in enumerate(r.settings.widths):
                for seed in range(r.settings.seeds):
                    yield [f"fd {missing}", width, seed, float(gaps[w, seed]), ""]

    return to_csv(["method", "width", "seed", "gap", "gap_own_kernel"], [*rows()])


def _limits(r: Results) -> bytes:
    rows = [
        [m, float(b), floor(r, b) if m == "kd" else 0.0, *_three(r.limits[i, j])]
        for i, m in enumerate(("kd", "cd"))
        for j, b in enumerate(r.weights)
    ]
    return to_csv(["method", "weight", "limit", "networks", "low", "high"], rows)


def _label_limits(r: Results) -> bytes:
    rows = [
        [missing, float(b), owners + 1, float(bias[j, owners])]
        for missing, bias in r.label_bias.items()
        for j, b in enumerate(r.weights)
        for owners in range(bias.shape[1])
    ]
    return to_csv(["missing", "weight", "owners", "bias"], rows)
