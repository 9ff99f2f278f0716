"""A user's own Stable-Baselines3 model object as the template of every agent's model."""

from __future__ import annotations

import copy
import hashlib
import importlib
import inspect
import math
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import CodeType, FunctionType
from typing import Any, Literal

import msgspec
import numpy as np
from stable_baselines3 import A2C, DQN, PPO
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.buffers import NStepReplayBuffer, ReplayBuffer, RolloutBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.type_aliases import TrainFreq, TrainFrequencyUnit
from stable_baselines3.common.utils import ConstantSchedule, FloatSchedule

from fdrl.core.errors import FdrlError, short
from fdrl.core.registry import load_object

from .settings import SB3


def own(
    model: Any,
    *,
    callback: Any = None,
    start: Literal["fresh", "weights"] = "fresh",
    temperature: float = 1.0,
    round_steps: int = 256,
) -> SB3:
    """Return the settings of agents that copy your own model object (PPO, A2C, DQN, or a subclass).

    Every agent gets a new model of its class, policy class, policy_kwargs and hyperparameters
    (schedules are kept as they are), seeded from the run's seed, on as many copies of the agent's
    environment as the model has. `start` = "weights" also copies what it has learned, not its
    optimizer. `callback` is a callback, a list of them (each agent gets copies), or a function
    without arguments that makes one. `temperature` and `round_steps` are those of `SB3`, for DQN.

        run = fdrl.make_run(env="CartPole-v1", agents=4, agent=own(PPO("MlpPolicy", env)))

    Raises `FdrlError` for a model that cannot be copied.
    """

    if start not in ("fresh", "weights"):
        raise FdrlError(f"start is 'fresh' or 'weights', not {start!r}")
    table = tabled(model, callback, start == "weights")
    return SB3(
        n_envs=int(model.n_envs),
        temperature=temperature,
        round_steps=round_steps,
        model=table,
        start=None if start == "fresh" else start,
    )


def adopt(thing: Any) -> SB3 | None:
    """Return `own(thing)` if it is a Stable-Baselines3 model, else None."""
    if "stable_baselines3" not in sys.modules:
        return None
    from stable_baselines3.common.base_class import BaseAlgorithm

    return own(thing) if isinstance(thing, BaseAlgorithm) else None


# ---- A user's own Stable-Baselines3 model object as the template of every agent's model ----
#
# What is kept of it is its recipe: class, policy class and the arguments it was made with. In a
# config it is plain data, the table `agent.model` (see `by_name`). What only this process has is
# kept here, so a run that needs it can be continued by a script that hands the same model over
# again.


OURS = (
    "self",
    "policy",
    "env",
    "verbose",
    "seed",
    "device",
    "tensorboard_log",
    "_init_setup_model",
)
"""Arguments that an agent's model gets from fdrl, not from the template."""
STORED = {"stats_window_size": "_stats_window_size"}
"""Arguments that SB3 keeps under another name."""
USUAL = (RolloutBuffer, ReplayBuffer, NStepReplayBuffer)
"""Buffers that SB3 chooses itself."""


@dataclass(frozen=True)
class Template:
    """How to make a model of the user's kind; `weights` are None if agents start fresh."""

    cls: type[Any]
    policy: Any
    kwargs: dict[str, Any]
    callback: Any = None
    weights: dict[str, Any] | None = None


_KEPT: dict[str, Template] = {}
"""The templates that were handed over in this process, by the key in their table."""


def tabled(model: Any, callback: Any, weights: bool) -> dict[str, Any]:
    """Keep a model's recipe; return the table that names it in a config.

    Raises `FdrlError` for a model that cannot be a template.
    """
    _check(model)
    state = (
        {n: w.detach().clone() for n, w in model.policy.state_dict().items()} if weights else None
    )
    template = Template(type(model), model.policy_class, _arguments(model), callback, state)
    table: dict[str, Any] = {
        "class": encode(template.cls),
        "policy": encode(template.policy),
        "kwargs": {n: encode(v) for n, v in template.kwargs.items()},
    }
    if callback is not None:
        table["callback"] = encode(callback)
    digest = hashlib.sha256(msgspec.json.encode(table, order="deterministic"))
    for name, value in (state or {}).items():
        digest.update(name.encode() + np.ascontiguousarray(value.cpu().numpy()).tobytes())
    table["key"] = digest.hexdigest()[:16]
    _KEPT[table["key"]] = template
    return table


def template_of(table: Mapping[str, Any]) -> Template:
    """Return the template that a table names: the one handed over here, or what it says itself.

    Raises `FdrlError` if it says too little.
    """
    kept = _KEPT.get(str(table.get("key")))
    if kept is not None:
        return kept
    missing = sorted(local_names(table))
    if missing:
        raise FdrlError(
            f"these agents copy a model object with {', '.join(missing)}, which only the script "
            "that made it has: hand the same model over there, fdrl.make_run(agent=model, ...), "
            "with threads = 1, or put these into a module of their own (at agent.model)"
        )
    try:
        cls, policy, kwargs = (decode(table[n]) for n in ("class", "policy", "kwargs"))
        template = Template(cls, policy, kwargs, decode(table.get("callback")))
    except (KeyError, ImportError, AttributeError, ValueError, TypeError) as error:
        raise FdrlError(
            f"the table of a model object cannot be read: {error} (at agent.model)"
        ) from None
    if not (isinstance(template.cls, type) and issubclass(template.cls, BaseAlgorithm)):
        raise FdrlError(f"{table['class']} is no Stable-Baselines3 algorithm (at agent.model)")
    return template


def made(template: Template, copies: Any) -> tuple[Any, Any]:
    """Return a fresh model of the template's kind on an agent's copies, and its callback or None.

    The template's weights are not loaded here: `start` does that.
    """
    accepted = {n for n, _ in _parameters(template.cls)}
    usual = {"policy": template.policy, "env": copies, "device": "cpu", "verbose": 0}
    arguments = {n: v for n, v in usual.items() if n in accepted}
    own = {n: _fresh(v) for n, v in template.kwargs.items()}
    try:
        model = template.cls(**arguments, **own)
    except (TypeError, ValueError, AssertionError, KeyError, RuntimeError) as error:
        raise FdrlError(
            f"another {template.cls.__name__} like the model object cannot be made: {short(error)}"
        ) from error
    return model, _callback(template.callback)


def start(model: Any, table: Mapping[str, Any]) -> bool:
    """Give a model its template's weights; say whether they were at hand."""
    weights = template_of(table).weights
    if weights is None:
        return False
    try:
        model.policy.load_state_dict(weights)
    except RuntimeError as error:
        first = str(error).splitlines()[-1].strip()
        raise FdrlError(
            f"the model object's network does not fit the environment: {first}"
        ) from None
    return True


def _check(model: Any) -> None:
    """Raise `FdrlError` for a model that agents cannot copy."""
    name = type(model).__name__
    if not isinstance(model, (PPO, A2C, DQN)):
        raise FdrlError(
            f"{name} cannot learn here: PPO, A2C and DQN can, and what is derived from them"
        )
    if not hasattr(model, "policy") or model.policy is None:
        raise FdrlError(
            f"the {name} has no policy yet: make it with an environment, PPO(policy, env)"
        )
    if model.get_vec_normalize_env() is not None:
        raise FdrlError(
            f"the {name}'s environment is normalized (VecNormalize), which agents' environments "
            "are not: train without it, or normalize inside the environment"
        )


def _parameters(cls: type[Any]) -> Iterator[tuple[str, inspect.Parameter]]:
    """Yield the named arguments of a class; those behind ``**kwargs`` are its parents'."""
    seen: set[str] = set()
    for level in cls.__mro__:
        if "__init__" not in vars(level):
            continue
        parameters = inspect.signature(vars(level)["__init__"]).parameters.values()
        for p in parameters:
            if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY) and p.name not in seen:
                seen.add(p.name)
                yield p.name, p
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            return


def _arguments(model: Any) -> dict[str, Any]:
    """Return the arguments that make another model like this one, without those of `OURS`.

    Those that have their default are left out.
    """
    found: dict[str, Any] = {}
    for name, parameter in _parameters(type(model)):
        if name in OURS or (isinstance(model, A2C) and name == "rms_prop_eps"):
            continue
        value = _value(model, name)
        if not _same(value, parameter.default):
            found[name] = value
    return found


def _value(model: Any, name: str) -> Any:
    """Return the argument that a model was made with, undoing what SB3 makes of it."""
    if isinstance(model, A2C) and name == "use_rms_prop":
        return False  # by now it is an optimizer class in policy_kwargs
    try:
        value = getattr(model, STORED.get(name, name))
    except AttributeError:
        raise FdrlError(
            f"{type(model).__name__} does not keep its argument {name!r}: set self.{name}, or name "
            "a function that makes the model (agent.factory)"
        ) from None
    if isinstance(value, FloatSchedule):
        value = value.value_schedule
    if isinstance(value, ConstantSchedule):
        value = value.val
    if isinstance(value, TrainFreq):
        if value.unit != TrainFrequencyUnit.STEP:
            raise FdrlError("DQN must train every so many steps: train_freq = 4, not episodes")
        value = value.frequency
    if name in ("rollout_buffer_class", "replay_buffer_class") and value in USUAL:
        value = None
    if name == "replay_buffer_kwargs" and getattr(model, "n_steps", 1) > 1:
        value = {n: v for n, v in value.items() if n not in ("n_steps", "gamma")}
    return value


def _same(value: Any, default: Any) -> bool:
    """Say whether a value is an argument's default, an empty table being as good as none."""
    if default is None and isinstance(value, Mapping) and not value:
        return True
    return type(value) is type(default) and bool(value == default)


def _fresh(value: Any) -> Any:
    """Copy tables and lists, which models write into; what is in them is shared."""
    if isinstance(value, Mapping):
        return {n: _fresh(v) for n, v in value.items()}
    return [_fresh(v) for v in value] if isinstance(value, list) else value


def _callback(given: Any) -> Any:
    """Return an agent's own callback: a copy of an object, or what a plain function makes."""
    if isinstance(given, list):
        return [_callback(each) for each in given]
    if isinstance(given, BaseCallback):
        try:
            return copy.deepcopy(given)
        except Exception as error:  # whatever the user's objects raise
            raise FdrlError(
                f"callback {type(given).__name__} cannot be copied for every agent ({error}): give "
                "a function that makes one"
            ) from error
    if callable(given) and not inspect.signature(given).parameters:
        return given()
    return given


# ---- Objects as data that TOML can hold: plain values as they are, classes and functions by
# name
#
# What any process can import is named (``{"@object": "torch.nn:ReLU"}``); what only this process
# has (a lambda, a class of the script that runs) is described (``{"@local": ...}``), so that two
# that do the same are told apart from two that do not, and cannot be read back. Nothing is pickled.


def encode(value: Any) -> Any:
    """Return a value as TOML can hold it: data as it is, objects by name."""
    if isinstance(value, bool | int | str):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    if isinstance(value, np.generic):
        return encode(value.item())
    if value is None:
        return {"@none": True}
    if isinstance(value, list | tuple):
        return [encode(v) for v in value]
    if isinstance(value, Mapping) and all(isinstance(n, str) for n in value):
        return {n: encode(v) for n, v in value.items()}
    name = _import_name(value)
    return {"@object": name} if name else {"@local": _describe(value)}


def _import_name(value: Any) -> str:
    """Return "module:name" if any process finds a class or function under it; else nothing."""
    module, name = getattr(value, "__module__", None), getattr(value, "__qualname__", "")
    if not module or module == "__main__" or not name.isidentifier():
        return ""
    try:
        found = getattr(importlib.import_module(module), name, None)
    except ImportError:
        return ""
    return f"{module}:{name}" if found is value else ""


def _describe(value: Any) -> str:
    """Return a local object's name and a hash of what it does, as far as that can be told."""
    kind = value if isinstance(value, type | FunctionType) else type(value)
    name = f"{kind.__module__}.{kind.__qualname__}"
    facts = _facts(value)
    return f"{name}#{hashlib.sha256(repr(facts).encode()).hexdigest()[:8]}"


def _facts(value: Any) -> Any:
    """Return data that differs if a local object's behavior does: code, constants, settings."""
    if isinstance(value, FunctionType):
        cells = [_plain(c.cell_contents) for c in value.__closure__ or ()]
        return [_code(value.__code__), _plain(value.__defaults__), cells]
    if isinstance(value, type):
        return [
            [n, _code(f.__code__)]
            for n, f in sorted(vars(value).items())
            if isinstance(f, FunctionType)
        ]
    return sorted((n, _plain(v)) for n, v in getattr(value, "__dict__", {}).items())


def _code(code: CodeType) -> Any:
    inner = [_code(c) if isinstance(c, CodeType) else repr(c) for c in code.co_consts]
    return [code.co_code.hex(), list(code.co_names), inner]


def _plain(value: Any) -> str:
    """Return data as text; of other objects the type alone, as their text may hold an address."""
    simple = (bool, int, float, str, type(None))
    if isinstance(value, simple):
        return repr(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(_plain(v) for v in value)}]"
    return type(value).__qualname__


def decode(value: Any) -> Any:
    """Return what `encode` was given; raises for a name that cannot be imported."""
    if isinstance(value, list):
        return [decode(v) for v in value]
    if not isinstance(value, Mapping):
        return value
    if set(value) == {"@none"}:
        return None
    if set(value) == {"@object"}:
        return load_object(str(value["@object"]))
    return {n: decode(v) for n, v in value.items()}


def local_names(value: Any) -> set[str]:
    """Return the names of all local objects in a table."""
    if isinstance(value, list):
        return set().union(*map(local_names, value))
    if not isinstance(value, Mapping):
        return set()
    if set(value) == {"@local"}:
        return {str(value["@local"]).partition("#")[0]}
    return set().union(*map(local_names, value.values()))
