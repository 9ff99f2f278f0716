"""Training several runs as one program; each is an ordinary run in a thread of its own."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import FrameType

from fdrl.config import Run, checked, differences
from fdrl.errors import FdrlError
from fdrl.pack.joining import Packed, join
from fdrl.pack.members import Collapsed, Member
from fdrl.pack.schedule import serve
from fdrl.pack.stack import Stack
from fdrl.records import Summary
from fdrl.rundir import CONFIG
from fdrl.stopping import StopFlag
from fdrl.track import Tracker
from fdrl.training import train

Outcome = Summary | BaseException
Ended = Callable[[int, Outcome], None]


@dataclass
class Order:
    """A run to train, in a folder (which may hold the run already: it is resumed) or without."""

    run: Run
    out: Path | None = None
    trackers: Sequence[Tracker] = ()
    """Started and closed again whenever the run goes on in another pack, or alone."""
    number: int = 0
    """A name for whoever gave it."""

    @property
    def resume(self) -> bool:
        """Whether there is something to continue."""
        return self.out is not None and (self.out / CONFIG).is_file()

    def train(self, curves: bool, **options: object) -> Summary:
        """Train it as `fdrl.train` does."""
        return train(
            self.run, out=self.out, resume=self.resume, trackers=self.trackers, curves=curves,
            **options,  # type: ignore[arg-type]
        )  # fmt: skip


Note = Callable[[Order, Outcome], None]


@dataclass
class _Stop:
    """The first signal lets the rounds in progress end; the second one interrupts."""

    flags: list[StopFlag] = field(default_factory=list)
    count: int = 0
    turn: bool = False
    """Whether a member runs, which must not be left running by itself."""

    def handle(self, number: int, frame: FrameType | None) -> None:
        self.count += 1
        for flag in self.flags:
            flag.set = True
        if self.count > 1 and not self.turn:
            raise KeyboardInterrupt

    def flag(self) -> StopFlag:
        """Return a member's flag."""
        made = StopFlag(set=self.count > 0)
        self.flags.append(made)
        return made


@contextmanager
def _signals(stop: _Stop) -> Iterator[None]:
    """Listen to Ctrl-C and SIGTERM (only the main thread may)."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {n: signal.signal(n, stop.handle) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def train_packed(
    runs: Sequence[Run], *, out: str | Path | Sequence[str | Path] | None = None,
    curves: bool = True,
) -> list[Summary]:  # fmt: skip
    """Train runs that differ in their seed alone as one batched program; return the summaries.

    Each gets the numbers that `fdrl.train` would give it, to the bit, and with `out` a run folder:
    ``out/seed-000`` by its seed, or, from a list, one of its own. Folders that hold these runs
    already are continued, whatever rounds they are at. Small networks and few environment copies
    gain most; what cannot be packed (anchors, pooled learning, several threads) is trained one
    after another. A run that fails does so alone: the others are trained to their end, and then
    the first error is raised. Ctrl-C stops all, as in `fdrl.train`.

    >>> runs = [fdrl.make_run(agents=2, steps=512, seed=seed) for seed in range(10)]
    >>> summaries = train_packed(runs)
    """
    if isinstance(out, str | Path):
        folders: list[Path | None] = [Path(out) / f"seed-{r.seed:03d}" for r in runs]
    else:
        folders = [Path(f) for f in out] if out is not None else [None] * len(runs)
    if len(folders) != len(runs):
        raise FdrlError(f"{len(folders)} run folders for {len(runs)} runs")
    named = [f for f in folders if f is not None]
    if len(set(named)) < len(named):
        raise FdrlError("two runs would be written to one folder: give each a seed or an out")
    orders = [Order(r, f) for r, f in zip(runs, folders, strict=True)]
    outcomes = train_orders(orders, curves=curves)
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome
    return [o for o in outcomes if isinstance(o, Summary)]


def train_orders(
    orders: Sequence[Order], *, curves: bool = True, ended: Ended = lambda place, outcome: None
) -> list[Outcome]:
    """Train all orders; return each one's summary, or why there is none.

    `ended(place, outcome)` hears of each run as it ends. Once a stop was asked for, runs that were
    not begun end with `KeyboardInterrupt`.
    """
    outcomes: dict[int, Outcome] = {}

    def note(order: Order, outcome: Outcome) -> None:
        place = places[id(order)]
        outcomes[place] = outcome
        ended(place, outcome)

    places = {id(order): place for place, order in enumerate(orders)}
    if orders:
        _train(list(orders), curves, note)
    return [outcomes[n] for n in range(len(orders))]


def _train(orders: list[Order], curves: bool, note: Note) -> bool:
    """Train orders as a pack if they can be one, else one by one; return False once stopped."""
    if len(orders) == 1 or not packable([o.run for o in orders]):
        return _one_by_one(orders, curves, note)
    pack = _Pack(orders, curves, note)
    collapsed = pack.run()
    if collapsed is None:
        return pack.stop.count == 0
    if pack.stop.count:
        _not_begun(pack.left, note)
        return False
    if collapsed.alone:
        return _one_by_one(pack.left, curves, note)
    # Somebody's call failed: halving finds out whose, while most of the others stay together.
    half = (len(pack.left) + 1) // 2
    going = True
    for some in (pack.left[:half], pack.left[half:]):
        if going and some:
            going = _train(some, curves, note)
        elif some:
            _not_begun(some, note)
    return going


def _one_by_one(orders: list[Order], curves: bool, note: Note) -> bool:
    """Train each by itself; once the user has asked for a stop, the others do not begin."""
    for i, order in enumerate(orders):
        try:
            note(order, order.train(curves))
        except KeyboardInterrupt as stop:
            note(order, stop)
            _not_begun(orders[i + 1 :], note)
            return False
        except Exception as error:
            note(order, error)
    return True


def _not_begun(orders: list[Order], note: Note) -> None:
    for order in orders:
        note(order, KeyboardInterrupt())


def packable(runs: Sequence[Run]) -> bool:
    """Say whether runs may become one program: one process each, and only their seeds differ."""
    first = checked(runs[0])
    return all(r.threads == 1 for r in runs) and all(
        set(differences(first, checked(r))) <= {"seed"} for r in runs[1:]
    )


class _Pack:
    """One sitting of a pack."""

    def __init__(self, orders: list[Order], curves: bool, note: Note) -> None:
        self.left = list(orders)
        self.note = note
        self.stop = _Stop()
        self.stacks: list[Stack] = []
        self.refused: Collapsed | None = None
        self.members = [
            Member(i, partial(self._work, order, curves)) for i, order in enumerate(orders)
        ]
        self.orders = dict(zip(self.members, orders, strict=True))

    def _work(self, order: Order, curves: bool, member: Member) -> Summary:
        def federation(run: Run) -> Packed:
            return Packed(run, member)

        return order.train(curves, federation=federation, stop=self.stop.flag())

    def run(self) -> Collapsed | None:
        """Train until every member has ended; return why the pack ended before, if it did."""
        live = list(self.members)
        try:
            with _signals(self.stop):
                try:
                    self._turns(live, live)
                    if self.refused is not None:  # a kind of run that no pack takes
                        raise self.refused
                    self._join(live)
                    self._turns(live, live)
                    while live:
                        self._turns(live, serve(live))
                except Collapsed as collapsed:
                    self._end(live, collapsed)
                    return collapsed
                except KeyboardInterrupt as interrupt:
                    self._end(live, interrupt)
        finally:
            for stack in self.stacks:
                stack.close()
        return None

    def _join(self, live: list[Member]) -> None:
        """Build the stacks; a learner or environment that cannot be stacked ends the pack."""
        try:
            self.stacks = join(live)
        except Exception as error:
            raise Collapsed(f"{type(error).__name__}: {error}", alone=True) from error

    def _turns(self, live: list[Member], some: Sequence[Member]) -> None:
        """Let some members run, one after another, until each waits or has ended."""
        for member in list(some):
            self.stop.turn = True
            member.resume()
            self.stop.turn = False
            if member.done:
                live.remove(member)
                self._note(member)
            if self.stop.count > 1:
                raise KeyboardInterrupt

    def _note(self, member: Member) -> None:
        if isinstance(member.error, Collapsed):
            self.refused = member.error
            return  # it goes on in another pack, or alone
        order = self.orders[member]
        self.left.remove(order)
        self.note(order, member.error or member.result)

    def _end(self, live: list[Member], error: BaseException) -> None:
        """Raise an error in every member that is left, so that each closes its folder."""
        self.stop.turn = True
        for member in live:
            member.end(error)
            self._note(member)
