"""From run folders to the page and the files beside it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fdrl.config.run import to_toml
from fdrl.core.errors import FdrlError, nearest
from fdrl.core.files import make_folder, write_atomic
from fdrl.report import collect, completion, figures, results, series, tables, theme
from fdrl.report.collect import tuning_runs
from fdrl.report.groups import Groups, Setting, group, order
from fdrl.report.page import Part, anchor, page
from fdrl.report.series import Series
from fdrl.report.text import config_path
from fdrl.runs.metric_names import wording

PAGE = "report.html"


def write(
    places: Sequence[str | Path], out: str | Path = "report", *, reference: str = ""
) -> tuple[Path, Groups]:
    """Write ``OUT/report.html`` about the runs in `places`; return its path and what was found.

    Beside it: ``data/*.csv``, ``figures/SETTING/*.png`` and ``.svg``, ``configs/SETTING/*.toml``.
    `reference` names the method that others are compared with (default: `fd`). Raises `FdrlError`
    if a place does not exist, if none of them holds a run, or if `reference` is no method.
    """
    suites = collect.manifests(places)
    missing = collect.never_started(suites)
    found = collect.find(places) if not missing else _maybe(places)
    entries = [*(collect.read(folder) for folder in found), *missing]
    groups = group(entries, tuning_runs(places, found))
    labels = {m.label: m for s in groups.settings for m in s.methods}
    if reference and reference not in labels:
        raise FdrlError(f"no method {reference!r} in these runs{nearest(reference, labels)}")
    ordered = sorted(labels, key=lambda n: (order(labels[n].run.strategy_name), n))
    styles = theme.styles(ordered)
    folder = Path(out)
    with theme.style_context():
        parts = [_part(s, styles, folder, reference) for s in groups.settings]
    _data(folder / "data", groups, parts)
    for part in parts:
        for method in part.setting.methods:
            path = folder / config_path(part.setting, method)
            _write(path, to_toml(method.run).encode())
    text = page(groups, parts, styles, [manifest for _, manifest in suites])
    _write(folder / PAGE, text.encode())
    return folder / PAGE, groups


def _maybe(places: Sequence[str | Path]) -> list[Path]:
    """Find runs below a suite of which none may have started."""
    try:
        return collect.find(places)
    except FdrlError:
        return []


def _part(setting: Setting, styles: dict[str, theme.Style], out: Path, reference: str) -> Part:
    rows = results.verdict(setting)
    made = {}
    for kind, picture in figures.draw(setting, rows, styles).items():
        for ending in ("png", "svg"):
            path = out / "figures" / setting.slug / f"{kind}.{ending}"
            _write(path, theme.render(picture, ending))
        title = f"{figures.captions(wording(setting.run))[kind][0]}: {setting.title}"
        made[kind] = theme.inline(picture, f"{anchor(setting)}-{kind}", title)
    differences = results.differences(setting, reference)
    return Part(setting, rows, differences, completion.comparisons(setting, reference), made)


def _write(path: Path, data: bytes) -> None:
    make_folder(path.parent)
    write_atomic(path, data)


def _data(folder: Path, groups: Groups, parts: Sequence[Part]) -> None:
    _write(folder / "runs.csv", tables.runs_csv(groups))
    _write(folder / "verdict.csv", tables.verdict_csv(groups, [p.rows for p in parts]))
    _write(
        folder / "differences.csv", tables.differences_csv(groups, [p.differences for p in parts])
    )
    _write(folder / "improvement.csv", tables.improvement_csv(groups))
    _write(folder / "threshold.csv", tables.speed_csv(groups))
    _write(folder / "payload.csv", tables.payload_csv(groups))
    _write(folder / "completion.csv", completion.completion_csv(groups))
    rows = [(p.setting, p.completions) for p in parts]
    _write(folder / "completes-earlier.csv", completion.comparison_csv(rows))
    _write(folder / "episodes.csv", completion.returns_csv(groups))
    kinds = {
        "curves-steps": series.against_steps,
        "curves-bytes": series.against_bytes,
        "curves-seconds": series.against_seconds,
        "profiles": series.profiles,
        "curves-completion": series.completed,
    }
    for name, make in kinds.items():
        _write(folder / f"{name}.csv", _curves_csv([(s, make(s)) for s in groups.settings]))


def _curves_csv(found: Sequence[tuple[Setting, Sequence[Series]]]) -> bytes:
    rows = [
        [s.title, c.method, c.seeds, *map(float, point)]
        for s, curves in found
        for c in curves
        for point in zip(c.x, c.band.value, c.band.low, c.band.high, strict=True)
    ]
    return tables.to_csv(["setting", "method", "seeds", "x", "mean", "low", "high"], rows)
