"""Cohorts that misbehave, importable in worker processes too."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass

import numpy as np

from fdrl.core.cohort import CohortContext, Experience
from fdrl.core.errors import FdrlError
from fdrl.vector.factory import make_factory
from fdrl.vector.heterogeneity import Dynamics

K = 5


def context() -> CohortContext:
    """Return the context of K agents with poles of different lengths."""
    ids = tuple(f"agent-{i}" for i in range(K))
    envs = make_factory("CartPole-v1", K, Dynamics(level=0.5), seed=2)
    return CohortContext(ids, tuple(range(K)), envs, seed=2)


@dataclass
class Moody:
    """A cohort that does as it is told.

    Its mood is "fine", "mendable", "bug", "exit", "hungry", "suicide" or "deaf".
    """

    mood: str
    ids: tuple[str, ...]
    observation_shape: tuple[int, ...] = (1,)
    n_actions: int = 2
    gaussian: bool = False
    iteration_steps: int = 1

    def learn(self, steps: np.ndarray, episodes: int | None = None) -> Experience:
        if self.ids[-1] == "agent-4":
            if self.mood == "mendable":
                raise FdrlError("agent 'agent-4' has no shoes")
            if self.mood == "bug":
                raise ZeroDivisionError("one over none")
            if self.mood == "exit":
                os._exit(7)
            if self.mood == "hungry":
                raise MemoryError("Unable to allocate 7 TiB")
            if self.mood == "suicide":
                os.kill(os.getpid(), signal.SIGKILL)
            if self.mood == "deaf" and steps[0] == 99:
                time.sleep(60)
        k = len(self.ids)
        return Experience(
            np.zeros((k, k, 1), np.float32), np.zeros((k, k, 2), np.float32), steps,
            [np.zeros(0)] * k, [np.zeros(0, np.int64)] * k,
        )  # fmt: skip

    def close(self) -> None:
        pass


def make_moody(settings: str, context: CohortContext) -> Moody:
    if settings == "unborn":
        raise FdrlError("cannot be built")
    return Moody(settings, context.ids)


def make_threads(settings: None, context: CohortContext) -> Moody:
    """Report the worker's settings as its observation shape."""
    counts = tuple(int(os.environ[n]) for n in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"))
    return Moody("fine", context.ids, counts)
