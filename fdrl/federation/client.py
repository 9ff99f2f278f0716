"""The agents' side: learn, answer, distill. The server is only bytes to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from numpy.typing import NDArray

from fdrl.config.run import Run
from fdrl.core.arrays import Array, subtree
from fdrl.core.cohort import Cohort, Episodes, Experience
from fdrl.core.errors import BadMessage
from fdrl.core.message import Message
from fdrl.core.settings import Exchange
from fdrl.core.strategy import ClientStrategy
from fdrl.core.transport import Failure, Reply
from fdrl.vector.shared import RoleThreads
from fdrl.wire.codec import decode, encode


@dataclass
class LocalReport:
    """What one cohort's agents did in a round; for people to read, never sent.

    `steps` [K] are those of their budget.
    """

    returns: list[NDArray[np.float64]]
    lengths: list[NDArray[np.int64]]
    steps: NDArray[np.int64]
    metrics: dict[str, Array] = field(default_factory=dict)
    ends: list[NDArray[np.int64]] = field(default_factory=list)


def steps_per_round(run: Run, iteration: int) -> int:
    """Return the steps that an agent takes between two exchanges, at the most.

    `iteration` is the steps of one of its learner's iterations; 0 if those are episodes.
    """
    exchange: Exchange = run.strategy
    if exchange.unit == "episodes" or (exchange.unit == "iterations" and iteration == 0):
        return run.steps
    if exchange.unit == "iterations":
        return exchange.every * iteration
    return -(-exchange.every // max(1, iteration)) * max(1, iteration)


class CohortClient:
    """One cohort with its half of the strategy and what is left of its budget."""

    def __init__(self, run: Run, cohort: Cohort, half: ClientStrategy) -> None:
        self.cohort, self.half = cohort, half
        self.run = run
        self.remaining = np.full(len(cohort.ids), run.steps, dtype=np.int64)
        self.episodes = np.zeros(len(cohort.ids), dtype=np.int64)
        self.report = LocalReport([], [], np.zeros(len(cohort.ids), np.int64))

    def left(self) -> NDArray[np.int64]:
        """Return the steps that each agent may still take: none once its episodes are used up."""
        used_up = bool(self.run.episodes) & (self.episodes >= self.run.episodes)
        return np.where(used_up, 0, self.remaining)

    def budget(self) -> tuple[NDArray[np.int64], Episodes]:
        """Return the steps of the coming round per agent, and the episodes that end it early."""
        iteration = self.cohort.iteration_steps
        exchange: Exchange = self.run.strategy
        by_episode = exchange.unit == "iterations" and iteration == 0
        steps, episodes = self.left(), None
        if exchange.unit == "episodes" or by_episode:
            episodes = exchange.every
        else:
            steps = np.minimum(steps, steps_per_round(self.run, iteration))
        if not self.run.episodes:
            return steps, episodes
        own = np.maximum(self.run.episodes - self.episodes, 0)
        return steps, own if episodes is None else np.minimum(own, episodes)

    def learn(self, round: int) -> dict[str, Reply]:
        """Learn for one round and return each agent's encoded upload."""
        steps, episodes = self.budget()
        experience = self.half.learn(self.cohort, steps, episodes)
        self._note(experience)
        replies: dict[str, Reply] = dict.fromkeys(self.cohort.ids, b"")
        for name, message in self.half.upload(self.cohort, experience, round).items():
            try:
                replies[name] = encode(message)
            except BadMessage as error:  # e.g. a policy that has become NaN
                replies[name] = Failure(f"cannot be sent: {error}")
        return replies

    def _note(self, experience: Experience) -> None:
        spent = experience.steps if experience.spent is None else experience.spent
        self.remaining = np.maximum(self.remaining - spent, 0)
        self.episodes += [len(r) for r in experience.returns]
        self.report = LocalReport(
            experience.returns,
            experience.lengths,
            spent,
            dict(experience.metrics),
            experience.ends,
        )

    def receive(self, round: int, messages: Mapping[str, bytes]) -> dict[str, Reply]:
        """End the round with what the server sent; a bad message fails its agent alone."""
        replies: dict[str, Reply] = {}
        usable: dict[str, Message] = {}
        known: dict[bytes, Message] = {}
        for name, data in messages.items():
            try:
                if data not in known:
                    known[data] = decode(data)
                self.half.check(self.cohort, known[data], name, round)
                usable[name], replies[name] = known[data], b""
            except BadMessage as error:
                replies[name] = Failure(str(error))
        self.report.metrics.update(self.half.download(self.cohort, usable, round))
        return replies

    def state(self) -> dict[str, Array]:
        """Everything needed to resume."""
        own = {"remaining": self.remaining.copy(), "episodes": self.episodes.copy()}
        own |= {f"cohort.{k}": v for k, v in self.cohort.state().items()}
        return own | {f"half.{k}": v for k, v in self.half.state().items()}

    def load_state(self, state: Mapping[str, Array]) -> None:
        """Continue from what `state` returned."""
        self.remaining = np.array(state["remaining"], dtype=np.int64)
        self.episodes = np.array(state["episodes"], dtype=np.int64)
        self.cohort.load_state(subtree(state, "cohort."))
        self.half.load_state(subtree(state, "half."))


class Embedded:
    """The transport without a network: every client lives in this process."""

    def __init__(
        self,
        clients: Sequence[CohortClient],
        order: Sequence[str],
        together: RoleThreads | None = None,
    ) -> None:
        self.clients, self._together = list(clients), together
        self._order = tuple(order)

    def members(self) -> tuple[str, ...]:
        """Return the agents' stable ids, in order."""
        return self._order

    def ask(self, round: int, deadline: float | None = None) -> dict[str, Reply]:
        """Let every client learn and return its agents' uploads."""
        jobs = [partial(client.learn, round) for client in self.clients]
        replies: dict[str, Reply] = {}
        # Agents that meet in the same worlds cannot learn one after another.
        for said in self._together.run(jobs) if self._together else (job() for job in jobs):
            replies |= said
        return {name: replies[name] for name in self._order}

    def tell(
        self, round: int, messages: Mapping[str, bytes], deadline: float | None = None
    ) -> dict[str, Reply]:
        """End the round of every client with the server's messages."""
        replies: dict[str, Reply] = {}
        for client in self.clients:
            own = {name: messages[name] for name in client.cohort.ids if name in messages}
            replies |= client.receive(round, own)
        return {name: replies[name] for name in self._order if name in replies}
