"""What the page says of the suites that its runs belong to: their question, and their names."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from fdrl.report.collect import Manifest, Named
from fdrl.report.groups import Groups


def lead(suites: Sequence[Manifest]) -> str:
    """Return the question that each suite answers."""
    told = [s for s in suites if s.about]
    return "".join(f"<p>Suite {escape(s.suite)}: {escape(s.about)}</p>" for s in told)


def names(groups: Groups, suites: Sequence[Manifest]) -> str:
    """Return what the suites' own names mean, of the settings and methods that the page shows."""
    methods = [m for s in groups.settings for m in s.methods]
    given = {e.given for m in methods for e in m.entries if e.given is not None}
    settings, called = {setting for setting, _ in given}, {method for _, method in given}
    out = []
    for suite in suites:
        out.append(_list(f"Settings of suite {suite.suite}", suite.settings, settings))
        out.append(_list(f"Methods of suite {suite.suite}", suite.methods, called))
    return "".join(out)


def _list(title: str, entries: Sequence[Named], shown: set[str]) -> str:
    rows = "".join(
        f"<dt>{escape(e.name)}</dt><dd>{escape(e.label)}</dd>"
        for e in entries
        if e.label and e.name in shown
    )
    return f"<h3>{escape(title)}</h3><dl>{rows}</dl>" if rows else ""
