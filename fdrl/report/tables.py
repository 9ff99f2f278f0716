"""The page's tables as HTML that turns into cards on a phone, and as CSV files for papers."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from html import escape
from typing import Any

from fdrl.report import results, theme
from fdrl.report.groups import Groups, Setting
from fdrl.report.results import ENOUGH, METRICS, SCARCE, Difference, Row
from fdrl.report.theme import bounds, number, size, whole
from fdrl.runs.metric_names import MetricNames, wording
from fdrl.stats import Interval, Reached

# ---- Tables as HTML that turns into cards on a phone ----


Cell = str
"""HTML, escaped where it came from a config."""


def items(texts: Sequence[str]) -> str:
    """Return a list; nothing for none."""
    return f"<ul>{''.join(f'<li>{escape(t)}</li>' for t in texts)}</ul>" if texts else ""


def table(headers: Sequence[str], rows: Sequence[Sequence[Cell]], name: str = "") -> str:
    """Return a table; the first column heads its row, and each cell carries its column's name."""
    head = "".join(f'<th scope="col">{escape(h)}</th>' for h in headers)
    body = []
    for row in rows:
        cells = "".join(
            f'<td data-label="{escape(h, quote=True)}"><div>{c}</div></td>'
            for h, c in zip(headers[1:], row[1:], strict=True)
        )
        body.append(f'<tr><th scope="row">{row[0]}</th>{cells}</tr>')
    cls = f' class="{name}"' if name else ""
    return f"<table{cls}><thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table>"


FEW_NOTE = (
    f"Gray: fewer than {SCARCE} seeds, so intervals and probabilities say next to nothing there."
)


def _number(interval: Interval, mark: str = "", seeds: int = SCARCE) -> Cell:
    """Return a value with its interval below, in gray with few seeds."""
    text = f"<span>{mark}{number(interval.value, beside=interval)}</span>"
    few = ' class="few"' if seeds < SCARCE else ""
    return f"{text} <small{few}>{bounds(interval)}</small>" if bounds(interval) else text


def few_seeds(setting: Setting) -> bool:
    """Whether some of a setting's numbers are shown in gray."""
    return any(len(m.finished) < SCARCE for m in setting.compared)


def _mark(row: Row, metric: str) -> str:
    if metric in row.alone:
        return '<b class="best">best</b> '
    if metric in row.best:
        return '<b class="tied">\N{ALMOST EQUAL TO} best</b> '
    return ""


def swatch(label: str, styles: dict[str, theme.Style]) -> Cell:
    """Return a method's name behind the line it has in the figures."""
    style = styles[label]
    index = [light for light, _ in theme.COLORS].index(style.color)
    dashes = "" if style.dash == "-" else " ".join(str(2 * d) for d in style.dash[1])
    return (
        f'<svg class="swatch" viewBox="0 0 34 10" aria-hidden="true"><line x1="0" y1="5" x2="34" '
        f'y2="5" stroke="var(--c{index})" stroke-width="3" stroke-dasharray="{dashes}"/></svg>'
        f"{escape(label)}"
    )


def verdict_table(setting: Setting, rows: Sequence[Row], styles: dict[str, theme.Style]) -> str:
    """Return a setting's verdict table."""
    solved = "" if setting.threshold is None else f"{setting.threshold:g}"
    timed = any(r.seconds > 0 for r in rows)
    headers = ["method", wording(setting.run).final, "worst agent"]
    headers += ["area"] if setting.even else []
    headers += ["bytes / agent"]
    headers += ["simulated s"] if timed else []
    headers += [f"solved ({solved})"] if solved else []
    headers += ["seeds"]
    lines = []
    for r in rows:
        line = [
            swatch(r.method, styles),
            _number(r.final, _mark(r, "return_mean"), r.seeds),
            _number(r.worst, _mark(r, "return_worst"), r.seeds),
        ]
        if setting.even:
            line.append(_number(r.area, _mark(r, "auc"), r.seeds))
        line.append(size(r.sent))
        if timed:
            line.append(number(r.seconds))
        if r.solved is not None:
            line.append(f"{r.solved[0]} of {r.solved[1]}" if r.solved[1] else theme.NONE)
        missing = f" <small>of {r.started} started</small>" if r.started > r.seeds else ""
        lines.append([*line, f"{r.seeds}{missing}"])
    return table(headers, lines, "cards verdict")


def difference_table(
    found: Sequence[Difference], styles: dict[str, theme.Style], names: MetricNames
) -> str:
    """Return the reference's paired differences to the others, a line a method."""
    if not found:
        return ""
    by = {(d.other, d.metric): d for d in found}
    called = dict(zip(METRICS, (names.final, "worst agent", "area"), strict=True))
    metrics = {m: name for m, name in called.items() if (found[0].other, m) in by}
    lines = []
    for other in dict.fromkeys(d.other for d in found):
        own = [by[other, metric] for metric in metrics]
        lines.append([swatch(other, styles), *map(_difference, own), str(own[0].seeds)])
    first = f"{found[0].method} minus"
    return table([first, *metrics.values(), "common seeds"], lines, "cards")


def _difference(d: Difference) -> Cell:
    text = number(d.interval.value, sign=True, beside=d.interval)
    if d.shown:
        word = "higher" if d.interval.low > 0 else "lower"
        text = f"<b>{text}</b> {word}"
    small = bounds(d.interval, sign=True)
    few = ' class="few"' if d.seeds < SCARCE else ""
    return f"<span>{text}</span>" + (f" <small{few}>{small}</small>" if small else "")


def improvement_table(settings: Sequence[Setting], labels: Sequence[str]) -> str:
    """Return the matrix of P(row ends above column); bold where the interval excludes 1/2."""
    if len(labels) < 2:
        return ""
    found = results.improvements(settings, labels)
    seeds = {n: min(len(m.finished) for s in settings for m in s.compared if m.label == n)
             for n in labels}  # fmt: skip
    same = f'<span class="same">{theme.NONE}</span>'
    lines = [
        [
            escape(a),
            *(
                same if a == b else _probability(found[a, b], min(seeds[a], seeds[b]))
                for b in labels
            ),
        ]
        for a in labels
    ]
    return f'<div class="wide" tabindex="0">{table(["", *labels], lines, "matrix")}</div>'


def _probability(p: Interval, seeds: int) -> Cell:
    shown = seeds >= ENOUGH and p.excludes(0.5)
    strength = min(1.0, abs(p.value - 0.5) * 2)
    side = "few" if seeds < SCARCE else "win" if p.value > 0.5 else "lose"
    text = f"<b>{p.value:.2f}</b>" if shown else f"{p.value:.2f}"
    span = f"{p.low:.2f} to {p.high:.2f}" if math.isfinite(p.low) else "one seed"
    return (
        f'<span class="heat {side}" style="--p:{100 * strength * 0.34:.0f}%">{text} '
        f"<small>{span}</small></span>"
    )


def _reached(r: Reached, show: Any) -> Cell:
    if not math.isfinite(r.median):
        return theme.NONE
    quartiles = f"{show(r.low)} to {show(r.high)}" if math.isfinite(r.high) else ""
    small = f" <small>{quartiles}</small>" if quartiles else ""
    return f"<span>{show(r.median)}</span>{small}"


def speed_table(setting: Setting, styles: dict[str, theme.Style]) -> str:
    """Return when each method's training return first reached the threshold."""
    found = results.speeds(setting)
    if not found:
        return ""
    timed = any(t.seconds[-1] > 0 for m in setting.compared for t in m.traces)
    lines = [
        [
            swatch(s.method, styles),
            f"{s.steps.k} of {s.steps.n}",
            _reached(s.steps, whole),
            _number(s.spread) if math.isfinite(s.spread.value) else theme.NONE,
            _reached(s.bytes, size),
            *([_reached(s.seconds, number)] if timed else []),
        ]
        for s in found
    ]
    steps = wording(setting.run).steps
    headers = ["method", "reached", f"{steps}, median", f"{steps}, std", "bytes, median"]
    headers += ["simulated s, median"] if timed else []
    return table(headers, lines, "cards")


def payload_table(setting: Setting, styles: dict[str, theme.Style]) -> str:
    """Return what each method sends, next to the size of the networks."""
    lines, found = [], results.payloads(setting)
    lossy = any(p.lost_up or p.lost_down for p in found)
    for p in found:
        small, large = p.parameters
        nets = whole(small) if small == large else f"{whole(small)} to {whole(large)}"
        line = [swatch(p.method, styles), nets, size(p.up), size(p.down), whole(p.exchanges)]
        line += [size(p.per_exchange), whole(p.gradient_steps), whole(p.server_steps)]
        lines.append([*line, whole(p.lost_up), whole(p.lost_down)] if lossy else line)
    headers = ["method", "parameters", "up", "down", "exchanges", "per exchange"]
    headers += ["distillation steps", "server's own steps"]
    headers += ["uploads lost", "downloads lost"] if lossy else []
    return table(headers, lines, "cards") if lines else ""


# ---- The page's numbers as CSV files, for papers ----


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
