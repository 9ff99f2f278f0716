"""The server's side: check what arrives, combine it, answer. It sees agents only as bytes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from fdrl.errors import BadMessage
from fdrl.message import Message, decode, encode
from fdrl.strategy import ServerHalf
from fdrl.transport import Failure, Reply

Array = NDArray[Any]


class Server:
    """Wraps a strategy's server half with decoding, checking and encoding."""

    def __init__(self, half: ServerHalf, ids: tuple[str, ...]) -> None:
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
