"""Finding and opening PettingZoo environments whose agents act at the same time."""

from __future__ import annotations

import functools
import importlib
import inspect
import json
import types
from collections.abc import Callable, KeysView, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from fdrl.core.env import MultiVectorEnv
from fdrl.core.errors import FdrlError, short
from fdrl.core.registry import ENVS, PARALLEL, EnvSpec, Physics, load_object
from fdrl.vector import contract
from fdrl.vector.contract import RAISED
from fdrl.vector.flatten import as_flat, check_is_space
from fdrl.vector.gym import LIMIT, check_maker, check_spaces, whole_limit

Opener = Callable[..., Any]
Vectorizer = Callable[[Sequence[Mapping[str, Any]], Sequence[Any]], MultiVectorEnv]


@dataclass(frozen=True)
class TeamSpec:
    """The agents of one world, in PettingZoo's order, with their spaces."""

    name: str
    agents: tuple[str, ...]
    observation_spaces: tuple[spaces.Box, ...]
    action_spaces: tuple[spaces.Discrete | spaces.Box, ...]
    shown: tuple[spaces.Space[Any], ...]
    """What agents see before it is flattened to `observation_spaces`."""
    open: Opener
    """Makes one world, called with keyword arguments."""
    ids: tuple[Any, ...]
    """The agents as the world itself names them: PettingZoo's ids are often whole numbers."""
    roles: tuple[tuple[int, ...], ...]
    """Agents (indices) that share proxies and parameters: by spaces and name, or as told."""
    physics: Mapping[str, Physics] = field(default_factory=dict)
    """Arguments, one number an agent, that heterogeneity may vary: the class's `physics`."""
    vectorized: Vectorizer | None = None
    """Makes many worlds that step together, if the environment's class can."""
    limit: int = 0
    """Steps after which an episode is truncated; 0: never."""
    told: bool = False
    """Whether what makes a world takes the limit as an argument of its own."""

    def given(self, kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Return a world's own arguments: the limit is one only of those who know it."""
        return {k: v for k, v in kwargs.items() if k != LIMIT or self.told}


def opener(name: str) -> Opener | None:
    """Return what makes the world that `name` stands for; None if it is not a parallel environment.

    Known are ``"module:name_v3"`` of a PettingZoo-style module with ``parallel_env``,
    ``"module:factory"`` (or class) of a `ParallelEnv`, and ids of PettingZoo's registry, with
    ``module:`` in front if importing that registers them.
    """
    if name in ENVS:
        return None
    if ":" not in name:
        return _registered(name) if "/" in name else None
    module_name, _, attribute = name.rpartition(":")
    if not all(part.isidentifier() for part in module_name.split(".")) or not attribute:
        return None  # nothing of that name can be imported
    if "/" in attribute:
        try:
            importlib.import_module(module_name)  # which may register the id
        except RAISED:
            return None  # `find_env` says what is wrong
        return _registered(attribute)
    try:
        found = getattr(importlib.import_module(module_name), attribute, None)
        if found is None:
            found = importlib.import_module(f"{module_name}.{attribute}")
    except ImportError as error:
        check_missing(name, error)
        return None  # `find_env` says what is missing
    except RAISED:
        return None  # and what else is wrong with the module
    if isinstance(found, types.ModuleType):
        made = getattr(found, "parallel_env", None)
        if not callable(made):
            check_turns(name, getattr(found, "env", getattr(found, "raw_env", None)))
        check_maker(name, made) if callable(made) else None
        return made if callable(made) else None
    return _factory(name, found)


def _registered(name: str) -> Opener | None:
    import gymnasium

    if name in gymnasium.registry:
        return None
    import pettingzoo

    if name in PARALLEL:
        load_object(f"{PARALLEL[name]}:__name__")
    if name in pettingzoo.parallel_registry:
        return functools.partial(pettingzoo.make, "parallel", name)
    if name in pettingzoo.aec_registry:
        check_turns(name, functools.partial(pettingzoo.make, "aec", name))
    return None


def _factory(name: str, found: Any) -> Opener | None:
    """Return a class or function that makes a `ParallelEnv`; to know of a function, call it."""
    if not callable(found) or isinstance(found, EnvSpec):
        return None
    check_maker(name, found)
    from pettingzoo import ParallelEnv

    if inspect.isclass(found):
        check_turns(name, found)
        return found if issubclass(found, ParallelEnv) else None
    returns = getattr(found, "__annotations__", {}).get("return")
    if returns is not None and "Parallel" in str(returns):
        return found  # type: ignore[no-any-return]
    try:
        env = found()
    except RAISED:
        return None
    check_turns(name, env)
    made = isinstance(env, ParallelEnv)
    if hasattr(env, "close"):
        contract.close(env, name)
    return found if made else None


def team_spec(
    name: str, kwargs: Mapping[str, Any], groups: Sequence[Sequence[str]] | None = None
) -> TeamSpec | None:
    """Return what is known of a world's agents; None if `name` is no parallel environment."""
    return _team_spec(name, json.dumps(kwargs, sort_keys=True), json.dumps(groups))


@functools.lru_cache(maxsize=64)
def _team_spec(name: str, kwargs: str, groups: str) -> TeamSpec | None:
    made = opener(name)
    if made is None:
        return None
    given = json.loads(kwargs)
    limit, told = whole_limit(name, given[LIMIT]) if LIMIT in given else 0, _takes_limit(made)
    if not told:
        given.pop(LIMIT, None)
    env = open_world(name, made, given)
    ids = _ids(name, env)
    agents = tuple(str(a) for a in ids)
    seen = tuple(_space(name, env, "observation_space", a) for a in ids)
    moves = tuple(_space(name, env, "action_space", a) for a in ids)
    physics = getattr(env.unwrapped, "physics", None)
    known = physics if isinstance(physics, Mapping) else {}
    known = {name: p for name, p in known.items() if isinstance(p, Physics)}
    many = getattr(type(env.unwrapped), "vectorized", None)
    vectorized = many if inspect.ismethod(many) else None  # a class method, not just of that name
    contract.close(env, name)
    for agent, observations, actions in zip(agents, seen, moves, strict=True):
        check_spaces(f"{name}, {agent}", as_flat(observations)[1], actions)
    shown, boxes = (tuple(part) for part in zip(*(as_flat(s) for s in seen), strict=True))
    found = _roles(agents, boxes, moves)
    roles = _forced(name, agents, boxes, moves, json.loads(groups)) if groups != "null" else found
    return TeamSpec(
        name, agents, boxes, moves, shown, made, ids, roles, known, vectorized, limit, told
    )


def _takes_limit(made: Opener) -> bool:
    try:
        parameters = inspect.signature(made).parameters
    except (TypeError, ValueError):  # a callable that does not say what it takes
        return False
    return LIMIT in parameters


def _ids(name: str, env: Any) -> tuple[Any, ...]:
    """Return a world's agents as it names them; raise unless all are listed and can be told apart.

    Agents are known by `str(id)`, so ids are texts or numbers, or tuples of such.
    """
    listed = _attribute(name, env, "possible_agents")
    if not isinstance(listed, Sequence | KeysView) or isinstance(listed, str) or not listed:
        raise FdrlError(
            f"environment {name!r} does not list its possible_agents: they are "
            f"{short(listed)}, but must be a list of ids"
        )
    ids = tuple(listed)
    for one in ids:
        if not _is_id(one):
            raise FdrlError(
                f"environment {name!r}: the agent id {short(one)} is of type "
                f"{type(one).__name__}, but ids must be texts or whole numbers"
            )
    agents = [str(one) for one in ids]
    twins = [a for i, a in enumerate(agents) if a in agents[:i]]
    if twins:
        raise FdrlError(
            f"environment {name!r}: possible_agents has {twins[0]!r} more than once; agent ids "
            "must differ, also as texts"
        )
    return ids


def _is_id(one: Any) -> bool:
    if isinstance(one, tuple):
        return all(map(_is_id, one))
    return isinstance(one, str | int | float | np.number | Enum)


def _attribute(name: str, env: Any, attribute: str) -> Any:
    try:
        return getattr(env, attribute, None)
    except RAISED as error:
        raise FdrlError(
            f"environment {name!r}: {attribute} raised {contract.said(error)}"
        ) from error


def _space(name: str, env: Any, which: str, agent: Any) -> Any:
    """Return an agent's space; raise unless the world gives one, and always the same."""
    method = _attribute(name, env, which)
    if not callable(method):
        raise FdrlError(
            f"environment {name!r}: {which} is {short(method)}, but observation_space and "
            "action_space must be methods that take an agent"
        )
    try:
        space, again = method(agent), method(agent)
        check_is_space(f"{which}({agent!r})", space)
    except FdrlError as error:
        raise FdrlError(f"environment {name!r}: {error}") from None
    except RAISED as error:
        raise FdrlError(
            f"environment {name!r}: {which}({agent!r}) raised {contract.said(error)}"
        ) from error
    if space != again:
        raise FdrlError(
            f"environment {name!r}: {which}({agent!r}) gave {short(space)}, then {short(again)}; "
            "an agent's space must not change"
        )
    return space


def said_of_team(team: TeamSpec) -> str | None:
    """Say in a line which observations are flattened; None if none are."""
    changed = {
        f"{short(before)} to {after.shape}"
        for before, after in zip(team.shown, team.observation_spaces, strict=True)
        if before is not after
    }
    if not changed:
        return None
    return (
        f"environment {team.name!r}: its observations are flattened, {', '.join(sorted(changed))}"
    )


def masks_of_team(team: TeamSpec) -> tuple[str, ...]:
    """Return the names of what agents are shown, where that is a dictionary."""
    kinds = (space.spaces for space in team.shown if isinstance(space, spaces.Dict))
    return tuple({str(key): None for parts in kinds for key in parts})


def resting(space: Any, worlds: int) -> NDArray[Any]:
    """Return what is done for an agent that nobody plays: action 0 [W], or nearest to 0 [W, D]."""
    if isinstance(space, spaces.Discrete):
        return np.zeros(worlds, np.int64)
    nearest = np.clip(np.zeros(space.shape), space.low, space.high).astype(np.float32)
    return np.repeat(nearest[None], worlds, axis=0)


def random_moves(moves: Mapping[str, Any], draw: np.random.Generator) -> dict[str, NDArray[Any]]:
    """Draw an action of every agent in one world, by its space: [1] from 0, or [1, D]."""
    return {
        agent: draw.integers(int(space.n), size=1)
        if isinstance(space, spaces.Discrete)
        else draw.uniform(space.low, space.high, (1, *space.shape)).astype(np.float32)
        for agent, space in moves.items()
    }


def open_world(name: str, made: Opener, kwargs: Mapping[str, Any]) -> Any:
    """Make one world, or raise with the reason."""
    from pettingzoo import ParallelEnv

    try:
        env = made(**kwargs)
    except RAISED as error:
        raise FdrlError(
            f"environment {name!r} could not be made with {dict(kwargs)}: {contract.said(error)}"
        ) from error
    if not isinstance(env, ParallelEnv):
        raise FdrlError(f"{name!r} gave {type(env).__name__}, but must give a ParallelEnv")
    return env


def _roles(
    agents: tuple[str, ...], seen: Sequence[Any], moves: Sequence[Any]
) -> tuple[tuple[int, ...], ...]:
    """Group agents of equal spaces whose names differ in their number alone."""
    found: list[tuple[Any, list[int]]] = []
    for i, agent in enumerate(agents):
        key = (agent.rpartition("_")[0], seen[i], moves[i])
        for known, members in found:
            if known == key:
                members.append(i)
                break
        else:
            found.append((key, [i]))
    return tuple(tuple(members) for _, members in found)


def _forced(
    name: str, agents: tuple[str, ...], seen: Sequence[Any], moves: Sequence[Any],
    groups: Sequence[Sequence[str]],
) -> tuple[tuple[int, ...], ...]:  # fmt: skip
    """Return the roles that the config asks for, checked."""
    named = [a for group in groups for a in group]
    if sorted(named) != sorted(agents):
        raise FdrlError(
            f"config: groups must name each agent of {name!r} once: {', '.join(agents)}"
        )
    roles = tuple(tuple(sorted(agents.index(a) for a in group)) for group in groups)
    for role in roles:
        for i in role[1:]:
            first = role[0]
            if (seen[i], moves[i]) != (seen[first], moves[first]):
                raise FdrlError(
                    f"config: groups: {agents[first]} and {agents[i]} cannot share a role: "
                    f"{seen[first]}, {moves[first]} against {seen[i]}, {moves[i]}"
                )
    return roles


# ---- PettingZoo environments that cannot be trained as they are: what to tell their users ----


def check_turns(name: str, found: Any) -> None:
    """Raise if `found` is, or makes, an environment whose agents act one after another.

    `found` is such an environment (an `AECEnv`), its class, a function that makes it, or None.
    """
    from pettingzoo import AECEnv

    if found is None or (inspect.isclass(found) and not issubclass(found, AECEnv)):
        return
    env = found if isinstance(found, AECEnv) else _made(found)
    if env is None and not inspect.isclass(found):
        return
    if env is not None and not isinstance(env, AECEnv):
        return
    known = getattr(env, "metadata", None) or {}
    raise FdrlError(
        f"environment {name!r}: its agents take turns; fdrl trains agents that act at the same "
        "time (PettingZoo's parallel API)" + _conversion(known.get("is_parallelizable"))
    )


def _made(found: Any) -> Any:
    try:
        return found()
    except RAISED:  # what it needs is not our business here
        return None


def _conversion(parallelizable: bool | None) -> str:
    if parallelizable is False:
        return ", and it says that it cannot be converted (is_parallelizable is False)"
    said = ", and it says that it can be converted: " if parallelizable else "; if they may: "
    return (
        f"{said}give a function that returns pettingzoo.utils.conversions.aec_to_parallel(env), "
        "as module:function"
    )


def check_missing(name: str, error: ImportError) -> None:
    """Raise if a package is missing that one of PettingZoo's own environments needs."""
    missing = getattr(error, "name", None) or ""
    if not name.startswith("pettingzoo.") or not missing or missing.startswith("pettingzoo"):
        return
    extra = ': pip install "fdrl[butterfly]"' if name.startswith("pettingzoo.butterfly") else ""
    raise FdrlError(f"environment {name!r} needs the package {missing!r}, which is missing{extra}")
