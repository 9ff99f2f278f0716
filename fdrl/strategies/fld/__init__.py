"""Which halves `fld`, `mixfld` and `mix2fld` have: those for labels, or those for proxy states."""

from __future__ import annotations

from fdrl.core.errors import FdrlError
from fdrl.core.strategy import ClientContext, ClientStrategy, ServerContext, ServerStrategy
from fdrl.strategies.distillation.settings import check_discrete
from fdrl.strategies.fld import policies
from fdrl.strategies.fld.settings import FLD


def client(context: ClientContext) -> ClientStrategy:
    """Return the agents' half."""
    check_discrete(context.run.strategy_name, context.gaussian)
    by_label = _by_label(context.run.strategy, context.run.strategy_name)
    if by_label:
        from fdrl.strategies.fld import labels

        return labels.Client(context)
    return policies.Client(context)


def server(context: ServerContext) -> ServerStrategy:
    """Return the server's half."""
    by_label = _by_label(context.run.strategy, context.run.strategy_name)
    if by_label:
        from fdrl.strategies.fld import labels

        return labels.Server(context)
    return policies.Server(context)


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
