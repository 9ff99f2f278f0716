"""``fdrl agents [NAME]``: list learners, or one learner's settings."""

from __future__ import annotations

from typing import Annotated

import msgspec
from tyro.conf import Positional

from fdrl.cli import options
from fdrl.cli.options import argument
from fdrl.registry import AGENTS, load_object


class Agents(msgspec.Struct, frozen=True, kw_only=True):
    """List learners, or one's settings."""

    name: Annotated[Positional[str], argument("[NAME]", "(default: list all)")] = ""
    """The one whose settings are listed."""


def main(argv: list[str]) -> int:
    """Print the table of learners, or the settings of one."""
    asked = options.read(Agents, argv, "agents")
    from fdrl.cli.listing import print_settings, print_table

    if asked.name:
        spec = AGENTS.spec(asked.name)
        print_settings("agent", spec.name, spec.summary, load_object(spec.settings))
        return 0
    print_table(("agent", ""), ((s.name, s.summary) for s in AGENTS))
    print("\nfdrl agents NAME lists a learner's settings")
    return 0
