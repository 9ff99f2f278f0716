"""The digital uplink: an agent's share of the rate decides what it can say.

Tables are quantized to the bits that fit; parameters travel as their largest changes, with error
accumulation (Ahn, Simeone and Kang, arXiv 1907.02745). Numbers that describe rows (visit counts,
keys, recent returns) take what they take on any channel. Message headers say what the schedule
says already and are not counted [choice].
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from fdrl.channels import mac
from fdrl.channels.mac import CHOICE, DITHER, Uplink
from fdrl.channels.settings import MacDigital
from fdrl.core.errors import FdrlError
from fdrl.core.message import Parameters, ProbTable, ProxyUpdate
from fdrl.core.transport import Delivery
from fdrl.wire import safetensors
from fdrl.wire.codec import decode, encode
from fdrl.wire.parts import CellRows, Score, Seen

CODED = {"uint8": 8, "float16": 16, "float32": 32}
NUMBER_BITS = 32
"""A count of steps or a recent return."""


class Digital(Uplink):
    """Each agent's share of the rate, and what it makes of messages."""

    settings: MacDigital

    def __init__(self, settings: MacDigital, ids: Sequence[str], seed: int, strategy: Any) -> None:
        super().__init__(settings, ids, seed, strategy)
        bits = self.bits()
        if bits < 1.0:
            raise FdrlError(
                f"config: no message can be sent: {settings.channel_uses:,} channel uses at "
                f"{settings.snr:g} dB carry {bits:.2g} bits of each of {len(self.ids)} agents "
                "(at channel.channel_uses; or send with a higher snr)"
            )

    def bits(self, gain: float = 1.0) -> float:
        """Return the bits that an agent may send in a round."""
        uses = self.settings.channel_uses
        return mac.uplink_bits(uses, self.snr, len(self.ids), gain)

    def up(self, message: bytes, agent: str, round: int) -> Delivery:
        """Carry an upload, coarser if it must be; lose it if even that does not fit."""
        gain = self.gain(agent, round)
        found = decode(message)
        limit = self.bits(gain)
        self._metrics = {"channel/bits": self.bits()}
        if isinstance(found, Parameters):
            return self._parameters(found, agent, round, limit)
        if isinstance(found, ProxyUpdate):
            return self.offline(message)
        if not gain:
            return self.faded()
        if isinstance(found, ProbTable):
            return self._table(found, message, agent, round, limit)
        needed = 8 * _body(message)
        return self._whole(message, needed) if needed <= limit else self._lost(needed, limit)

    def _whole(self, message: bytes, bits: float) -> Delivery:
        return Delivery(message, self.seconds, size=math.ceil(bits / 8))

    def _lost(self, needed: float, limit: float) -> Delivery:
        short = f"needs {needed:,.0f} bits at least, and {limit:,.0f} fit in a round"
        reason = f"lost on the uplink: it {short}"
        return Delivery(None, self.seconds, reason, size=0)

    def _table(
        self, table: ProbTable, message: bytes, agent: str, round: int, limit: float
    ) -> Delivery:
        rows, columns = table.probs.shape[0], table.probs.shape[1] - 1
        coded = CODED[table.coding]
        extra = 8 * _body(message) - rows * columns * coded
        extra += NUMBER_BITS * (table.get(Score) is not None)
        least = rows * columns + extra
        keyed = table.get(CellRows) is not None and table.get(Seen) is None
        if least > limit and keyed:
            kept = int(limit // (least / rows))  # keyed rows are understood one by one
            if kept:
                table, extra = self._some(table, kept, agent, round), extra * kept / rows
                rows = kept
        each = int((limit - extra) // (rows * columns))
        if each < 1:
            return self._lost(least, limit)
        if each >= coded and rows * columns + extra == least:
            return self._whole(message, rows * columns * coded + extra)
        each = min(each, mac.WIDEST, coded)
        dither = self.draw(self.index[agent], round, DITHER).random((rows, columns))
        arrived = mac.dithered(table.probs[:, :-1], 0.0, 1.0, each, dither)
        made = replace(table, probs=mac.to_simplex(arrived), coding="float32")
        return self._whole(encode(made), rows * columns * each + extra)

    def _some(self, table: ProbTable, kept: int, agent: str, round: int) -> ProbTable:
        """Return a table of `kept` rows, others in every round [choice]."""
        rng = self.draw(self.index[agent], round, CHOICE)
        return table.take(mac.common(len(table.probs), kept, rng))

    def _parameters(self, found: Parameters, agent: str, round: int, limit: float) -> Delivery:
        change = self.memory.change(agent, found.values)
        told = NUMBER_BITS * ((found.steps > 0) + (found.get(Score) is not None))
        kept, each = mac.plan(len(change), limit - told, self.settings.value_bits)
        if not kept:
            self.memory.keep(agent, change)
            least = mac.sparse_bits(len(change), 1, self.settings.value_bits) + told
            return self._lost(least, limit) if limit else self.faded()
        at = mac.largest(change, kept)
        top = float(np.float32(np.abs(change[at]).max()))
        dither = self.draw(self.index[agent], round, DITHER).random(kept)
        sent = mac.dithered(np.clip(change[at], -top, top), -top, top, each, dither)
        self.memory.keep(agent, mac.leftover(change, at, sent))
        values = self.memory.base(agent, len(change))
        values[at] += sent
        bits = mac.sparse_bits(len(change), kept, each)
        if kept == len(change):
            bits = kept * each + mac.SCALE_BITS
        made = replace(found, values=values.astype(np.float32))
        return self._whole(encode(made), bits + told)


def _body(message: bytes) -> int:
    """Return the bytes of a message's arrays, without its header."""
    _, tensors = safetensors.unpack(message)
    return sum(t.nbytes for t in tensors.values())
