"""Which halves `fld`, `mixfld` and `mix2fld` have: those for labels, or those for proxy states."""

from __future__ import annotations

from fdrl.errors import FdrlError
from fdrl.strategies import fld_policies
from fdrl.strategies.distillation import check_discrete
from fdrl.strategies.fld import FLD
from fdrl.strategy import ClientContext, ClientHalf, ServerContext, ServerHalf


def client(context: ClientContext) -> ClientHalf:
    """Return the agents' half."""
    check_discrete(context.run.strategy_name, context.gaussian)
    by_label = _by_label(context.run.strategy, context.run.strategy_name)
    if by_label:
        from fdrl.strategies import fld_labels

        return fld_labels.Client(context)
    return fld_policies.Client(context)


def server(context: ServerContext) -> ServerHalf:
    """Return the server's half."""
    by_label = _by_label(context.run.strategy, context.run.strategy_name)
    if by_label:
        from fdrl.strategies import fld_labels

        return fld_labels.Server(context)
    return fld_policies.Server(context)


def _by_label(settings: FLD, name: str) -> bool:
    """Whether agents answer by label; `FdrlError` for mixtures where there is nothing to mix."""
    if settings.answer == "labels":
        return True
    if name != "fld":
        raise FdrlError(
            f'strategy {name!r} mixes samples of several labels: it needs answer = "labels"; '
            "states of an environment need no seeds, use --strategy fld"
        )
    return False
