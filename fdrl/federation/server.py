"""The server's side: check what arrives, combine it, answer. It sees agents only as bytes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from fdrl.core.arrays import Array, subtree
from fdrl.core.errors import BadMessage
from fdrl.core.message import Message
from fdrl.core.strategy import BoundsMessages, ServerStrategy
from fdrl.core.transport import Failure, Reply
from fdrl.federation.client import SERVER
from fdrl.wire.codec import decode, encode, opened, sealed
from fdrl.wire.safetensors import LIMIT

# ---- What a federation of several roles in shared worlds needs besides: one server half per
# role


class PerRoleServer:
    """The server halves of all roles as one (`fdrl.core.strategy.ServerStrategy`), by their
    agents' ids.
    """

    def __init__(self, halves: Mapping[tuple[str, ...], ServerStrategy]) -> None:
        self.halves = dict(halves)
        self._of = {name: half for ids, half in halves.items() for name in ids}
        self.skipped: list[tuple[str, str]] = []
        """Agents whose role could not be answered in the last round, and why."""

    def announce(self) -> dict[str, Message]:
        """Say what every agent must know before the first round."""
        return {n: m for half in self.halves.values() for n, m in half.announce().items()}

    def check(self, message: Message, agent: str, round: int) -> None:
        """Let the agent's role decide."""
        self._of[agent].check(message, agent, round)

    def aggregate(self, round: int, messages: Mapping[str, Message]) -> dict[str, Message]:
        """Combine the messages of each role."""
        out: dict[str, Message] = {}
        self.skipped = []
        for ids, half in self.halves.items():
            try:
                out |= half.aggregate(round, {n: m for n, m in messages.items() if n in ids})
            except BadMessage as error:
                self.skipped += [(name, str(error)) for name in ids if name in messages]
        return out

    def most_bytes(self, agent: str, round: int) -> int:
        """Let the agent's role decide."""
        return most_bytes(self._of[agent], agent, round)

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

    def __init__(self, half: ServerStrategy, ids: tuple[str, ...], key: bytes = b"") -> None:
        self.half, self.ids, self.key = half, ids, key
        self.rejected: list[tuple[str, str]] = []
        self.env_steps = 0
        """Environment steps that building the half took: states it visited itself."""

    def announce(self) -> dict[str, bytes]:
        """Return what every agent must know before the first round, encoded."""
        return self._encoded(self.half.announce())

    def aggregate(self, round: int, replies: Mapping[str, Reply]) -> dict[str, bytes]:
        """Combine the replies of a round into encoded messages for the agents.

        Replies are taken in agent-id order; a bad one is noted in `rejected` with its reason and
        the round goes on without it. Empty replies are silence, not failure. Where good messages
        add up to nothing that could be sent, the agents go without an answer, and that is noted.
        """
        self.rejected = []
        accepted: dict[str, Message] = {}
        for agent in self.ids:
            reply = replies.get(agent, Failure("no answer"))
            if isinstance(reply, Failure):
                self.rejected.append((agent, reply.reason))
            elif reply:
                self._accept(round, agent, reply, accepted)
        try:
            made = self.half.aggregate(round, accepted)
        except BadMessage as error:
            self.rejected += [(name, f"cannot be combined: {error}") for name in accepted]
            return {}
        if isinstance(self.half, PerRoleServer):
            self.rejected += [(n, f"cannot be combined: {why}") for n, why in self.half.skipped]
        return self._encoded(made)

    def _accept(self, round: int, agent: str, data: bytes, accepted: dict[str, Message]) -> None:
        try:
            own = opened(data, self.key, agent)
            message = decode(own, most_bytes(self.half, agent, round))
            self.half.check(message, agent, round)
        except BadMessage as error:
            self.rejected.append((agent, str(error)))
        else:
            accepted[agent] = message

    def _encoded(self, messages: Mapping[str, Message]) -> dict[str, bytes]:
        """Encode each distinct message once; most methods send everybody the same one."""
        done: dict[int, bytes | str] = {}
        out: dict[str, bytes] = {}
        for name, message in messages.items():
            if id(message) not in done:
                try:
                    done[id(message)] = sealed(encode(message), self.key, SERVER)
                except BadMessage as error:
                    done[id(message)] = f"the server's answer cannot be sent: {error}"
            data = done[id(message)]
            if isinstance(data, bytes):
                out[name] = data
            else:
                self.rejected.append((name, data))
        return out

    def state(self) -> dict[str, Array]:
        """Everything needed to resume."""
        return self.half.state()

    def load_state(self, state: Mapping[str, Array]) -> None:
        """Continue from what `state` returned."""
        self.half.load_state(state)


def most_bytes(half: object, agent: str, round: int) -> int:
    """Return the bytes of the longest message that a half may be sent."""
    return half.most_bytes(agent, round) if isinstance(half, BoundsMessages) else LIMIT
