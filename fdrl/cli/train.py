"""``fdrl train``: train a federation, or continue a run."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import msgspec

from fdrl.cli import options
from fdrl.cli.flags import apply_flags
from fdrl.cli.options import Switch, flag
from fdrl.config.run import Run, parse
from fdrl.config.tables import presets, read_tables
from fdrl.config.trust import check_trusted, command
from fdrl.core.errors import FdrlError, HoldsRun, OtherConfig, UnknownEnvironment
from fdrl.core.paths import meant
from fdrl.core.settings import LearnerSettings
from fdrl.federation.client import steps_per_round
from fdrl.runs.folder import new_path, read_config, read_data, read_summary

if TYPE_CHECKING:
    from fdrl.core.arrays import Array
    from fdrl.core.records import Summary
    from fdrl.federation.loop import Federation
    from fdrl.runs.tracking import Tracker

DEFAULT_PRESET = "quickstart"
DIED = 3
"""The exit code of a finished run of which agents stopped because their numbers died."""


class Train(msgspec.Struct, frozen=True, kw_only=True):
    """What `fdrl train` takes beside the settings of a run."""

    config: Annotated[str | None, flag("a preset or FILE.toml")] = None
    """The preset or file, if it does not come first."""
    resume: Annotated[str | None, flag("a run folder")] = None
    """Continue a stopped run, to the bit."""
    quiet: Switch = False
    """Print one line at the end."""
    trust: Switch = False
    """Import what the folder that is resumed names although it is not registered."""


def _names_env(words: list[str]) -> bool:
    """Say whether an environment is named: the quickstart's settings fit its own one only."""
    return any(w == "--env" or w.startswith("--env=") for w in words)


def _said(words: Sequence[str]) -> set[tuple[str, str]]:
    """Return the values that flags give: ``--strategy.type x`` and ``--strategy x`` are alike."""
    pairs = zip(words, [*words[1:], ""], strict=False)
    return {
        (options.name_of(word).removesuffix(".type"), word.partition("=")[2] or after)
        for word, after in pairs
        if options.is_flag(word)
    }


class Command(NamedTuple):
    """What ``fdrl train`` was asked; `source` says in words where the config comes from.

    Of a run that is `finished` already, `run` was only looked at.
    """

    run: Run
    folder: Path
    resume: bool
    quiet: bool
    source: str
    finished: bool = False


def _is_file(source: str | None) -> bool:
    return source is not None and (source.endswith(".toml") or Path(source).is_file())


def _apply(source: str | None, tables: dict[str, Any], words: list[str]) -> Run:
    """Apply the flags to a config; what is wrong with a file of the user's names that file."""
    try:
        return apply_flags(tables, words)
    except FdrlError as error:
        if source is None or not _is_file(source):
            raise
        message = str(error)
        try:
            parse(tables)
        except FdrlError as own:
            if str(own) == message:
                raise FdrlError(f"{source}: {message.removeprefix('config: ')}") from None
        raise


def read_command(argv: list[str]) -> Command:
    """Read the words after ``fdrl train``; raises `FdrlError` for what cannot be."""
    found, words = options.take(argv, options.kinds_of(Train))
    own = options.checked(Train, found, argv)
    source = words.pop(0) if words and not words[0].startswith("-") else None
    if own.config is not None and source is not None:
        raise FdrlError(
            f"two configs: {source} and --config {own.config}; name one, the rest as flags"
        )
    source = source if own.config is None else own.config
    if own.resume is not None:
        # Without a preset the folder's own config is what flags are applied to (and compared with).
        base = read_config(own.resume) if source is None else read_tables(source)
        if source is None and not own.trust:
            if not words and read_summary(own.resume) is not None:
                kept = read_data(own.resume)  # nothing is left to do that would need a name of it
                return Command(kept, Path(own.resume), True, own.quiet, "", finished=True)
            check_trusted(own.resume, base, said=_said(words))
        run = _apply(source, base, words)
        if run.out and Path(run.out).resolve() != Path(own.resume).resolve():
            raise FdrlError(
                f"--resume {own.resume} goes on in that folder: it cannot have the out folder "
                f"{run.out}"
            )
        return Command(run, Path(own.resume), True, own.quiet, f"continues {own.resume}")
    if source is None and not _names_env(words):
        source = DEFAULT_PRESET
    run = _apply(source, {} if source is None else read_tables(source), words)
    folder = Path(run.out) if run.out else new_path(run)
    origin = "defaults" if source is None else source if _is_file(source) else f"preset {source}"
    return Command(run, folder, False, own.quiet, origin)


def main(argv: list[str]) -> int:
    """Train; return 0 when the run is finished, 130 when it was stopped.

    `DIED` if it is finished, but agents have stopped on the way because their numbers died.
    """
    try:
        return _main(argv)
    except UnknownEnvironment as error:
        if error.name not in presets():
            raise
        hint = f"the preset of that name: fdrl train {error.name}, without --env"
        raise FdrlError(f"unknown environment {error.name!r}{error.near} ({hint})") from None


def _main(argv: list[str]) -> int:
    run, folder, resume, quiet, source, finished = read_command(argv)
    if resume and (finished or _finished(run, folder)):
        see = command("fdrl eval", folder, run)
        print(f"{folder} is finished: nothing to resume (see {see})")
        return 0
    from fdrl.core import terminal
    from fdrl.runs.display import LiveTable, PlainLines, closing, closing_line

    console = terminal.console()
    trackers: list[Tracker] = []
    if not quiet:
        display = LiveTable if terminal.live(console) else PlainLines
        trackers.append(display(console, source=source, folder=folder if resume else None))
    summary = _train(run, folder, resume, trackers)
    if summary is None:
        return 130
    if quiet:
        print(closing_line(summary, folder))
    else:
        console.print()
        console.print(closing(summary, run, folder, console.width))
    return DIED if summary.stopped else 0


def _train(run: Run, folder: Path, resume: bool, trackers: Sequence[Tracker]) -> Summary | None:
    """Train in a folder; None if it was stopped. What ends it early says how to go on."""
    from fdrl.federation.loop import Federation
    from fdrl.runs.display import building
    from fdrl.runs.train import Stopped, train

    def build(run: Run, known: Mapping[str, Array] | None = None) -> Federation:
        facts: dict[str, Any] = {"known": known} if known else {}  # which other builds may not take
        if not trackers:
            return Federation(run, **facts)
        with building():
            federation = Federation(run, **facts)
        _notes(federation)
        return federation

    def resumes() -> str:
        return command("fdrl train --resume", folder, run)  # whether it was begun here shows then

    try:
        return train(run, out=folder, resume=resume, trackers=trackers, federation=build)
    except HoldsRun:
        raise FdrlError(
            f"{folder} holds a run already: delete it, choose another --out, or continue it with "
            f"{resumes()}"
        ) from None
    except BrokenPipeError:
        print(
            f"nobody reads the output any more: stopped; continue with: {resumes()}",
            file=sys.stderr,
        )
        raise
    except Stopped as stop:
        print(f"stopped after round {stop.round}; continue with: {resumes()}", file=sys.stderr)
        return None


def _notes(federation: Federation) -> None:
    """Say what of a federation may surprise its user."""
    from fdrl.federation.groups import groups

    clients = getattr(federation, "clients", ())  # which other builds may not have
    for client, group in zip(clients, groups(federation.run), strict=False):
        note = few_exchanges_note(federation.run, group.settings, client.cohort.iteration_steps)
        if note:
            print(f"fdrl: note: {note}", file=sys.stderr, flush=True)


def _finished(run: Run, folder: Path) -> bool:
    from fdrl.runs.folder import check_same

    try:
        check_same(meant(folder), run)
    except OtherConfig as error:
        raise FdrlError(
            f"{error}; a run's config cannot change; start a new run with these flags and another "
            "--out"
        ) from None
    return read_summary(meant(folder)) is not None


# ---- Tell a user whose agents exchange only a few times because of a learner's default ----


FEW = 10
"""Exchanges; below, a run shows little of what federating does."""


def few_exchanges_note(run: Run, settings: LearnerSettings, iteration: int) -> str:
    """Return a line if agents exchange fewer than `FEW` times, and nobody chose that; else "".

    `settings` are a learner's, whose unset `n_steps` stands for a default of its own; `iteration`
    is the environment steps of one of its iterations.
    """
    if not settings.default_rollout:
        return ""
    if run.strategy.every != 1 or run.strategy.unit != "iterations" or iteration < 1:
        return ""
    if run.strategy.sends == "nothing":
        return ""
    between = steps_per_round(run, iteration)
    times = -(-run.steps // between)
    if times >= FEW:
        return ""
    often = f"after every {between:,} steps, {times} times in this run"
    return (
        f"agents exchange {often if times > 1 else 'once in this run, at its end'}: this learner's "
        f"default rollout is {iteration:,} steps (--agent.n_steps 256 makes it shorter)"
    )
