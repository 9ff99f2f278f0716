"""Training several runs as one program: how they start, come together, and take turns."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import FrameType

from fdrl.config.run import Run, differences, validated
from fdrl.core.abilities import alone, profile
from fdrl.core.arrays import Array
from fdrl.core.errors import FdrlError
from fdrl.core.paths import absolute
from fdrl.core.records import RoundRecord, Summary
from fdrl.core.threads import stop_signals
from fdrl.federation import groups as groups_federation
from fdrl.federation.build import make_cohort
from fdrl.federation.loop import Federation
from fdrl.packs.members import Call, Member, PackBroken
from fdrl.packs.stack import Stack, joined_context, joined_states, kind
from fdrl.packs.view import as_cohort, view
from fdrl.runs.folder import CONFIG
from fdrl.runs.tracking import Tracker
from fdrl.runs.train import StopFlag, train
from fdrl.vector.teams import SharedEnvFactory

# ---- Training several runs as one program; each is an ordinary run in a thread of its own ----


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
    """Listen to what asks for a stop (only the main thread may)."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {n: signal.signal(n, stop.handle) for n in stop_signals()}
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
        folders: list[Path | None] = [absolute(out) / f"seed-{r.seed:03d}" for r in runs]
    else:
        folders = [absolute(f) for f in out] if out is not None else [None] * len(runs)
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
    first = validated(runs[0])
    return all(r.threads == 1 for r in runs) and all(
        set(differences(first, validated(r))) <= {"seed"} for r in runs[1:]
    )


class _Pack:
    """One sitting of a pack."""

    def __init__(self, orders: list[Order], curves: bool, note: Note) -> None:
        self.left = list(orders)
        self.note = note
        self.stop = _Stop()
        self.stacks: list[Stack] = []
        self.refused: PackBroken | None = None
        self.members = [
            Member(i, partial(self._work, order, curves)) for i, order in enumerate(orders)
        ]
        self.orders = dict(zip(self.members, orders, strict=True))

    def _work(self, order: Order, curves: bool, member: Member) -> Summary:
        def federation(run: Run, known: Mapping[str, Array] | None = None) -> Packed:
            return Packed(run, member, known)

        return order.train(curves, federation=federation, stop=self.stop.flag())

    def run(self) -> PackBroken | None:
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
                except PackBroken as collapsed:
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
            raise PackBroken(f"{type(error).__name__}: {error}", alone=True) from error

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
        if isinstance(member.error, PackBroken):
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


# ---- How members come together: ordinary federations whose cohorts become rows of stacks ----


TILE_FLOATS = 400_000
"""Parameters of the agents of a stack, at most: some forty agents of 64x64 units, which cost
no more each than ten do; a thousand of 24 units. Not tuned any further."""


class Packed(Federation):
    """A federation whose agents live in a pack's stacks; its seconds are a share of all."""

    def __init__(self, run: Run, member: Member, known: Mapping[str, Array] | None = None) -> None:
        super().__init__(run, known=known)
        if isinstance(self.envs, SharedEnvFactory):
            self.close()
            raise PackBroken("agents that share a world cannot be packed", alone=True)
        for client in self.clients:
            if why := alone(profile(client.cohort).abilities):
                self.close()
                raise PackBroken(f"{why} cannot be packed", alone=True)
        self.member = member
        found = groups_federation.groups(self.run)
        self.views = []
        for index, (client, group) in enumerate(zip(self.clients, found, strict=True)):
            make = partial(make_cohort, self.run, group, self.envs)
            self.views.append(view(member, index, client.cohort, make))
            client.cohort = as_cohort(self.views[-1])
        try:
            member.ask(Call(self, "join"))
        except BaseException:
            self.close()
            raise

    def _record(
        self, exchanged: bool, rejected: list[tuple[str, str]], seconds: dict[str, float]
    ) -> RoundRecord:
        return super()._record(exchanged, rejected, self.member.clock.lap())


def join(members: Sequence[Member]) -> list[Stack]:
    """Build the stacks of members that wait in `Packed`; whoever ended before is not among them."""
    stacks = []
    federations: list[Packed] = [m.call.view for m in members if m.call is not None]
    for index, group in enumerate(
        groups_federation.groups(federations[0].run) if federations else []
    ):
        each = len(group.agents)
        floats = sum(federations[0].parameters[i] for i in federations[0].views[index].ids)
        size = max(1, TILE_FLOATS // max(1, floats))
        for start in range(0, len(federations), size):
            some = federations[start : start + size]
            groups = [groups_federation.groups(f.run)[index] for f in some]
            context = joined_context(
                [f.run for f in some],
                groups,
                [f.envs for f in some if not isinstance(f.envs, SharedEnvFactory)],
            )
            views = [f.views[index] for f in some]
            own = [v.own for v in views if v.own is not None]
            late = views[0].profile.late_state
            stack = Stack(group, context, joined_states([c.state() for c in own], late))
            stacks.append(stack)
            for i, one in enumerate(views):
                one.enter(stack, slice(i * each, (i + 1) * each))
    return stacks


# ---- Which calls of a pack's members run when, and which of them together ----


def batches(members: Iterable[Member]) -> list[list[Member]]:
    """Return the members whose calls can be one, together; in a fixed order."""
    found: dict[object, list[Member]] = {}
    for member in members:
        call = _call(member)
        found.setdefault((id(call.view.stack), call.method, kind(call)), []).append(member)
    return list(found.values())


def choose(waiting: Sequence[Member]) -> list[Member]:
    """Return whose calls are due.

    What takes little time goes first, so that its callers can join those who learn; then learning,
    cohort by cohort, so that members that are behind catch up; evaluations come last, so that as
    many as possible share one.
    """
    for member in waiting:
        call = _call(member)
        if call.method == "refuse":
            raise call.given["reason"]
    quick = [m for m in waiting if _call(m).method not in ("learn", "evaluate")]
    if quick:
        return quick
    learning = [m for m in waiting if _call(m).method == "learn"]
    if learning:
        first = min(_call(m).view.group for m in learning)
        return [m for m in learning if _call(m).view.group == first]
    return list(waiting)


def serve(waiting: Sequence[Member]) -> list[Member]:
    """Run the calls that are due; return the members that can go on, in order."""
    served: list[Member] = []
    for batch in _compatible(batches(choose(waiting))):
        start = time.perf_counter()
        calls = [_call(m) for m in batch]
        stack, method = calls[0].view.stack, calls[0].method
        through = _run(stack, method, calls)
        share = (time.perf_counter() - start) / len(batch)
        for member in batch:
            member.clock.charge(method, share)
        served += [m for m, c in zip(batch, calls, strict=True) if c in through]
    return sorted(served, key=lambda m: m.number)


def _compatible(found: list[list[Member]]) -> list[list[Member]]:
    """Leave out learning of another kind than what is under way in the same stack."""
    begun = {
        id(_call(m).view.stack): kind(_call(m)) for batch in found for m in batch if _call(m).begun
    }
    out = []
    for batch in found:
        call = _call(batch[0])
        busy = begun.get(id(call.view.stack))
        if call.method != "learn" or busy is None or busy == kind(call):
            out.append(batch)
    return out


def _run(stack: Stack, method: str, calls: list[Call]) -> list[Call]:
    """Run calls as one; whose fault an error is cannot be told, so it ends the pack."""
    try:
        return stack.serve(method, calls)
    except Exception as error:
        raise PackBroken(f"{type(error).__name__}: {error}") from error


def _call(member: Member) -> Call:
    assert member.call is not None
    return member.call
