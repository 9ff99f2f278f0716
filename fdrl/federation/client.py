"""The agents' side: learn, answer, distill. The server is only bytes to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from fdrl.config.run import Run
from fdrl.core.arrays import Array, subtree
from fdrl.core.cohort import Cohort, Episodes, Experience, Watched, kept_finite
from fdrl.core.errors import BadMessage
from fdrl.core.message import Message
from fdrl.core.settings import Exchange
from fdrl.core.strategy import ClientStrategy
from fdrl.core.transport import Failure, Reply
from fdrl.vector.shared import RoleThreads
from fdrl.wire.codec import decode, encode, opened, sealed

SERVER = "server"
"""What the checksum of a message to all agents names as its sender."""


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
        self.health = Health(len(cohort.ids))
        self.key = run.channel.key()

    def left(self) -> NDArray[np.int64]:
        """Return the steps that each agent may still take.

        None once its episodes are used up, or it has stopped because its numbers died.
        """
        used_up = bool(self.run.episodes) & (self.episodes >= self.run.episodes)
        return np.where(used_up | self.health.stopped, 0, self.remaining)

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
        """Learn for one round and return each agent's encoded upload.

        An agent whose parameters, answers or losses are not finite after that stops for good.
        """
        steps, episodes = self.budget()
        with unheard():
            experience = self.half.learn(self.cohort, steps, episodes)
        fresh = self.health.look(self.cohort, experience)
        experience = without(experience, self.health.stopped)
        self._note(experience)
        replies: dict[str, Reply] = dict.fromkeys(self.cohort.ids, b"")
        for name, message in self.half.upload(self.cohort, experience, round).items():
            if self.health.stopped[self.cohort.ids.index(name)]:
                continue
            try:
                replies[name] = sealed(encode(message), self.key, name)
            except BadMessage as error:
                replies[name] = Failure(f"cannot be sent: {error}")
        return replies | {self.cohort.ids[k]: Failure(f"{STOPPED}: {why}") for k, why in fresh}

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
                    known[data] = decode(opened(data, self.key, SERVER))
                self.half.check(self.cohort, known[data], name, round)
                usable[name], replies[name] = known[data], b""
            except BadMessage as error:
                replies[name] = Failure(str(error))
        listening = {n: m for n, m in usable.items() if not self.health.of(self.cohort, n)}
        with unheard():
            self.report.metrics.update(self.half.download(self.cohort, listening, round))
        for k, why in self.health.look(self.cohort):
            replies[self.cohort.ids[k]] = Failure(f"{STOPPED}: {why}")
        return replies

    def stopped(self) -> list[str]:
        """Return the agents that have stopped because their numbers died."""
        return [name for name, dead in zip(self.cohort.ids, self.health.dead, strict=True) if dead]

    def state(self) -> dict[str, Array]:
        """Everything needed to resume."""
        own = {"remaining": self.remaining.copy(), "episodes": self.episodes.copy()}
        own |= self.health.state()
        own |= {f"cohort.{k}": v for k, v in self.cohort.state().items()}
        return own | {f"half.{k}": v for k, v in self.half.state().items()}

    def load_state(self, state: Mapping[str, Array]) -> None:
        """Continue from what `state` returned."""
        self.remaining = np.array(state["remaining"], dtype=np.int64)
        self.episodes = np.array(state["episodes"], dtype=np.int64)
        self.health.load_state(state)
        self.cohort.load_state(subtree(state, "cohort."))
        self.half.load_state(subtree(state, "half."))


# ---- Whose numbers have died: such an agent stops, and takes no part from then on ----
#
# Shapes: K agents, M steps of local training, A actions.


STOPPED = "stopped"
"""How the reason begins where an agent takes no part any more."""


def unheard() -> np.errstate:
    """Let numbers overflow without a word: whose did is looked at, and said once."""
    return np.errstate(over="ignore", invalid="ignore", divide="ignore")


class Health:
    """Which of K agents still have finite numbers, and what their losses were when they had."""

    def __init__(self, agents: int) -> None:
        self.dead = np.zeros(agents, np.bool_)
        self.halted = np.zeros(agents, np.bool_)
        """Who stopped because others of a shared world did."""
        self.loss = np.full(agents, np.nan)
        """The last finite loss of each [K], NaN before the first."""
        self._kept: NDArray[np.float32] | None = None

    @property
    def stopped(self) -> NDArray[np.bool_]:
        """Who takes no part any more [K]."""
        return self.dead | self.halted

    def of(self, cohort: Cohort, name: str) -> bool:
        """Say whether an agent has stopped."""
        return bool(self.stopped[cohort.ids.index(name)])

    def look(self, cohort: Cohort, experience: Experience | None = None) -> list[tuple[int, str]]:
        """Note whose numbers have died in local training, or since; say who, and what of theirs.

        Their parameters go back to the last finite ones.
        """
        alive = ~self.stopped
        if isinstance(cohort, Watched):
            lost = ~cohort.keep_finite(alive)
        else:
            finite, self._kept = kept_finite(cohort, alive, self._kept)
            lost = ~finite
        what = dict.fromkeys(np.flatnonzero(lost).tolist(), "parameters are")
        if experience is not None:
            for k in np.flatnonzero(self._answers_lost(experience)).tolist():
                what.setdefault(k, "answers are")
            for k in np.flatnonzero(self._losses_lost(experience)).tolist():
                what.setdefault(k, "loss is")
        fresh = [(k, what[k]) for k in sorted(what) if alive[k]]
        self.dead[[k for k, _ in fresh]] = True
        last = {k: f"{v:.4g}" if np.isfinite(v) else "none" for k, v in enumerate(self.loss)}
        return [(k, f"its {w} not finite any more (last finite loss: {last[k]})") for k, w in fresh]

    def _answers_lost(self, experience: Experience) -> NDArray[np.bool_]:
        if np.isfinite(experience.probs).all():
            return np.zeros(len(self.dead), np.bool_)
        rows = zip(experience.probs, experience.steps, strict=True)
        return np.array([not np.isfinite(said[:n]).all() for said, n in rows])

    def _losses_lost(self, experience: Experience) -> NDArray[np.bool_]:
        """Return whose losses are infinite, or NaN though their learner reports other numbers [K].

        A learner that had nothing to learn from may report NaN for everything.
        """
        found = {n: v for n, v in experience.metrics.items() if n.startswith("train/")}
        busy = experience.steps > 0
        lost = np.zeros(len(self.dead), np.bool_)
        if not found:
            return lost
        reports = np.any([np.isfinite(v) for v in found.values()], axis=0)
        for name, values in found.items():
            if name.endswith("loss"):
                lost |= busy & (np.isinf(values) | (np.isnan(values) & reports))
        loss = found.get("train/loss", self.loss)
        self.loss = np.where(busy & np.isfinite(loss), loss, self.loss)
        return lost

    def state(self) -> dict[str, Array]:
        """Return everything needed to resume."""
        return {"dead": self.dead.copy(), "halted": self.halted.copy(), "loss": self.loss.copy()}

    def load_state(self, state: Mapping[str, Array]) -> None:
        """Continue from what `state` returned; runs of before kept none of it."""
        self.dead = np.array(state.get("dead", np.zeros_like(self.dead)), np.bool_)
        self.halted = np.array(state.get("halted", np.zeros_like(self.halted)), np.bool_)
        self.loss = np.array(state.get("loss", np.full_like(self.loss, np.nan)))
        self._kept = None


def without(experience: Experience, stopped: NDArray[np.bool_]) -> Experience:
    """Return experience of which agents that have `stopped` [K] left nothing that counts.

    Their steps were taken all the same; what their policies saw and said may be no numbers.
    """
    if not stopped.any() or not (experience.steps * stopped).any():
        return experience
    spent = experience.steps if experience.spent is None else experience.spent
    nothing: NDArray[np.float64] = np.zeros(0)
    finite = [np.isfinite(r).all() for r in experience.returns]
    keep = [ok or not gone for ok, gone in zip(finite, stopped, strict=True)]

    def those(things: Sequence[Array]) -> list[Array]:
        pairs = zip(things, keep, strict=True)
        return [own if kept else nothing.astype(own.dtype) for own, kept in pairs]

    return replace(
        experience,
        observations=np.where(_rows(stopped, experience.observations), 0, experience.observations),
        probs=np.where(_rows(stopped, experience.probs), 0, experience.probs),
        steps=np.where(stopped, 0, experience.steps),
        spent=spent,
        returns=those(experience.returns),
        lengths=those(experience.lengths),
        ends=those(experience.ends) if experience.ends else [],
    )


def _rows(stopped: NDArray[np.bool_], array: Array) -> Array:
    return stopped.reshape(-1, *[1] * (array.ndim - 1))


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
