"""How far a run is, in numbers and words a person can read; no drawing."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from fdrl.config.run import Run
from fdrl.core.records import RoundRecord


def spent(run: Run, record: RoundRecord) -> float:
    """Return which share of its budget the last agent has used up, of steps or of episodes.

    1 also once all agents have completed a goal that ends the run.
    """
    if run.goal is not None and run.goal.stop and record.completed == run.agents:
        return 1.0
    shares = [steps / run.steps for steps in record.env_steps]
    if run.episodes:
        own = zip(shares, record.episodes, strict=True)
        shares = [max(share, ended / run.episodes) for share, ended in own]
    return min(1.0, *shares)


BLOCKS = "▁▂▃▄▅▆▇█"


def human_bytes(count: float) -> str:
    """Return a byte count in decimal units: ``8.2 kB``."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(count) < 999.5 or unit == "GB":
            break
        count /= 1000
    return f"{count:.0f} {unit}" if unit == "B" or count >= 99.95 else f"{count:.1f} {unit}"


def human_seconds(seconds: float) -> str:
    """Return ``0:07``, ``12:34`` or ``1:02:03``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def human_return(value: float | None) -> str:
    """Return a return with one decimal (two below 10), or a dash if no episode ended yet."""
    if value is None or math.isnan(value):
        return "-"
    if abs(value) >= 1e9:
        return f"{value:.3g}"
    return f"{value:.2f}" if abs(value) < 9.995 else f"{value:,.1f}"


def sparkline(values: Sequence[float | None], low: float, high: float) -> str:
    """Draw values as blocks between `low` and `high`; a space where there is none."""
    span = (high - low) or 1.0
    top = len(BLOCKS) - 1
    return "".join(
        " " if v is None else BLOCKS[min(top, max(0, round((v - low) / span * top)))]
        for v in values
    )


def pick_rows(latest: Sequence[float | None], limit: int) -> list[int]:
    """Choose which agents to show: all in order, or evenly spaced ranks from worst to best."""
    if len(latest) <= limit:
        return list(range(len(latest)))
    order = sorted(range(len(latest)), key=lambda i: (latest[i] is not None, latest[i] or 0.0, i))
    if limit == 1:
        return order[:1]
    return [order[round(j * (len(order) - 1) / (limit - 1))] for j in range(limit)]


@dataclass
class Progress:
    """What displays show, gathered from the records; `history` has an entry per sparkline cell."""

    run: Run
    ids: Sequence[str]
    labels: Sequence[str]
    width: int = 12
    record: RoundRecord | None = None
    latest: list[float | None] = field(default_factory=list)
    history: list[list[float | None]] = field(default_factory=list)
    heard: float = 0.0
    start: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        self.latest = [None] * len(self.ids)
        self.history = [[] for _ in self.ids]
        self.heard = time.monotonic()

    @property
    def fraction(self) -> float:
        """Share of the budget that is used up, of steps or of episodes, whichever is nearer."""
        return 0.0 if self.record is None else spent(self.run, self.record)

    def add(self, record: RoundRecord) -> None:
        """Take in one round."""
        now = time.monotonic()
        first = self.record is None
        self.record = record
        if first:
            # A resumed run's first record already counts the steps of earlier sittings.
            fresh = record.wall_seconds <= (now - self.heard) * 1.5 + 0.1
            self.start = (self.heard, 0.0) if fresh else (now, self.fraction)
        self.heard = now
        self._draw(record)

    def recall(self, records: Sequence[RoundRecord]) -> None:
        """Take in the rounds of earlier sittings, which took no time of this one."""
        for record in records:
            self.record = record
            self._draw(record)
        if records:
            self.heard = time.monotonic()
            self.start = (self.heard, self.fraction)

    def _draw(self, record: RoundRecord) -> None:
        cell = min(self.width - 1, int(self.fraction * self.width))
        for index, value in enumerate(record.returns):
            if value is not None:
                self.latest[index] = value
            row = self.history[index]
            row.extend([row[-1] if row else None] * (cell + 1 - len(row)))
            row[cell] = self.latest[index]

    @property
    def elapsed(self) -> float:
        """Training seconds over all sittings."""
        since = time.monotonic() - self.heard
        return since + (self.record.wall_seconds if self.record else 0.0)

    @property
    def left(self) -> str:
        """Expected time to the end, or a dash while it cannot be told."""
        if self.start is None or self.fraction <= self.start[1]:
            return "-"
        pace = (self.heard - self.start[0]) / (self.fraction - self.start[1])
        return human_seconds(max(0.0, pace * (1 - self.fraction)))

    @property
    def worst(self) -> float | None:
        """The lowest latest return of an agent."""
        known = [v for v in self.latest if v is not None]
        return min(known) if known else None
