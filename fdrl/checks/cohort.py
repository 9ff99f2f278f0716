"""Does a learner keep the promises of `fdrl.Cohort`? Run this on your own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fdrl.core.arrays import Floats
from fdrl.core.cohort import (
    Cohort,
    CohortContext,
    Experience,
    Interruptible,
    Part,
    Valued,
    is_gaussian,
)
from fdrl.core.errors import FdrlError
from fdrl.core.registry import ENVS
from fdrl.core.settings import DistillSettings
from fdrl.ops import gaussian
from fdrl.ops.losses import kl
from fdrl.vector.factory import make_factory
from fdrl.vector.heterogeneity import Nothing


def check_cohort(make: Make, env: str = "") -> None:
    """Try a learner on three agents; raise `BrokenRule` at the first promise it breaks.

    `make(context)` builds the cohort, e.g. ``lambda c: my_module.make(MySettings(), c)``. The
    environment (unset: the one that configs mean which name none) should end most episodes within a
    few hundred steps of a random policy.
    """
    env = env or ENVS.default().name
    for rule in (
        _check_learning,
        _check_answers,
        _check_parameters,
        _check_initial_weights,
        _check_distillation,
        _check_zero_weights,
        _check_borrowed_optimizer,
        _check_independence,
        _check_staggering,
        _check_resume,
        _check_evaluation,
        _check_anchor,
        check_values,
    ):
        rule(make, env)


def _check_learning(make: Make, env: str) -> None:
    cohort = make(context(env))
    k, w = AGENTS, _width(cohort)
    require(cohort.ids == ("agent-0", "agent-1", "agent-2"), "ids are the context's")
    before = cohort.parameters()
    wanted = budget(cohort) * np.array([1, 2, 0])
    got = cohort.learn(wanted)
    require((got.steps == wanted).all(), f"learn takes exactly {wanted} steps, not {got.steps}")
    m = got.observations.shape[1]
    require(
        got.observations.shape == (k, m, *cohort.observation_shape)
        and (m >= wanted.max() or (m == 0 and got.labels is not None)),
        "Experience.observations is [K, M, *O] with room for every step (or, with labels, none)",
    )
    require(got.probs.shape == (k, m, w), f"Experience.probs is {_shape(cohort, 'M')}")
    require(got.observations.dtype == np.float32, "Experience.observations is float32")
    for row, n in zip(got.probs, wanted.tolist(), strict=True):
        _require_policies(cohort, row[:n], "Experience.probs")
    _check_episodes(got, wanted)
    moved = (cohort.parameters() != before).any(axis=1)
    require(moved[:2].all(), "learning moves parameters")
    require(not moved[2], "an agent with no steps to take stays as it is")
    require(all(v.shape == (k,) for v in got.metrics.values()), "metrics are [K]")
    cohort.close()


def _check_episodes(got: Experience, wanted: NDArray[np.int64]) -> None:
    require(len(got.returns) == len(got.lengths) == AGENTS, "returns and lengths are K lists")
    for returns, lengths, n in zip(got.returns, got.lengths, wanted.tolist(), strict=True):
        require(len(returns) == len(lengths), "each episode has a return and a length")
        require(lengths.sum() <= n, "the first local training holds only episodes of its own steps")
    require(got.lengths[2].size == 0, "an agent that takes no step ends no episode")


def _width(cohort: Cohort) -> int:
    return 2 * cohort.n_actions if is_gaussian(cohort) else cohort.n_actions


def _shape(cohort: Cohort, rows: str) -> str:
    return f"[K, {rows}, 2D]" if is_gaussian(cohort) else f"[K, {rows}, A]"


def _divergence(cohort: Cohort, targets: Floats, states: Floats) -> NDArray[np.float64]:
    """KL(target || policy) of each agent [K], the mean over states."""
    between = gaussian.kl if is_gaussian(cohort) else kl
    return np.asarray(between(targets, cohort.probs(states)).mean(1))


def _require_policies(cohort: Cohort, probs: Floats, name: str) -> None:
    require(probs.dtype == np.float32, f"{name} is float32")
    if is_gaussian(cohort):
        require(np.isfinite(probs).all(), f"{name} is finite")
        require(
            (gaussian.halves(probs)[1] > 0).all(), f"standard deviations in {name} are positive"
        )
        return
    require((probs >= 0).all(), f"{name} is not negative")
    require(np.allclose(probs.sum(-1), 1, atol=1e-5), f"{name} adds up to 1")


def _check_answers(make: Make, env: str) -> None:
    cohort = make(context(env))
    states = states_for(cohort)
    answers = cohort.probs(states)
    shape = (AGENTS, STATES, _width(cohort))
    require(answers.shape == shape, f"probs is {_shape(cohort, 'N')}")
    _require_policies(cohort, answers, "probs")
    own = cohort.probs(np.repeat(states[None], AGENTS, axis=0))
    require((answers == own).all(), "probs takes one set of states per agent too, to the bit")
    cohort.close()


def _check_parameters(make: Make, env: str) -> None:
    one, other = make(context(env)), make(context(env))
    one.learn(budget(one))
    for part in PARTS:
        rows = one.parameters(part)
        require(rows.ndim == 2 and len(rows) == AGENTS, f"parameters({part!r}) is [K, P]")
        require(rows.dtype == np.float32, f"parameters({part!r}) is float32")
        saved = rows.copy()
        rows[...] = -1.0
        require((one.parameters(part) == saved).all(), f"parameters({part!r}) is a copy")
        other.load_parameters(saved, part)
        require((other.parameters(part) == saved).all(), f"{part!r} survives load_parameters")
    states = states_for(one)
    require((one.probs(states) == other.probs(states)).all(), "equal parameters answer equally")
    policy = one.parameters("policy").shape[1]
    require(policy <= one.parameters("all").shape[1], "'all' holds the policy and the value")
    one.close()
    other.close()


def _check_initial_weights(make: Make, env: str) -> None:
    different, same = make(context(env)), make(context(env, same=True))
    rows = different.parameters()
    require((rows[0] != rows[1]).any(), "agents start from weights of their own")
    alike = same.parameters()
    require((alike == rows[0]).all(), "with same_init all start from agent 0's weights")
    different.close()
    same.close()


def _check_distillation(make: Make, env: str) -> None:
    cohort = make(context(env))
    cohort.learn(budget(cohort))
    states, targets, weights = lesson(cohort)
    before, optimizer = cohort.parameters("policy"), cohort.parameters("optimizer")
    far = _divergence(cohort, targets, states)
    metrics = cohort.distill(states, targets, weights, DistillSettings(steps=60))
    near = _divergence(cohort, targets, states)
    moved = (cohort.parameters("policy") != before).any(axis=1)
    require(moved.all(), "distill moves every weighted agent's policy")
    require((near < far).all(), f"distill lowers KL(target || policy): {far} became {near}")
    require(
        (cohort.parameters("optimizer") == optimizer).all(),
        "distill leaves the optimizer of local learning alone",
    )
    for name in ("loss", "kl_before", "kl_after", "gradient_steps"):
        value = metrics.get(f"distill/{name}")
        require(value is not None and value.shape == (AGENTS,), f"distill/{name} is [K]")
    require((metrics["distill/kl_after"] < metrics["distill/kl_before"]).all(), "kl_after falls")
    cohort.close()


def _check_borrowed_optimizer(make: Make, env: str) -> None:
    cohort = make(context(env))
    cohort.learn(budget(cohort))
    before, optimizer = cohort.parameters("policy"), cohort.parameters("optimizer")
    cohort.distill(*lesson(cohort), DistillSettings(steps=3, optimizer="learner"))
    moved = (cohort.parameters("policy") != before).any(axis=1)
    require(moved.all(), "distill moves policies with the learner's optimizer too")
    if optimizer.any():  # one that keeps nothing, as plain SGD, cannot show that it was used
        used = (cohort.parameters("optimizer") != optimizer).any(axis=1)
        require(used.all(), 'distill steps with the learner\'s optimizer if that is "learner"')
    cohort.close()


def _check_zero_weights(make: Make, env: str) -> None:
    cohort = make(context(env))
    states, targets, weights = lesson(cohort)
    cohort.distill(states, targets, weights, DistillSettings(steps=3))
    before, saved = cohort.parameters(), cohort.state()
    weights[1] = 0
    cohort.distill(states, targets, weights, DistillSettings(steps=3))
    moved = (cohort.parameters() != before).any(axis=1)
    require(moved[0] and moved[2], "an agent's weights do not silence the others")
    require(not moved[1], "an agent whose weights are all zero keeps its parameters to the bit")
    after = cohort.state()
    kept = all(np.array_equal(after[name][1], saved[name][1]) for name in saved)
    require(kept, "an agent whose weights are all zero keeps its whole state")
    cohort.close()


def _run(cohort: Cohort, agents: tuple[int, ...]) -> None:
    states, targets, weights = lesson(cohort, agents)
    for _ in range(2):
        cohort.learn(budget(cohort, 2))
        cohort.distill(states, targets, weights, DistillSettings(steps=5, batch=16))


def _check_independence(make: Make, env: str) -> None:
    together = make(context(env))
    _run(together, (0, 1, 2))
    rows, states = together.parameters(), states_for(together)
    answers = together.probs(states)
    for k in range(AGENTS):
        alone = make(context(env, (k,)))
        _run(alone, (k,))
        same = (alone.parameters()[0] == rows[k]).all()
        require(same, f"agent {k} learns alone what it learns in company, to the bit")
        require((alone.probs(states)[0] == answers[k]).all(), f"agent {k} answers alike alone")
        alone.close()
    together.close()


def _check_staggering(make: Make, env: str) -> None:
    one, other = make(context(env)), make(context(env))
    if not isinstance(other, Interruptible):
        return
    steps = budget(one, 2) * np.array([1, 2, 3])
    wanted, parts = one.learn(steps), []
    # agent 0 is through first; agent 1 sets out only then, beside agent 2
    other.begin(np.array([0, 2]), steps[[0, 2]], None)
    busy = other.advance(lambda busy: not busy[0])
    require(not busy[0] and busy[2], "advance pauses when enough agents are through")
    parts.append(other.result(np.array([0])))
    other.begin(np.array([1]), steps[[1]], None)
    require(not other.advance(lambda busy: False).any(), "advance ends when nobody is busy")
    parts.append(other.result(np.array([1, 2])))
    require((one.parameters() == other.parameters()).all(), "staggered agents learn the same")
    rows = [(parts[0], 0), (parts[1], 0), (parts[1], 1)]
    for k, (part, row) in enumerate(rows):
        n = int(steps[k])
        same = np.array_equal(part.observations[row, :n], wanted.observations[k, :n])
        same &= np.array_equal(part.probs[row, :n], wanted.probs[k, :n])
        same &= np.array_equal(part.returns[row], wanted.returns[k])
        same &= all(part.metrics[m][row] == v[k] for m, v in wanted.metrics.items())
        require(same, f"agent {k} reports the same, whoever learned beside it")
    one.close()
    other.close()


def _check_resume(make: Make, env: str) -> None:
    one, other = make(context(env)), make(context(env))
    _run(one, (0, 1, 2))
    saved = one.state()
    for name, array in saved.items():
        require(len(array) == AGENTS, f"the first axis of state {name!r} is K")
    frozen = {name: array.copy() for name, array in saved.items()}
    _run(one, (0, 1, 2))
    changed = [name for name in saved if not np.array_equal(saved[name], frozen[name])]
    require(not changed, f"state returns copies, but learning changed {changed}")
    other.load_state(frozen)
    _run(other, (0, 1, 2))
    require((one.parameters() == other.parameters()).all(), "load_state resumes to the bit")
    one.close()
    other.close()


def _check_evaluation(make: Make, env: str) -> None:
    one, other = make(context(env)), make(context(env))
    for greedy in (True, False):
        first = one.evaluate(3, 11, greedy=greedy)
        require(first.shape == (AGENTS, 3), "evaluate returns [K, episodes]")
        again = one.evaluate(3, 11, greedy=greedy)
        require((first == again).all(), "evaluate gives the same for the same seed")
    held_out = one.evaluate(2, 11, held_out=True)
    require(
        len(held_out) == AGENTS and held_out.shape[1] % 2 == 0,
        "evaluate with held_out returns [K, H * episodes]",
    )
    one.learn(budget(one))
    other.learn(budget(other))
    require((one.parameters() == other.parameters()).all(), "evaluate does not move training")
    one.close()
    other.close()


def _check_anchor(make: Make, env: str) -> None:
    free, held, freed = make(context(env)), make(context(env)), make(context(env))
    goal = free.parameters() + np.float32(1)
    held.anchor(goal, 1e3)
    freed.anchor(goal, 1e3)
    freed.anchor(None, 0.0)
    for cohort in (free, held, freed):
        cohort.learn(budget(cohort))
    far = np.abs(free.parameters() - goal).mean(1)
    near = np.abs(held.parameters() - goal).mean(1)
    require((near < far).all(), "anchor pulls local learning toward its rows")
    require((free.parameters() == freed.parameters()).all(), "anchor(None, 0) ends the pull")
    for cohort in (free, held, freed):
        cohort.close()


# ---- What the checks of a cohort have in common: three agents, a lesson, and how a rule is
# broken


AGENTS = 3
STATES = 40
PARTS: tuple[Part, ...] = ("policy", "all", "optimizer")

Make = Callable[[CohortContext], Cohort]


class BrokenRule(FdrlError, AssertionError):
    """A cohort that does not do what `fdrl.Cohort` promises; the message names the rule."""


def require(kept: object, rule: str) -> None:
    """Raise `BrokenRule` unless a rule was kept."""
    if not kept:
        raise BrokenRule(f"broken rule of Cohort: {rule}")


def context(env: str, agents: tuple[int, ...] | None = None, same: bool = False) -> CohortContext:
    """Return the context of some of three agents, all by default."""
    rows = tuple(range(AGENTS)) if agents is None else agents
    envs = make_factory(env, AGENTS, Nothing(), seed=7).subset(rows)
    ids = tuple(f"agent-{i}" for i in rows)
    return CohortContext(ids, rows, envs, seed=7, same_init=same, total_steps=100_000)


def budget(cohort: Cohort, iterations: int = 1) -> NDArray[np.int64]:
    """Return steps [K] of some iterations; 128 steps stand for one if it is an episode."""
    return np.full(len(cohort.ids), iterations * (cohort.iteration_steps or 128))


def states_for(cohort: Cohort) -> Floats:
    """Return some states [N, *O]."""
    rng = np.random.default_rng(3)
    return rng.uniform(-0.5, 0.5, (STATES, *cohort.observation_shape)).astype(np.float32)


def lesson(cohort: Cohort, agents: tuple[int, ...] = ()) -> tuple[Floats, Floats, Floats]:
    """Return states [N, O], targets [K, N, W] and weights [K, N] of some agents, all by default."""
    rng = np.random.default_rng(4)
    shape = (AGENTS, STATES, cohort.n_actions)
    if is_gaussian(cohort):
        moments = [rng.uniform(-0.5, 0.5, shape), rng.uniform(0.4, 0.8, shape)]
        targets = np.concatenate(moments, axis=-1).astype(np.float32)
    else:
        targets = rng.dirichlet(np.full(cohort.n_actions, 2.0), shape[:2]).astype(np.float32)
    weights = rng.uniform(0.5, 1.0, shape[:2]).astype(np.float32)
    rows = list(agents or range(AGENTS))
    return states_for(cohort), targets[rows], weights[rows]


# ---- Does a learner whose agents estimate values keep the promises of `fdrl.core.cohort.Valued`?


def check_values(make: Make, env: str) -> None:
    """Raise `BrokenRule` at the first promise that is broken; others need not make any."""
    cohort: Any = make(context(env))
    able = isinstance(cohort, Valued)  # asked apart: it is a Cohort as well
    if not able:
        cohort.close()
        return
    states = states_for(cohort)
    before, policies = cohort.values(states), cohort.parameters("policy")
    require(before.shape == (AGENTS, STATES), "values is [K, N]")
    targets = (before + np.linspace(1.0, 2.0, STATES)).astype(np.float32)
    weights = np.ones((AGENTS, STATES), np.float32)
    weights[1] = 0
    metrics = cohort.distill_values(states, targets, weights, DistillSettings(steps=60))
    after = cohort.values(states)
    near = _error(after, targets) < _error(before, targets)
    require(near[0] and near[2], "distill_values brings values nearer to their targets")
    kept = np.array_equal(after[1], before[1])
    require(kept, "an agent whose weights are all zero keeps its values to the bit")
    kept = np.array_equal(cohort.parameters("policy"), policies)
    require(kept, "distill_values keeps policies to the bit")
    for name in ("error", "steps"):
        value = metrics.get(f"distill/value_{name}")
        require(value is not None and value.shape == (AGENTS,), f"distill/value_{name} is [K]")
    other: Any = make(context(env))
    other.load_state(cohort.state())
    for one in (cohort, other):
        one.distill_values(states, targets, weights, DistillSettings(steps=5))
    alike = np.array_equal(cohort.values(states), other.values(states))
    require(alike, "load_state resumes distill_values to the bit")
    cohort.close()
    other.close()


def _error(values: NDArray[np.float32], targets: NDArray[np.float32]) -> NDArray[np.float64]:
    return np.asarray(np.square(values - targets, dtype=np.float64).mean(1))
