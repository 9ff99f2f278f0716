"""What somebody else's world must give, checked where it is read, and said in one line if broken.

The functions here take one value as a world gave it and return it as fdrl keeps it, or raise an
`EnvFault` that says which rule was broken; who reads adds the environment, the copy and the step.
"""

from __future__ import annotations

import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import gymnasium
import numpy as np
from numpy.typing import NDArray

from fdrl.core.errors import FdrlError, short, warn_once

Fault = Literal["reset", "step", "shape", "finite", "spaces", "resume"]
RAISED = (Exception, SystemExit, GeneratorExit)
"""What code of somebody else's may raise: a game whose window is closed often calls sys.exit()."""
ROWS = (tuple, list)
REAL = frozenset("fiub")
"""Kinds of arrays (`numpy.dtype.kind`) that hold real numbers."""
MASKS = frozenset(
    {"action_mask", "action_masks", "avail_actions", "available_actions", "legal_actions"}
)
"""Names under which worlds say which actions are allowed."""

PROBE = 10_000
"""Steps of random actions in which a world without a limit should end an episode by itself."""
PATIENCE = 10.0
"""Seconds of computing that it gets for them; a world in another process gets six times as much."""

RESET = "reset(self, *, seed=None, options=None) must return two things: observation, info"
STEP = "step must return five things: observation, reward, terminated, truncated, info"
OLD = "that is the interface of the old gym package"


class EnvFault(FdrlError):
    """An environment that broke its contract; `kind` says which part of it."""

    def __init__(self, kind: Fault, message: str) -> None:
        super().__init__(message)
        self.kind = kind


# ---- What a world raised: the error, and the place in its own code ----


_MACHINERY = ("fdrl", "gymnasium", "pettingzoo", "numpy", "importlib", "inspect", "copy")


def said(error: BaseException) -> str:
    """Return ``ValueError: no fuel (cart.py:12)`` for what somebody else's code raised."""
    words = short(error)
    told = f"{type(error).__name__}: {words}" if words else type(error).__name__
    return told + place(error)


def raised(call: str, error: BaseException, masked: bool, reset: str) -> str:
    """Return what a call of a world raised, and what may have been the reason.

    `masked`: it says which actions are allowed; `reset`: how its `reset` should be written.
    """
    what = f"{call} raised {said(error)}"
    if call == "reset" and isinstance(error, TypeError) and "'seed'" in str(error):
        what += f"; let it be {reset}"
    if call == "step" and masked:
        what += "; action masks are not honored, so an action may not have been allowed"
    return what


def place(error: BaseException) -> str:
    """Return `` (FILE:LINE)`` of the last line of somebody else's code that an error came through.

    Empty if there is none: the mistake then lies between the world and who calls it.
    """
    frames = traceback.extract_tb(error.__traceback__)
    for frame in reversed(frames):
        if not frame.filename.startswith("<") and not _ours(frame.filename):
            return f" ({_short_path(frame.filename)}:{frame.lineno})"
    return ""


def _ours(file: str) -> bool:
    path = Path(file).resolve()
    for name in _MACHINERY:
        origin = getattr(sys.modules.get(name), "__file__", None)
        if origin is None:
            continue
        home = Path(origin).resolve()
        if path == home or (home.name == "__init__.py" and home.parent in path.parents):
            return name != "fdrl" or "envs" not in path.parts  # our environments are like any
    return False


def _short_path(file: str) -> str:
    try:
        near = os.path.relpath(file)
    except (OSError, ValueError):  # another drive, or a folder that is gone
        return file
    return file if near.startswith("..") else near


def ends(step: Callable[[], bool]) -> bool:
    """Say whether a world ends an episode by itself; `step` takes a step and says whether it did.

    One that is too slow for a probe has the benefit of the doubt: whether a run can go on must not
    depend on how busy the machine is.
    """
    busy, end = time.process_time() + PATIENCE, time.monotonic() + 6 * PATIENCE
    late = (time.process_time() > busy or time.monotonic() > end for _ in range(PROBE))
    return any(step() or over for over in late)


def close(env: Any, name: str) -> None:
    """Close a world; what that raises is a note, since everything of worth is done by then."""
    try:
        env.close()
    except RAISED as error:
        warn_once(f"environment {name!r}: close() raised {said(error)}; nothing is lost by that")


# ---- What reset and step return ----


def of_reset(result: Any) -> tuple[Any, Any]:
    """Return the two parts of what `reset` gave."""
    if not isinstance(result, ROWS) or len(result) != 2:
        raise EnvFault("reset", f"reset returned {_number_of(result)}, but {RESET} ({OLD})")
    if not isinstance(result[1], Mapping):
        raise EnvFault(
            "reset", f"reset returned the info {short(result[1])}, but it must be a dictionary"
        )
    return result[0], result[1]


def of_step(result: Any) -> tuple[Any, Any, Any, Any, Any]:
    """Return the five parts of what `step` gave."""
    if not isinstance(result, ROWS) or len(result) != 5:
        old = isinstance(result, ROWS) and len(result) == 4
        raise EnvFault("step", f"step returned {_number_of(result)}, but {STEP}{f' ({OLD})' * old}")
    if not isinstance(result[4], Mapping):
        raise EnvFault(
            "step", f"step returned the info {short(result[4])}, but it must be a dictionary"
        )
    return tuple(result)


def _number_of(result: Any) -> str:
    if isinstance(result, ROWS):
        return f"{len(result)} thing{'s' * (len(result) != 1)}"
    return f"one thing, of type {type(result).__name__}"


def broken_below(env: Any, call: str, error: BaseException, seed: int = 0) -> str | None:
    """Say which rule a world breaks on which a wrapper around it choked; None if none.

    Such an error blames the wrapper. The world has failed already: calling it again costs nothing.
    """
    if not isinstance(error, TypeError | ValueError | FdrlError) or place(error):
        return None
    if call == "reset":
        return _broken(env, lambda layer: layer.reset(seed=seed), of_reset)
    move = env.unwrapped.action_space.sample()
    return _broken(env, lambda layer: layer.step(move), of_step)


def _broken(env: Any, call: Callable[[Any], Any], check: Callable[[Any], Any]) -> str | None:
    """Return the rule that the innermost of a world's layers breaks."""
    for layer in reversed(list(_layers(env))):
        try:
            result = call(layer)
        except RAISED:
            return None
        try:
            check(result)
        except EnvFault as error:
            return str(error)
    return None


def _layers(env: Any) -> Iterator[Any]:
    yield env
    while isinstance(env, gymnasium.Wrapper):
        env = env.env
        yield env


# ---- The numbers in it ----


def number(reward: Any) -> float:
    """Return a reward as a float; an array of one number counts as that number."""
    if isinstance(reward, float | int | np.bool_):
        try:
            return float(reward)
        except OverflowError:
            raise EnvFault("step", "step gave a reward too large for a float") from None
    array = _array(reward)
    if array is None or array.dtype.kind not in REAL:
        raise EnvFault("step", f"step gave the reward {_of_type(reward)}, but it must be a number")
    if array.size != 1:
        raise EnvFault(
            "step",
            f"step gave a reward of shape {array.shape}, but an agent learns from one number: "
            "return a weighted sum (mo_gymnasium.wrappers.LinearReward makes one)",
        )
    return float(array.reshape(()))


def flag(value: Any, which: str) -> bool:
    """Return `terminated` or `truncated` as a bool; 0, 1 and arrays of one of these count too."""
    if isinstance(value, bool | np.bool_):
        return bool(value)
    array = _array(value)
    if array is None or array.size != 1 or array.dtype.kind not in REAL:
        raise EnvFault(
            "step", f"step gave {which} = {_of_type(value)}, but it must be True or False"
        )
    only = array.reshape(())
    if only not in (0, 1):
        raise EnvFault("step", f"step gave {which} = {only}, but it must be True or False")
    return bool(only)


def observation(seen: Any, shape: tuple[int, ...]) -> NDArray[Any]:
    """Return an observation as an array of real numbers of just this shape."""
    array = _array(seen) if hasattr(seen, "shape") else None
    if array is None or array.shape != shape:
        # Checked by hand, because NumPy would broadcast a single number without a word.
        gave = f"has shape {array.shape}" if array is not None else f"is {_of_type(seen)}"
        raise EnvFault(
            "shape", f"the observation {gave}, but observation_space says an array of shape {shape}"
        )
    if array.dtype.kind not in REAL:
        raise EnvFault(
            "shape",
            f"the observation {short(seen)} is an array of {array.dtype}, but it must be one of "
            "real numbers",
        )
    return array


def _array(value: Any) -> NDArray[Any] | None:
    try:
        return np.asarray(value)
    except Exception:  # whatever a value that is no array may raise
        return None


def _of_type(value: Any) -> str:
    return f"{short(value)!s} of type {type(value).__name__}" if value is not None else "None"


# ---- What is noted, but not refused ----


def note_masks(name: str, keys: Any) -> bool:
    """Say once that action masks are not honored; return whether there are any among `keys`."""
    found = sorted(MASKS.intersection(k for k in keys if isinstance(k, str)))
    if found:
        warn_once(masked(name, found[0]))
    return bool(found)


def masked(name: str, key: str) -> str:
    """Say what becomes of a mask."""
    return (
        f"environment {name!r} says which actions are allowed ({key}); fdrl does not honor action "
        "masks yet, so agents also choose what is not allowed: let such an action do nothing, or "
        "wrap the environment"
    )
