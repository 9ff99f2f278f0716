"""The analog uplink: values add up in the air, and the server hears their noisy sum.

Over-the-air computation with truncated channel inversion (Ahn, Simeone and Kang, arXiv 1907.02745,
2002.01337). A complex channel use carries two real numbers; its noise has variance 1, and an agent
may spend `snr` per use on average over the round. Who sends, how many steps or samples stand behind
parameters, and the common scale are known to the server [choice].
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fdrl.channel import Delivery
from fdrl.channel_settings import MacAnalog
from fdrl.errors import FdrlError
from fdrl.mac import inversion, sparse
from fdrl.mac.sums import Summed, lay, unlay
from fdrl.mac.uplink import CHOICE, NOISE, Uplink
from fdrl.message import (
    CellRows,
    Message,
    Parameters,
    ProbTable,
    ProxyUpdate,
    Seen,
    Visits,
    decode,
    encode,
    parts_of,
)
from fdrl.registry import STRATEGIES

Array = NDArray[Any]
REAL_BYTES = 4
"""What a real number sent in the air counts for in the bytes of a run [choice]."""


class Analog(Uplink):
    """Combines the uploads of a round into the mean that each of their senders said, as it were.

    A server that averages equal messages gets that message back, whatever their weights: so no
    strategy needs to know. Weights are applied by the agents before they send.
    """

    settings: MacAnalog

    def agree(self, parameters: Mapping[str, Array]) -> None:
        """Note the parameters [P] from which every agent starts; they must be of one size."""
        super().agree(parameters)
        if len({len(row) for row in self.memory.known.values()}) > 1:
            raise FdrlError(
                "config: networks of different sizes cannot add up in the air: use mac-digital, or "
                f"{STRATEGIES.default().name} (at channel.type)"
            )

    def combine(self, messages: Mapping[str, bytes], round: int) -> dict[str, Delivery]:
        """Add all uploads of a round; senders in a deep fade stay silent."""
        read = {a: decode(m) for a, m in messages.items()}
        early = {a: m for a, m in read.items() if isinstance(m, ProxyUpdate)}
        found = {a: m for a, m in read.items() if a not in early}
        gains = np.array([self.gain(a, round) for a in found])
        on = inversion.transmitters(gains, 1e-300)
        senders = [a for a, ok in zip(found, on, strict=True) if ok]
        self._metrics = {"channel/transmitters": float(len(senders))}
        out = dict.fromkeys(found, self.faded())
        heard = [found[a] for a in senders]
        if all(isinstance(m, ProbTable) for m in found.values()):
            arrived = self._tables(heard, gains[on], round)
        else:
            arrived = self._parameters(found, senders, gains[on], round)
        out |= dict(zip(senders, arrived, strict=True))
        return out | {a: self.offline(messages[a]) for a in early}

    def _add(self, vectors: Array, gains: Array, round: int) -> NDArray[np.float64]:
        """Return the received sum [d] of vectors [U, d]."""
        energy = self.settings.channel_uses * self.snr
        scale = inversion.common_scale((vectors**2).sum(1), gains, energy)
        # Two real dimensions share the noise of a complex use.
        noise = self.draw(0, round, NOISE).normal(0.0, 0.5**0.5, vectors.shape[1])
        self._metrics["channel/noise"] = 0.5**0.5 / scale / len(vectors)
        return inversion.over_the_air(vectors, scale, noise)

    @property
    def dimensions(self) -> int:
        """Real numbers that fit in a round."""
        return 2 * self.settings.channel_uses

    def _tables(self, heard: Sequence[Message], gains: Array, round: int) -> list[Delivery]:
        if not heard:
            return []
        laid = lay([m for m in heard if isinstance(m, ProbTable)], self.strategy)
        width = laid.vectors.shape[1]
        if width > self.dimensions:
            room = f"{self.dimensions:,} real dimensions"
            reason = f"lost on the uplink: {width:,} values do not fit in {room}"
            return [Delivery(None, self.seconds, reason, size=0)] * len(heard)
        total = Summed(self._add(laid.vectors, gains, round), laid)
        made = unlay(total, len(heard), self.strategy)
        if made is None:
            reason = "lost on the uplink: no row's weight stood out of the noise"
            return [Delivery(None, self.seconds, reason, size=REAL_BYTES * width)] * len(heard)
        out = []
        for message in heard:
            assert isinstance(message, ProbTable)
            visits = message.get(Visits)
            by_row = parts_of(
                None if visits is None else Visits(np.ones(len(made.probs)), visits.coding),
                None if made.cells is None else CellRows(made.cells),
            )
            # Reports of visited cells have no place in a sum: proxy sets are not refreshed.
            rest = message.without(Visits, CellRows, Seen).parts
            table = replace(message, probs=made.probs, coding="float32", parts=(*rest, *by_row))
            out.append(Delivery(encode(table), self.seconds, size=REAL_BYTES * width))
        return out

    def _parameters(
        self, found: Mapping[str, Message], senders: Sequence[str], gains: Array, round: int
    ) -> list[Delivery]:
        """Add the changes of a common random choice of parameters; the rest is owed."""
        changes, weights = {}, {}
        for agent, message in found.items():
            assert isinstance(message, Parameters)
            changes[agent] = self.memory.change(agent, message.values)
            weights[agent] = float(message.steps)
            self.memory.keep(agent, changes[agent])
        if not senders:
            return []
        size = len(changes[senders[0]])
        at = sparse.common(size, self.dimensions, self.draw(0, round, CHOICE))
        w = np.array([weights[a] for a in senders])
        w = w / w.max() if self.strategy.weighted and w.any() else np.ones(len(senders))
        vectors = w[:, None] * np.stack([changes[a][at] for a in senders])
        mean = self._add(vectors, gains, round) / w.sum()
        out = []
        for agent in senders:
            self.memory.keep(agent, sparse.leftover(changes[agent], at, changes[agent][at]))
            values = self.memory.base(agent, size)
            values[at] += mean
            message = found[agent]
            assert isinstance(message, Parameters)
            made = replace(message, values=values.astype(np.float32))
            out.append(Delivery(encode(made), self.seconds, size=REAL_BYTES * len(at)))
        return out
