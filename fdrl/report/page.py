"""The page: one HTML file that needs nothing else, neither network nor script."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from fdrl import stats
from fdrl.bench.grid import gap_lines
from fdrl.report import completion, figures, tables, theme
from fdrl.report import text as text_report
from fdrl.report.collect import Manifest
from fdrl.report.groups import Groups, Setting
from fdrl.report.results import Difference, Row
from fdrl.report.text import caveats, lead, mixed_budgets, notes, section, sentences, summary
from fdrl.runs.metric_names import MetricNames, wording

Styles = dict[str, theme.Style]


@dataclass(frozen=True, eq=False)
class Part:
    """A setting with everything that the page says about it."""

    setting: Setting
    rows: Sequence[Row]
    differences: Sequence[Difference]
    completions: Sequence[completion.Comparison]
    figures: Mapping[str, str]
    """SVG elements by kind."""


def _paragraphs(texts: Sequence[str]) -> str:
    return "".join(f"<p>{escape(t)}</p>" for t in texts)


def _note(text: str) -> str:
    return f'<p class="note">{escape(text)}</p>'


def anchor(setting: Setting) -> str:
    """Return the id of a setting's section."""
    return f"s-{setting.slug.replace('=', '-')}"


def _is_empty(p: Part) -> bool:
    """Whether there is nothing to show of a setting: no finished run, no curve."""
    return not p.setting.compared and not p.figures


def _unfinished(parts: Sequence[Part]) -> str:
    """List the settings without a finished run, instead of headings with nothing below."""
    lines = [
        f'<li><a href="#{anchor(p.setting)}">{escape(p.setting.title)}</a>: curves only</li>'
        if p.figures
        else f"<li>{escape(p.setting.title)}</li>"
        for p in parts
        if not p.setting.compared
    ]
    if not lines:
        return ""
    return f"<h3>Left out: no run is finished</h3><ul>{''.join(lines)}</ul>"


def _verdicts(parts: Sequence[Part], styles: Styles) -> str:
    out = []
    compared = [p for p in parts if p.setting.compared]
    for p in compared:
        out.append(f'<h3><a href="#{anchor(p.setting)}">{escape(p.setting.title)}</a></h3>')
        out.append(_paragraphs(sentences(p.setting, p.rows, p.differences)))
        out.append(tables.verdict_table(p.setting, p.rows, styles))
        if tables.few_seeds(p.setting):
            out.append(_note(tables.FEW_NOTE))
    left_out = _unfinished(parts)
    even = any(p.setting.even for p in compared)
    labels = bool(compared) and all(wording(p.setting.run).labels for p in compared)
    names = MetricNames(labels)
    whole = "all of training" if labels else "all steps"
    area = f"; area: mean {names.training} over {whole}" if even else ""
    how = "on all test examples after training"
    if not labels:
        how = "greedy evaluation after training on fixed seeds"
    explained = (
        f"{names.final.capitalize()}: {how}, mean over agents; worst "
        f"agent: the lowest agent's{area}. Each is the "
        "interquartile mean over seeds, with a 95% bootstrap interval over seeds in brackets. "
        "Bytes: everything sent and received by an agent over the whole run, mean. best: shown to "
        "be better than every other method; \N{ALMOST EQUAL TO} best: not told apart from the "
        "highest, which is shown to be better than those without a mark. Methods with too few "
        "seeds take no part."
    )
    if any(p.setting.threshold is not None for p in compared):
        explained += (
            f" solved: runs whose {names.final} is at least the number; when training first "
            "reached it stands further down."
        )
    return "".join(out) + (_note(explained) if compared else "") + left_out


def _pictures(p: Part) -> str:
    made = []
    for kind, svg in p.figures.items():
        title, caption = figures.captions(wording(p.setting.run))[kind]
        made.append(
            f"<figure><figcaption><b>{escape(title)}</b>{escape(caption)}</figcaption>"
            f"{svg}</figure>"
        )
    return f'<div class="figures">{"".join(made)}</div>' if made else ""


def _block(title: str, body: str, note: str) -> str:
    return f"<h3>{escape(title)}</h3>{_note(note)}{body}" if body else ""


def _ends(p: Part, styles: Styles) -> list[str]:
    """Return what is said where a goal or episodes, not steps alone, end the runs."""
    s = p.setting
    return [
        *(
            _block(
                f"Time to completion: {words}",
                completion.completion_table(s, who, styles),
                completion.EXPLAINED if who == "all" else "The same until one agent completed.",
            )
            for who, words in completion.WHO.items()
        ),
        _block(
            "Who completes earlier",
            completion.comparison_table(p.completions, styles),
            completion.COMPARED,
        ),
        _block(
            "Training episodes", completion.returns_table(s, styles), completion.EPISODES_EXPLAINED
        ),
    ]


def _not_timed(setting: Setting) -> str:
    """Say how many finished runs do not count among the times, because their log is not whole."""
    count = sum(not e.whole for m in setting.compared for e in m.finished)
    runs = "1 run has" if count == 1 else f"{count} runs have"
    return f" Left out here: {runs} no whole metrics.jsonl." if count else ""


def _level(found: Sequence[Difference]) -> str:
    """Say what p must not exceed, which depends on how many methods are compared."""
    if not found:
        return ""
    count = round((1 - stats.CONFIDENCE) / found[0].level)
    divided = f": 5% divided by {count} comparisons" if count > 1 else ""
    return f" (p at most {found[0].level:.2g}{divided})"


def _section(p: Part, styles: Styles) -> str:
    s, names = p.setting, wording(p.setting.run)
    labels = [m.label for m in s.compared]
    until = "Training until accuracy" if names.labels else "Training until"
    few = f" {tables.FEW_NOTE}" if tables.few_seeds(s) else ""
    blocks = [
        _block(
            "Paired differences",
            tables.difference_table(p.differences, styles, names),
            "Mean over the seeds that both methods have, with a 95% bootstrap interval; bold where "
            "it excludes 0 on at least 6 seeds and a sign-flip test agrees"
            f"{_level(p.differences)}.",
        ),
        _block(
            "Probability of improvement",
            tables.improvement_table([s], labels),
            "How likely a run of the row's method ends above one of the column's; ties count half. "
            f"Bold where the 95% interval excludes 0.5 on at least 6 seeds.{few}",
        ),
        *_ends(p, styles),
        _block(
            f"{until} {s.threshold:g}" if s.threshold is not None else "",
            tables.speed_table(s, styles),
            f"When the {names.training} (mean over agents, as in the curves) first reached the "
            "threshold: median and quartiles over all seeds. A run that never did counts as later "
            "than the others, so a median stands only where more than half reached it; the "
            f"standard deviation only where all did.{_not_timed(s)}",
        ),
        _block(
            "Payload",
            tables.payload_table(s, styles),
            "Per agent over the whole run, mean over seeds; encoded messages with headers. "
            "Parameters are those of one agent's whole network, which parameter averaging sends.",
        ),
    ]
    return (
        f'<section id="{anchor(s)}"><h2>{escape(s.title)}</h2>{_pictures(p)}'
        f"{''.join(blocks)}</section>"
    )


def _overall(parts: Sequence[Part]) -> str:
    settings = [p.setting for p in parts if p.setting.compared]
    if len(settings) < 2 or mixed_budgets(settings):
        return ""
    shared = set.intersection(*({m.label for m in s.compared} for s in settings))
    labels = [m.label for m in settings[0].compared if m.label in shared]
    body = tables.improvement_table(settings, labels)
    note = (
        f"Probability of improvement, mean over the {len(settings)} settings, for the methods that "
        "finished in all of them. Runs are only ever compared within their setting."
    )
    note += f" {tables.FEW_NOTE}" if any(map(tables.few_seeds, settings)) else ""
    return f"<h2>All settings together</h2>{_note(note)}{body}" if body else ""


def _limits(groups: Groups, suites: Sequence[Manifest]) -> str:
    lines = [f"Not applicable: {g}" for s in suites for g in gap_lines(s.not_applicable)]
    lines = [*caveats(groups), *notes(groups), *lines]
    return f"<h3>What limits this</h3>{tables.items(lines)}" if lines else ""


def page(groups: Groups, parts: Sequence[Part], styles: Styles, suites: Sequence[Manifest]) -> str:
    """Return the whole page."""
    told = [p for p in parts if not _is_empty(p)]
    links = "".join(
        f'<li><a href="#{anchor(p.setting)}">{escape(p.setting.title)}</a></li>' for p in told
    )
    body = [
        "<header><h1>Comparison of federated methods</h1>",
        f'<p class="lead">{escape(summary(groups))}</p>{lead(suites)}</header>',
        f"<main><h2>Verdict</h2>{_verdicts(parts, styles)}" if parts else "<main>",
        text_report.names(groups, suites),
        _limits(groups, suites),
        _overall(parts),
        f"<nav><h2>Settings</h2><ul>{links}</ul></nav>" if len(told) > 1 else "",
        *(_section(p, styles) for p in told),
        text_report.left_out(groups),
        section([p.setting for p in parts], styles) if parts else "",
        "</main>",
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        "<title>Comparison of federated methods</title>"
        f"<style>{theme.sheet()}</style></head><body>{''.join(body)}</body></html>\n"
    )
