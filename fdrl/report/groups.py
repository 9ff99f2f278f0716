"""Runs in their groups, and their names: settings, methods in a setting, seeds of a method."""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from fdrl.channels.settings import FadingChannel, IdealChannel
from fdrl.config.run import LOCAL_FIELDS, Run, chosen_steps, parse, to_tables
from fdrl.core.arrays import Doubles
from fdrl.core.errors import FdrlError
from fdrl.core.records import Summary
from fdrl.core.registry import ENVS, STRATEGIES, StrategySpec
from fdrl.report.collect import Entry, Trace
from fdrl.runs.metric_names import wording

# ---- What makes runs comparable, and what to call it: settings, methods, seeds ----


SETTING = (
    "env", "env_kwargs", "agent_kwargs", "agents", "steps", "episodes", "goal", "networks",
    "cohorts", "hetero", "channel",
)  # fmt: skip
LEARNER = ("type", "hidden", "activation")
"""Fields of the learner that belong to the setting; its others are each method's own to tune."""
Flat = dict[str, Any]


def _flat(value: Any, prefix: str = "") -> Flat:
    if not isinstance(value, Mapping) or not value:
        return {prefix: value} if prefix else {}
    out: Flat = {}
    for key, inner in value.items():
        out.update(_flat(inner, f"{prefix}.{key}" if prefix else key))
    return out


def setting_fields(run: Run) -> Flat:
    """Return, by dotted name, what two runs must share to be compared."""
    tables = to_tables(run)
    chosen = {k: v for k, v in tables.items() if k in SETTING}
    if chosen_steps(run) is None:
        chosen["steps"] = "no limit"
    agent = tables.get("agent") or {}
    if not run.cohorts:
        chosen["agent"] = {k: v for k, v in agent.items() if k in LEARNER}
    evaluation = tables["evaluation"]
    chosen["evaluation"] = {k: v for k, v in evaluation.items() if k != "every"}
    return _flat(chosen)


def method_fields(run: Run) -> Flat:
    """Return, by dotted name, what makes a method: its settings, its learner's, its proxies."""
    tables = to_tables(run)
    rest = {k: v for k, v in tables.items() if k not in (*SETTING, *LOCAL_FIELDS, "seed")}
    rest["agent"] = {k: v for k, v in (tables.get("agent") or {}).items() if k not in LEARNER}
    rest.pop("evaluation")
    return _flat(rest)


def key(fields: Flat) -> str:
    """Return fields as one string: equal fields, equal strings."""
    return msgspec.json.encode(fields, order="deterministic").decode()


def network_words(run: Run) -> str:
    """Say which networks the agents have."""
    if run.cohorts:
        return f"{len(run.cohorts)} cohorts"
    if run.networks != "same":
        return {"arch": "ten architectures", "fedhpd": "FedHPD's ten networks"}[run.networks]
    own = "" if isinstance(run.agent, Mapping) else run.agent.architecture
    return f"{run.agent_name} {own}".rstrip()


def hetero_words(run: Run) -> str:
    """Say how the agents' environments differ."""
    if run.agent_kwargs:
        return "own arguments"
    table = msgspec.to_builtins(run.hetero)
    kind = str(table.pop("type"))
    if kind == "none":
        return "identical"
    numbers = [f"{v:g}" for k, v in table.items() if k != "agent" or v != -1]
    return " ".join([kind, *numbers])


def budget_words(run: Run) -> str:
    """Say how long agents learn."""
    budget = f"{run.episodes:,} episodes" if run.episodes else f"{run.steps:,} {wording(run).steps}"
    if run.goal is None:
        return budget
    until = f"a mean of {run.goal.mean:g} over {run.goal.window} episodes"
    return f"until {until}, {budget} at most" if run.goal.stop else f"{budget}, goal {until}"


def channel_words(run: Run) -> list[str]:
    """Say which channel messages travel over, by what is not its default; nothing if ideal."""
    if isinstance(run.channel, IdealChannel):
        return []
    own, usual = msgspec.structs.asdict(run.channel), msgspec.structs.asdict(type(run.channel)())
    changed = [f"{k}={_show(v)}" for k, v in own.items() if k != "symmetric" and v != usual[k]]
    kind = f"{type(run.channel).__struct_config__.tag} channel"
    if isinstance(run.channel, FadingChannel) and run.channel.symmetric:
        kind = "symmetric fading channel"
    return [f"{kind} ({', '.join(changed)})" if changed else kind]


def setting_words(run: Run) -> str:
    """Say what is learned, in a line."""
    agents = f"{run.agents} agent{'s' if run.agents != 1 else ''}"
    env = " ".join([run.env, *(f"{k}={_show(v)}" for k, v in run.env_kwargs.items())])
    parts = [env, hetero_words(run), *channel_words(run), agents, network_words(run)]
    return " · ".join([*parts, budget_words(run)])


def setting_titles(runs: Sequence[Run], names: Sequence[str]) -> list[str]:
    """Return a title for each setting, after its name in a suite if it has one.

    Those that would sound alike name what differs.
    """
    words = [setting_words(r) for r in runs]
    titles = [f"{n}: {w}" if n else w for n, w in zip(names, words, strict=True)]
    fields = [setting_fields(r) for r in runs]
    for title, count in Counter(titles).items():
        if count == 1:
            continue
        same = [i for i, t in enumerate(titles) if t == title]
        names = _differing([fields[i] for i in same])
        for i in same:
            own = ", ".join(f"{n}={_show(fields[i].get(n))}" for n in names)
            titles[i] = f"{title} ({own})"
    return titles


def _show(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list | tuple):
        return "[" + " ".join(_show(v) for v in value) + "]"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _differing(fields: Sequence[Flat]) -> list[str]:
    """Return the names whose values are not the same everywhere."""
    names = sorted({n for f in fields for n in f})
    return [n for n in names if len({key({n: f.get(n)}) for f in fields}) > 1]


@functools.cache
def _defaults(strategy: str, agent: str) -> Flat:
    try:
        tables = {"strategy": {"type": strategy}, "agent": {"type": agent}}
        return method_fields(parse(tables, data=True))
    except FdrlError:
        return {}


def _usual(name: str, variants: Sequence[Flat], defaults: Flat) -> Any:
    """Return the value that goes without saying: most variants' one, else the default."""
    counts = Counter(key({name: v.get(name)}) for v in variants)
    text, count = counts.most_common(1)[0]
    if 2 * count > len(variants):
        return text
    return key({name: defaults.get(name)})


def method_labels(runs: Sequence[Run]) -> list[str]:
    """Return a name for each method of a setting: its strategy, with the settings that differ.

    Only variants of one strategy are told apart by settings, and only by those in which they
    differ from most of them.
    """
    fields = [method_fields(r) for r in runs]
    labels = [r.strategy_name for r in runs]
    for name in dict.fromkeys(labels):
        same = [i for i, r in enumerate(runs) if r.strategy_name == name]
        variants = [fields[i] for i in same]
        defaults = _defaults(name, runs[same[0]].agent_name)
        usual = {n: _usual(n, variants, defaults) for n in _differing(variants)}
        for i in same:
            odd = [n for n in usual if key({n: fields[i].get(n)}) != usual[n]]
            own = [f"{n.removeprefix('strategy.')}={_show(fields[i].get(n))}" for n in odd]
            labels[i] = " ".join([name, *own])
    return unique(labels)


def unique(labels: Sequence[str]) -> list[str]:
    """Number the labels that are not the only ones of their kind."""
    counts, seen, out = Counter(labels), Counter[str](), []
    for label in labels:
        seen[label] += 1
        out.append(f"{label} #{seen[label]}" if counts[label] > 1 else label)
    return out


def learner_differences(runs: Sequence[Run], labels: Sequence[str]) -> str:
    """Say in which of the learner's settings methods differ, and how; empty if they do not."""
    fields = [{k: v for k, v in method_fields(r).items() if k.startswith("agent.")} for r in runs]
    parts = []
    for name in _differing(fields):
        values = (f"{lab}: {_show(f.get(name))}" for lab, f in zip(labels, fields, strict=True))
        parts.append(f"{name.removeprefix('agent.')} ({', '.join(values)})")
    return "; ".join(parts)


def order(label: str) -> tuple[int, str]:
    """Return a sort key by the rank of a label's strategy; those not registered come last."""
    name = label.split()[0]
    return (STRATEGIES.spec(name).rank if name in STRATEGIES else StrategySpec.rank, label)


def slug(text: str) -> str:
    """Return text as a file name: lower case, words joined by hyphens."""
    return re.sub(r"[^a-z0-9.=]+", "-", text.lower().replace(",", "")).strip("-.")[:90]


# ---- Runs in their groups: settings, methods in a setting, seeds of a method ----


@dataclass(frozen=True, eq=False)
class Method:
    """A method's runs in one setting, one a seed, in order of seed."""

    label: str
    entries: tuple[Entry, ...]
    """Finished and unfinished runs."""

    @property
    def finished(self) -> list[Entry]:
        """The runs whose results count."""
        return [e for e in self.entries if e.finished]

    @property
    def summaries(self) -> list[Summary]:
        """Their summaries."""
        return [e.summary for e in self.entries if e.run is not None and e.summary is not None]

    @property
    def seeds(self) -> list[int]:
        """The seeds of the finished runs."""
        return [s.seed for s in self.summaries]

    @property
    def run(self) -> Run:
        """The config of its first run."""
        run = self.entries[0].run
        assert run is not None
        return run

    @property
    def traces(self) -> list[Trace]:
        """The learning curves of the finished runs; of the others if none is finished.

        Those that lack rounds would cut off the mean of all: they count only if no other is there.
        """
        whole = [e for e in self.entries if e.whole]
        return [e.trace for e in whole or self.finished or self.entries if e.trace is not None]

    def values(self, name: str) -> Doubles:
        """Return a number of the finished runs' summaries, [R]."""
        return np.array([getattr(s, name) for s in self.summaries], dtype=np.float64)


@dataclass(frozen=True, eq=False)
class Setting:
    """All that may be compared with each other."""

    title: str
    slug: str
    methods: tuple[Method, ...]

    @property
    def run(self) -> Run:
        """The config of one of its runs."""
        return self.methods[0].run

    @property
    def threshold(self) -> float | None:
        """The final return from which the environment counts as solved; None if none is known."""
        return ENVS.spec(self.run.env).threshold if self.run.env in ENVS else None

    @property
    def even(self) -> bool:
        """Whether all runs take the same steps, so that the area under their curves compares them.

        A goal ends the better runs early, and better episodes may be longer or shorter.
        """
        return not self.run.episodes and not (self.run.goal is not None and self.run.goal.stop)

    @property
    def compared(self) -> list[Method]:
        """The methods with at least one finished run."""
        return [m for m in self.methods if m.finished]


@dataclass(frozen=True, eq=False)
class Groups:
    """Everything that was found."""

    settings: tuple[Setting, ...]
    entries: tuple[Entry, ...]
    duplicates: tuple[tuple[str, str], ...]
    """Folders left out, and the folder that holds the same run."""
    differing: tuple[tuple[str, str], ...] = ()
    """Of the folders left out, those with another result than the one kept, and in what."""
    tuning: int = 0
    """Tuning runs left out: settings were chosen on them."""

    @property
    def finished(self) -> int:
        """How many runs count."""
        return sum(len(m.finished) for s in self.settings for m in s.methods)

    @property
    def partial(self) -> list[Entry]:
        """The finished runs whose learning curve is not whole."""
        found = [e for s in self.settings for m in s.methods for e in m.finished]
        return [e for e in found if not e.whole]


RESULTS = (
    "return_mean", "return_worst", "return_spread", "return_stochastic", "return_held_out", "auc",
    "returns", "bytes_up", "bytes_down", "env_steps", "rounds", "exchanges",
)  # fmt: skip
"""What two runs of one config and seed must have alike."""


def unlike(one: Entry, two: Entry) -> str:
    """Say in what two finished runs differ, with both values; nothing if they do not."""
    if one.summary is None or two.summary is None:
        return ""
    for name in RESULTS:
        a, b = getattr(one.summary, name), getattr(two.summary, name)
        if not np.array_equal(a, b, equal_nan=True):
            return f"{name} {a} against {b}"
    return ""


def _without_duplicates(
    entries: Sequence[Entry],
) -> tuple[list[Entry], list[tuple[Entry, Entry]]]:
    """Keep one folder of each config and seed, a finished one if there is one."""
    kept: dict[str, Entry] = {}
    duplicates = []
    for entry in sorted(entries, key=lambda e: (not e.finished, e.path)):
        assert entry.run is not None
        fields = [setting_fields(entry.run), method_fields(entry.run)]
        same = key({"fields": fields, "seed": entry.run.seed, "given": entry.given})
        if same in kept:
            duplicates.append((entry, kept[same]))
        else:
            kept[same] = entry
    return list(kept.values()), duplicates


def _methods(entries: Sequence[Entry]) -> tuple[Method, ...]:
    """Group a setting's runs by method; a suite's own names go before ours."""
    groups: dict[str, list[Entry]] = {}
    for entry in entries:
        assert entry.run is not None
        name = entry.given[1] if entry.given else ""
        same = key({"fields": method_fields(entry.run), "name": name})
        groups.setdefault(same, []).append(entry)
    members = list(groups.values())
    labels = method_labels([e[0].run for e in members if e[0].run is not None])
    pairs = zip(labels, members, strict=True)
    labels = unique([e[0].given[1] if e[0].given else label for label, e in pairs])
    made = [
        Method(label, tuple(sorted(group, key=lambda e: (e.run.seed if e.run else 0, e.path))))
        for label, group in zip(labels, members, strict=True)
    ]
    return tuple(sorted(made, key=lambda m: (order(m.run.strategy_name), m.label)))


def _settings(entries: Sequence[Entry]) -> tuple[Setting, ...]:
    """Group runs by what they must share; a suite's settings stay apart under their own names."""
    groups: dict[str, list[Entry]] = {}
    for entry in entries:
        assert entry.run is not None
        name = entry.given[0] if entry.given else ""
        same = key({"fields": setting_fields(entry.run), "name": name})
        groups.setdefault(same, []).append(entry)
    firsts = [group[0] for group in groups.values()]
    titles = setting_titles(
        [e.run for e in firsts if e.run is not None],
        [e.given[0] if e.given else "" for e in firsts],
    )
    slugs = unique([slug(t) for t in titles])
    made = [
        Setting(title, slug.replace(" #", "-"), _methods(group))
        for title, slug, group in zip(titles, slugs, groups.values(), strict=True)
    ]

    def place(s: Setting) -> tuple[str, bool, str, int, str]:
        hetero, words = hetero_words(s.run), network_words(s.run)
        return s.run.env, hetero != "identical", f"{hetero} {words}", s.run.steps, s.title

    return tuple(sorted(made, key=place))


def group(entries: Sequence[Entry], tuning: int = 0) -> Groups:
    """Group runs by setting, then by method; unreadable ones belong to none."""
    readable = [e for e in entries if e.run is not None]
    kept, duplicates = _without_duplicates(readable)
    twice = tuple((left.path, other.path) for left, other in duplicates)
    differing = tuple((a.path, text) for a, b in duplicates if (text := unlike(a, b)))
    return Groups(_settings(kept), tuple(entries), twice, differing, tuning)
