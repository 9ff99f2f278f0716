"""The server's side: check what arrives, combine it, answer. It sees agents only as bytes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from fdrl.core.arrays import Array, subtree
from fdrl.core.errors import BadMessage
from fdrl.core.message import Message
from fdrl.core.strategy import ServerStrategy
from fdrl.core.transport import Failure, Reply
from fdrl.wire.codec import decode, encode

# ---- What a federation of several roles in shared worlds needs besides: one server half per
# role


class PerRoleServer:
    """The server halves of all roles as one (`fdrl.core.strategy.ServerStrategy`), by their
    agents' ids.
    """

    def __init__(self, halves: Mapping[tuple[str, ...], ServerStrategy]) -> None:
        self.halves = dict(halves)
        self._of = {name: half for ids, half in halves.items() for name in ids}

    def announce(self) -> dict[str, Message]:
        """Say what every agent must know before the first round."""
        return {n: m for half in self.halves.values() for n, m in half.announce().items()}

    def check(self, message: Message, agent: str, round: int) -> None:
        """Let the agent's role decide."""
        self._of[agent].check(message, agent, round)

    def aggregate(self, round: int, messages: Mapping[str, Message]) -> dict[str, Message]:
        """Combine the messages of each role."""
        out: dict[str, Message] = {}
        for ids, half in self.halves.items():
            out |= half.aggregate(round, {n: m for n, m in messages.items() if n in ids})
        return out

    def metrics(self) -> dict[str, float]:
        """Return means over the roles."""
        found: dict[str, list[float]] = {}
        for half in self.halves.values():
            for name, value in half.metrics().items():
                found.setdefault(name, []).append(value)
        return {name: float(np.mean(values)) for name, values in found.items()}

    def state(self) -> dict[str, Array]:
        """Everything needed to resume."""
        return {
            f"role{i}.{name}": array
            for i, half in enumerate(self.halves.values())
            for name, array in half.state().items()
        }

    def load_state(self, state: Mapping[str, Array]) -> None:
        """Continue from what `state` returned."""
        for i, half in enumerate(self.halves.values()):
            half.load_state(subtree(state, f"role{i}."))


# ---- The server's side: check what arrives, combine it, answer. It sees agents only as bytes


class Server:
    """Wraps a strategy's server half with decoding, checking and encoding."""

    def __init__(self, half: ServerStrategy, ids: tuple[str, ...]) -> None:
        self.half, self.ids = half, ids
        self.rejected: list[tuple[str, str]] = []
        self.env_steps = 0
        """Environment steps that building the half took: states it visited itself."""

    def announce(self) -> dict[str, bytes]:
        """Return what every agent must know before the first round, encoded."""
        return _encoded(self.half.announce())

    def aggregate(self, round: int, replies: Mapping[str, Reply]) -> dict[str, bytes]:
        """Combine the replies of a round into encoded messages for the agents.

        Replies are taken in agent-id order; a bad one is noted in `rejected` with its reason and
        the round goes on without it. Empty replies are silence, not failure.
        """
        self.rejected = []
        accepted: dict[str, Message] = {}
        for agent in self.ids:
            reply = replies.get(agent, Failure("no answer"))
            if isinstance(reply, Failure):
                self.rejected.append((agent, reply.reason))
            elif reply:
                self._accept(round, agent, reply, accepted)
        return _encoded(self.half.aggregate(round, accepted))

    def _accept(self, round: int, agent: str, data: bytes, accepted: dict[str, Message]) -> None:
        try:
            message = decode(data)
            self.half.check(message, agent, round)
        except BadMessage as error:
            self.rejected.append((agent, str(error)))
        else:
            accepted[agent] = message

    def state(self) -> dict[str, Array]:
        """Everything needed to resume."""
        return self.half.state()

    def load_state(self, state: Mapping[str, Array]) -> None:
        """Continue from what `state` returned."""
        self.half.load_state(state)


def _encoded(messages: Mapping[str, Message]) -> dict[str, bytes]:
    """Encode each distinct message once; most methods send everybody the same one."""
    done: dict[int, bytes] = {}
    for message in messages.values():
        if id(message) not in done:
            done[id(message)] = encode(message)
    return {name: done[id(message)] for name, message in messages.items()}
