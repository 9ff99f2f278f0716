"""A learner to subclass: its arrays and three hooks make a whole cohort (`fdrl.Cohort`).

Shapes: K agents, N states, n of them or n steps, O observation shape, A discrete actions or D
continuous ones, W the width of an answer: probabilities [A], or D means and D standard deviations.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, dataclass_transform

import msgspec
import numpy as np
from numpy.typing import NDArray

from fdrl.core.arrays import Array, Metrics, stack_padded
from fdrl.core.cohort import Cohort, CohortContext, Episodes, Experience, Part
from fdrl.core.registry import SettingsType
from fdrl.core.seeding import Purpose, generator, pack_generators, unpack_generators
from fdrl.core.settings import DistillSettings, LearnerSettings, NonNegativeCount
from fdrl.core.watch import PULSE


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(msgspec.field,))
class AgentSettings(
    LearnerSettings,
    metaclass=SettingsType,
    frozen=True,
    forbid_unknown_fields=True,
    kw_only=True,
    tag_field="type",
):
    """Settings of a learner of your own: a subclass names the `cohort` that it is for.

    Its fields, each with a default, are flags, keys in TOML and lines of the help. It is known by
    where it is defined, ``--agent my_file:MyLearner``, or by the `tag` under which it is
    registered.
    """

    cohort: ClassVar[type[Cohort]]
    """Called with these settings and a `CohortContext`, as a `Learner` is."""

    n_steps: NonNegativeCount = 256
    """Environment steps of an iteration, after which an agent improves; 0: an episode."""


@dataclass(frozen=True)
class Rollout:
    """What one agent did in an iteration of n steps, in order of time."""

    observations: NDArray[np.float32]
    """[n, *O]"""
    answers: NDArray[np.float32]
    """What the policy answered there [n, W]."""
    actions: NDArray[Any]
    """[n]; or [n, D], not clipped to the space."""
    rewards: NDArray[np.float64]
    """[n]"""
    terminated: NDArray[np.bool_]
    """Whether the episode ended with a step, for good [n]."""
    truncated: NDArray[np.bool_]
    """Whether its time was up, so that `next_observations` are worth something still [n]."""
    next_observations: NDArray[np.float32]
    """Where the actions led [n, *O]."""

    @property
    def ended(self) -> NDArray[np.bool_]:
        """Whether an episode ended with a step [n]."""
        return self.terminated | self.truncated


class Learner(ABC):
    """K agents that learn one after another, each in one copy of its own environment.

    A subclass makes arrays [K, ...], names them in the four tuples below, and says how a policy
    answers (`answer`), learns (`improve`) and is taught (`teach`). All else follows: the answers,
    parameters and state of a `fdrl.Cohort`, its evaluation, and whose turn it is when.
    """

    policy: ClassVar[tuple[str, ...]] = ("weights",)
    """Attributes that hold the policies' parameters, float32."""
    value: ClassVar[tuple[str, ...]] = ()
    """Those of what estimates values, which averaging may leave out."""
    optimizer: ClassVar[tuple[str, ...]] = ()
    """What local learning's optimizer keeps, float32."""
    memory: ClassVar[tuple[str, ...]] = ()
    """Whatever else a resumed run needs."""
    divergence: ClassVar[Callable[[Array, Array], Array]]
    """KL(target || answer) [...] of answers [..., W]: for discrete actions `fdrl.ops.losses.kl`."""

    def __init__(self, settings: Any, context: CohortContext) -> None:
        self.settings, self.context, self.ids = settings, context, context.ids
        self.observation_shape = context.envs.observation_shape
        self.n_actions, self.gaussian = context.envs.n_actions, context.envs.gaussian
        self._width = 2 * self.n_actions if self.gaussian else self.n_actions
        self.iteration_steps: int = settings.n_steps
        count = len(self.ids)
        first = [0 if context.same_init else agent for agent in context.agents]
        self._init_rngs = [generator(context.seed, Purpose.INIT, agent) for agent in first]
        self.rngs = {
            purpose: [generator(context.seed, purpose, agent) for agent in context.agents]
            for purpose in (Purpose.ACTION, Purpose.MINIBATCH, Purpose.DISTILL)
        }
        self._envs = [context.envs.subset([k]).vector(1) for k in range(count)]
        self._seen = np.stack([env.reset()[0] for env in self._envs])
        self._running = np.zeros((count, 2))  # return and length of the episode in progress
        self._goal: dict[str, Array] = {}
        self._strength = 0.0

    @abstractmethod
    def answer(self, k: int, states: Array) -> Array:
        """Return what agent k's policy answers to `states` [n, *O]: [n, W]."""

    @abstractmethod
    def improve(self, k: int, rollout: Rollout) -> Mapping[str, float]:
        """Let agent k learn from an iteration; return metrics such as ``train/loss``.

        FedProx adds `pull` to the gradient. The last rollout of a call may be a shorter one.
        """

    @abstractmethod
    def teach(
        self, k: int, states: Array, targets: Array, weights: Array, settings: DistillSettings
    ) -> float:
        """Take one gradient step toward `targets` [n, W] at `states` [n, *O]; return the loss.

        States count as `weights` [n] say. The step is local learning's own if
        ``settings.optimizer`` is "learner", else another one that leaves that optimizer alone.
        """

    def initial(self, draw: Callable[[np.random.Generator], Array]) -> NDArray[np.float32]:
        """Draw the agents' first parameters [K, ...]: equal ones if all are to start alike."""
        return np.stack([draw(rng) for rng in self._init_rngs]).astype(np.float32)

    def pull(self, k: int, name: str) -> Array:
        """Return what FedProx adds to the gradient of agent k's array `name`; zeros without it."""
        own = getattr(self, name)[k]
        goal = self._goal[name][k] if self._goal else own
        return np.asarray(self._strength * (own - goal), own.dtype)

    def learn(self, steps: NDArray[np.int64], episodes: Episodes = None) -> Experience:
        """Let each agent take `steps[k]` steps, or end `episodes`; see `fdrl.Cohort`."""
        most = np.broadcast_to(np.inf if episodes is None else episodes, len(self.ids))
        each = [self._learn(k, int(n), float(most[k])) for k, n in enumerate(steps)]
        ended = [np.array(ends, np.float64).reshape(-1, 2) for _, ends, _ in each]
        names = {name: None for *_, metrics in each for name in metrics}
        return Experience(
            observations=_padded(
                [[r.observations for r in own] for own, *_ in each], self.observation_shape
            ),
            probs=_padded([[r.answers for r in own] for own, *_ in each], (self._width,)),
            steps=np.array([sum(len(r.rewards) for r in own) for own, *_ in each], np.int64),
            returns=[e[:, 0] for e in ended],
            lengths=[e[:, 1].astype(np.int64) for e in ended],
            metrics={n: np.array([m.get(n, 0.0) for *_, m in each]) for n in names},
        )

    def _learn(
        self, k: int, steps: int, most: float
    ) -> tuple[list[Rollout], list[tuple[float, float]], dict[str, float]]:
        """Let agent k learn; return its iterations, ended episodes and mean metrics."""
        rollouts: list[Rollout] = []
        ends: list[tuple[float, float]] = []
        found: dict[str, list[float]] = {}
        while steps > 0 and len(ends) < most:
            rollouts.append(self._act(k, min(steps, self.iteration_steps or steps), ends, most))
            steps -= len(rollouts[-1].rewards)
            for name, value in self.improve(k, rollouts[-1]).items():
                found.setdefault(name, []).append(value)
        return rollouts, ends, {name: math.fsum(v) / len(v) for name, v in found.items()}

    def _act(self, k: int, steps: int, ends: list[tuple[float, float]], most: float) -> Rollout:
        """Let agent k take the steps of an iteration; episodes that end are added to `ends`."""
        rows: list[tuple[Array, ...]] = []
        while len(rows) < steps and len(ends) < most:
            seen = self._seen[k].copy()
            answer = np.asarray(self.answer(k, seen[None]), np.float32)
            action = self._draw(answer[None], self.rngs[Purpose.ACTION][k : k + 1])[0]
            step = self._envs[k].step(self._playable(action))
            PULSE.beats += 1
            self._seen[k] = step.observations[0]
            self._running[k] += (step.rewards[0], 1)
            ended = bool(step.terminated[0] or step.truncated[0])
            outcome = (step.rewards, step.terminated, step.truncated, step.next_observations)
            rows.append((seen, answer[0], action[0], *(array[0].copy() for array in outcome)))
            if ended:
                ends.append((float(self._running[k, 0]), float(self._running[k, 1])))
                self._running[k] = 0
                if not self.iteration_steps:
                    break
        return Rollout(*(np.stack(column) for column in zip(*rows, strict=True)))

    def _draw(
        self, answers: Array, rngs: Sequence[np.random.Generator], greedy: bool = False
    ) -> Array:
        """Draw actions [R, E], or [R, E, D], for answers [R, E, W] of agents with these streams."""
        if self.gaussian:
            means, stds = np.split(answers, 2, axis=-1)
            if not greedy:
                means = means + stds * np.stack([r.standard_normal(means.shape[1:]) for r in rngs])
            return np.asarray(means)
        if greedy:
            return np.asarray(answers.argmax(-1))
        draws = np.stack([rng.random(answers.shape[1]) for rng in rngs])[..., None]
        return np.asarray((answers.cumsum(-1) < draws).sum(-1).clip(max=self.n_actions - 1))

    def _playable(self, actions: Array) -> Array:
        """Return actions as copies are given them: continuous ones inside their space."""
        space: Any = self.context.envs.action_space
        if not self.gaussian:
            return actions
        return np.asarray(np.clip(actions, space.low, space.high).astype(np.float32))

    def probs(self, states: Array) -> NDArray[np.float32]:
        """Answer `states` [N, *O] or, one set per agent, [K, N, *O]: [K, N, W]."""
        each = enumerate(self._each(states))
        return np.stack([self.answer(k, own) for k, own in each]).astype(np.float32, copy=False)

    def _each(self, states: Array) -> Array:
        own = states.ndim == 2 + len(self.observation_shape)
        return states if own else np.broadcast_to(states, (len(self.ids), *states.shape))

    def distill(
        self, states: Array, targets: Array, weights: Array, settings: DistillSettings
    ) -> Metrics:
        """Move each policy toward `targets` [K, N, W] at `states`; see `fdrl.Cohort`."""
        each, before = self._each(states), self.probs(states)
        loss, steps = np.zeros((2, len(self.ids)))
        for k in np.flatnonzero((weights > 0).any(1)).tolist():
            for some in self._minibatches(k, weights.shape[1], settings):
                if not weights[k, some].any():
                    continue
                batch = (each[k, some], targets[k, some], weights[k, some])
                loss[k] += self.teach(k, *batch, settings)
                steps[k] += 1
                if settings.kl_limit and self._moved(k, each[k], before[k]) > settings.kl_limit:
                    break
        share = weights / np.maximum(weights.sum(1, keepdims=True), 1e-12)
        apart = [type(self).divergence(targets, said) for said in (before, self.probs(states))]
        return {
            "distill/loss": loss / np.maximum(steps, 1),
            "distill/kl_before": np.asarray((share * apart[0]).sum(1), np.float64),
            "distill/kl_after": np.asarray((share * apart[1]).sum(1), np.float64),
            "distill/gradient_steps": steps,
        }

    def _minibatches(
        self, k: int, count: int, settings: DistillSettings
    ) -> Iterator[NDArray[np.int64]]:
        """Yield rows of `count` states: those of a pass, in a new order, then of the next one."""
        size = min(settings.batch, count)
        per_pass = -(-count // size)
        for i in range(settings.passes * per_pass or settings.steps):
            if i % per_pass == 0:
                order = self.rngs[Purpose.DISTILL][k].permutation(count)
            yield order[i % per_pass * size :][:size]

    def _moved(self, k: int, states: Array, before: Array) -> float:
        """Return the mean KL(policy before || policy now) of agent k."""
        return float(np.mean(type(self).divergence(before, self.answer(k, states))))

    def _names(self, part: Part) -> tuple[str, ...]:
        parts = {"policy": self.policy, "all": self.policy + self.value}
        return parts.get(part, self.optimizer)

    def parameters(self, part: Part = "all") -> NDArray[np.float32]:
        """Return [K, P], a copy: the arrays of a part, one after another."""
        count = len(self.ids)
        rows = [getattr(self, name).reshape(count, -1) for name in self._names(part)]
        return np.concatenate([np.zeros((count, 0)), *rows], axis=1).astype(np.float32)

    def load_parameters(self, rows: Array, part: Part = "all") -> None:
        """Overwrite a part with `rows` [K, P]."""
        for name, own in self._split(rows, part).items():
            getattr(self, name)[...] = own

    def _split(self, rows: Array, part: Part) -> dict[str, Array]:
        """Cut `rows` [K, P] into the arrays of a part, by name."""
        out, start = {}, 0
        for name in self._names(part):
            shape = getattr(self, name).shape
            size = math.prod(shape[1:])
            out[name] = np.array(rows[:, start : start + size], np.float32).reshape(shape)
            start += size
        return out

    def anchor(self, rows: Array | None, strength: float) -> None:
        """Pull local learning toward `rows` [K, P] (FedProx); None ends it."""
        self._goal = {} if rows is None else self._split(rows, "all")
        self._strength = strength

    def evaluate(
        self, episodes: int, seed: int, *, held_out: bool = False, greedy: bool = True
    ) -> NDArray[np.float64]:
        """Return undiscounted returns [K, episodes] in fresh environments."""
        env = self.context.envs.evaluation(episodes, seed, held_out)
        count, copies = len(self.ids), env.count // len(self.ids)
        rngs = [generator(seed, Purpose.EVALUATION, a, 1) for a in self.context.agents]
        returns, playing = np.zeros(env.count), np.ones(env.count, np.bool_)
        try:
            seen = env.reset()
            while playing.any():
                answers = self.probs(seen.reshape(count, copies, *self.observation_shape))
                actions = self._draw(answers, rngs, greedy)
                step = env.step(self._playable(actions.reshape(env.count, *actions.shape[2:])))
                PULSE.beats += 1
                returns += np.where(playing, step.rewards, 0.0)
                playing &= ~(step.terminated | step.truncated)
                seen = step.observations
        finally:
            env.close()
        return returns.reshape(count, copies)

    def _kept(self) -> dict[str, Array]:
        names = dict.fromkeys([*self.policy, *self.value, *self.optimizer, *self.memory])
        own = {name: getattr(self, name) for name in names}
        return own | {"learner/seen": self._seen, "learner/running": self._running}

    def state(self) -> dict[str, Array]:
        """Return everything that a resume to the bit needs; the first axis is K."""
        out = {name: array.copy() for name, array in self._kept().items()}
        out |= {f"rng/{p.name.lower()}": pack_generators(rngs) for p, rngs in self.rngs.items()}
        if self._goal:
            out |= {f"anchor/{name}": array.copy() for name, array in self._goal.items()}
            out["strength"] = np.full(len(self.ids), self._strength)
        states = [env.state() for env in self._envs]
        return out | {f"env/{name}": stack_padded([s[name] for s in states]) for name in states[0]}

    def load_state(self, state: Mapping[str, Array]) -> None:
        """Continue from what `state` returned."""
        for name, array in self._kept().items():
            array[...] = state[name]
        for purpose, rngs in self.rngs.items():
            unpack_generators(rngs, state[f"rng/{purpose.name.lower()}"])
        self._goal = {n[7:]: np.array(a) for n, a in state.items() if n.startswith("anchor/")}
        self._strength = float(state["strength"][0]) if self._goal else 0.0
        inner = {name[4:]: array for name, array in state.items() if name.startswith("env/")}
        for k, env in enumerate(self._envs):
            env.load_state({name: array[k : k + 1] for name, array in inner.items()})

    def close(self) -> None:
        """Free the environments."""
        for env in self._envs:
            env.close()


def clipped(gradient: Array, most: float) -> Array:
    """Return one agent's gradient, made shorter if its norm exceeds `most`; 0: never."""
    norm = float(np.linalg.norm(gradient))
    return gradient * (most / norm) if norm > most > 0 else gradient


def _padded(each: Sequence[Sequence[Array]], tail: tuple[int, ...]) -> NDArray[np.float32]:
    """Put the agents' rows [n, *tail] under one another, padded to the longest: [K, M, *tail]."""
    nothing = np.zeros((0, *tail), np.float32)
    return stack_padded([np.concatenate([nothing, *rows])[None] for rows in each])
