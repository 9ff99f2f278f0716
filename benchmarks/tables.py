"""Print a report's tables as Markdown, as the documentation has them.

    fdrl report runs/headline --out report
    python benchmarks/tables.py report [--minus fd] [--sampled]

Interquartile means over seeds with 95% bootstrap intervals; paired differences of one method from
all others; time to completion and returns over episodes where the runs have them. With --sampled
also the interquartile mean of the final evaluation with sampled actions.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from pathlib import Path

from fdrl.stats import iqm

Line = Mapping[str, str]
METRICS = {"return_mean": "final", "return_worst": "worst", "auc": "area"}


def read(folder: Path, name: str) -> list[Line]:
    """Return a CSV file's lines; none if it is not there."""
    path = folder / "data" / f"{name}.csv"
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def number(text: str) -> str:
    """Return a number as a reader wants it: one decimal below a thousand."""
    if not text:
        return "-"
    value = float(text)
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.1f}"


def interval(line: Line, name: str, value: str | None = None) -> str:
    """Return ``12.3 [10.0, 14.1]``, without brackets where there is no interval."""
    middle = number(line[value or name])
    low, high = line[f"{name}_low"], line[f"{name}_high"]
    return f"{middle} [{number(low)}, {number(high)}]" if low and high else middle


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table."""
    print("| " + " | ".join(head) + " |")
    print("|---" * len(head) + "|")
    for row in rows:
        print("| " + " | ".join(row) + " |")
    print()


def verdicts(line: Line) -> list[str]:
    return [
        line["method"],
        interval(line, "final", "final_iqm"),
        interval(line, "worst", "worst_iqm"),
        interval(line, "area", "area_iqm"),
        number(str(float(line["bytes_per_agent"]) / 1e3)),
        f"{line['solved']} of {line['solved_of']}" if line["solved_of"] else "",
    ]


def sampled(runs: Sequence[Line], line: Line) -> str:
    """Return the IQM over seeds of what sampled actions earn at the end, for one verdict line."""
    own = [r for r in runs if (r["setting"], r["method"]) == (line["setting"], line["method"])]
    values = [float(r["return_stochastic"]) for r in own if r["state"] == "finished"]
    return number(str(float(iqm(values))))


def completions(line: Line) -> list[str]:
    return [
        line["method"],
        f"{line['who']}, {line['unit']}",
        f"{line['completed']} of {line['of']}",
        interval(line, "median"),
        f"{number(line['q25'])} to {number(line['q75'])}",
        interval(line, "std"),
    ]


def over_episodes(line: Line) -> list[str]:
    names = ("episode_auc", "last_mean", "last_worst", "last_spread")
    return [line["method"], line["seeds"], *(interval(line, name) for name in names)]


def differences(lines: Sequence[Line], ours: str) -> list[list[str]]:
    """Return a row for each method that `ours` is compared with; shown ones are bold."""
    rows = []
    for other, some in groupby((d for d in lines if d["method"] == ours), lambda d: d["minus"]):
        cells = {d["metric"]: d for d in some}
        row = [other]
        for metric in METRICS:
            if (d := cells.get(metric)) is None:  # areas of runs of different lengths
                row.append("-")
                continue
            low, high = number(d["low"]), number(d["high"])
            text = f"{float(d['mean']):+.1f} [{low}, {high}]"
            row.append(f"**{text}**" if d["shown"] == "True" else text)
        rows.append(row)
    return rows


KINDS: dict[str, tuple[tuple[str, ...], Callable[[Line], list[str]]]] = {
    "verdict": (
        ("method", "final return", "worst agent", "area", "kB per agent", "solved"),
        verdicts,
    ),
    "completion": (
        ("method", "who, in", "completed", "median", "quartiles", "standard deviation"),
        completions,
    ),
    "episodes": (
        ("method", "seeds", "mean over episodes", "last 100", "worst agent", "spread"),
        over_episodes,
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("report", type=Path, help="the folder that fdrl report wrote")
    parser.add_argument("--minus", default="fd", help="whose differences from the others")
    parser.add_argument("--sampled", action="store_true", help="add the returns of sampled actions")
    given = parser.parse_args()
    if not (given.report / "data" / "verdict.csv").is_file():
        sys.exit(f"{given.report} holds no report: write one with fdrl report RUNS --out DIR")
    found = {kind: read(given.report, kind) for kind in (*KINDS, "differences")}
    runs = read(given.report, "runs") if given.sampled else []
    finished = [line for line in found["verdict"] if line["final_iqm"]]
    found["verdict"] = finished  # a method without a finished run has nothing to show
    for setting in dict.fromkeys(line["setting"] for line in found["verdict"]):
        print(f"#### {setting}\n")
        for kind, (head, row) in KINDS.items():
            lines = [line for line in found[kind] if line["setting"] == setting]
            rows = [row(line) for line in lines]
            if runs and kind == "verdict":
                head = (*head, "sampled actions")
                rows = [[*r, sampled(runs, line)] for r, line in zip(rows, lines, strict=True)]
            if rows:
                table(head, rows)
        own = [d for d in found["differences"] if d["setting"] == setting]
        if minus := differences(own, given.minus):
            table((f"{given.minus} minus", *METRICS.values()), minus)


if __name__ == "__main__":
    main()
