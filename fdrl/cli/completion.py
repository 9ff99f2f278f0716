"""``fdrl completion SHELL``: the script that completes the command's words in a shell."""

from __future__ import annotations

import contextlib
import functools
import operator
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
import tyro
from tyro.conf import Positional

from fdrl.cli import options
from fdrl.cli.bench import Bench
from fdrl.cli.channel import ChannelOptions
from fdrl.cli.check import Check
from fdrl.cli.eval import Eval
from fdrl.cli.export import Export
from fdrl.cli.flags import UNIONS, every_flag, names_of
from fdrl.cli.listing import Agents, Environments, Strategies
from fdrl.cli.new import New
from fdrl.cli.options import argument
from fdrl.cli.report import Report
from fdrl.cli.theory import TheoryOptions
from fdrl.cli.train import Train
from fdrl.config.tables import presets
from fdrl.core.registry import ENVS


class Completion(msgspec.Struct, frozen=True, kw_only=True):
    """Print the script that completes verbs, flags and names in a shell.

    bash: fdrl completion bash > ~/.local/share/bash-completion/completions/fdrl
    zsh: fdrl completion zsh > _fdrl, in a folder of $fpath
    fish: fdrl completion fish > ~/.config/fish/completions/fdrl.fish
    """

    shell: Annotated[Positional[Literal["bash", "zsh", "fish"]], argument("SHELL")]
    """A shell: bash, zsh or fish."""


VERBS: Mapping[str, type[msgspec.Struct]] = {
    "eval": Eval,
    "export": Export,
    "bench": Bench,
    "report": Report,
    "envs": Environments,
    "agents": Agents,
    "strategies": Strategies,
    "channel": ChannelOptions,
    "new": New,
    "check": Check,
    "theory": TheoryOptions,
    "completion": Completion,
}
"""The options of every verb but ``train``, whose flags depend on what is trained."""


def main(argv: list[str]) -> int:
    """Print the script."""
    if not argv:
        return options.usage(Completion, "completion")
    shell = options.read(Completion, argv, "completion").shell
    verbs = {"train": _train(), **VERBS}
    parts = [
        Annotated[cls, tyro.conf.subcommand(name=verb, prefix_name=False)]
        for verb, cls in verbs.items()
    ]
    every: Any = functools.reduce(operator.or_, parts)
    with contextlib.suppress(SystemExit):  # tyro's way to end
        tyro.cli(
            every,
            args=["--tyro-print-completion", shell],
            prog="fdrl",
            config=(tyro.conf.FlagConversionOff,),
            registry=options.RULES,
        )
    return 0


def _train() -> type[Any]:
    """Return the flags of ``fdrl train``, those of every learner and every method among them."""
    kinds: dict[str, Any] = {"preset": Annotated[_one_of(presets()), tyro.conf.Positional]}
    kinds |= options.kinds_of(Train) | every_flag()
    kinds |= {"env": _one_of(spec.name for spec in ENVS), "goal": float}
    kinds |= {union: _one_of(names_of(union)) for union in UNIONS}
    return options.flag_class(kinds)


def _one_of(names: Any) -> Any:
    return Literal[tuple(names)]
