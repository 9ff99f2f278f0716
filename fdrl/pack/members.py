"""The members of a pack: threads that take turns, so that exactly one runs at any time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


class Collapsed(BaseException):
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
    args: tuple[Any, ...] = ()
    begun: bool = False
    result: Any = None
    error: BaseException | None = None


@dataclass
class Clock:
    """A member's share of the pack's time since the last `lap`, in seconds."""

    spent: dict[str, float] = field(default_factory=lambda: {"learn": 0.0, "exchange": 0.0})

    def charge(self, method: str, seconds: float) -> None:
        """Add time spent for a call, or, without one, by the member itself."""
        self.spent["learn" if method == "learn" else "exchange"] += seconds

    def lap(self) -> dict[str, float]:
        """Return the time since the last lap, and start a new one."""
        spent, self.spent = self.spent, {"learn": 0.0, "exchange": 0.0}
        return spent


class Member:
    """A thread that runs `work(member)` whenever it is resumed, until it asks for something."""

    def __init__(self, number: int, work: Callable[[Member], Any]) -> None:
        self.number = number
        self.clock = Clock()
        self.call: Call | None = None
        self.done = False
        self.result: Any = None
        self.error: BaseException | None = None
        self._turn, self._rest = threading.Semaphore(0), threading.Semaphore(0)
        self._thread = threading.Thread(target=self._run, args=(work,), daemon=True)

    def start(self) -> None:
        """Start the thread and let it run until it asks for something or ends."""
        self._thread.start()
        self.resume()

    def resume(self) -> None:
        """Let the thread run until it asks for something or ends."""
        start = time.perf_counter()
        self._turn.release()
        self._rest.acquire()
        self.clock.charge("", time.perf_counter() - start)
        if self.done:
            self._thread.join()

    def ask(self, call: Call) -> Any:
        """Wait, from within the thread, until the call was served; return its result."""
        self.call = call
        self._rest.release()
        self._turn.acquire()
        self.call = None
        if call.error is not None:
            raise call.error
        return call.result

    def _run(self, work: Callable[[Member], Any]) -> None:
        self._turn.acquire()
        try:
            self.result = work(self)
        except BaseException as error:
            self.error = error
        self.done = True
        self._rest.release()
