"""``fdrl envs``: list environments."""

from __future__ import annotations

import textwrap

import msgspec

from fdrl.cli import options
from fdrl.registry import ENVS, PARALLEL, EnvSpec


class Environments(msgspec.Struct, frozen=True, kw_only=True):
    """List the environments that fdrl knows.

    Any other Gymnasium id with a Box (flat or images) of observations and actions that are Discrete
    or a flat, bounded Box works too, and module:Id-v0 for one of your own.
    """


def _row(spec: EnvSpec) -> tuple[str, str, str, str]:
    varying = ", ".join(n for n, p in spec.physics.items() if p.varies)
    threshold = "" if spec.threshold is None else f"{spec.threshold:g}"
    needs = f" (extra {spec.extra})" if spec.extra else ""
    return spec.name, threshold, varying, spec.summary + needs


def main(argv: list[str]) -> int:
    """Print the table of environments."""
    options.read(Environments, argv, "envs")
    from fdrl.cli.listing import console_width, print_table

    print_table(("environment", "solved at", "dynamics vary", ""), map(_row, ENVS))
    shared = "worlds that several agents share (docs/multiagent.md): "
    print("\n" + textwrap.fill(shared + ", ".join(sorted(PARALLEL)), max(60, console_width())))
    print('an extra is installed with: pip install "fdrl[EXTRA]"')
    print("and any Gymnasium id, or module:Id-v0 (see fdrl check ID)")
    return 0
