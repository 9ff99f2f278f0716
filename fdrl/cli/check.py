"""``fdrl check ID``: is an environment fit for training?"""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections import Counter
from typing import Annotated

import msgspec
from tyro.conf import Positional

from fdrl.cli import options
from fdrl.cli.flags import env_kwargs
from fdrl.cli.options import argument
from fdrl.core.errors import FdrlError


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """Check an environment: a name from fdrl envs, a Gymnasium id, module:Id-v0,
    or a PettingZoo parallel environment (module:name_v3, module:factory, or its id).

    Every finding says what to mend; the exit code is 1 if one is an error.

      --env_kwargs.NAME V   a keyword argument of the environment; max_episode_steps: its time limit
    """

    env: Annotated[Positional[str], argument("ID")]
    """An environment."""


MARKS = {"ok": "ok     ", "warning": "warning", "error": "ERROR  "}


def main(argv: list[str]) -> int:
    """Print every finding; return 1 if the environment cannot be trained in."""
    if not argv:
        return options.usage(Check, "check")
    kwargs, rest = env_kwargs(argv)
    unknown = [w for w in rest if options.is_flag(w) and not options.wants_help([w])]
    if unknown:
        raise FdrlError(f"unknown flag {unknown[0]!r}; fdrl check takes --env_kwargs.NAME VALUE")
    name = options.read(Check, rest, "check").env
    from fdrl.checks.env import check_env, check_parallel_env
    from fdrl.vector.parallel import opener

    check = check_env if opener(name) is None else check_parallel_env
    findings = check(name, **kwargs)
    for finding in findings:
        print(_hanging(f"{MARKS[finding.level]}  {finding.check}: {finding.message}"))
    counts = Counter(f.level for f in findings)
    verdict = "not usable" if counts["error"] else "usable"
    said = [f"{counts[n]} {n}{'s' * (counts[n] != 1)}" for n in ("error", "warning")]
    print(f"{name} is {verdict}: {', '.join(said)}")
    return 1 if counts["error"] else 0


def _hanging(line: str) -> str:
    """Break a line on a terminal so that its marks stay a column of their own."""
    if not sys.stdout.isatty():
        return line
    width = max(40, shutil.get_terminal_size().columns)
    return textwrap.fill(line, width, subsequent_indent=" " * 9)
