"""Finding and opening one real Gymnasium environment, with errors that say what to mend."""

from __future__ import annotations

import copy
import functools
import importlib
import inspect
import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, get_origin, get_type_hints

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.envs.registration import EnvSpec as GymSpec
from gymnasium.envs.registration import load_env_creator
from gymnasium.error import DependencyNotInstalled

from fdrl.core.errors import FdrlError, UnknownEnvironment, nearest, short
from fdrl.core.registry import ENVS, EnvSpec, load_object, not_installed
from fdrl.vector import contract
from fdrl.vector.contract import RAISED
from fdrl.vector.flatten import cannot, flat

GymEnv = gymnasium.Env[Any, Any]

OWN_LIMITS = ("max_steps", "max_episode_steps")
"""Arguments by which an environment's maker limits episodes itself."""
CAP = 10_000
"""Steps after which an episode is cut in an environment that ends its episodes itself."""
ENDLESS = 2**62
LIMIT = "max_episode_steps"
"""Gymnasium's name of the time limit; an argument of this name sets it (`fdrl.vector.gym`)."""


def find_env(name: str) -> EnvSpec:
    """Return what is known about an environment.

    `name` is registered with fdrl, or is any Gymnasium id, or ``"module:Id-v0"`` (the module is
    imported first, which registers the id), or ``"module:callable"`` that makes a gymnasium.Env
    (or names an `EnvSpec`).
    """
    if name in ENVS:
        return ENVS.spec(name)
    if ":" not in name and name not in gymnasium.registry:
        known = [*ENVS.names(), *gymnasium.registry]
        raise _unknown(name, known)
    with mendable(EnvSpec(name), "could not be imported"):
        entry = _named_spec(name) if ":" in name else None
        if entry is not None:
            return entry
        made = resolve(name)
    if isinstance(made, GymSpec):
        return EnvSpec(
            name=name,
            gym_id=name,
            max_steps=made.max_episode_steps or 0,
            threshold=made.reward_threshold,
            extra="mujoco" if ".mujoco" in str(made.entry_point) else "",
        )
    return EnvSpec(name=name, gym_id=name)


def _named_spec(name: str) -> EnvSpec | None:
    """Import the module of ``"module:name"``; it may hold an `EnvSpec` or register one."""
    module, _, attribute = name.rpartition(":")
    try:
        load_object(f"{module}:__name__")
        entry = load_object(name)
    except FdrlError:
        entry = None  # it may still be a Gymnasium id; if not, `resolve` says so
    if isinstance(entry, EnvSpec):
        return entry
    return ENVS.spec(attribute) if attribute in ENVS else None


ONE_ACTION = "with one action there is nothing to choose, to learn or to exchange"


def check_spaces(name: str, observations: spaces.Space[Any], actions: spaces.Space[Any]) -> None:
    """Raise, saying what is supported, if agents cannot live in these spaces."""
    _check_actions(name, actions)
    if not isinstance(observations, spaces.Box):
        raise FdrlError(
            f"environment {name!r} has the observation space {observations}; {cannot(observations)}"
        )
    shape = observations.shape
    if len(shape) not in (1, 2, 3) or 0 in shape:
        raise FdrlError(
            f"environment {name!r} has observations of shape {shape}; {cannot(observations)}"
        )
    if observations.dtype.kind not in contract.REAL:
        raise FdrlError(
            f"environment {name!r} has observations of {observations.dtype}, but they must be "
            "real numbers"
        )


def _check_actions(name: str, actions: spaces.Space[Any]) -> None:
    has = f"environment {name!r} has the action space {actions}"
    if isinstance(actions, spaces.Discrete):
        if actions.n < 2:
            raise FdrlError(f"{has}: {ONE_ACTION}")
        return
    if isinstance(actions, spaces.Tuple):
        raise FdrlError(
            f"{has}; supported: Discrete, or a flat Box with bounds (an action for each of several "
            "agents: wrap it as a pettingzoo.ParallelEnv, and they are trained together)"
        )
    if not isinstance(actions, spaces.Box):
        raise FdrlError(f"{has}; supported: Discrete, or a flat Box with bounds")
    if len(actions.shape) != 1 or actions.dtype.kind != "f" or not actions.shape[0]:
        raise FdrlError(
            f"{has}; continuous actions must be a flat Box of floats, shape (D,): "
            "gymnasium.wrappers.TransformAction can reshape them"
        )
    if not actions.is_bounded():
        raise FdrlError(
            f"{has}, which is unbounded; actions are clipped to the space, so give it finite low "
            "and high (gymnasium.wrappers.RescaleAction makes bounds)"
        )
    if not (actions.low < actions.high).any():
        raise FdrlError(f"{has}: {ONE_ACTION}")


def resolve(gym_id: str) -> GymSpec | Callable[..., GymEnv]:
    """Return Gymnasium's entry for ``"Id-v0"`` or ``"module:Id-v0"``, or a ``"module:callable"``.

    The module is imported first, as Gymnasium does. The entry is a copy without the wrappers that
    only check the order of calls: fdrl keeps that order, and `check_env` does the checking.
    """
    module_name, _, name = gym_id.rpartition(":")
    module = importlib.import_module(module_name) if module_name else None
    if name in gymnasium.registry:
        entry = copy.deepcopy(gymnasium.registry[name])
        entry.order_enforce = False
        entry.disable_env_checker = True
        return entry
    made = getattr(module, name, None)
    if callable(made):
        check_maker(gym_id, made)
        return made  # type: ignore[no-any-return]
    known = list(gymnasium.registry)
    if module is not None:
        known += [n for n in vars(module) if not n.startswith("_")]
    where = f" in {module_name!r} or in Gymnasium" if module_name else ""
    raise _unknown(name or gym_id, known, where)


_BASES = ("gymnasium.core.Env", "pettingzoo.utils.env.ParallelEnv", "pettingzoo.utils.env.AECEnv")


def check_maker(name: str, found: Any) -> None:
    """Raise unless ``"module:callable"`` may make an environment; nothing is called to know it.

    Classes must derive from gymnasium.Env or pettingzoo.ParallelEnv. What a function makes only
    calling it tells, so one that is Python's own, or says that it returns something else, is none.
    """
    while isinstance(found, functools.partial):
        found = found.func
    if isinstance(found, type):
        if not _is_env(found):
            old = any(b.__module__.partition(".")[0] == "gym" for b in found.__mro__)
            but = "the old gym.Env, not from " if old else "neither "
            raise FdrlError(
                f"environment {name!r}: {found.__qualname__} is a class that derives from {but}"
                f"gymnasium.Env{'' if old else ' nor pettingzoo.ParallelEnv'}"
            )
        return
    home = str(getattr(found, "__module__", None) or "builtins").partition(".")[0]
    if inspect.isbuiltin(found) or home == "builtins" or home in sys.stdlib_module_names:
        raise FdrlError(
            f"environment {name!r} is of Python's own library and makes no environment; name a "
            "class that derives from gymnasium.Env or pettingzoo.ParallelEnv, or a function "
            "that returns one"
        )
    kind = _returned(found)
    if kind is not None and not _is_env(kind):
        raise FdrlError(
            f"environment {name!r}: it says that it returns {kind.__qualname__}, which is neither "
            "a gymnasium.Env nor a pettingzoo.ParallelEnv"
        )


def _is_env(kind: type) -> bool:
    return any(f"{b.__module__}.{b.__qualname__}" in _BASES for b in kind.__mro__)


def _returned(function: Any) -> type | None:
    """Return the class that a function says it returns; None if it leaves that open."""
    try:
        hint = get_type_hints(function).get("return", object)
    except Exception:  # an annotation that cannot be read says nothing
        return None
    kind = get_origin(hint) or hint
    open_ = kind in (object, Any) or getattr(kind, "_is_protocol", False)
    return kind if isinstance(kind, type) and not open_ else None


def _unknown(name: str, known: list[str], where: str = "") -> UnknownEnvironment:
    """Name the nearest one; a list of every Gymnasium id would help nobody."""
    hint = nearest(name, known)
    near = hint if "did you mean" in hint else ""
    told = f"unknown environment {name!r}{where}{_mend(name, near)}"
    return UnknownEnvironment(told, name, near)


def _mend(name: str, near: str) -> str:
    if name.endswith(".py"):
        module = name.removesuffix(".py").removeprefix("./").replace("/", ".")
        return f": name what is in that file, {module}:ClassName or an id that it registers"
    if near:
        return near
    if told := not_installed():
        return told
    return (
        ": no Gymnasium id and not registered (`fdrl envs` lists what is); for an environment of "
        "your own: module:Id-v0"
    )


@contextmanager
def mendable(spec: EnvSpec, doing: str) -> Iterator[None]:
    """Turn what goes wrong inside into an `FdrlError` that names the environment."""
    try:
        yield
    except UnknownEnvironment:
        raise
    except FdrlError as error:
        if repr(spec.name) in str(error):
            raise
        raise FdrlError(f"environment {spec.name!r}: {error}") from error
    except (ImportError, DependencyNotInstalled) as error:
        if spec.extra:
            raise FdrlError(
                f'environment {spec.name!r} needs more packages: pip install "fdrl[{spec.extra}]"'
            ) from error
        raise FdrlError(
            f"cannot import what environment {spec.name!r} needs: {short(error)}"
            f"{contract.place(error)}"
        ) from error
    except RAISED as error:
        raise FdrlError(f"environment {spec.name!r} {doing}: {contract.said(error)}") from error


def open_env(spec: EnvSpec, kwargs: Mapping[str, Any], render_mode: str | None = None) -> GymEnv:
    """Return one environment, made flat, with the time limit of Gymnasium or the spec."""
    if not spec.gym_id:
        raise FdrlError(f"environment {spec.name!r} has no Gymnasium id (`gym_id`) to open")
    given = {**spec.kwargs, **kwargs}
    if render_mode is not None:
        given["render_mode"] = render_mode
    with mendable(spec, f"could not be made with {given}"):
        entry = resolve(spec.gym_id)
        if isinstance(entry, GymSpec):
            if LIMIT in given:  # make() would keep it to itself, but the maker takes it too
                entry.kwargs = {**entry.kwargs, LIMIT: given.pop(LIMIT)}
            made = gymnasium.make(entry, max_episode_steps=spec.max_steps or None, **given)
            return flat(made)
        env = entry(**given)
        if not isinstance(env, gymnasium.Env):
            raise FdrlError(
                f"{spec.gym_id!r} gave {type(env).__name__}, but must give a gymnasium.Env"
            )
        if spec.max_steps:
            env = gymnasium.wrappers.TimeLimit(env, spec.max_steps)
        return flat(env)


def known_kwargs(spec: EnvSpec) -> set[str] | None:
    """Return the keyword arguments an environment takes; None if it takes any."""
    if spec.vector:
        return set(spec.physics) | ({"init_low", "init_high"} if spec.init else set())
    with mendable(spec, "could not be loaded"):
        parameters = _parameters(spec)
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return None
    return {p.name for p in parameters if p.kind is not p.VAR_POSITIONAL} - {"render_mode"}


def _parameters(spec: EnvSpec) -> list[inspect.Parameter]:
    """Return what the maker of a real environment takes."""
    entry = resolve(spec.gym_id)
    creator = entry.entry_point if isinstance(entry, GymSpec) else entry
    if creator is None:
        raise FdrlError(f"environment {spec.name!r} is registered without an entry point")
    made = load_env_creator(creator) if isinstance(creator, str) else creator
    return list(inspect.signature(made).parameters.values())


def check_kwargs(spec: EnvSpec, kwargs: Mapping[str, Any]) -> None:
    """Raise if an environment does not take an argument, or a physical one is out of range."""
    known = known_kwargs(spec) if kwargs else None
    for name, value in kwargs.items():
        if known is not None and name not in known:
            takes = ", ".join(sorted(known)) or "none"
            close = nearest(name, {*known, LIMIT})
            hint = close if "did you mean" in close else ""
            raise FdrlError(
                f"environment {spec.name!r} takes no argument {name!r}{hint} (it takes: {takes})"
            )
        if name in spec.physics or (spec.vector and name in ("init_low", "init_high")):
            _check_physics(spec, name, value)


def _check_physics(spec: EnvSpec, name: str, value: Any) -> None:
    number = isinstance(value, (int, float, np.integer, np.floating)) and math.isfinite(value)
    if not number or isinstance(value, bool):
        raise FdrlError(f"environment {spec.name!r}: {name} must be a finite number, not {value!r}")
    physics = spec.physics.get(name)
    if physics is not None and not physics.low <= value <= physics.high:
        raise FdrlError(
            f"environment {spec.name!r}: {name} is {value:g}, but must lie in "
            f"[{physics.low:g}, {physics.high:g}]"
        )


class _InitialInterval(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Start every episode in [low, high], as Gymnasium's classic environments let us."""

    def __init__(self, env: GymEnv, low: float, high: float) -> None:
        super().__init__(env)
        self._interval = {"low": low, "high": high}

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        return self.env.reset(seed=seed, options={**self._interval, **(options or {})})


def draws(spec: EnvSpec, kwargs: Mapping[str, Any]) -> bool:
    """Return whether an environment (for a vector class: its twin) says it renders rgb_array."""
    with mendable(spec, "could not be loaded"):
        entry = resolve(spec.gym_id) if spec.gym_id else None
        creator = entry.entry_point if isinstance(entry, GymSpec) else entry
        made = load_env_creator(creator) if isinstance(creator, str) else creator
    if made is None:
        return False
    known: Any = made
    if not isinstance(made, type):  # a function: only what it makes knows
        known = open_env(spec, {} if spec.vector else kwargs)
        contract.close(known, spec.name)
    told = getattr(known, "metadata", None)
    modes = told.get("render_modes") if isinstance(told, Mapping) else None
    return isinstance(modes, Sequence | set) and "rgb_array" in modes


def render_env(spec: EnvSpec, kwargs: Mapping[str, Any]) -> GymEnv:
    """Return an environment with ``render_mode="rgb_array"`` and an agent's own physics.

    A vector class draws nothing: its Gymnasium twin (`gym_id`) does, after the class's own
    ``configure(env, values)`` has set the physics on it (attributes of the same names without it).
    Raises `FdrlError` for an environment that does not draw.
    """
    if spec.gym_id and not draws(spec, kwargs):
        raise FdrlError(f"{spec.name} has no rgb_array rendering, so no video")
    if not spec.vector:
        return open_env(spec, kwargs, "rgb_array")
    twin = EnvSpec(spec.name, gym_id=spec.gym_id, max_steps=spec.max_steps, extra=spec.extra)
    env = open_env(twin, {}, "rgb_array")
    given = {**spec.kwargs, **kwargs}
    values = {name: float(given.get(name, p.default)) for name, p in spec.physics.items()}
    configure = getattr(load_object(spec.vector), "configure", None)
    if configure is not None:
        configure(env.unwrapped, values)
    else:
        for name, value in values.items():
            setattr(env.unwrapped, name, value)
    if spec.init is None:
        return env
    low, high = given.get("init_low", spec.init[0]), given.get("init_high", spec.init[1])
    return _InitialInterval(env, low, high)


# ---- The longest an episode may last: without a limit, an agent may never finish its evaluation


Kwargs = Mapping[str, Any]


def take_limit(
    spec: EnvSpec, shared: Kwargs, per_agent: Sequence[Kwargs]
) -> tuple[EnvSpec, dict[str, Any]]:
    """Return the spec with the limit that `shared` gives, and the other arguments."""
    rest = dict(shared)
    if any(LIMIT in given for given in per_agent):
        raise FdrlError(
            f"environment {spec.name!r}: {LIMIT} is one number for all agents: give it in "
            "env_kwargs"
        )
    if LIMIT not in rest:
        return spec, rest
    steps = whole_limit(spec.name, rest.pop(LIMIT))
    if LIMIT in (known_kwargs(spec) or ()):  # then the maker is told as well
        rest[LIMIT] = steps
    return replace(spec, max_steps=steps), rest


def whole_limit(name: str, steps: Any) -> int:
    """Return a time limit that was given; raise if it is no whole number of at least 1."""
    if not isinstance(steps, int) or isinstance(steps, bool) or steps < 1:
        raise FdrlError(
            f"environment {name!r}: {LIMIT} must be a whole number of at least 1, not {steps!r}"
        )
    return steps


def has_limit(spec: EnvSpec, kwargs: Kwargs) -> bool:
    """Say whether episodes end at a limit that the spec, Gymnasium or a wrapper sets."""
    if spec.max_steps or spec.vector:
        return spec.max_steps > 0
    env = open_env(spec, kwargs)
    limited = longest(env) < ENDLESS
    contract.close(env, spec.name)
    return limited


def longest(env: GymEnv) -> int:
    """Return the steps after which a wrapper truncates an episode; `ENDLESS` if none does."""
    found, inner = ENDLESS, env
    while isinstance(inner, gymnasium.Wrapper):
        if isinstance(inner, gymnasium.wrappers.TimeLimit):
            found = min(found, inner._max_episode_steps)
        inner = inner.env
    return found


def own_limit(spec: EnvSpec, kwargs: Kwargs) -> int:
    """Return the limit that an environment's maker is given, or has by default; 0 if none."""
    given = {**spec.kwargs, **kwargs}
    with mendable(spec, "could not be loaded"):
        defaults = {p.name: p.default for p in _parameters(spec)}
    for name in OWN_LIMITS:
        steps = given.get(name, defaults.get(name))
        if isinstance(steps, int) and not isinstance(steps, bool) and steps > 0:
            return steps
    return 0


def no_limit(name: str, *, world: bool = False) -> str:
    """Say what is wrong with an environment without a limit, and how to mend it.

    Agents that share a `world` have no register in which to set one.
    """
    elsewhere = f", or where the environment is registered ({LIMIT} in gymnasium.register)"
    return (
        f"environment {name!r} has no limit on the length of an episode: an agent that never ends "
        f"one cannot be evaluated; set one with --env_kwargs.{LIMIT} N{'' if world else elsewhere}"
    )


def own_end(name: str, most: int) -> str:
    """Say what becomes of an environment that ends its episodes itself."""
    return (
        f"environment {name!r} is registered without a time limit; it ends its episodes itself, "
        f"and one that goes on is cut after {most:,} steps (--env_kwargs.{LIMIT} N sets another "
        "limit)"
    )


# ---- Do all agents live in the same spaces? They must, or their answers could not be combined


Spaces = tuple[spaces.Space[Any], spaces.Space[Any]]


def check_same_spaces(
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
        contract.close(env, spec.name)
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
