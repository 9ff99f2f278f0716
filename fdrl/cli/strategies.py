"""``fdrl strategies [NAME]``: list methods, or one method's settings."""

from __future__ import annotations

from fdrl.cli import options
from fdrl.registry import STRATEGIES, StrategySpec, able, load_object


def main(argv: list[str]) -> int:
    """Print the table of methods, or the settings of one."""
    if "--help" in argv or "-h" in argv:
        print(options.usage("strategies", "[NAME]", "List methods, or one's settings.", {}))
        return 0
    words = options.read(argv, {}, most=1)
    from fdrl.cli.listing import print_settings, print_table

    if words.positional:
        spec = STRATEGIES.spec(words.positional[0])
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
