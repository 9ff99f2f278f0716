"""A cohort small enough to work out by hand: K agents with fixed answers and a few parameters."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from fdrl.config.run import make_run
from fdrl.core.cohort import Experience
from fdrl.core.strategy import ClientContext, CohortFacts, ServerContext


class FakeCohort:
    """Remembers what it is told; answers what it is given."""

    def __init__(self, ids, answers, parameters=None):
        self.ids = tuple(ids)
        self.observation_shape = (1,)
        self.n_actions = np.asarray(answers).shape[-1]
        self.iteration_steps = 4
        self.answers = np.asarray(answers, np.float32)  # [K, N, A]
        k = len(self.ids)
        rows = np.arange(3 * k).reshape(k, 3) if parameters is None else parameters
        self.rows = {"all": np.array(rows, np.float32), "policy": np.array(rows, np.float32)[:, :2]}
        self.rows["optimizer"] = np.ones((k, 2), np.float32)
        self.distilled = []
        self.anchors = []

    def learn(self, steps, episodes=None):
        return experience([[[0.0]]] * len(self.ids))

    def probs(self, states):
        return self.answers

    def distill(self, states, targets, weights, settings):
        self.distilled.append(
            SimpleNamespace(states=states, targets=targets, weights=weights, settings=settings)
        )
        return {"distill/gradient_steps": np.ones(len(self.ids))}

    def parameters(self, part="all"):
        return self.rows[part].copy()

    def load_parameters(self, rows, part="all"):
        self.rows[part] = np.array(rows, np.float32)

    def anchor(self, rows, strength):
        self.anchors.append((rows, strength))


def experience(observations, probs=None, returns=None):
    """Build an Experience from each agent's list of observations [M_k, O] (and policies)."""
    count = [len(o) for o in observations]
    width = max(1, *count)
    obs = np.zeros((len(count), width, len(observations[0][0]) if count[0] else 1), np.float32)
    table = np.full((len(count), width, 2), 0.5, np.float32)
    for k, rows in enumerate(observations):
        if rows:
            obs[k, : len(rows)] = rows
        if probs is not None and rows:
            table[k, : len(rows)] = probs[k]
    done = [np.array(r, np.float64) for r in (returns or [[]] * len(count))]
    lengths = [np.array([1] * len(r), np.int64) for r in done]
    return Experience(obs, table, np.array(count, np.int64), done, lengths)


IDS = ("agent-00", "agent-01", "agent-02")


def contexts(strategy, ids=IDS, low=(0.0,), high=(1.0,), **fields):
    """Return (client, server) contexts of a run on a one-dimensional state in [0, 1]."""
    run = make_run(strategy=strategy, agents=len(ids), steps=40, **fields)
    low, high = np.array(low, np.float32), np.array(high, np.float32)
    client = ClientContext(run, tuple(ids), tuple(range(len(ids))), low, high, 2)
    facts = (CohortFacts({"all": 3, "policy": 2, "optimizer": 2}, 20),)
    server = ServerContext(run, tuple(ids), low, high, 2, (tuple(ids),), facts, round_steps=20)
    return client, server
