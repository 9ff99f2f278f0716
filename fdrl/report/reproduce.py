"""The end of the page: how its runs are made again, and which folders are left out of it."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from fdrl.config import to_toml
from fdrl.report import look, tables, verdict
from fdrl.report.groups import Groups, Method, Setting
from fdrl.report.naming import slug


def config_path(setting: Setting, method: Method) -> str:
    """Return where a method's config lies, below the page's folder."""
    return f"configs/{setting.slug}/{slug(method.label)}.toml"


def command(setting: Setting, method: Method) -> str:
    """Return the shell line that makes a method's runs again."""
    seeds = " ".join(str(e.run.seed) for e in method.entries if e.run)
    path = config_path(setting, method)
    name = path.removeprefix("configs/").removesuffix(".toml")
    return f"for s in {seeds}; do fdrl train {path} --seed $s --out runs/{name}-$s; done"


def section(settings: Sequence[Setting], styles: dict[str, look.Style]) -> str:
    """Return commands, configs and versions of all settings."""
    out = [
        "<h2>Reproduce</h2>",
        "<p>Each line makes a method's runs again, from this page's folder. The files hold the "
        "whole resolved config; the same config, seed and versions give the same metrics.</p>",
    ]
    for s in settings:
        out.append(f"<h3>{escape(s.title)}</h3>")
        for m in s.methods:
            out.append(
                f"<details><summary>{tables.swatch(m.label, styles)}</summary>"
                f"<pre>{escape(command(s, m))}</pre>"
                f"<pre>{escape(to_toml(m.run))}</pre></details>"
            )
    found = verdict.versions([m for s in settings for m in s.methods])
    out.append("<h3>Versions</h3>" if found else "")
    counted = [f"{text} ({count} run{'s' * (count != 1)})" for text, count in found]
    out.append(tables.items(counted))
    return "".join(out)


def left_out(groups: Groups) -> str:
    """Return which folders the page leaves out, or has in part, and why."""
    twice = dict(groups.duplicates)
    lines = [(e.path, e.problem) for e in groups.entries if e.problem and e.path not in twice]
    differs = {
        path: f", but other results ({what}): that one was kept" for path, what in groups.differing
    }
    lines += [
        (p, f"same config and seed as {other}{differs.get(p, '')}") for p, other in twice.items()
    ]
    if not lines:
        return ""
    rows = [[f"<code>{escape(path)}</code>", escape(problem)] for path, problem in lines]
    return "<h2>Folders left out or damaged</h2>" + tables.table(
        ["folder", "why"], rows, "cards left"
    )
