"""``fdrl strategies [NAME]``: list methods, or one method's settings."""

from __future__ import annotations

from typing import Annotated

import msgspec
from tyro.conf import Positional

from fdrl.cli import options
from fdrl.cli.options import argument
from fdrl.registry import STRATEGIES, StrategySpec, able, load_object


class Strategies(msgspec.Struct, frozen=True, kw_only=True):
    """List methods, or one's settings."""

    name: Annotated[Positional[str], argument("[NAME]", "(default: list all)")] = ""
    """The one whose settings are listed."""


def main(argv: list[str]) -> int:
    """Print the table of methods, or the settings of one."""
    asked = options.read(Strategies, argv, "strategies")
    from fdrl.cli.listing import print_settings, print_table

    if asked.name:
        spec = STRATEGIES.spec(asked.name)
        print_settings("strategy", spec.name, _about(spec), load_object(spec.settings))
        return 0
    rows = ((s.name, s.moves, _about(s)) for s in STRATEGIES)
    print_table(("strategy", "what moves", ""), rows)
    print("\nfdrl strategies NAME lists a method's settings")
    return 0


def _about(spec: StrategySpec) -> str:
    """Return what a method is, with the learners it is for if it is not for all."""
    learners = able(spec.needs).replace(" or ", ", ") if spec.needs else ""
    return f"{spec.summary} ({learners})" if learners else spec.summary
