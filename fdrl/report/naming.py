"""What makes runs comparable, and what to call it: settings, methods, seeds."""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from fdrl.budget import chosen_steps
from fdrl.channel_settings import FadingChannel, IdealChannel
from fdrl.config import LOCAL_FIELDS, Run, parse, to_tables
from fdrl.errors import FdrlError
from fdrl.registry import STRATEGIES, StrategySpec
from fdrl.wording import wording

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
    return f"{run.agent_name} {run.agent.architecture}".rstrip()


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
        return method_fields(parse({"strategy": {"type": strategy}, "agent": {"type": agent}}))
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
