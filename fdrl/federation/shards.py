"""One cohort out of many small ones: tiles that fit the cache, and worker processes.

A cohort's numbers do not depend on who else is in it, so K agents can be cut into tiles, and tiles
dealt to processes, without changing a bit of any result.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any, Protocol, cast

import numpy as np

from fdrl.core.abilities import METHODS, Given, Profile, cut, joined_profile, profile, standing_in
from fdrl.core.cohort import Cohort, CohortContext
from fdrl.core.errors import FdrlError
from fdrl.core.registry import load_object
from fdrl.federation.workers import Remote


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
        return joined(_start(factory, settings, context, min(threads, k), tile))
    spans = _spans(k, -(-k // tile))
    make = load_object(factory)
    if len(spans) == 1:
        cohort: Cohort = make(settings, context)
        return cohort
    return joined([Local(make(settings, _part(context, span))) for span in spans])


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
    pieces: list[Remote] = []
    try:
        for p in parts:
            pieces.append(Remote(p.ids, build_cohort, factory, settings, p, 1, tile))
        for piece in pieces:
            piece.ready()
    except BaseException:
        for piece in pieces:  # at once: one that still builds would not listen
            piece.kill()
            piece.close()
        raise
    return pieces


class Piece(Protocol):
    """Some of the agents: `begin` a call, then `finish` it."""

    profile: Profile

    def begin(self, method: str, *args: Any, **kwargs: Any) -> None:
        """Start a method of the cohort."""

    def finish(self) -> Any:
        """Wait for the call that was begun last; return its result or raise its error."""

    @property
    def due(self) -> bool:
        """Whether its state should be asked for, in case it is lost."""

    def close(self) -> None:
        """End it."""


class Local:
    """Agents in this process: a call is done when it has begun."""

    due = False

    def __init__(self, cohort: Cohort) -> None:
        self._cohort, self.profile = cohort, profile(cohort)
        self._result: Any = None

    def begin(self, method: str, *args: Any, **kwargs: Any) -> None:
        """Call the method."""
        self._result = getattr(self._cohort, method)(*args, **kwargs)

    def finish(self) -> Any:
        """Return what the method returned."""
        result, self._result = self._result, None
        return result

    def close(self) -> None:
        """Close the cohort."""
        self._cohort.close()


def joined(pieces: Sequence[Piece]) -> Cohort:
    """Return the agents of all pieces as one cohort, which can do what all of them can."""
    whole = joined_profile([piece.profile for piece in pieces])
    return cast(Cohort, standing_in(Shards, whole.abilities)(pieces, whole))


BEGINNINGS = ("learn", "collect")
"""The methods with which a round begins: what went before is complete."""


class Shards:
    """A `Cohort` whose agents live in several others, in order; its methods are `ABILITIES`."""

    def __init__(self, pieces: Sequence[Piece], whole: Profile) -> None:
        self._pieces, self._whole = list(pieces), whole
        self.ids, self.observation_shape = whole.ids, whole.observation_shape
        self.n_actions, self.gaussian = whole.n_actions, whole.gaussian
        self.iteration_steps, self.late_state = whole.iteration_steps, whole.late_state
        self.optimizer_squares = whole.optimizer_squares
        self._sizes = [len(piece.profile.ids) for piece in pieces]
        edges = np.cumsum([0, *self._sizes]).tolist()
        self._rows = [slice(a, b) for a, b in pairwise(edges)]

    def forward(self, name: str, given: Given) -> Any:
        """Call a method of every piece; wait for all before raising the first one's error."""
        method = METHODS[name]
        if method.indivisible:
            raise FdrlError(f"{name} needs a cohort of one agent, this one has {len(self.ids)}")
        if name in BEGINNINGS and any(piece.due for piece in self._pieces):
            with contextlib.suppress(FdrlError, RuntimeError):  # who has none starts from scratch
                self.forward("state", {})  # which each piece remembers
        own = cut(name, given, self._whole, self._rows)
        for piece, bound in zip(self._pieces, own, strict=True):
            piece.begin(name, *bound.args, **bound.kwargs)
        results, first = [], None
        for piece in self._pieces:
            try:
                results.append(piece.finish())
            except (FdrlError, RuntimeError, MemoryError) as error:
                first = first or error
        if first is not None:
            raise first
        return method.gives.join(results, self._sizes)

    def close(self) -> None:
        """Free environments, end worker processes."""
        for piece in self._pieces:
            piece.close()
        self._pieces = []
