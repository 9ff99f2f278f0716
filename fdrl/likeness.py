"""Do all agents live in the same spaces? They must, or their answers could not be combined."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gymnasium import spaces

from fdrl.errors import FdrlError
from fdrl.gymenv import open_env
from fdrl.registry import EnvSpec

Spaces = tuple[spaces.Space[Any], spaces.Space[Any]]


def check_alike(
    spec: EnvSpec, agents: Sequence[int], kwargs: Sequence[Mapping[str, Any]], first: Spaces
) -> None:
    """Raise `FdrlError` naming the first agent whose spaces differ from those of agents[0].

    `kwargs` [K] are the agents' arguments; equal ones are looked at once.
    """
    seen = [dict(kwargs[0])]
    for agent, given in zip(agents, kwargs, strict=True):
        if dict(given) in seen:
            continue
        seen.append(dict(given))
        env = open_env(spec, given)
        own = (env.observation_space, env.action_space)
        env.close()
        if (which := _differs(first, own)) is not None:
            what = ("observation", "action")[which]
            raise FdrlError(
                f"environment {spec.name!r}: agent {agent} has the {what}"
                f" space {own[which]}, but agent {agents[0]} has {first[which]} (their arguments: "
                f"{dict(given)} and {seen[0]}); agents that exchange answers need the same spaces"
            )


def _differs(first: Spaces, own: Spaces) -> int | None:
    """Say which space differs, 0 or 1: bounds of observations may, their shape may not."""
    if own[1] != first[1]:
        return 1
    return 0 if own[0].shape != first[0].shape else None
