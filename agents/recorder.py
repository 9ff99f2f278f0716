"""What agents saw and how likely they were to act, collected over a stretch of learning."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


class Recorder:
    """Growing arrays [K, M, O] and [K, M, A]; agents may be at different lengths."""

    def __init__(self, agents: int, inputs: int, n_actions: int) -> None:
        self.steps = np.zeros(agents, np.int64)
        self._observations = np.zeros((agents, 0, inputs), np.float32)
        self._probs = np.zeros((agents, 0, n_actions), np.float32)

    def add(
        self,
        rows: NDArray[np.int64],
        observations: Floats,
        probs: Floats,
        counts: NDArray[np.int64] | None = None,
    ) -> None:
        """Append [R, m, O] and [R, m, A] to agents `rows` [R]; of agent rows[i] counts[i] rows."""
        if counts is not None:
            for i, n in enumerate(counts.tolist()):
                one = slice(i, i + 1)
                self.add(rows[one], observations[one, :n], probs[one, :n])
            return
        m = observations.shape[1]
        start = self.steps[rows]
        self._reserve(int(start.max()) + m)
        if len(rows) == len(self.steps) and (start == start[0]).all():
            here = slice(int(start[0]), int(start[0]) + m)
            self._observations[:, here] = observations
            self._probs[:, here] = probs
        else:
            places = rows[:, None], start[:, None] + np.arange(m)
            self._observations[places] = observations
            self._probs[places] = probs
        self.steps[rows] += m

    def _reserve(self, size: int) -> None:
        have = self._observations.shape[1]
        if size <= have:
            return
        # the first rollout sets the size; growing by halves keeps one-step rollouts cheap
        more = max(size - have, have // 2)
        pad = ((0, 0), (0, more), (0, 0))
        self._observations = np.pad(self._observations, pad)
        self._probs = np.pad(self._probs, pad)

    def take(self, rows: NDArray[np.int64]) -> tuple[Floats, Floats, NDArray[np.int64]]:
        """Return and forget agents' observations [R, M, O], probabilities [R, M, A], steps [R]."""
        steps = self.steps[rows]
        m = int(steps.max(initial=0))
        observations, probs = self._observations[rows, :m], self._probs[rows, :m]
        for i, n in enumerate(steps.tolist()):  # what was there before is not padding
            observations[i, n:], probs[i, n:] = 0, 0
        self.steps[rows] = 0
        return observations, probs, steps
