"""What a page says: what may be concluded, what is left out, and how to make its runs again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from html import escape

from fdrl.config.run import to_toml
from fdrl.core.registry import STRATEGIES
from fdrl.report import completion, tables, theme
from fdrl.report.collect import Manifest, Named
from fdrl.report.groups import (
    Groups,
    Method,
    Setting,
    key,
    learner_differences,
    setting_fields,
    setting_words,
    slug,
)
from fdrl.report.results import ENOUGH, Difference, Row, metrics_of, needed
from fdrl.report.theme import bounds, number, size
from fdrl.runs.folder import METRICS
from fdrl.runs.metric_names import MetricNames, wording

# ---- What may be concluded, and what may not, in sentences ----


FEW = 10
"""Seeds below which a headline should not rest on the intervals."""


def _list(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def summary(groups: Groups) -> str:
    """Say in a sentence what there is, and whether it allows any conclusion."""
    total, done = len(groups.entries) - len(groups.duplicates), groups.finished
    if not done:
        which = f"none of the {total} runs found is" if total != 1 else "the run found is not"
        return (
            f"Nothing can be concluded: {which} finished. "
            "A run counts when its summary.json is written, after the final evaluation."
        )
    where = _counted(len(groups.settings), "setting")
    text = f"{done} of {_counted(total, 'run')} finished, in {where}. "
    rivals = [s for s in groups.settings if len(s.compared) > 1]
    if not rivals and len(groups.settings) > 1:
        return text + (
            "No setting (environment, agents, learner, budget) has finished runs of two methods, "
            "so nothing is compared here: each part of this page stands alone."
        )
    seeds = [max(len(m.finished) for m in s.methods) for s in rivals or groups.settings]
    most = max(seeds)
    if most == 1:
        return text + (
            "Every method has one seed at most, so nothing here says which one is better: a second "
            "seed may turn the order around. There are no intervals."
        )
    if most < ENOUGH:
        return text + (
            f"No method has more than {most} seeds: too few to call any of them better (that "
            f"takes {ENOUGH} at least, more among many methods, {FEW} or more for a headline). "
            "Intervals from so few are too narrow."
        )
    text += (
        "A method is called better only if its paired difference over seeds has a 95% interval "
        "that excludes 0 and a sign-flip test agrees, which allows for the number of methods."
    )
    few = f" Some settings have too few seeds for that (under {ENOUGH})."
    return text + (few if min(seeds) < ENOUGH else "")


def sentences(setting: Setting, rows: Sequence[Row], found: Sequence[Difference]) -> list[str]:
    """Say what a setting's finished runs show about the final return, and about learning speed."""
    methods = setting.compared
    if not methods:
        return [
            "No run is finished here, so nothing can be concluded; curves show how far they are."
        ]
    if len(methods) == 1:
        return [f"Only {methods[0].label} has finished runs: there is nothing to compare it with."]
    most = max(len(m.finished) for m in methods)
    if most == 1:
        return ["One seed for each method: single draws, from which no order can be concluded."]
    if sum(len(m.finished) >= ENOUGH for m in methods) < 2:
        return [f"{most} seeds at most: too few to call a method better (at least {ENOUGH})."]
    names = wording(setting.run)
    leading = {"return_mean": names.final, "auc": "area under the learning curve"}
    text = [_leaders(rows, m, w, most) for m, w in leading.items() if m in metrics_of(setting)]
    return [*text, *_against(rows, found, names), *completion.sentences(setting)]


def _leaders(rows: Sequence[Row], metric: str, what: str, seeds: int) -> str:
    """Say who leads in a metric, called `what`, if anybody does; `seeds`: a method's most."""
    best = [r.method for r in rows if metric in r.best]
    taking_part = sum(r.seeds >= ENOUGH for r in rows)
    takes = needed(taking_part - 1)
    if not best:
        text = f"In {what}, no method is shown to be better than the others"
        few = f": among {taking_part} methods that takes {takes} seeds at least"
        return f"{text}{few if seeds < takes else ''}."
    if any(metric in r.alone for r in rows):
        return f"In {what}, {best[0]} is shown to be better than every other method."
    enough = [r.method for r in rows if metric not in r.best and r.seeds >= ENOUGH]
    if len(best) == 1:
        left = _list([r.method for r in rows if r.method not in (best[0], *enough)] or ["others"])
        return (
            f"In {what}, {best[0]} is shown to be better than {_list(enough)}; {left} took no "
            f"part, with fewer than {ENOUGH} seeds."
        )
    return (
        f"In {what}, {_list(best)} cannot be told apart; the leader of them is shown to be better "
        f"than {_list(enough)}."
    )


def _against(rows: Sequence[Row], found: Sequence[Difference], names: MetricNames) -> list[str]:
    """Say how the reference stands to each baseline (as fedavg), if both are there."""
    sent = {r.method: r.sent for r in rows}
    text = []
    for d in found:
        name = d.other.split()[0]
        baseline = name in STRATEGIES and STRATEGIES.spec(name).baseline
        if d.metric != "return_mean" or not baseline or not d.seeds:
            continue
        ours, theirs = sent[d.method], sent[d.other]
        ratio = f" {d.method} sends {size(ours)}, {d.other} {size(theirs)} per agent"
        ratio += f": {number(theirs / ours)} times as much." if ours > 0 and theirs > 0 else "."
        gap = number(d.interval.value, sign=True, beside=d.interval)
        gap = f"{gap} {bounds(d.interval, sign=True)}".rstrip()
        text.append(f"{d.method} minus {d.other}, {names.final}, mean: {gap}.{ratio}")
    return text


def caveats(groups: Groups) -> list[str]:
    """Return what limits the conclusions, most general first."""
    found = [*_budgets(groups.settings), *_unfinished(groups)]
    found += [text for s in groups.settings for text in _unequal(s)]
    found += _versions(groups)
    if groups.duplicates:
        folders = _counted(len(groups.duplicates), "folder")
        found.append(f"{folders} left out: same config and seed as another one.")
    return found


def _budgets(settings: Sequence[Setting]) -> list[str]:
    places: dict[str, list[Setting]] = {}
    for s in settings:
        fields = {k: v for k, v in setting_fields(s.run).items() if k != "steps"}
        places.setdefault(key(fields), []).append(s)
    found = []
    for same in places.values():
        budgets = sorted({s.run.steps for s in same})
        if len(budgets) > 1:
            steps = _list([f"{n:,}" for n in budgets])
            words = setting_words(same[0].run).rpartition(" · ")[0]
            found.append(f"{words}: runs of {steps} steps per agent are never averaged together.")
    return found


def mixed_budgets(settings: Sequence[Setting]) -> bool:
    """Say whether a place was run with several budgets."""
    return bool(_budgets(settings))


def _unfinished(groups: Groups) -> list[str]:
    left_out = {path for path, _ in groups.duplicates}
    missing = [e for e in groups.entries if not e.finished and e.path not in left_out]
    if not missing or not groups.finished:
        return []
    return [
        f"Left out: {_counted(len(missing), 'run')} without a result, listed below. If runs of "
        "one method fail more often than others', its numbers flatter it."
    ]


def _unequal(setting: Setting) -> list[str]:
    """Name what is not equal between the methods of a setting."""
    methods, found = setting.compared, []
    seeds = {m.label: set(m.seeds) for m in methods}
    if len({frozenset(s) for s in seeds.values()}) > 1:
        counts = ", ".join(f"{label}: {len(s)}" for label, s in seeds.items())
        found.append(f"{setting.title}: seeds differ ({counts}); differences use common seeds.")
    steps = [s.env_steps for m in methods for s in m.summaries]
    run = setting.run
    early = bool(run.episodes) or (run.goal is not None and run.goal.stop)
    if steps and max(steps) > 1.01 * min(steps) and not early:
        text = f"between {min(steps):,} and {max(steps):,} steps"
        found.append(f"{setting.title}: runs took {text}, because rounds are taken whole.")
    told = learner_differences([m.run for m in methods], [m.label for m in methods])
    if told:
        found.append(f"{setting.title}: methods differ in the learner's settings: {told}.")
    return found


def versions(methods: Sequence[Method]) -> list[tuple[str, int]]:
    """Return each set of versions as text, and how many finished runs it made."""
    counts = Counter(
        ", ".join(f"{k} {v}" for k, v in s.versions.items()) or "versions unknown"
        for m in methods
        for s in m.summaries
    )
    return counts.most_common()


def _versions(groups: Groups) -> list[str]:
    several = versions([m for s in groups.settings for m in s.methods])
    if len(several) < 2:
        return []
    return [f"Runs were made with {len(several)} sets of versions, see the end of the page."]


# ---- What a report leaves out, or cannot use whole, in sentences ----


def notes(groups: Groups) -> list[str]:
    """Return what was left out without being a run that failed."""
    return [*_tuning(groups), *_differing(groups), *_partial(groups)]


def _differing(groups: Groups) -> list[str]:
    twice = dict(groups.duplicates)
    return [
        f"{path} and {twice[path]} have the same config and seed, but other results ({what}): "
        f"{twice[path]} was kept."
        for path, what in groups.differing
    ]


def _partial(groups: Groups) -> list[str]:
    count = len(groups.partial)
    if not count:
        return []
    runs = "1 finished run" if count == 1 else f"{count} finished runs"
    return [
        f"Left out of learning curves and times until a threshold: {runs} without a whole "
        f"{METRICS} (listed at the end of the page). Final returns count."
    ]


def _tuning(groups: Groups) -> list[str]:
    if not groups.tuning:
        return []
    runs = "1 tuning run" if groups.tuning == 1 else f"{groups.tuning} tuning runs"
    return [f"{runs} left out: settings were chosen on them. Name their folder to compare them."]


# ---- What the page says of the suites that its runs belong to: their question, and their names


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
        out.append(_listed(f"Settings of suite {suite.suite}", suite.settings, settings))
        out.append(_listed(f"Methods of suite {suite.suite}", suite.methods, called))
    return "".join(out)


def _listed(title: str, entries: Sequence[Named], shown: set[str]) -> str:
    rows = "".join(
        f"<dt>{escape(e.name)}</dt><dd>{escape(e.label)}</dd>"
        for e in entries
        if e.label and e.name in shown
    )
    return f"<h3>{escape(title)}</h3><dl>{rows}</dl>" if rows else ""


# ---- The end of the page: how its runs are made again, and which folders are left out of it


def config_path(setting: Setting, method: Method) -> str:
    """Return where a method's config lies, below the page's folder."""
    return f"configs/{setting.slug}/{slug(method.label)}.toml"


def command(setting: Setting, method: Method) -> str:
    """Return the shell line that makes a method's runs again."""
    seeds = " ".join(str(e.run.seed) for e in method.entries if e.run)
    path = config_path(setting, method)
    name = path.removeprefix("configs/").removesuffix(".toml")
    return f"for s in {seeds}; do fdrl train {path} --seed $s --out runs/{name}-$s; done"


def section(settings: Sequence[Setting], styles: dict[str, theme.Style]) -> str:
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
    found = versions([m for s in settings for m in s.methods])
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
