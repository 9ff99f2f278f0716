"""The command line: one module per verb, imported only when it is called."""

from __future__ import annotations

import importlib.metadata
import os
import sys
import traceback
import warnings
from collections.abc import Sequence

from fdrl.core import terminal
from fdrl.core.errors import FdrlError, Mistakes, nearest, one_line, plain
from fdrl.core.paths import look_in, started
from fdrl.core.threads import THREAD_VARIABLES
from fdrl.core.watch import Watch, watched

VERBS = {
    "train": ("fdrl.cli.train", "train a federation, or continue a run"),
    "eval": ("fdrl.cli.eval", "evaluate a run's agents; record a video"),
    "export": ("fdrl.cli.export", "write an agent as a Stable-Baselines3 model"),
    "bench": ("fdrl.cli.bench", "compare methods over settings and seeds"),
    "report": ("fdrl.cli.report", "compare runs on one page, with figures and tables"),
    "envs": ("fdrl.cli.listing:envs", "list environments"),
    "agents": ("fdrl.cli.listing:agents", "list learners and their settings"),
    "strategies": (
        "fdrl.cli.listing:strategies",
        "list methods, what they send, and their settings",
    ),
    "channel": ("fdrl.cli.channel", "the link budget of a fading channel, and what messages need"),
    "new": ("fdrl.cli.new", "begin a project with an environment, a learner or a strategy"),
    "check": ("fdrl.cli.check", "check that an environment is fit for training"),
    "theory": ("fdrl.cli.theory", "what theory predicts of distillation, and finite networks do"),
    "completion": ("fdrl.cli.completion", "the script that completes all this in your shell"),
}
"""Verb: module with a ``main(argv) -> int`` (or module:function), and what it does."""

FILERS = ("train", "bench", "report", "export", "theory", "new")
"""Verbs whose work is files: it is done even if what they print could not be shown."""
STEPPERS, PATIENCE = ("eval", "check", "export"), 60.0
"""Verbs that step environments outside of training, and after how many seconds one is named."""
READER_GONE = 141
"""The exit code when nobody reads the output any more, as a shell has it of SIGPIPE."""

HELP = """usage: fdrl VERB [OPTIONS]

Federated reinforcement learning by policy distillation: agents learn locally and
exchange action probabilities on proxy states, never data or weights.

{verbs}

  fdrl train                                    the quickstart: ten agents, under a minute
  fdrl train --env CartPole-v1 --strategy fedavg --steps 50000 --seed 3 --out runs/a
  fdrl train --resume runs/a                    continue where it stopped
  fdrl eval runs/a --video                      see what the agents learned

fdrl VERB --help lists a verb's options; fdrl --version prints the version.
FDRL_DEBUG=1 shows the traceback of an error.
"""


def usage() -> str:
    """Return the text of ``fdrl --help``."""
    return HELP.format(verbs="\n".join(f"  {v:<12}{text}" for v, (_, text) in VERBS.items()))


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code.

    2 for a mistake of the user's, 130 when stopped, 3 when a run is finished whose agents' numbers
    died on the way.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    terminal.forget_unknown_sizes(os.environ)
    with terminal.kept() as streams:
        code = _answered(words)
        sys.stdout.flush()  # a full disk may show only now
        if streams.gone:
            return READER_GONE
        return _unshown(words, code, streams.failure) if streams.failure else code


def _unshown(words: Sequence[str], code: int, why: str) -> int:
    """Say that the output was lost; that is an error only where the output is all there is."""
    if words[:1] and words[0] in FILERS and not {"--help", "-h"} & {*words}:
        terminal.say(f"fdrl: note: what was to be shown could not be written: {why}")
        return code
    terminal.say(f"fdrl: error: cannot write the output: {why}")
    return code or 1


def _answered(words: list[str]) -> int:
    """Do what the words ask; every error a user can mend becomes one line."""
    # Pools of spinning threads slow small matrices down; numpy reads these when it is imported.
    for name in THREAD_VARIABLES:
        os.environ.setdefault(name, "1")
    warnings.formatwarning = one_line
    try:
        with started() as here:
            # A user's own environment is most often a module in the current folder, which an
            # installed command does not look into.
            if here:
                look_in(here)
            return _dispatch(words)
    except FdrlError as error:
        if os.environ.get("FDRL_DEBUG"):
            traceback.print_exc()
        lines = str(error).split("\n") if isinstance(error, Mistakes) else [str(error)]
        print("fdrl: error:", "\n".join(map(plain, lines)), file=sys.stderr)
        return error.exit_code
    except MemoryError as error:
        if os.environ.get("FDRL_DEBUG"):
            traceback.print_exc()
        what = f": {plain(str(error))}" if str(error) else ""
        print(
            f"fdrl: error: not enough memory{what} (smaller networks, fewer agents or copies need "
            "less)",
            file=sys.stderr,
        )
        return 2
    except KeyboardInterrupt:
        print("fdrl: stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:
        return READER_GONE


def _dispatch(words: list[str]) -> int:
    if words[:1] == ["help"] and words[1:2] and words[1] in VERBS:
        words = [words[1], "--help"]
    if not words or words[0] in ("-h", "--help", "help"):
        print(usage(), end="")
        return 0
    if words[0] in ("-V", "--version"):
        print(f"fdrl {importlib.metadata.version('fdrl')}")
        return 0
    verb, rest = words[0], words[1:]
    if verb not in VERBS:
        kind = "option" if verb.startswith("-") else "verb"
        raise FdrlError(f"unknown {kind} {verb!r}{nearest(verb, VERBS)} (see fdrl --help)")
    if rest and rest[0].replace("_", "-") == "--tyro-print-completion":  # a script has all verbs
        verb, rest = "completion", rest[1:]
    module, _, function = VERBS[verb][0].partition(":")
    try:
        with watched(Watch(PATIENCE if verb in STEPPERS else 0.0)):
            code: int = getattr(importlib.import_module(module), function or "main")(rest)
    except SystemExit as stop:  # tyro's way to end after a help text
        if stop.code not in (0, None):
            raise
        return 0
    return code
