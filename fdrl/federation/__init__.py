"""The federation: agents, server, transport and the loop that takes them through a round."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fdrl.federation.loop import Federation

__all__ = ["Federation"]


def __getattr__(name: str) -> Any:
    # Not at once: whoever asks for one chapter of this package (the agents' side alone, say) would
    # load the whole loop.
    if name == "Federation":
        from fdrl.federation.loop import Federation

        return Federation
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
