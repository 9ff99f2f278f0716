"""Does an environment keep to what fdrl needs? Every finding says what to mend."""

from __future__ import annotations

import contextlib
import io
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from operator import itemgetter
from typing import Any, Literal

import numpy as np
from gymnasium import spaces
from gymnasium.utils.env_checker import check_env as gymnasium_check_env

from fdrl.core.arrays import Array
from fdrl.core.env import MultiVectorEnv, Step, VectorEnv
from fdrl.core.errors import FdrlError, heard, short
from fdrl.vector import contract
from fdrl.vector.contract import RAISED, EnvFault
from fdrl.vector.factory import EnvFactory, limited, make_factory
from fdrl.vector.flatten import said_of
from fdrl.vector.gym import check_spaces, open_env
from fdrl.vector.heterogeneity import Dynamics, Nothing
from fdrl.vector.parallel import (
    TeamSpec,
    open_world,
    random_moves,
    said_of_team,
    team_spec,
)
from fdrl.vector.parallel_loop import check_ends, make_worlds

Level = Literal["ok", "warning", "error"]
STEPS = 100
COLOR = re.compile(r"\x1b\[\d+m(WARN: )?")
NAMES = {
    "reset": "reset",
    "step": "step",
    "shape": "observation shape",
    "finite": "finite observations",
    "spaces": "spaces",
    "resume": "resume",
}
MEND = {
    "reset": "Let reset(seed=..., options=...) return (observation, info) without an exception.",
    "step": "Let step(action) take every action of action_space without an exception, and return "
    "(observation, reward, terminated, truncated, info).",
    "shape": "Return a NumPy array of exactly the shape of observation_space from reset and step, "
    "or change observation_space to what they return.",
    "finite": "Return only finite numbers as observation and reward: guard divisions, roots and "
    "logarithms, and end the episode (terminated) before a value overflows.",
    "spaces": "Give every copy the same spaces: they must not depend on the arguments.",
    "resume": "Let reset(seed=...) fix everything that an episode depends on.",
}
"""What to change in the environment, for each kind of fault."""
# What names the copy among those that the check itself has made, which no user has heard of.
COPY = re.compile(r"(?<=['\"]), agent [^,]*(?=, step \d+ of the episode)|, agent \d+ copy \d+\b")


@dataclass(frozen=True)
class Finding:
    """One thing that was checked: whether it holds, and if not, how to mend it."""

    level: Level
    check: str
    message: str


def check_env(name: str, **kwargs: Any) -> list[Finding]:
    """Check an environment, made with `kwargs`; it is usable if no finding's level is "error".

    An error is what training refuses, or stops at. A promise that agents can learn without, such as
    that a run can be repeated or resumed to the bit, is a warning where it is not kept.

    >>> {f.level for f in check_env("CartPole-v1")}
    {'ok'}
    """
    try:
        factory = _two_agents(name, kwargs)
    except FdrlError as error:
        return [Finding("error", "found", str(error))]
    found = Finding("ok", "found", f"environment {factory.spec.name!r} was found")
    with heard() as notes:
        findings = [found, *_checked(factory)]
    return findings + _noted(notes, findings)


def _noted(notes: Sequence[str], findings: Sequence[Finding]) -> list[Finding]:
    """Return what training would say as warnings, unless a finding says it already."""
    known = " ".join(f.message for f in findings)
    return [Finding("warning", "note", n) for n in dict.fromkeys(notes) if n not in known]


def _checked(factory: EnvFactory) -> list[Finding]:
    """Run all checks, or those up to the one without which no other makes sense."""
    findings: list[Finding] = []
    checks: tuple[tuple[str, Check], ...] = (
        ("spaces", _spaces),
        ("rollout", _rollout),
        ("gymnasium", _gymnasium),
        ("seeding", _seeding),
        ("copies", _copies),
        ("resume", _resume),
        ("episode limit", _limit),
        ("proxy box", _proxy_box),
    )
    for place, (check, run) in enumerate(checks, 1):
        found = _run(check, run, factory)
        findings += found
        # Without spaces or a rollout everything else would only say the same again.
        if check in ("spaces", "rollout") and any(f.level == "error" for f in found):
            return [*findings, _skipped([name for name, _ in checks[place:]])]
    return findings


def _skipped(checks: Sequence[str]) -> Finding:
    return Finding("warning", "skipped", f"not checked until that is mended: {', '.join(checks)}")


Check = Callable[[EnvFactory], Iterable[Finding]]


def _run(check: str, run: Check, factory: EnvFactory) -> list[Finding]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return list(run(factory))
    except EnvFault as error:
        if error.kind == "resume":  # found only where an episode is played again
            return [Finding("warning", NAMES[error.kind], f"{error}. {MEND[error.kind]}")]
        what = COPY.sub("", str(error)).rstrip(".")
        return [Finding("error", NAMES[error.kind], f"{what}. {MEND[error.kind]}")]
    except Exception as error:
        if isinstance(error, FdrlError):
            return [Finding("error", check, str(error))]
        what = f"{type(error).__name__}: {error}".rstrip(".")
        fix = f" {MEND['step']}" if check == "rollout" else ""
        return [Finding("error", check, f"{what}.{fix}")]


def _two_agents(name: str, kwargs: dict[str, Any]) -> EnvFactory:
    factory = make_factory(name, 2, Nothing(), 0, kwargs, unlimited=True)
    if any(p.varies for p in factory.spec.physics.values()):
        return make_factory(name, 2, Dynamics(0.5), 0, kwargs, unlimited=True)
    return factory


def _actions(factory: EnvFactory, env: VectorEnv, steps: int = STEPS) -> Array:
    """Draw actions [steps, E] or, if they are continuous, [steps, E, D]."""
    copies = env.count // len(factory.kwargs)
    drawn = factory.random_actions(np.random.default_rng(1), steps * copies)
    return drawn.reshape(steps, copies, *drawn.shape[1:])


def _play(factory: EnvFactory, env: VectorEnv, actions: Iterable[Array]) -> Iterator[Step]:
    """Step with the same actions [E, ...] for every agent; yield copies of what came back."""
    for a in actions:
        step = env.step(np.concatenate([a] * len(factory.kwargs)))
        yield _mapped(step, np.array)


def _trajectory(factory: EnvFactory, copies: int = 1) -> list[Step]:
    env = factory.vector(copies)
    env.reset()
    steps = list(_play(factory, env, _actions(factory, env)))
    env.close()
    return steps


def _mapped(step: Step, change: Callable[[Array], Array]) -> Step:
    """Return a step with every array changed."""
    return Step(*map(change, step.arrays))


def _same(a: Iterable[Step], b: Iterable[Step]) -> bool:
    return all(
        np.array_equal(x, y)
        for s, t in zip(a, b, strict=True)
        for x, y in zip(s.arrays, t.arrays, strict=True)
    )


def _spaces(factory: EnvFactory) -> Iterator[Finding]:
    seen, moves = factory.observation_space, factory.action_space
    if not factory.spec.vector:
        for agent, kwargs in enumerate((*factory.kwargs, *factory.held_out)):
            env = open_env(factory.spec, kwargs)
            check_spaces(factory.spec.name, env.observation_space, env.action_space)
            same = env.observation_space.shape == seen.shape and env.action_space == moves
            if not agent and (said := said_of(env, factory.spec.name)):
                yield Finding("ok", "spaces", said)
            contract.close(env, factory.spec.name)
            if not same:
                yield Finding("error", "spaces", f"the spaces of agent {agent} differ: {kwargs}")
    acts = f"actions {moves}" if factory.gaussian else f"{factory.n_actions} actions"
    yield Finding("ok", "spaces", f"observations {seen.shape}, {acts}")


def _rollout(factory: EnvFactory) -> Iterator[Finding]:
    env = factory.vector(2)
    first = np.array(env.reset())
    steps = list(_play(factory, env, _actions(factory, env)))
    env.close()
    shape = (env.count, *factory.observation_shape)
    for seen in (first, *(o for s in steps for o in (s.observations, s.next_observations))):
        if seen.shape != shape or seen.dtype != np.float32:
            what = (
                f"observations are {seen.dtype} {seen.shape}, but must be float32 {shape}; "
                "let reset and step of the vector class return arrays of that type and shape"
            )
            yield Finding("error", "observation shape", what)
            return
        if not np.isfinite(seen).all():
            what = f"an observation is not finite: {seen}. {MEND['finite']}"
            yield Finding("error", "finite observations", what)
            return
    yield Finding("ok", "rollout", f"{STEPS} random steps gave finite float32 observations")


def _gymnasium(factory: EnvFactory) -> Iterator[Finding]:
    """Run Gymnasium's own checker; a vector class is compared with its Gymnasium twin's spaces."""
    spec = factory.spec
    if spec.vector and not spec.gym_id:
        yield Finding("warning", "gymnasium", "no gym_id: this environment cannot be rendered")
        return
    env = open_env(spec, {} if spec.vector else factory.kwargs[0])
    if spec.vector:
        same = (env.observation_space, env.action_space) == factory._spaces
        contract.close(env, spec.name)
        if not same:
            yield Finding("error", "gymnasium", f"the spaces differ from those of {spec.gym_id!r}")
            return
    else:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                gymnasium_check_env(env.unwrapped, skip_render_check=True)
            except RAISED as error:
                what = f"Gymnasium's own checker says {contract.said(error)}"
                yield Finding("warning", "gymnasium", what)
                return
            finally:
                contract.close(env, spec.name)
        for message in dict.fromkeys(COLOR.sub("", str(w.message)) for w in caught):
            yield Finding("warning", "gymnasium", message)
    yield Finding("ok", "gymnasium", "keeps to Gymnasium's API")


def _seeding(factory: EnvFactory) -> Iterator[Finding]:
    once = _trajectory(factory)
    if not _same(once, _trajectory(factory)):
        yield Finding(
            "warning",
            "seeding",
            "the same seed gave two different trajectories; call super().reset(seed=seed) in "
            "reset and draw every random number from self.np_random",
        )
    elif _same(once, _trajectory(replace(factory, seed=1))):
        yield Finding(
            "warning",
            "seeding",
            "different seeds gave the same trajectory; if episodes are meant to differ, draw "
            "them from self.np_random in reset",
        )
    else:
        yield Finding("ok", "seeding", "the same seed gives the same trajectory, another differs")


def _copies(factory: EnvFactory) -> Iterator[Finding]:
    together = _trajectory(factory)
    for k in range(len(factory.kwargs)):
        alone = _trajectory(factory.subset([k]))
        row = [_mapped(step, itemgetter(slice(k, k + 1))) for step in together]
        if not _same(alone, row):
            yield Finding(
                "warning",
                "copies",
                "a copy behaves differently when other copies are stepped beside it; copies "
                "must not share state (module globals, class attributes, numpy.random)",
            )
            return
    yield Finding("ok", "copies", "each copy is independent of the others")


def _resume(factory: EnvFactory) -> Iterator[Finding]:
    env = factory.vector(2)
    env.reset()
    actions = _actions(factory, env)
    half = len(actions) // 2
    list(_play(factory, env, actions[:half]))
    saved = {key: np.array(value) for key, value in env.state().items()}
    going_on = list(_play(factory, env, actions[half:]))
    env.close()
    if any(len(value) != env.count for value in saved.values()):
        yield Finding("error", "resume", "the first axis of every array in state() must be n")
        return
    again = factory.vector(2)
    again.load_state(saved)
    resumed = list(_play(factory, again, actions[half:]))
    again.close()
    if _same(going_on, resumed):
        yield Finding("ok", "resume", "a saved state continues to the bit")
    else:
        yield Finding(
            "warning",
            "resume",
            "a resumed episode went on differently; reset(seed=...) must fix everything that an "
            "episode depends on, its random numbers and leftovers of earlier episodes included",
        )


def _limit(factory: EnvFactory) -> Iterator[Finding]:
    """With a limit of 3 steps, the third must be truncated, not terminated, and reset."""
    env = replace(factory, spec=replace(factory.spec, max_steps=3)).vector(1)
    env.reset()
    steps = list(_play(factory, env, _actions(factory, env, 3)))
    env.close()
    ended = any(s.terminated.any() or s.truncated.any() for s in steps[:2])
    if not ended and not steps[2].terminated.any() and not steps[2].truncated.all():
        yield Finding("error", "episode limit", "the step at the limit was not marked as truncated")
    elif (steps[2].terminated & steps[2].truncated).any():
        yield Finding("error", "episode limit", "a step must not be both terminated and truncated")
    elif said := limited(factory.spec, factory.kwargs[0], factory.seed)[1]:
        yield Finding("warning", "episode limit", said)
    else:
        yield Finding("ok", "episode limit", "episodes are truncated at the limit")


def _proxy_box(factory: EnvFactory) -> Iterator[Finding]:
    low, high = factory.proxy_box()
    if not (np.isfinite(low).all() and np.isfinite(high).all() and (low < high).all()):
        yield Finding("error", "proxy box", f"low {low} must be below high {high}, both finite")
    elif factory.proxy_box_steps:
        yield Finding(
            "warning",
            "proxy box",
            f"the observation space is unbounded, so {factory.proxy_box_steps} random steps "
            "measured where states are; register the environment with proxy_low and proxy_high "
            "to say it better",
        )
    else:
        yield Finding("ok", "proxy box", "the box of proxy states is known")


# ---- Checks of a PettingZoo parallel environment ----


WORLD_STEPS = 50
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
    with warnings.catch_warnings(), heard() as notes:
        warnings.simplefilter("ignore")
        for check in (_official, _ours, _leaving):
            try:
                findings.append(check(team, team.given(kwargs)))
            except FdrlError as error:
                findings.append(Finding("error", "rollout", str(error)))
                break  # everything else would only say the same again
    return findings + _noted(notes, findings)


def _said(team: TeamSpec) -> str:
    roles = [
        f"{', '.join(team.agents[i] for i in role)} see "
        f"{short(team.observation_spaces[role[0]])} and choose "
        f"{_choice(team.action_spaces[role[0]])}"
        for role in team.roles
    ]
    said = said_of_team(team)
    return "federated with each other: " + "; ".join(roles) + (f"; {said}" if said else "")


def _choice(space: spaces.Discrete | spaces.Box) -> str:
    return f"of {space.n} actions" if isinstance(space, spaces.Discrete) else f"from {space}"


def _official(team: TeamSpec, kwargs: dict[str, Any]) -> Finding:
    from pettingzoo.test import parallel_api_test

    env = open_world(team.name, team.open, kwargs)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            parallel_api_test(env, num_cycles=WORLD_STEPS)
    except RAISED as error:  # whether agents can be trained all the same is seen below
        what = f"PettingZoo's parallel_api_test says {contract.said(error)}"
        return Finding("warning", "pettingzoo", what)
    finally:
        contract.close(env, team.name)
    return Finding("ok", "pettingzoo", "PettingZoo's parallel_api_test passes")


def _ours(team: TeamSpec, kwargs: dict[str, Any]) -> Finding:
    """Play two worlds of one seed, and one resumed halfway: all must agree to the bit."""
    seeds = [np.random.SeedSequence(1)]
    draw = np.random.Generator(np.random.PCG64(2))
    one, two, late = (make_worlds(team, [kwargs], seeds, ["world"]) for _ in range(3))
    one.reset(), two.reset()
    try:
        differs = _compare(team, one, two, late, draw)
    except EnvFault as error:
        if error.kind != "resume":
            raise
        differs = str(error)
    finally:
        for world in (one, two, late):
            world.close()
    if differs:
        return Finding("warning", "seeding", differs)
    return Finding("ok", "rollout", f"{WORLD_STEPS} steps: finite, seeded, resumed to the bit")


def _compare(
    team: TeamSpec, one: MultiVectorEnv, two: MultiVectorEnv, late: MultiVectorEnv,
    draw: np.random.Generator,
) -> str:  # fmt: skip
    """Play worlds of one seed side by side; say what differs first, or nothing."""
    for t in range(WORLD_STEPS):
        moves = random_moves(dict(zip(team.agents, team.action_spaces, strict=True)), draw)
        if t == WORLD_STEPS // 2:
            late.load_state(one.state())
        steps = [w.step(moves) for w in ((one, two, late) if t >= WORLD_STEPS // 2 else (one, two))]
        for agent in team.agents:
            for other in steps[1:]:
                if not np.array_equal(steps[0].observations[agent], other.observations[agent]):
                    return (
                        f"environment {team.name!r}: with the same seed and actions, {agent} saw "
                        f"something else at step {t}; reset(seed=...) must fix all randomness"
                    )
    return ""


def _leaving(team: TeamSpec, kwargs: dict[str, Any]) -> Finding:
    """Play an episode of random actions; say how many agents leave before the others do."""
    check_ends(team, kwargs)
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
