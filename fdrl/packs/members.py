"""The members of a pack: threads that take turns, so that exactly one runs at any time."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from fdrl.core.threads import Coroutine


class PackBroken(BaseException):
    """The pack cannot go on as one program; its runs continue from their last checkpoints.

    With `alone` they cannot be packed at all. No `Exception`: only the pack may catch it.
    """

    def __init__(self, reason: str, alone: bool = False) -> None:
        super().__init__(reason)
        self.alone = alone


@dataclass
class Call:
    """What a member waits for: a method of its view, by name, and what came of it."""

    view: Any
    method: str
    given: Mapping[str, Any] = field(default_factory=dict)
    begun: bool = False
    result: Any = None


@dataclass
class TimeShare:
    """A member's share of the pack's time since the last `lap`, in seconds."""

    spent: dict[str, float] = field(default_factory=lambda: {"learn": 0.0, "exchange": 0.0})

    def charge(self, method: str, seconds: float) -> None:
        """Add time spent for a call, or, without one, by the member itself."""
        self.spent["learn" if method == "learn" else "exchange"] += seconds

    def lap(self) -> dict[str, float]:
        """Return the time since the last lap, and start a new one."""
        spent, self.spent = self.spent, {"learn": 0.0, "exchange": 0.0}
        return spent


class Member(Coroutine):
    """Runs `work(member)` whenever it is resumed, until it asks for something."""

    def __init__(self, number: int, work: Callable[[Member], Any]) -> None:
        super().__init__(partial(work, self))
        self.number = number
        self.clock = TimeShare()
        self.call: Call | None = None

    def resume(self, error: BaseException | None = None) -> None:
        """Let the member run until it asks for something or ends."""
        start = time.perf_counter()
        super().resume(error)
        self.clock.charge("", time.perf_counter() - start)
        if self.done:
            self.close()

    def ask(self, call: Call) -> Any:
        """Wait, from within the member, until the call was served; return its result."""
        self.call = call
        try:
            self.pause()
        finally:
            self.call = None
        return call.result
