"""From settings to one Stable-Baselines3 model."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import stable_baselines3
from stable_baselines3.common.base_class import BaseAlgorithm

from fdrl.errors import FdrlError, nearest, short
from fdrl.registry import load_object

from .sb3 import SB3
from .sb3_env import Copies
from .sb3_template import made, template_of

MEMORY = 50_000
"""Transitions that a DQN agent remembers unless told otherwise: they travel in its checkpoints."""


def build(settings: SB3, copies: Copies) -> tuple[Any, Any]:
    """Return a model on an agent's copies, and a callback or None."""
    if settings.start is not None and settings.model is None:
        raise FdrlError(
            "there is no model object to start from: a saved model's weights are named by "
            "agent.load (at agent.start)"
        )
    if settings.model is not None:
        return made(template_of(settings.model), copies)
    if settings.factory:
        return _made(settings.factory, copies)
    cls = getattr(stable_baselines3, settings.algorithm)
    given = dict(settings.kwargs)
    if settings.algorithm == "DQN":
        given.setdefault("buffer_size", MEMORY)
    known = set(inspect.signature(cls.__init__).parameters) - {"self", "policy", "env", "seed"}
    for name in given:
        if name not in known:
            raise FdrlError(
                f"{settings.algorithm} of Stable-Baselines3 takes no {name!r}"
                f"{nearest(name, known)} (at agent.kwargs)"
            )
    if settings.n_steps is not None:
        if "n_steps" not in known or settings.algorithm == "DQN":
            raise FdrlError("DQN has no rollouts: use agent.round_steps, not agent.n_steps")
        given["n_steps"] = settings.n_steps
    default = inspect.signature(cls.__init__).parameters["learning_rate"].default
    rate = default if settings.learning_rate is None else settings.learning_rate
    given.setdefault("learning_rate", _falling(rate) if settings.lr_schedule == "linear" else rate)
    try:
        return cls(settings.policy, copies, device="cpu", verbose=0, **given), None
    except (TypeError, ValueError, AssertionError, KeyError) as error:
        raise FdrlError(
            f"Stable-Baselines3 cannot make {settings.algorithm}({settings.policy!r}): "
            f"{short(error)}"
        ) from error


def _falling(rate: float) -> Callable[[float], float]:
    """Return SB3's form of a linear schedule, of the progress that remains."""
    return lambda remaining: rate * max(0.0, remaining)


def _made(factory: str, copies: Copies) -> tuple[Any, Any]:
    """Call the user's function; it returns a model on `copies`, perhaps with a callback."""
    made = load_object(factory)(copies)
    model, callback = made if isinstance(made, tuple) else (made, None)
    if not isinstance(model, BaseAlgorithm) or not hasattr(model, "policy"):
        raise FdrlError(
            f"{factory} must return a Stable-Baselines3 model (and perhaps a callback), not "
            f"{type(model).__name__} (at agent.factory)"
        )
    if model.get_env() is not copies:
        raise FdrlError(f"{factory} must build its model on the env it is given (at agent.factory)")
    if not isinstance(model, (stable_baselines3.PPO, stable_baselines3.A2C, stable_baselines3.DQN)):
        raise FdrlError(
            f"{factory} returned {type(model).__name__}; PPO, A2C and DQN are supported"
        )
    return model, callback
