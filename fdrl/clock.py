"""Simulated time of a federation: what computing and sending would have taken."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fdrl.channel import Delivery, Direction
from fdrl.channel_settings import ChannelSettings, IdealChannel
from fdrl.client import LocalReport

Array = NDArray[Any]


class Clock:
    """Adds up the simulated seconds of synchronous rounds, and the messages that were lost.

    A round lasts as long as its slowest agent computes, its slowest upload (at most the deadline),
    what the server computes, and the broadcasts, each until the slowest agent has it; different
    messages follow each other.
    """

    def __init__(self, settings: ChannelSettings) -> None:
        self.step_seconds = self.gradient_seconds = self.server_seconds = 0.0
        if not isinstance(settings, IdealChannel):
            self.step_seconds = settings.step_seconds
            self.gradient_seconds = self.server_seconds = settings.gradient_seconds
            if settings.server_gradient_seconds is not None:
                self.server_seconds = settings.server_gradient_seconds
        self.seconds = 0.0
        self.lost: dict[Direction, int] = {"up": 0, "down": 0}

    def add(self, direction: Direction, transmissions: Iterable[Sequence[Delivery]]) -> None:
        """Add transmissions one after another, each with its deliveries at the same time."""
        for deliveries in transmissions:
            self.seconds += max((d.seconds for d in deliveries), default=0.0)
            self.lost[direction] += sum(d.message is None for d in deliveries)

    def work(self, reports: Iterable[LocalReport]) -> None:
        """Add what the slowest agent of a round computed."""
        steps = gradients = 0.0
        for report in reports:
            steps = max(steps, float(report.steps.max(initial=0)))
            taken = report.metrics.get("distill/gradient_steps", np.zeros(1))
            gradients = max(gradients, float(np.max(taken, initial=0.0)))
        self.seconds += steps * self.step_seconds + gradients * self.gradient_seconds

    def serve(self, metrics: Mapping[str, float]) -> None:
        """Add what the server computed: its gradient steps of a round, by its metrics."""
        self.seconds += metrics.get("convert/gradient_steps", 0.0) * self.server_seconds

    def state(self) -> dict[str, Array]:
        """Return all totals."""
        lost = np.array([self.lost["up"], self.lost["down"]])
        return {"seconds": np.array(self.seconds), "lost": lost}

    def load_state(self, state: Mapping[str, Array]) -> None:
        """Continue from what `state` returned."""
        self.seconds = float(state["seconds"])
        self.lost = {"up": int(state["lost"][0]), "down": int(state["lost"][1])}
