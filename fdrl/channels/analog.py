"""The analog uplink: values add up in the air, and the server hears their noisy sum.

Over-the-air computation with truncated channel inversion (Ahn, Simeone and Kang, arXiv 1907.02745,
2002.01337). A complex channel use carries two real numbers; its noise has variance 1, and an agent
may spend `snr` per use on average over the round. Who sends, how many steps or samples stand behind
parameters, and the common scale are known to the server [choice].
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fdrl.channels import mac
from fdrl.channels.mac import CHOICE, NOISE, Uplink, to_simplex
from fdrl.channels.settings import MacAnalog
from fdrl.core.arrays import Array
from fdrl.core.errors import FdrlError
from fdrl.core.message import Message, Parameters, ProbTable, ProxyUpdate, parts_of
from fdrl.core.registry import STRATEGIES
from fdrl.core.transport import Delivery
from fdrl.ops.aggregation import LOG_FLOOR
from fdrl.wire.codec import decode, encode
from fdrl.wire.parts import CellRows, Seen, Visits

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
        on = transmitters(gains, 1e-300)
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
        scale = common_scale((vectors**2).sum(1), gains, energy)
        # Two real dimensions share the noise of a complex use.
        noise = self.draw(0, round, NOISE).normal(0.0, 0.5**0.5, vectors.shape[1])
        self._metrics["channel/noise"] = 0.5**0.5 / scale / len(vectors)
        return over_the_air(vectors, scale, noise)

    @property
    def dimensions(self) -> int:
        """Real numbers that fit in a round."""
        return 2 * self.settings.channel_uses

    def _tables(self, heard: Sequence[Message], gains: Array, round: int) -> list[Delivery]:
        if not heard:
            return []
        laid = to_vectors([m for m in heard if isinstance(m, ProbTable)], self.strategy)
        width = laid.vectors.shape[1]
        if width > self.dimensions:
            room = f"{self.dimensions:,} real dimensions"
            reason = f"lost on the uplink: {width:,} values do not fit in {room}"
            return [Delivery(None, self.seconds, reason, size=0)] * len(heard)
        total = Summed(self._add(laid.vectors, gains, round), laid)
        made = from_sum(total, len(heard), self.strategy)
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
        at = mac.common(size, self.dimensions, self.draw(0, round, CHOICE))
        w = np.array([weights[a] for a in senders])
        w = w / w.max() if self.strategy.weighted and w.any() else np.ones(len(senders))
        vectors = w[:, None] * np.stack([changes[a][at] for a in senders])
        mean = self._add(vectors, gains, round) / w.sum()
        out = []
        for agent in senders:
            self.memory.keep(agent, mac.leftover(changes[agent], at, changes[agent][at]))
            values = self.memory.base(agent, size)
            values[at] += mean
            message = found[agent]
            assert isinstance(message, Parameters)
            made = replace(message, values=values.astype(np.float32))
            out.append(Delivery(encode(made), self.seconds, size=REAL_BYTES * len(at)))
        return out


# ---- Tables as vectors whose sum is worth receiving, and back. Pure functions ----
#
# A weighted mean of probabilities is sum w p / sum w: agents send w (p - 1/A), and w where the
# server cannot know it. A logarithmic pool is the same of log-ratios, log p_a - log p_A.


AUDIBLE = 0.5
"""Weight, in agents, below which a label is taken for one that nobody answered [choice]."""


@dataclass(frozen=True)
class VectorLayout:
    """`vectors` [U, n (A-1) + (n)] of n rows; `keyed`: rows are labels; `weighed`: weights, too."""

    vectors: Array
    rows: int
    actions: int
    weighed: bool
    keyed: bool


@dataclass(frozen=True)
class Summed:
    """The sum [d] of such vectors as it was received."""

    total: Array
    laid: VectorLayout


@dataclass(frozen=True)
class Mean:
    """Probabilities [n, A] of the rows that were heard, and their labels [n] if they are keyed."""

    probs: NDArray[np.float32]
    cells: NDArray[np.int64] | None


def weigh(table: ProbTable, settings: Any) -> NDArray[np.float64]:
    """Return an agent's weight at each of its rows [n]: (visits + offset)**power, as `fd` has it.

    The normalization over agents cancels in the mean.
    """
    w = np.ones(len(table.probs))
    visits = table.get(Visits)
    if settings.visit_power > 0.0 and visits is not None:
        counts = np.asarray(visits.counts, np.float64)
        w = (counts + settings.visit_offset) ** settings.visit_power
    if settings.confidence:
        p = np.asarray(table.probs, np.float64)
        entropy = -(p * np.log(np.maximum(p, 1e-300))).sum(1)
        w = w * np.clip(1.0 - entropy / np.log(p.shape[1]), 0.0, 1.0)
    return w


def to_vectors(tables: Sequence[ProbTable], settings: Any) -> VectorLayout:
    """Return every agent's vector. Tables by label have a place for each of the A labels."""
    actions = tables[0].probs.shape[1]
    keyed = settings.answer == "labels"
    rows = actions if keyed else len(tables[0].probs)
    weighed = keyed or settings.visit_power > 0.0 or settings.confidence
    vectors = []
    for table in tables:
        at = table.need(CellRows).cells if keyed else np.arange(rows)
        w, said = np.zeros(rows), np.zeros((rows, actions - 1))
        w[at] = weigh(table, settings)
        said[at] = w[at, None] * _centered(table.probs, settings.combine)
        vectors.append(np.concatenate([said.ravel(), w if weighed else w[:0]]))
    return VectorLayout(np.stack(vectors), rows, actions, weighed, keyed)


def _centered(probs: Array, combine: str) -> NDArray[np.float64]:
    p = np.asarray(probs, np.float64)
    if combine == "log":
        logs = np.log(np.maximum(p, LOG_FLOOR))
        return np.asarray(logs[:, :-1] - logs[:, -1:])
    return np.asarray(p[:, :-1] - 1.0 / p.shape[1])


def from_sum(summed: Summed, agents: int, settings: Any) -> Mean | None:
    """Return the mean that a received sum stands for; None if no row can be told from noise.

    A row whose weight is lost in noise, where rows cannot be left out, says nothing: uniform.
    """
    laid = summed.laid
    size = laid.rows * (laid.actions - 1)
    said = summed.total[:size].reshape(laid.rows, laid.actions - 1)
    weight = summed.total[size:] if laid.weighed else np.full(laid.rows, float(agents))
    known = weight >= AUDIBLE if laid.keyed else weight > 0.0
    y = np.where(known[:, None], said / np.where(known, weight, 1.0)[:, None], 0.0)
    if settings.combine == "log":
        most = -np.log(LOG_FLOOR)
        z = np.concatenate([np.clip(y, -most, most), np.zeros((laid.rows, 1))], axis=1)
        e = np.exp(z - z.max(1, keepdims=True))
        probs = (e / e.sum(1, keepdims=True)).astype(np.float32)
    else:
        probs = to_simplex(y + 1.0 / laid.actions)
    if not laid.keyed:
        return Mean(probs, None)
    return Mean(probs[known], np.flatnonzero(known)) if known.any() else None


# ---- Power control for values that add up in the air: truncated channel inversion. Pure
# functions


def transmitters(gains: Array, threshold: float) -> NDArray[np.bool_]:
    """Return who sends [U]: those whose fading gain |h|^2 is no lower than the threshold.

    To invert a deep fade would cost more power than there is (truncated channel inversion).
    """
    return np.asarray(np.asarray(gains) >= threshold)


def common_scale(energies: Array, gains: Array, budget: float) -> float:
    """Return the largest a for which all can send a x_u / h_u with at most `budget` energy.

    `energies` [U] are |x_u|^2, `gains` [U] |h_u|^2 > 0. All must arrive with the same a, or their
    sum would be no mean; the weakest decides [choice]. 1 if nobody has anything to say.
    """
    cost = float((np.asarray(energies) / np.asarray(gains)).max(initial=0.0))
    return float(np.sqrt(budget / cost)) if cost > 1e-200 else 1.0


def over_the_air(vectors: Array, scale: float, noise: Array) -> NDArray[np.float64]:
    """Return the server's estimate of the sum [d] of `vectors` [U, d], noise [d] included."""
    received = scale * np.asarray(vectors, np.float64).sum(0) + noise
    return np.asarray(received / scale)
