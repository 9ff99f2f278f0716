"""What both ends of a link know of the parameters, and what agents still owe."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


class Memory:
    """For each agent the last parameters that both ends know, and the change not sent yet.

    What is left of a change counts only once the agent has loaded an average: before that, its
    parameters still contain it.
    """

    def __init__(self) -> None:
        self.known: dict[str, Array] = {}
        self._owed: dict[str, Array] = {}
        self._pending: dict[str, Array] = {}

    def change(self, agent: str, values: Array) -> NDArray[np.float64]:
        """Return what an agent with parameters `values` [P] has to report [P]."""
        new = np.asarray(values, np.float64)
        return new - self.known.get(agent, np.zeros_like(new)) + self._owed.get(agent, 0.0)

    def base(self, agent: str, size: int) -> NDArray[np.float64]:
        """Return what the server takes a change relative to [P]."""
        return np.asarray(self.known.get(agent, np.zeros(size)), np.float64)

    def keep(self, agent: str, rest: Array) -> None:
        """Note what could not be sent."""
        self._pending[agent] = np.asarray(rest, np.float64)

    def loaded(self, agent: str, values: Array) -> None:
        """Note that an agent has loaded an average."""
        self.known[agent] = np.array(values, np.float32)
        if agent in self._pending:
            self._owed[agent] = self._pending.pop(agent)

    def state(self) -> dict[str, Array]:
        """Return all, by kind and agent."""
        kinds = {"known": self.known, "owed": self._owed, "pending": self._pending}
        return {f"{kind}.{a}": v.copy() for kind, rows in kinds.items() for a, v in rows.items()}

    def load_state(self, state: Mapping[str, Array]) -> None:
        """Continue from what `state` returned."""
        kinds = {"known": self.known, "owed": self._owed, "pending": self._pending}
        for rows in kinds.values():
            rows.clear()
        for name, row in state.items():
            kind, _, agent = name.partition(".")
            kinds[kind][agent] = np.array(row)
