"""The server's half of the distillation engine: combine answers, choose proxy states."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from fdrl.core.arrays import Array
from fdrl.core.errors import FdrlError
from fdrl.core.message import (
    AnyTable,
    GaussTable,
    Message,
    ProbTable,
    ProxyUpdate,
    Table,
    parts_of,
    table_of,
)
from fdrl.core.strategy import ServerContext
from fdrl.ops import gaussian
from fdrl.proxies import sets
from fdrl.proxies.sets import (
    ProxySet,
    announced,
    build,
    grid_of,
    load_saved,
    refresh_every,
    saved,
    to_update,
)
from fdrl.strategies.base import Server as BaseServer
from fdrl.strategies.distillation import teacher
from fdrl.strategies.distillation.settings import Distillation, check_values
from fdrl.wire.checks import Expected, check_table
from fdrl.wire.content import Asked
from fdrl.wire.parts import CellRows, Score, Seen, StateRows, Values, Visits


class Server(BaseServer):
    """Combines the agents' tables into a teacher, and chooses the proxy states."""

    settings: Distillation

    def __init__(self, context: ServerContext) -> None:
        super().__init__(context)
        check_values(self.settings)
        self.proxies: ProxySet | None = None
        if self.settings.answer == "current":
            self.proxies = build(
                context.run.proxy, context.low, context.high, context.run.seed, context.visit
            )
        elif self.settings.answer == "raw" and self.settings.leave_self_out:
            raise FdrlError("leave_self_out needs answers about common states, not raw ones")
        self.cells_below = _cells_below(self.settings, context)
        self.stale: set[str] = set()
        self.heard: set[str] = set()
        self._metrics: dict[str, float] = {}

    def announce(self) -> dict[str, Message]:
        """Tell every agent which proxy states to answer."""
        if self.proxies is None:
            return {}
        return dict.fromkeys(self.context.ids, self._announcement(0))

    def _announcement(self, round: int) -> ProxyUpdate:
        assert self.proxies is not None
        return to_update(self.proxies, self.context.run.proxy, round)

    def check(self, message: Message, agent: str, round: int) -> None:
        """Refuse what is not a table of this round, of the current proxy set, of our shape."""
        current = self.proxies
        if isinstance(message, ProbTable | GaussTable):
            self.heard.add(agent)
            if current and message.version != current.version:
                self.stale.add(agent)
        check_table(message, self._expected(agent, round))

    def most_bytes(self, agent: str, round: int) -> int:
        """Return the bytes of the longest table."""
        return self._expected(agent, round).most_bytes()

    def _expected(self, agent: str, round: int) -> Expected:
        """Return what an agent was asked for, and bounds of what it can have done in a round.

        Visits decide who is heard, and about what: nobody may claim more than steps taken.
        """
        context, kind, current = self.context, self.settings.answer, self.proxies
        weighed, steps = kind != "raw" and self.settings.visit_power > 0, context.steps_of(agent)
        asked: list[Asked] = [
            Visits.asked(most=steps, optional=not weighed),
            Score.asked(optional=True),
        ]
        if kind in ("cells", "labels"):
            asked.append(CellRows.asked(below=self.cells_below))
        elif kind == "raw":
            asked.append(StateRows.asked(shape=context.low.shape))
        if self.settings.values:
            asked.append(Values.asked())
        refresh = refresh_every(context.run.proxy)
        if kind == "current" and refresh > 0 and (round - 1) % refresh == 0:
            seen = Seen.asked(
                below=self.cells_below,
                most=context.run.proxy.size,
                most_visits=steps * min(refresh, round),  # the first report is of one round
                optional=True,
            )
            asked.append(seen)
        return Expected(
            round,
            context.n_actions,
            context.gaussian,
            version=current.version if current else None,
            rows=len(current.states) if current else None,
            most_rows={"current": None, "labels": context.n_actions}.get(kind, steps),
            parts=tuple(asked),
        )

    def aggregate(self, round: int, messages: Mapping[str, Message]) -> dict[str, Message]:
        """Combine the tables; every agent gets the teacher, whether it answered or not."""
        self._metrics = {}
        names = [n for n in self.context.ids if n in messages]
        tables = [m for n in names if isinstance(m := messages[n], ProbTable | GaussTable)]
        if not tables:
            return self._catch_up(round, {})
        sheet = teacher.align(tables, self.settings.answer)
        weights = teacher.agent_weights(sheet, teacher.scores_of(tables), self.settings)
        combined = teacher.combine(sheet, weights, self.settings)
        self._metrics = self._describe(sheet, combined)
        common = self._table(round, combined, sheet, self._refresh(tables))
        if self.settings.values:
            mean = teacher.combine_values(tables, weights).astype(np.float32)
            common = common.with_parts(Values(mean))
        out: dict[str, Message] = dict.fromkeys(self.context.ids, common)
        if self.settings.leave_self_out:
            for u, own in enumerate(self._own_teachers(sheet, weights)):
                out[names[u]] = common.with_answers(own)
                if self.settings.answer == "labels":
                    _keep_taught(out, names[u], sheet, u)
        return self._catch_up(round, out)

    def _own_teachers(self, sheet: teacher.AlignedAnswers, weights: Array) -> Array:
        return teacher.leave_one_out(sheet, weights, self.settings).astype(np.float32)

    def _table(
        self, round: int, combined: Array, sheet: teacher.AlignedAnswers, refreshed: ProxySet | None
    ) -> AnyTable:
        version = self.proxies.version if self.proxies else ""
        if refreshed is not None:
            self.proxies = refreshed
        return table_of(
            combined.astype(np.float32),
            sheet.gaussian,
            round=round,
            coding=self.settings.coding,
            version=version,
            parts=parts_of(
                None if sheet.cells is None else CellRows(sheet.cells),
                None if sheet.states is None else StateRows(sheet.states.astype(np.float32)),
                announced(refreshed),
            ),
        )

    def _refresh(self, tables: Sequence[Table]) -> ProxySet | None:
        """Choose new proxy states if the agents reported visited cells in this round."""
        reported = [seen for t in tables if (seen := t.get(Seen)) and seen.visits is not None]
        if not reported or self.proxies is None:
            return None
        counts: dict[int, float] = {}
        for seen in reported:
            assert seen.visits is not None
            for cell, times in zip(seen.cells.tolist(), seen.visits.tolist(), strict=True):
                counts[cell] = counts.get(cell, 0.0) + times
        context = self.context
        fresh = sets.refresh(
            context.run.proxy, self.proxies, counts, context.low, context.high, context.run.seed
        )
        return None if fresh.version == self.proxies.version else fresh

    def _catch_up(self, round: int, out: dict[str, Message]) -> dict[str, Message]:
        """Send the present proxy set to agents that have another one, or perhaps none.

        An agent that was never heard may lack the set, or only its uplink: it is sent the set and
        the teacher in turn, so that it learns from the others in either case.
        """
        if self.proxies is not None:
            silent = set(self.context.ids) - self.heard if round % 2 or not out else set()
            for name in sorted(self.stale | silent):
                out[name] = self._announcement(round)
        self.stale = set()
        return out

    def _describe(self, sheet: teacher.AlignedAnswers, combined: Array) -> dict[str, float]:
        if sheet.gaussian:
            entropy = gaussian.entropy(combined)
        else:
            entropy = -(combined * np.log(np.maximum(combined, 1e-12))).sum(-1)
        return {
            "distill/teacher_entropy": float(entropy.mean()),
            "distill/teacher_rows": float(len(combined)),
            "distill/answers_per_row": float(sheet.present.sum(0).mean()),
        }

    def metrics(self) -> dict[str, float]:
        """Return what the last teacher looked like."""
        return self._metrics

    def state(self) -> dict[str, Array]:
        """Return the proxy set, and which agents have been heard of."""
        ids = self.context.ids
        state: dict[str, Array] = {"heard": np.array([n in self.heard for n in ids])}
        if self.proxies is not None:
            state |= {f"set.{k}": v for k, v in saved(self.proxies).items()}
            state["version"] = np.frombuffer(self.proxies.version.encode(), dtype=np.uint8)
        return state

    def load_state(self, state: Mapping[str, Array]) -> None:
        """Rebuild the proxy set."""
        context = self.context
        heard = zip(context.ids, state["heard"].tolist(), strict=True)
        self.heard = {name for name, yes in heard if yes}
        if self.proxies is not None:
            kept = {k[4:]: v for k, v in state.items() if k.startswith("set.")}
            version = state["version"].tobytes().decode()
            self.proxies = load_saved(
                kept, context.run.proxy, context.low, context.high, context.run.seed, version
            )


def _cells_below(settings: Distillation, context: ServerContext) -> int | None:
    """Return what bounds the keys of a table's rows: labels, or cells of the proxies' grid."""
    if settings.answer == "labels":
        return context.n_actions
    grid = grid_of(context.run.proxy, context.low, context.high)
    return None if grid is None else grid.count


def _keep_taught(out: dict[str, Message], name: str, sheet: teacher.AlignedAnswers, u: int) -> None:
    """Send agent u only rows that somebody else answered: a label of its own has no teacher."""
    table = out[name]
    assert isinstance(table, ProbTable)
    rows = np.delete(sheet.present, u, axis=0).sum(0) > 0
    if rows.any():
        out[name] = table.take(rows)
    else:
        del out[name]
