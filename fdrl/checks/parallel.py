"""Checks of a PettingZoo parallel environment."""

from __future__ import annotations

import contextlib
import io
import warnings
from typing import Any

import numpy as np
from gymnasium import spaces

from fdrl.checks.env import Finding
from fdrl.errors import FdrlError
from fdrl.parallel import TeamSpec, open_world, random_moves, said_of_team, team_spec
from fdrl.parallelloop import make_worlds

STEPS = 50
EPISODE = 500
"""Steps that are played to see who leaves early, at most."""


def check_parallel_env(name: str, **kwargs: Any) -> list[Finding]:
    """Check an environment of several agents; it is usable if no finding's level is "error".

    PettingZoo's own test is run, then: roles, a rollout, equal seeds, and resuming to the bit.
    """
    try:
        team = team_spec(name, kwargs)
        if team is None:
            raise FdrlError(f"{name!r} is no PettingZoo parallel environment")
    except FdrlError as error:
        return [Finding("error", "found", str(error))]
    findings = [Finding("ok", "roles", _said(team))]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for check in (_official, _ours, _leaving):
            try:
                findings.append(check(team, kwargs))
            except FdrlError as error:
                findings.append(Finding("error", "rollout", str(error)))
            except Exception as error:
                what = f"{type(error).__name__}: {error}"
                findings.append(Finding("error", "pettingzoo", what))
    return findings


def _said(team: TeamSpec) -> str:
    roles = [
        f"{', '.join(team.agents[i] for i in role)} see {team.observation_spaces[role[0]]} and "
        f"choose {_choice(team.action_spaces[role[0]])}"
        for role in team.roles
    ]
    said = said_of_team(team)
    return "federated with each other: " + "; ".join(roles) + (f"; {said}" if said else "")


def _choice(space: spaces.Discrete | spaces.Box) -> str:
    return f"of {space.n} actions" if isinstance(space, spaces.Discrete) else f"from {space}"


def _official(team: TeamSpec, kwargs: dict[str, Any]) -> Finding:
    from pettingzoo.test import parallel_api_test

    env = open_world(team.name, team.open, kwargs)
    with contextlib.redirect_stdout(io.StringIO()):
        parallel_api_test(env, num_cycles=STEPS)
    return Finding("ok", "pettingzoo", "PettingZoo's parallel_api_test passes")


def _ours(team: TeamSpec, kwargs: dict[str, Any]) -> Finding:
    """Play two worlds of one seed, and one resumed halfway: all must agree to the bit."""
    seeds = [np.random.SeedSequence(1)]
    draw = np.random.Generator(np.random.PCG64(2))
    one, two, late = (make_worlds(team, [kwargs], seeds, ["world"]) for _ in range(3))
    one.reset(), two.reset()
    for t in range(STEPS):
        moves = random_moves(dict(zip(team.agents, team.action_spaces, strict=True)), draw)
        if t == STEPS // 2:
            late.load_state(one.state())
        steps = [w.step(moves) for w in ((one, two, late) if t >= STEPS // 2 else (one, two))]
        for agent in team.agents:
            for other in steps[1:]:
                if not np.array_equal(steps[0].observations[agent], other.observations[agent]):
                    raise FdrlError(
                        f"environment {team.name!r}: with the same seed and actions, {agent} saw "
                        f"something else at step {t}; reset(seed=...) must fix all randomness"
                    )
    for world in (one, two, late):
        world.close()
    return Finding("ok", "rollout", f"{STEPS} steps: finite, seeded, resumed to the bit")


def _leaving(team: TeamSpec, kwargs: dict[str, Any]) -> Finding:
    """Play an episode of random actions; say how many agents leave before the others do."""
    world = make_worlds(team, [kwargs], [np.random.SeedSequence(3)], ["world"])
    draw = np.random.Generator(np.random.PCG64(4))
    world.reset()
    moves = dict(zip(team.agents, team.action_spaces, strict=True))
    here, left, t = set(team.agents), set[str](), 0
    while here and t < EPISODE:
        step, t = world.step(random_moves(moves, draw)), t + 1
        left |= set(team.agents) - here
        here = {a for a in here if not (step.terminated[a][0] or step.truncated[a][0])}
    world.close()
    played = f"an episode of {t} random steps" if not here else f"{t} random steps"
    if not left:
        return Finding("ok", "leaving", f"{played}: all agents stay until the end")
    return Finding(
        "ok",
        "leaving",
        f"{played}: {len(left)} of {len(team.agents)} agents leave before the others do "
        f"({', '.join(sorted(left))}); until their world is over, they are masked",
    )
