"""Budgets and goals: how long agents learn, and what ends a run early."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import msgspec

from fdrl.config.tables import comes_with_fdrl, type_of
from fdrl.core.errors import FdrlError
from fdrl.core.registry import AGENTS, ENVS, load_object
from fdrl.core.settings import LearnerSettings, convert

UNKNOWN_LENGTH = 10_000
"""Steps that an episode may take where the environment's limit is not known."""


class Goal(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A mission (``[goal]`` in TOML): each agent's episode and step of completing it are recorded.

    An agent completes it at the end of the first episode at which the mean return of its last
    `window` training episodes exceeds `mean` (arXiv 1907.06536: more than 490 over 10).
    """

    mean: float
    """Mean training return that an agent must exceed."""
    window: Annotated[int, msgspec.Meta(ge=1)] = 10
    """Episodes over which the mean is taken."""
    stop: bool = True
    """End the run after the round in which the last agent has completed."""


def longest_episode(env: str, env_kwargs: Mapping[str, Any]) -> int:
    """Return the most steps that an episode can take; `UNKNOWN_LENGTH` if nobody says."""
    given = env_kwargs.get("max_episode_steps", 0)
    if isinstance(given, int) and given > 0:
        return given
    known = ENVS.spec(env).max_steps if env in ENVS else _elsewhere_limit(env)
    return known or UNKNOWN_LENGTH


def _elsewhere_limit(env: str) -> int:
    """Return the time limit of a Gymnasium id or of what a module holds; 0 if there is none."""
    from fdrl.vector.gym import (
        find_env,  # imports Gymnasium, which built-in environments do without
    )

    try:
        return find_env(env).max_steps
    except FdrlError:  # said with more reason where the environment is built
        return 0


def step_cap(raw: Mapping[str, Any], agents: Sequence[Mapping[str, Any]]) -> int:
    """Return steps that a budget of episodes cannot exceed: what `steps` is if only that is given.

    `raw` are the tables of a `fdrl.Run`, `agents` those of its learners. Every copy may have an
    episode in progress, so each counts for one more; the copies must share the steps evenly.
    """
    longest = longest_episode(str(raw.get("env") or ENVS.default().name), raw.get("env_kwargs", {}))
    return _cap(int(raw["episodes"]), longest, [_copies(agent) for agent in agents])


def _cap(episodes: int, longest: int, copies: Sequence[int]) -> int:
    most, unit = (episodes + max(copies)) * longest, math.lcm(*copies)
    return -(-most // unit) * unit


def implied_cap(raw: Mapping[str, Any], agents: Sequence[Mapping[str, Any]], steps: int) -> int:
    """Return what `step_cap` is for a run of so many `steps`, without importing anything.

    How long the episodes of somebody's own environment are is then what `steps` implies, and a
    learner that does not come with fdrl has the copies that its table says.
    """
    env, kwargs = str(raw["env"]), raw.get("env_kwargs", {})
    copies = [
        _copies(agent)
        if comes_with_fdrl("agent", type_of({"agent": agent}, "agent"))
        else _said(agent)
        for agent in agents
    ]
    known = ":" not in env or "max_episode_steps" in kwargs
    longest = longest_episode(env, kwargs) if known else steps // (raw["episodes"] + max(copies))
    return _cap(int(raw["episodes"]), longest, copies)


def _said(agent: Mapping[str, Any]) -> int:
    copies = agent.get("n_envs", 1)
    return copies if isinstance(copies, int) and copies > 0 else 1


def _copies(agent: Mapping[str, Any]) -> int:
    """Return the environment copies that a learner steps together."""
    cls = load_object(AGENTS.spec(str(agent.get("type", AGENTS.default().name))).settings)
    try:
        settings: LearnerSettings = convert(dict(agent), cls)
    except msgspec.ValidationError:  # complained of where the whole config is read
        return 1
    return settings.copies
