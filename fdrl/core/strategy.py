"""A method, in two halves that share nothing but messages."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from fdrl.core.arrays import Array
from fdrl.core.cohort import Cohort, Episodes, Experience
from fdrl.core.message import Message

Messages = Mapping[str, Message]
"""Messages by agent id."""


@dataclass(frozen=True)
class CohortFacts:
    """What the server may know of a cohort: it follows from the config alone."""

    parameters: Mapping[str, int]
    """How many values each part of one agent's parameters has, by part."""
    iteration_steps: int
    """Environment steps of one local iteration; 0 if an iteration is one episode."""
    copies: int = 1
    """Environment copies that an agent steps together."""
    optimizer_squares: tuple[int, int] = (0, 0)
    """Where (first, end) its optimizer's state has means of squared gradients, if that is known."""
    samples: int | None = None
    """Labeled samples that one of its agents was dealt, at the most; None: it owns none."""


@dataclass(frozen=True)
class ClientContext:
    """What a client half is told: the run's config, its cohort's agents, the box of states."""

    run: Any  # fdrl.config.run.Run
    ids: tuple[str, ...]
    agents: tuple[int, ...]
    low: NDArray[np.float32]
    high: NDArray[np.float32]
    n_actions: int
    gaussian: bool = False
    """Whether policies are Gaussians over `n_actions` continuous dimensions."""


@dataclass(frozen=True)
class ServerContext:
    """What a server half is told. It never sees a cohort, only messages."""

    run: Any  # fdrl.config.run.Run
    ids: tuple[str, ...]
    low: NDArray[np.float32]
    high: NDArray[np.float32]
    n_actions: int
    groups: tuple[tuple[str, ...], ...] = ()
    """The ids of each cohort: parameters can only be averaged inside one."""
    facts: tuple[CohortFacts, ...] = ()
    """What is known of each group's learner."""
    round_steps: int = 2**62
    """Environment steps that an agent can take between two exchanges, at the most."""
    own_steps: Mapping[str, int] = field(default_factory=dict)
    """The same of each agent by itself, where they differ."""
    visit: Callable[[int], NDArray[np.float32]] | None = None
    """Returns so many states that a random policy visits in a public copy of the environment."""
    trainer: Callable[[int], Cohort] | None = None
    """Builds a learner of one agent like those of a group, for a server that learns itself."""
    gaussian: bool = False
    """Whether policies are Gaussians over `n_actions` continuous dimensions."""

    def steps_of(self, agent: str) -> int:
        """Return the environment steps that an agent can take between two exchanges."""
        return min(self.round_steps, self.own_steps.get(agent, self.round_steps))


class ClientStrategy(Protocol):
    """The part of a strategy that runs next to one cohort."""

    def learn(self, cohort: Cohort, steps: NDArray[np.int64], episodes: Episodes) -> Experience:
        """Learn locally for one round; for most methods simply ``cohort.learn``."""

    def upload(self, cohort: Cohort, experience: Experience, round: int) -> dict[str, Message]:
        """Say what each agent uploads after local training; agents may be silent."""

    def check(self, cohort: Cohort, message: Message, agent: str, round: int) -> None:
        """Raise `BadMessage` with the reason if an agent must not use what it was sent."""

    def download(self, cohort: Cohort, messages: Messages, round: int) -> dict[str, Array]:
        """End the round with the checked messages, if any came; return metrics [K]."""

    def state(self) -> dict[str, Array]:
        """Everything needed to resume."""

    def load_state(self, state: Mapping[str, Array]) -> None:
        """Continue from what `state` returned."""


@runtime_checkable
class ChecksCohort(Protocol):
    """A client half that does not go with every learner."""

    def check_cohort(self, cohort: Cohort) -> None:
        """Raise `FdrlError`, before the run starts, for a cohort that lacks what it takes."""


@runtime_checkable
class BoundsMessages(Protocol):
    """A half, of either side, that knows how long what it is sent can be."""

    def most_bytes(self, agent: str, round: int) -> int:
        """Return the bytes of the longest message from, or for, an agent in a round.

        What is longer is refused unread, so that reading takes no more memory than that allows.
        """


class ServerStrategy(Protocol):
    """The part of a strategy that combines answers."""

    def announce(self) -> dict[str, Message]:
        """Say what every agent must know before the first round, e.g. the proxy set."""

    def check(self, message: Message, agent: str, round: int) -> None:
        """Raise `BadMessage` with the reason if a message must not be aggregated."""

    def aggregate(self, round: int, messages: Mapping[str, Message]) -> dict[str, Message]:
        """Combine checked messages, in agent-id order, into a message for each agent."""

    def metrics(self) -> dict[str, float]:
        """Return what is worth logging of the last round."""

    def state(self) -> dict[str, Array]:
        """Everything needed to resume."""

    def load_state(self, state: Mapping[str, Array]) -> None:
        """Continue from what `state` returned."""
