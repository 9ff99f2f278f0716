"""A user's own Stable-Baselines3 model object as the template of every agent's model.

What is kept of it is its recipe: class, policy class and the arguments it was made with. In a
config it is plain data, the table `agent.model` (see `by_name`). What only this process has is kept
here, so a run that needs it can be continued by a script that hands the same model over again.
"""

from __future__ import annotations

import copy
import hashlib
import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from stable_baselines3 import A2C, DQN, PPO
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.buffers import NStepReplayBuffer, ReplayBuffer, RolloutBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.type_aliases import TrainFreq, TrainFrequencyUnit
from stable_baselines3.common.utils import ConstantSchedule, FloatSchedule

from fdrl.errors import FdrlError, short

from .by_name import decode, encode, local_names

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
