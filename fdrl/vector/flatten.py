"""Environments whose spaces are not flat, made flat: what agents see is one array of numbers.

Observations: dictionaries, tuples, discrete numbers and small tables become one flat Box, as
`gymnasium.spaces.flatten` orders them (a discrete number as one 1 among zeros). Texts of a
dictionary are left out. Images stay images. Actions: MultiDiscrete and MultiBinary become one
Discrete with a number for each combination, if there are few.
"""

from __future__ import annotations

import math
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from fdrl.core.errors import FdrlError, short

MOST_NUMBERS = 4096
"""The largest table that is flattened: what is larger needs another network than an MLP."""
MOST_ACTIONS = 256
"""Combinations of actions that are numbered: a policy needs an output for each."""
Env = gymnasium.Env[Any, Any]


def flat(env: Env) -> Env:
    """Return an environment with flat spaces: `env` itself where they are, or cannot be made so."""
    observations, actions = env.observation_space, env.action_space
    check_is_space("observation_space", observations)
    check_is_space("action_space", actions)
    if not _is_flat(observations) and (kept := _flattenable(observations)) is not None:
        env = FlatObservation(env, kept)
    if isinstance(actions, spaces.MultiDiscrete | spaces.MultiBinary):
        sizes = _sizes(actions)
        if math.prod(sizes) <= MOST_ACTIONS:
            env = NumberedActions(env, sizes)
    return env


def check_is_space(what: str, found: Any) -> None:
    """Raise for what is no space of Gymnasium's; `what` says which one it should be."""
    if isinstance(found, spaces.Space):
        return
    kind = type(found)
    old = " (of the old gym package: import gymnasium instead)" * kind.__module__.startswith("gym.")
    raise FdrlError(
        f"{what} is {short(found)}, of type {kind.__name__}{old}, but must be a "
        "gymnasium.spaces.Space"
    )


def masks_of(env: Env) -> tuple[str, ...]:
    """Return the names of what an environment shows at once, if that is a dictionary."""
    seen: Any = env.observation_space
    while isinstance(env, gymnasium.Wrapper):
        if isinstance(env, FlatObservation):
            seen = env.before
        env = env.env
    return tuple(map(str, seen.spaces)) if isinstance(seen, spaces.Dict) else ()


def said_of(env: Env, name: str) -> str | None:
    """Say in a line what `flat` did to an environment; None if nothing."""
    parts = []
    inner = env
    while isinstance(inner, gymnasium.Wrapper):
        if isinstance(inner, FlatObservation):
            size = inner.observation_space.shape
            parts.append(
                f"its observations, {_short(inner.before)}, are flattened to {size}{inner.left_out}"
            )
        if isinstance(inner, NumberedActions):
            count = inner.action_space
            parts.append(f"its actions {inner.env.action_space} are numbered as {count}")
        inner = inner.env
    return f"environment {name!r}: {'; '.join(reversed(parts))}" if parts else None


def _short(space: spaces.Space[Any]) -> str:
    """Describe a space without the spaces in it: those of a dictionary may fill a page."""
    if isinstance(space, spaces.Dict):
        return f"a Dict of {', '.join(map(str, space.spaces))}"
    return f"a Tuple of {len(space.spaces)}" if isinstance(space, spaces.Tuple) else str(space)


def _is_flat(space: spaces.Space[Any]) -> bool:
    return isinstance(space, spaces.Box) and len(space.shape) == 1


def _is_image(space: spaces.Space[Any]) -> bool:
    is_bytes = isinstance(space, spaces.Box) and space.dtype == np.uint8
    return is_bytes and len(space.shape or ()) in (2, 3)


def _is_text(space: spaces.Space[Any]) -> bool:
    # by type of content: MiniGrid's MissionSpace, for one, holds strings and is no Text
    return space.shape is None and space.dtype is not None and space.dtype.kind == "U"


def _flattenable(space: spaces.Space[Any]) -> spaces.Space[Any] | None:
    """Return the part of a space that can be flattened (without texts); None if none can."""
    if _is_image(space):
        return None
    kept = _without_texts(space)
    if kept is None or not kept.is_np_flattenable or spaces.flatdim(kept) > MOST_NUMBERS:
        return None
    return kept if spaces.flatdim(kept) else None


def _without_texts(space: spaces.Space[Any]) -> spaces.Space[Any] | None:
    if not isinstance(space, spaces.Dict):
        return None if _is_text(space) else space
    parts = {key: _without_texts(part) for key, part in space.spaces.items()}
    some = {key: part for key, part in parts.items() if part is not None}
    return spaces.Dict(some) if some else None


def _texts(space: spaces.Space[Any]) -> list[str]:
    if not isinstance(space, spaces.Dict):
        return []
    own = [repr(key) for key, part in space.spaces.items() if _is_text(part)]
    return own + [text for part in space.spaces.values() for text in _texts(part)]


def _sizes(actions: spaces.MultiDiscrete | spaces.MultiBinary) -> tuple[int, ...]:
    if isinstance(actions, spaces.MultiBinary):
        return (2,) * math.prod(actions.shape)
    return tuple(int(n) for n in actions.nvec.reshape(-1))


def as_flat(space: spaces.Space[Any]) -> tuple[spaces.Space[Any], spaces.Space[Any]]:
    """Return a space without what cannot be flattened, and flat; twice itself where it stays."""
    kept = None if _is_flat(space) else _flattenable(space)
    return (space, space) if kept is None else (kept, spaces.flatten_space(kept))


class FlatObservation(gymnasium.ObservationWrapper[NDArray[Any], Any, Any]):
    """Show what is in `kept` (the environment's space, or its space without texts) as one array."""

    def __init__(self, env: Env, kept: spaces.Space[Any]) -> None:
        super().__init__(env)
        self.before, self._kept = env.observation_space, kept
        self.observation_space = spaces.flatten_space(kept)  # type: ignore[assignment]
        texts = ", ".join(_texts(env.observation_space))
        self.left_out = f", without the text {texts}" if texts else ""

    def observation(self, observation: Any) -> NDArray[Any]:
        """Flatten one observation."""
        try:
            return np.asarray(spaces.flatten(self._kept, observation))
        except Exception as error:
            raise FdrlError(
                f"it gave the observation {short(observation)}, which does not fit its "
                f"observation_space {short(self.before)} ({type(error).__name__}: {short(error)})"
            ) from error


class NumberedActions(gymnasium.ActionWrapper[Any, int, Any]):
    """Number the combinations of several discrete actions, the last one varying fastest."""

    def __init__(self, env: Env, sizes: tuple[int, ...]) -> None:
        super().__init__(env)
        self._sizes = sizes
        self._inner: Any = env.action_space
        self._start = np.asarray(getattr(env.action_space, "start", 0))
        numbered: Any = spaces.Discrete(math.prod(sizes))
        self.action_space = numbered

    def action(self, action: int) -> NDArray[Any]:
        """Return the combination with this number."""
        parts = np.array(np.unravel_index(int(action), self._sizes))
        parts = parts.reshape(self._inner.shape) + self._start
        return np.asarray(parts, self._inner.dtype)


def cannot(space: spaces.Space[Any]) -> str:
    """Say why a space that is not flat stays so, and what mends it."""
    own = "write a gymnasium.ObservationWrapper that returns an array of shape (n,)"
    kept = _without_texts(space)
    if kept is None:
        return f"a text is nothing that a network can see: {own}"
    if not kept.is_np_flattenable:
        return f"its size varies, so it cannot be flattened: {own}"
    return f"flattened, that would be {spaces.flatdim(kept)} numbers: {own} with less"
