"""Runs in their groups: settings, methods in a setting, seeds of a method."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fdrl.config import Run
from fdrl.records import Summary
from fdrl.registry import ENVS
from fdrl.report import naming
from fdrl.report.collect import Entry, Trace

Floats = NDArray[np.float64]


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

    def values(self, name: str) -> Floats:
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
        fields = [naming.setting_fields(entry.run), naming.method_fields(entry.run)]
        same = naming.key({"fields": fields, "seed": entry.run.seed, "given": entry.given})
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
        same = naming.key({"fields": naming.method_fields(entry.run), "name": name})
        groups.setdefault(same, []).append(entry)
    members = list(groups.values())
    labels = naming.method_labels([e[0].run for e in members if e[0].run is not None])
    pairs = zip(labels, members, strict=True)
    labels = naming.unique([e[0].given[1] if e[0].given else label for label, e in pairs])
    made = [
        Method(label, tuple(sorted(group, key=lambda e: (e.run.seed if e.run else 0, e.path))))
        for label, group in zip(labels, members, strict=True)
    ]
    return tuple(sorted(made, key=lambda m: (naming.order(m.run.strategy_name), m.label)))


def _settings(entries: Sequence[Entry]) -> tuple[Setting, ...]:
    """Group runs by what they must share; a suite's settings stay apart under their own names."""
    groups: dict[str, list[Entry]] = {}
    for entry in entries:
        assert entry.run is not None
        name = entry.given[0] if entry.given else ""
        same = naming.key({"fields": naming.setting_fields(entry.run), "name": name})
        groups.setdefault(same, []).append(entry)
    firsts = [group[0] for group in groups.values()]
    titles = naming.setting_titles(
        [e.run for e in firsts if e.run is not None],
        [e.given[0] if e.given else "" for e in firsts],
    )
    slugs = naming.unique([naming.slug(t) for t in titles])
    made = [
        Setting(title, slug.replace(" #", "-"), _methods(group))
        for title, slug, group in zip(titles, slugs, groups.values(), strict=True)
    ]

    def place(s: Setting) -> tuple[str, bool, str, int, str]:
        hetero, words = naming.hetero_words(s.run), naming.network_words(s.run)
        return s.run.env, hetero != "identical", f"{hetero} {words}", s.run.steps, s.title

    return tuple(sorted(made, key=place))


def group(entries: Sequence[Entry], tuning: int = 0) -> Groups:
    """Group runs by setting, then by method; unreadable ones belong to none."""
    readable = [e for e in entries if e.run is not None]
    kept, duplicates = _without_duplicates(readable)
    twice = tuple((left.path, other.path) for left, other in duplicates)
    differing = tuple((a.path, text) for a, b in duplicates if (text := unlike(a, b)))
    return Groups(_settings(kept), tuple(entries), twice, differing, tuning)
