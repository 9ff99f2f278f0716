"""One cohort out of many small ones: tiles that fit the cache, and worker processes.

A cohort's numbers do not depend on who else is in it, so K agents can be cut into tiles, and tiles
dealt to processes, without changing a bit of any result.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fdrl.arrays import stack_padded
from fdrl.cohort import Cohort, CohortContext, Episodes, Experience, LabelTable, Part
from fdrl.distill import DistillSettings
from fdrl.errors import FdrlError
from fdrl.registry import load_object
from fdrl.workers import Local, Piece, Remote

Array = NDArray[Any]
Metrics = dict[str, NDArray[np.float64]]


def build_cohort(
    factory: str, settings: Any, context: CohortContext, threads: int = 1, tile: int = 10
) -> Cohort:
    """Build K agents with a learner's factory (``"module:attribute"``).

    They are cut into tiles of at most `tile` agents, and spread over `threads` processes; neither
    changes a number. A script that uses more than one process must be guarded by
    ``if __name__ == "__main__":``, as always with spawned processes.
    """
    if threads < 1 or tile < 1:
        raise FdrlError(f"threads and tile must be at least 1, not {threads} and {tile}")
    k = len(context.ids)
    if threads > 1 and k > 1:
        return _joined(_start(factory, settings, context, min(threads, k), tile))
    spans = _spans(k, -(-k // tile))
    make = load_object(factory)
    if len(spans) == 1:
        cohort: Cohort = make(settings, context)
        return cohort
    return _joined([Local(make(settings, _part(context, span))) for span in spans])


def _spans(count: int, parts: int) -> list[range]:
    """Cut 0..count-1 into `parts` runs whose lengths differ by one at most."""
    return [range(a, b) for a, b in pairwise(count * i // parts for i in range(parts + 1))]


def _part(context: CohortContext, span: range) -> CohortContext:
    return replace(
        context,
        ids=context.ids[span.start : span.stop],
        agents=context.agents[span.start : span.stop],
        envs=context.envs.subset(span),
    )


def _start(
    factory: str, settings: Any, context: CohortContext, workers: int, tile: int
) -> list[Remote]:
    """Start worker processes and wait until they have built their agents."""
    parts = [_part(context, span) for span in _spans(len(context.ids), workers)]
    pieces = [Remote(p.ids, build_cohort, factory, settings, p, 1, tile) for p in parts]
    try:
        for piece in pieces:
            piece.ready()
    except BaseException:
        for piece in pieces:
            piece.close()
        raise
    return pieces


def _joined(pieces: Sequence[Piece]) -> Shards:
    for abilities, kind in _KINDS.items():
        if all(piece.info[able] for piece in pieces for able in abilities):
            return kind(pieces)
    return Shards(pieces)


class Shards:
    """A `Cohort` whose agents live in several others, in order."""

    def __init__(self, pieces: Sequence[Piece]) -> None:
        self._pieces = list(pieces)
        infos = [piece.info for piece in self._pieces]
        self.ids: tuple[str, ...] = tuple(i for info in infos for i in info["ids"])
        self.observation_shape: tuple[int, ...] = infos[0]["observation_shape"]
        self.n_actions: int = infos[0]["n_actions"]
        self.gaussian: bool = infos[0]["gaussian"]
        self.iteration_steps: int = infos[0]["iteration_steps"]
        edges = np.cumsum([0, *(len(info["ids"]) for info in infos)]).tolist()
        self._rows = [slice(a, b) for a, b in pairwise(edges)]

    def _all(self, method: str, *args: Any, **kwargs: Any) -> list[Any]:
        """Call every piece, `args` being functions of its rows; wait for all before raising."""
        for piece, rows in zip(self._pieces, self._rows, strict=True):
            piece.begin(method, *(arg(rows) for arg in args), **kwargs)
        results, first = [], None
        for piece in self._pieces:
            try:
                results.append(piece.finish())
            except (FdrlError, RuntimeError) as error:
                first = first or error
        if first is not None:
            raise first
        return results

    def _cut(self, rows: Array) -> Callable[[slice], Array]:
        """Give each piece its part of an array [K, ...]."""
        if rows.shape[:1] != (len(self.ids),):
            raise FdrlError(f"an array {rows.shape} does not fit {len(self.ids)} agents")
        return rows.__getitem__

    def learn(self, steps: NDArray[np.int64], episodes: Episodes = None) -> Experience:
        """Learn in every piece; see `fdrl.Cohort`."""
        each = self._cut(episodes) if isinstance(episodes, np.ndarray) else _same(episodes)
        return _join(self._all("learn", self._cut(steps), each))

    def probs(self, states: Array) -> NDArray[np.float32]:
        """Answer in every piece."""
        return np.concatenate(self._all("probs", self._states(states)))

    def _states(self, states: Array) -> Callable[[slice], Array]:
        own = states.ndim == 2 + len(self.observation_shape)
        return self._cut(states) if own else _same(states)

    def distill(
        self, states: Array, targets: Array, weights: Array, settings: DistillSettings
    ) -> Metrics:
        """Distill in every piece."""
        own = [self._states(states), self._cut(targets), self._cut(weights)]
        return _join_metrics(self._all("distill", *own, _same(settings)), self._sizes())

    def parameters(self, part: Part = "all") -> NDArray[np.float32]:
        """Return [K, P]."""
        return np.concatenate(self._all("parameters", _same(part)))

    def load_parameters(self, rows: Array, part: Part = "all") -> None:
        """Overwrite a part with `rows` [K, P]."""
        self._all("load_parameters", self._cut(rows), _same(part))

    def anchor(self, rows: Array | None, strength: float) -> None:
        """Pull local learning toward `rows` [K, P]; None ends it."""
        own = _same(None) if rows is None else self._cut(rows)
        self._all("anchor", own, _same(strength))

    def evaluate(
        self, episodes: int, seed: int, *, held_out: bool = False, greedy: bool = True
    ) -> NDArray[np.float64]:
        """Return returns [K, episodes]."""
        args = (_same(episodes), _same(seed))
        return np.concatenate(self._all("evaluate", *args, held_out=held_out, greedy=greedy))

    def state(self) -> dict[str, Array]:
        """Return every piece's state, one after another along the first axis."""
        states = self._all("state")
        return {name: stack_padded([s[name] for s in states]) for name in states[0]}

    def load_state(self, state: Mapping[str, Array]) -> None:
        """Continue from what `state` returned."""
        self._all("load_state", lambda rows: {name: a[rows] for name, a in state.items()})

    def close(self) -> None:
        """Free environments, end worker processes."""
        for piece in self._pieces:
            piece.close()
        self._pieces = []

    def _sizes(self) -> list[int]:
        return [rows.stop - rows.start for rows in self._rows]


class PoolableShards(Shards):
    """`Shards` of `fdrl.Poolable` cohorts."""

    def collect(self, steps: NDArray[np.int64]) -> tuple[Experience, dict[str, Array]]:
        """Act for one iteration in every piece; see `fdrl.Poolable`."""
        results = self._all("collect", self._cut(steps))
        transitions = [t for _, t in results]
        joined = {name: stack_padded([t[name] for t in transitions]) for name in transitions[0]}
        return _join([e for e, _ in results]), joined

    def update(self, transitions: Mapping[str, Array]) -> Metrics:
        """Refuse: a pool learns in a cohort of one agent, which is never cut."""
        raise FdrlError(f"update needs a cohort of one agent, this one has {len(self.ids)}")


class ValuedShards(Shards):
    """`Shards` of `fdrl.cohort.Valued` cohorts."""

    def values(self, states: Array) -> NDArray[np.float32]:
        """Estimate values in every piece."""
        return np.concatenate(self._all("values", self._states(states)))

    def distill_values(
        self, states: Array, targets: Array, weights: Array, settings: DistillSettings
    ) -> Metrics:
        """Distill values in every piece."""
        own = [self._states(states), self._cut(targets), self._cut(weights)]
        return _join_metrics(self._all("distill_values", *own, _same(settings)), self._sizes())


class PoolableValuedShards(PoolableShards, ValuedShards):
    """`Shards` of cohorts that are both."""


class LabeledShards(Shards):
    """`Shards` of `fdrl.Labeled` cohorts."""

    def samples(self) -> list[tuple[NDArray[np.float32], NDArray[np.int64]]]:
        """Return each agent's own samples."""
        return [own for piece in self._all("samples") for own in piece]

    def histogram(self) -> NDArray[np.int64]:
        """Return how many samples of each label each agent owns [K, L]."""
        return np.concatenate(self._all("histogram"))

    def teach(self, targets: Array, weights: Array, strength: float) -> None:
        """Add a teacher to the loss of local learning in every piece."""
        self._all("teach", self._cut(targets), self._cut(weights), _same(strength))


class FillableShards(LabeledShards):
    """`Shards` of `fdrl.cohort.Fillable` cohorts."""

    def extend(self, samples: Sequence[tuple[Array, Array]]) -> None:
        """Let each agent own these samples too."""
        self._all("extend", list(samples).__getitem__)


def _same(value: Any) -> Callable[[slice], Any]:
    return lambda rows: value


def _join(parts: Sequence[Experience]) -> Experience:
    """Put experiences of different agents together; shorter ones are padded."""
    return Experience(
        observations=stack_padded([e.observations for e in parts]),
        probs=stack_padded([e.probs for e in parts]),
        steps=np.concatenate([e.steps for e in parts]),
        returns=[r for e in parts for r in e.returns],
        lengths=[n for e in parts for n in e.lengths],
        metrics=_join_metrics([e.metrics for e in parts], [len(e.steps) for e in parts]),
        ends=[n for e in parts for n in e.ends] if all(e.ends for e in parts) else [],
        labels=_join_labels([e.labels for e in parts if e.labels is not None]),
    )


def _join_labels(parts: Sequence[LabelTable]) -> LabelTable | None:
    if not parts:
        return None
    counts = np.concatenate([p.counts for p in parts])
    return LabelTable(np.concatenate([p.probs for p in parts]), counts)


def _join_metrics(parts: Sequence[Metrics], sizes: Sequence[int]) -> Metrics:
    """Concatenate metrics; where a piece has none (it did nothing) they are 0."""
    names = {name: None for part in parts for name in part}
    return {
        name: np.concatenate([p.get(name, np.zeros(n)) for p, n in zip(parts, sizes, strict=True)])
        for name in names
    }


_KINDS: dict[tuple[str, ...], type[Shards]] = {
    ("poolable", "valued"): PoolableValuedShards,
    ("valued",): ValuedShards,
    ("poolable",): PoolableShards,
    ("fillable",): FillableShards,
    ("labeled",): LabeledShards,
}
"""Shards by what all their cohorts can do; the first that fits."""
