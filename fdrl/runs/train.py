"""Training as one function of a `Run`: rounds, log, checkpoints, and a clean way to stop."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Protocol

from fdrl.config.run import Run
from fdrl.config.trust import command
from fdrl.core.arrays import Array, subtree
from fdrl.core.errors import FdrlError, OtherConfig
from fdrl.core.paths import absolute, meant, started
from fdrl.core.records import RoundRecord, Summary
from fdrl.core.threads import stop_signals
from fdrl.core.watch import NoAnswer, Watch, watched
from fdrl.runs.checkpoint import Checkpoint, checkpoint_files, checkpoint_path, continue_from
from fdrl.runs.folder import Mark, RunFolder, check_free, check_same, read_summary
from fdrl.runs.tracking import TensorBoard, Tracker

SPARE_BYTES = 2**26
"""The largest state that is kept beside the last checkpoint, in case an environment fails."""
SPARE_SHARE = 0.004
"""The largest share of the rounds' time that keeping it may take where no failure is likely: enough
for every run with rounds so long that somebody loses patience within one."""


class Trainable(Protocol):
    """What `train` needs of a federation (`fdrl.federation.loop.Federation`)."""

    ids: tuple[str, ...]
    rounds_done: int

    @property
    def labels(self) -> list[str]:
        """What is particular about each agent, in a few words."""

    @property
    def done(self) -> bool:
        """Whether the budget is used up."""

    def round(self) -> RoundRecord:
        """Learn, answer, aggregate, distill."""

    def summary(self) -> Summary:
        """Evaluate at the end."""

    def state(self) -> dict[str, Array]:
        """Return everything needed for a bit-exact resume."""

    def load_state(self, state: Mapping[str, Array]) -> None:
        """Continue from what `state` returned."""

    def close(self) -> None:
        """Free environments and processes."""


Builder = Callable[..., Trainable]
"""Builds what is trained, from ``(run)``; or from ``(run, known=...)``, the arrays that a
checkpoint has below ``measured.``, if it has any."""


def _federation(run: Run, known: Mapping[str, Array] | None = None) -> Trainable:
    from fdrl.federation.loop import Federation

    return Federation(run, known=known) if known else Federation(run)


@dataclass
class Spare:
    """What a checkpoint of the last finished round needs, kept in memory until the next one is."""

    round: int
    state: dict[str, Array]
    wall_seconds: float
    mark: Mark


@dataclass
class _Training:
    """One sitting of a run: the federation, where it writes, and who is told."""

    federation: Trainable
    folder: RunFolder | None
    trackers: Sequence[Tracker]
    every: int
    curves: bool = True
    wall_seconds: float = 0.0
    typed: Path | None = None
    """The folder as the user called it."""
    saved: int = -1
    fragile: bool = False
    """Whether somebody else's environment may fail at any step."""
    sparing: bool = True
    """Whether the state may be kept where none is likely to, in the seconds `allowed` for it; the
    last time it took `cost`."""
    allowed: float = 0.0
    cost: float = 0.0
    spare: Spare | None = None

    def run(self, run: Run, checkpoint: Checkpoint | None, stop: StopFlag) -> Summary:
        """Start, run all rounds, and end, whatever happens in between."""
        try:
            self.start(run, checkpoint)
            self.rounds(stop)
            stop.at_once = True
            return self.end()
        except Stopped:
            raise
        except KeyboardInterrupt:
            self.rescue()
            raise self.stopped() from None
        except FdrlError as error:
            self.rescue()
            raise self.explain(error) from error
        except MemoryError as error:
            self.rescue()
            what = f": {error}" if str(error) else ""
            less = "smaller networks, fewer agents or copies need less"
            raise self.explain(FdrlError(f"not enough memory{what} ({less})")) from error
        except BaseException:  # a panic in a compiled environment is no Exception
            self.rescue()
            raise
        finally:
            self.close()

    def start(self, run: Run, checkpoint: Checkpoint | None) -> None:
        """Go back to the checkpoint, and tell the trackers."""
        if checkpoint is not None and self.folder is not None:
            path = checkpoint_path(self.folder.path, checkpoint.round)
            continue_from(checkpoint, path, self.federation)
            self.wall_seconds = checkpoint.wall_seconds
            self.saved = checkpoint.round
        for tracker in self.trackers:
            tracker.start(run, self.federation.ids, self.federation.labels)

    def save(self) -> None:
        done = self.federation.rounds_done
        if self.folder is not None and done != self.saved:
            self.folder.checkpoint(done, self.federation.state(), self.wall_seconds)
            self.saved = done

    def step(self) -> None:
        """Run one round, and write down what happened."""
        start = time.perf_counter()
        record = self.federation.round()
        self.wall_seconds = record.wall_seconds
        if self.folder is not None:
            self.folder.log(record)
        try:
            for tracker in self.trackers:
                tracker.round(record)
        except BrokenPipeError:
            self.save()  # nobody reads the output any more, which costs no round
            raise
        if self.every and self.federation.rounds_done % self.every == 0:
            self.save()
        self.keep(time.perf_counter() - start)

    def keep(self, seconds: float) -> None:
        """Remember the state between two rounds: in the middle of one there is none to save.

        `seconds` is what the round took: all keeping together may take a share of all rounds.
        """
        done = self.federation.rounds_done
        self.allowed += SPARE_SHARE * seconds
        if self.folder is None or done == self.saved:
            self.spare = None
            return
        if not (self.fragile or (self.sparing and self.allowed >= self.cost)):
            return  # what is kept of an earlier round stays
        start = time.perf_counter()
        state = self.federation.state()
        small = sum(a.nbytes for a in state.values()) <= SPARE_BYTES
        self.fragile, self.sparing = self.fragile and small, self.sparing and small
        self.cost = time.perf_counter() - start
        self.allowed -= self.cost
        mark = self.folder.mark()
        self.spare = Spare(done, state, self.wall_seconds, mark) if small else None

    def rescue(self) -> None:
        """After a failure, write down the last finished round, if it is not saved already."""
        spare = self.spare
        if self.folder is None or spare is None or spare.round <= self.saved:
            return
        with suppress(FdrlError):  # a full disk must not hide what went wrong first
            self.folder.checkpoint(spare.round, spare.state, spare.wall_seconds, spare.mark)
            self.saved = spare.round

    def give_up(self) -> str:
        """Write down the last finished round while another thread hangs; say how to go on."""
        self.rescue()
        if self.folder is None or self.saved < 0:
            return ""
        go_on = command("fdrl train --resume", self.typed or self.folder.path, self.folder.run)
        return f"round {self.saved} is saved, go on with {go_on}"

    def rounds(self, stop: StopFlag) -> None:
        """Run rounds until the budget is used up; raises `Stopped` between two of them."""
        while not self.federation.done:
            self.step()
            if stop.set:
                self.save()
                raise self.stopped()
        self.save()

    def stopped(self) -> Stopped:
        folder = None if self.folder is None else self.folder.path
        return Stopped(max(self.saved, 0) if folder else self.federation.rounds_done, folder)

    def end(self) -> Summary:
        """Evaluate, draw the learning curves, and write the summary last: it ends the run."""
        summary = self.federation.summary()
        if self.folder is not None:
            if self.curves:
                draw_curves(self.folder.path)
            self.folder.finish(summary)
        for tracker in self.trackers:
            tracker.finish(summary)
        return summary

    def close(self) -> None:
        """Close everything, even if one of the parts fails to."""
        with ExitStack() as stack:  # which calls in reverse
            if self.folder is not None:
                stack.callback(self.folder.close)
            stack.callback(self.federation.close)
            for tracker in reversed(self.trackers):
                stack.callback(tracker.close)

    def explain(self, error: FdrlError) -> FdrlError:
        """Add to an error in the middle of a run where the run can be picked up again."""
        if self.folder is None:
            return error
        done, path = self.federation.rounds_done, self.typed or self.folder.path
        files = [path / f.relative_to(f.parents[1]) for f in checkpoint_files(self.folder.path)]
        if files and self.saved == done:
            kept = "which is saved"
        else:
            kept = f"its last checkpoint is {files[-1]}" if files else "it has no checkpoint yet"
        between = "," if kept == "which is saved" else ";"
        kind = NoAnswer if isinstance(error, NoAnswer) else FdrlError
        return kind(
            f"{error} (run stopped after round {done}{between} {kept}; once that is mended, go on "
            f"with {command('fdrl train --resume', path, self.folder.run)})"
        )


def _open(
    run: Run, path: Path | None, resume: bool, build: Builder
) -> tuple[Trainable, RunFolder | None, Checkpoint | None]:
    """Build the federation and its run folder; a config that fails leaves no folder behind."""
    if path is None:
        return build(run), None, None
    if not resume:
        check_free(path)
        federation = build(run)
        try:
            return federation, RunFolder.create(path, run), None
        except BrokenPipeError:
            federation.close()
            raise
    folder, checkpoint = RunFolder.resume(path, run)
    try:
        known = subtree(checkpoint.state, "measured.") if checkpoint else {}
        federation = build(run, known=known) if known else build(run)
    except BaseException:
        folder.close()
        raise
    return federation, folder, checkpoint


def _everyone(run: Run, path: Path | None, trackers: Sequence[Tracker]) -> list[Tracker]:
    """Add the trackers that the config asks for."""
    if not run.tensorboard:
        return list(trackers)
    if path is None:
        raise FdrlError("tensorboard = true needs a run folder: name one with out=")
    return [*trackers, TensorBoard(path / "tensorboard")]


def train(
    run: Run,
    *,
    out: str | Path | None = None,
    resume: bool = False,
    trackers: Sequence[Tracker] = (),
    curves: bool = True,
    federation: Builder = _federation,
    stop: StopFlag | None = None,
) -> Summary:
    """Train a federation and return its summary.

    `out` is the run folder (default: `run.out`; if that is empty too, nothing is written). With
    `resume` the folder's run continues to the bit where its last checkpoint left it; a finished
    one only returns its summary. Ctrl-C, SIGTERM or SIGHUP (a closed terminal) stop after the round
    in progress, with a checkpoint, and raise `Stopped`; a second one stops at once, with a
    checkpoint of the round before if it is in memory; a third one kills. `curves` draws learning
    curves into the run folder. `federation` builds what is trained. With a `stop` flag of the
    caller's, that one is heeded instead of signals. Raises `FdrlError` for what the user can mend.
    """
    path = Path(out or run.out) if out or run.out else None
    if resume and path is None:
        raise FdrlError("resume needs the run folder: name it with out=")
    with started():  # an environment may change the current folder
        return _train(run, path, resume, trackers, curves, federation, stop)


def _train(
    run: Run, path: Path | None, resume: bool, trackers: Sequence[Tracker], curves: bool,
    federation: Callable[[Run], Trainable], stop: StopFlag | None,
) -> Summary:  # fmt: skip
    typed, path = path, None if path is None else absolute(path)
    if resume and path is not None:
        try:
            check_same(meant(typed or path), run)
        except OtherConfig as error:
            raise FdrlError(
                f"{error}; a run's config cannot change: train this one with another out"
            ) from None
        finished = read_summary(path)
        if finished is not None:
            return finished
    if typed is not None and not resume:
        check_free(meant(typed))
    everyone = _everyone(run, path, trackers)
    with heeded(stop) as asked:
        watch = Watch(run.patience, run.patience_stop)
        with watched(watch):
            asked.at_once = True  # nothing is lost before the first round
            learner, folder, checkpoint = _open(run, path, resume, federation)
            asked.at_once = False
            fragile = bool(getattr(learner, "foreign", False)) or run.patience_stop > 0
            training = _Training(
                learner, folder, everyone, run.checkpoint_every, curves, fragile=fragile,
                # In a pack the state is not this run's alone to take, nor to time.
                sparing=stop is None, typed=typed,
            )  # fmt: skip
            watch.rescue = training.give_up
            return training.run(run, checkpoint, asked)


def draw_curves(folder: Path) -> None:
    """Draw the learning curves; a picture that fails must not cost the run its summary."""
    try:
        from fdrl.runs.curves import draw

        draw([folder], folder / "curves", folder)
    except Exception as error:
        warnings.warn(f"no learning curves in {folder}: {error}", stacklevel=2)


# ---- How a run is asked to stop: after the round in progress, so that nothing is lost ----


class Stopped(KeyboardInterrupt):
    """A run was stopped by a signal and resumes from round `round`."""

    def __init__(self, round: int, folder: Path | None) -> None:
        super().__init__(f"stopped after round {round}")
        self.round = round
        self.folder = folder


@dataclass
class StopFlag:
    """Set by the first signal; the second one, or one while `at_once`, interrupts right there.

    What is being saved then must not be interrupted: the next signal ends the process as if
    nobody had listened, which leaves the checkpoints that there are.
    """

    set: bool = False
    at_once: bool = False
    interrupted: bool = False

    def handle(self, number: int, frame: FrameType | None) -> None:
        if self.interrupted:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        if self.set or self.at_once:
            self.interrupted = True
            raise KeyboardInterrupt
        self.set = True
        # A signal may arrive inside another print to the same stream, which Python refuses.
        with suppress(RuntimeError, OSError):
            print("stopping after this round (once more: at once)", file=sys.stderr)


@contextmanager
def heeded(given: StopFlag | None = None) -> Iterator[StopFlag]:
    """Let Ctrl-C, SIGTERM and SIGHUP ask for a stop between rounds (only the main thread may
    listen).

    A `given` flag is set by its owner instead.
    """
    flag = given or StopFlag()
    if given is not None or threading.current_thread() is not threading.main_thread():
        yield flag
        return
    before = {n: signal.signal(n, flag.handle) for n in stop_signals()}
    try:
        yield flag
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
