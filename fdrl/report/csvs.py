"""The page's numbers as CSV files, for papers."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from typing import Any

from fdrl.report import results
from fdrl.report.groups import Groups
from fdrl.report.results import Difference, Row


def to_csv(headers: Sequence[str], rows: Sequence[Sequence[Any]]) -> bytes:
    """Return a CSV file; what is not a number is an empty cell."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(headers)
    for row in rows:
        writer.writerow(["" if isinstance(v, float) and not math.isfinite(v) else v for v in row])
    return buffer.getvalue().encode()


RUN_FIELDS = (
    "return_mean", "return_worst", "return_spread", "return_stochastic", "return_held_out", "auc",
    "bytes_up", "bytes_down", "env_steps", "rounds", "exchanges", "gradient_steps",
    "server_env_steps", "sim_seconds", "lost_up", "lost_down", "episode_auc", "last_mean",
    "last_worst", "last_spread", "completed", "first_steps", "first_episodes", "all_steps",
    "all_episodes", "wall_seconds", "steps_per_second", "config",
)  # fmt: skip


def runs_csv(groups: Groups) -> bytes:
    """Return every run with its result, or why it has none."""
    rows: list[list[Any]] = []
    for s in groups.settings:
        for m in s.methods:
            for e in m.entries:
                values = [getattr(e.summary, f) if e.summary else "" for f in RUN_FIELDS]
                seed = e.run.seed if e.run else ""
                state = "finished" if e.finished else e.problem
                rows.append([s.title, m.label, seed, state, *values, e.path])
    rows += [["", "", "", e.problem, *[""] * len(RUN_FIELDS), e.path]
             for e in groups.entries if e.run is None]  # fmt: skip
    return to_csv(["setting", "method", "seed", "state", *RUN_FIELDS, "folder"], rows)


def verdict_csv(groups: Groups, rows: Sequence[Sequence[Row]]) -> bytes:
    """Return all verdict tables as one."""
    names, ends = ("final", "worst", "area"), ("_iqm", "_low", "_high")
    headers = ["setting", "method", "seeds", *(f"{n}{end}" for n in names for end in ends)]
    lines = [
        [
            *(s.title, r.method, r.seeds, *r.final, *r.worst, *r.area, r.sent, r.seconds),
            *(*(r.solved or ("", "")), " ".join(sorted(r.best)), " ".join(sorted(r.alone))),
        ]
        for s, own in zip(groups.settings, rows, strict=True)
        for r in own
    ]
    headers += ["bytes_per_agent", "simulated_seconds", "solved", "solved_of", "among_best_in"]
    headers += ["best_in"]
    return to_csv(headers, lines)


def differences_csv(groups: Groups, found: Sequence[Sequence[Difference]]) -> bytes:
    """Return all paired differences as one table."""
    rows = [
        [s.title, d.method, d.other, d.metric, d.seeds, *d.interval, d.p, d.shown]
        for s, own in zip(groups.settings, found, strict=True)
        for d in own
    ]
    headers = ["setting", "method", "minus", "metric", "common_seeds", "mean", "low", "high"]
    return to_csv([*headers, "p_sign_flip", "shown"], rows)


def improvement_csv(groups: Groups) -> bytes:
    """Return P(method ends above other) for every pair of a setting."""
    rows = [
        [s.title, a, b, *p]
        for s in groups.settings
        for (a, b), p in results.improvements([s], [m.label for m in s.compared]).items()
    ]
    return to_csv(["setting", "method", "above", "probability", "low", "high"], rows)


def speed_csv(groups: Groups) -> bytes:
    """Return steps and bytes to the threshold."""
    rows = [
        [
            s.title,
            v.method,
            s.threshold,
            v.steps.k,
            v.steps.n,
            *v.steps[2:],
            *v.spread,
            *v.bytes[2:],
            *v.seconds[2:],
        ]
        for s in groups.settings
        for v in results.speeds(s)
    ]
    headers = ["setting", "method", "threshold", "reached", "of"]
    headers += ["steps_median", "steps_q25", "steps_q75", "steps_std", "steps_std_low"]
    headers += ["steps_std_high", "bytes_median", "bytes_q25", "bytes_q75"]
    headers += ["seconds_median", "seconds_q25", "seconds_q75"]
    return to_csv(headers, rows)


def payload_csv(groups: Groups) -> bytes:
    """Return what every method sends."""
    rows = [
        [
            *(s.title, p.method, *p.parameters, p.up, p.down, p.exchanges, p.per_exchange),
            *(p.gradient_steps, p.server_steps, p.lost_up, p.lost_down),
        ]
        for s in groups.settings
        for p in results.payloads(s)
    ]
    headers = ["setting", "method", "parameters_least", "parameters_most", "bytes_up", "bytes_down"]
    headers += ["exchanges", "bytes_per_exchange", "distillation_steps", "server_env_steps"]
    headers += ["lost_up", "lost_down"]
    return to_csv(headers, rows)
