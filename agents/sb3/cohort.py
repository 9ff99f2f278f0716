"""A cohort of Stable-Baselines3 models (a `fdrl.Cohort`), one an agent, each on its own.

Shapes: K agents, E copies, M steps of local training, O observation components, A actions.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fdrl.core.arrays import Array, Metrics, stack_padded
from fdrl.core.cohort import Cohort, CohortContext, Episodes, Experience, Part
from fdrl.core.errors import FdrlError
from fdrl.core.paths import absolute
from fdrl.core.seeding import Purpose, leaf
from fdrl.core.settings import DistillSettings
from fdrl.core.threads import calm_forks

from ..cohort import NetworkCohort
from ..distillation import DistillState
from ..gaussian import bounds_of
from ..losses import softmax
from ..rollout import Collector
from ..train_state import BETA1, BETA2, TrainState
from .export import load_weights
from .model import Copies, ScopedGlobalRng, SteppedModel, build
from .network import SB3Network
from .settings import SB3
from .template import start

calm_forks(torch.set_num_threads)


def make(settings: SB3, context: CohortContext) -> Cohort:
    """Build the cohort; Stable-Baselines3 is imported only now."""

    return SB3Cohort(settings, context)


ENDLESS = 2**40


class SB3Cohort(NetworkCohort):
    """K models that learn one after another; see `fdrl.agents.sb3.settings`."""

    def __init__(self, settings: SB3, context: CohortContext) -> None:
        if context.device != "cpu":
            raise FdrlError(f"agent 'sb3' runs on the cpu, not on {context.device!r}")
        self.settings = settings
        self.ids, self.agents, self._context = context.ids, context.agents, context
        envs = context.envs
        if envs.gaussian:
            raise FdrlError(
                "agent 'sb3' supports discrete actions only, and environment "
                f"{envs.spec.name!r} has continuous ones: use ppo or a2c"
            )
        self._lost = False
        self.observation_shape, self.n_actions = envs.observation_shape, envs.n_actions
        self.gaussian, self._bounds = False, bounds_of(envs)
        self._inputs = math.prod(self.observation_shape)
        self.models = [self._driven(row) for row in range(len(self.ids))]
        policies = [driven.model.policy for driven in self.models]
        network = SB3Network(policies, self.observation_shape, self.n_actions, settings.temperature)
        self.layout: Any = network.layout
        self.learner = TrainState.fresh(network, self.models[0].kind)
        self.iteration_steps = self.models[0].rollout
        if not self.models[0].on_policy:
            self.iteration_steps = -(-settings.round_steps // settings.n_envs) * settings.n_envs
        self._taken = np.zeros(len(self.ids), np.int64)
        rngs = self._generators(Purpose.DISTILL)
        self._distiller = DistillState(len(self.ids), self.layout.policy_size, rngs)
        self._hooks: list[Any] = []

    def _driven(self, row: int) -> SteppedModel:
        """Build one agent's model around its own copies."""
        context, agent = self._context, self.agents[row]
        world = Collector(context.envs.subset([row]).vector(self.settings.n_envs), 1, self._inputs)
        copies = Copies(world, context.envs.observation_space, self.n_actions)
        first = 0 if context.same_init else agent
        with ScopedGlobalRng(leaf(context.seed, Purpose.INIT, first))():
            model, callback = build(self.settings, copies)
        if self.settings.load:
            load_weights(model, absolute(self.settings.load))
        if self.settings.start == "weights":
            self._lost |= not start(model, self.settings.model or {})
        model.action_space.seed(int(leaf(context.seed, Purpose.ACTION, agent).generate_state(1)[0]))
        randomness = ScopedGlobalRng(leaf(context.seed, Purpose.ACTION, agent))
        return SteppedModel(model, copies, callback, context.total_steps or ENDLESS, randomness)

    def learn(self, steps: NDArray[np.int64], episodes: Episodes = None) -> Experience:
        """Let each model learn for `steps[k]` steps, or until `episodes` have ended."""
        if self._lost:
            raise FdrlError(
                "these agents start from the weights of a model object, which only the script that "
                "trained it has: hand it over again there, fdrl.agents.sb3.template.own(model, "
                'start="weights")'
            )
        limits = np.broadcast_to(ENDLESS if episodes is None else episodes, (len(self.ids),))
        seen, probs, notes = [], [], []
        for k, driven in enumerate(self.models):
            if steps[k] % self.settings.n_envs:
                raise FdrlError(
                    f"{steps[k]} steps cannot be shared by {self.settings.n_envs} copies"
                )
            rows, answers, note = self._train_one(driven, int(steps[k]), int(limits[k]), k)
            seen.append(rows)
            probs.append(answers)
            notes.append(note)
        taken = np.array([len(rows) for rows in seen], np.int64)
        self._taken += taken
        ended = [driven.copies.world.tally.harvest() for driven in self.models]
        shape = self.observation_shape
        return Experience(
            observations=stack_padded([rows[None] for rows in seen]).reshape(len(seen), -1, *shape),
            probs=stack_padded([rows[None] for rows in probs]),
            steps=taken,
            returns=[e.returns[0] for e in ended],
            lengths=[e.lengths[0] for e in ended],
            metrics=_by_name(notes),
            ends=[e.ends[0] for e in ended],
        )

    def _train_one(
        self, driven: SteppedModel, steps: int, limit: int, k: int
    ) -> tuple[Array, Array, dict[str, float]]:
        """Collect and update by turns; return what was seen [M, O] and answered [M, A]."""
        seen = [np.zeros((0, self._inputs), np.float32)]
        probs = [np.zeros((0, self.n_actions), np.float32)]
        note: dict[str, float] = {}
        while steps > 0 and len(driven.copies.world.tally.returns[0]) < limit:
            n = min(steps, driven.rollout)
            try:
                driven.collect(n)
            except ValueError:  # torch cannot draw from a policy that is no numbers any more
                if np.isfinite(self.learner.network.params[k]).all():
                    raise
                break
            rows = driven.copies.take_seen()
            seen.append(rows)
            probs.append(self._answers(k, rows))  # as acted, before the update
            note = driven.update(n)
            steps -= n
        return np.concatenate(seen), np.concatenate(probs), note

    def _answers(self, k: int, rows: Array) -> Array:
        network: Any = self.learner.network
        with torch.no_grad():
            logits = network.logits(k, rows).T.numpy()[None]
        return np.ascontiguousarray(softmax(logits)[0].T)

    def distill(
        self, states: Array, targets: Array, weights: Array, settings: DistillSettings
    ) -> Metrics:
        """Move each policy toward `targets` [K, N, A] at `states`; see `fdrl.Cohort`."""
        if settings.optimizer != "learner":
            return super().distill(states, targets, weights, settings)
        # Our Adam keeps its moments without their constant factors.
        scale = np.array([1 - BETA1, 1 - BETA2] if self.learner.kind == "adam" else [1.0])
        self._read()
        self.learner.moments /= scale[:, None].astype(np.float32)
        metrics = super().distill(states, targets, weights, settings)
        self.learner.moments *= scale[:, None].astype(np.float32)
        self._write(np.flatnonzero(metrics["distill/gradient_steps"] > 0))
        return metrics

    def _policy_rates(self) -> NDArray[np.float64]:
        return np.array([d.model.policy.optimizer.param_groups[0]["lr"] for d in self.models])

    def _read(self) -> None:
        """Copy the models' optimizers into `learner`."""
        for k, driven in enumerate(self.models):
            self.learner.moments[k], self.learner.count[k] = driven.moments()

    def _write(self, rows: Array | None = None) -> None:
        """Copy `learner` into the models' optimizers."""
        for k in range(len(self.ids)) if rows is None else rows.tolist():
            self.models[k].load_moments(self.learner.moments[k], int(self.learner.count[k]))

    def parameters(self, part: Part = "all") -> NDArray[np.float32]:
        """Return [K, P], a copy; "optimizer" is its moments, then its number of steps."""
        if part == "optimizer":
            self._read()
        return super().parameters(part)

    def load_parameters(self, rows: Array, part: Part = "all") -> None:
        """Overwrite a part with `rows` [K, P]; the other parts stay."""
        super().load_parameters(rows, part)
        if part == "optimizer":
            self._write()

    def anchor(self, rows: Array | None, strength: float) -> None:
        """Add `strength` * (theta - rows) to the gradient of local learning; None ends it."""
        super().anchor(rows, strength)
        for hook in self._hooks:
            hook.remove()
        self._hooks = []
        if rows is None:
            return
        network: Any = self.learner.network
        for own, parameters in zip(np.array(rows, np.float32), network.parameters, strict=True):
            offset = 0
            for p in parameters:
                goal = torch.from_numpy(own[offset : offset + p.numel()]).view_as(p)
                self._hooks.append(p.register_hook(_pull(p, goal, strength)))
                offset += p.numel()

    def state(self) -> dict[str, Array]:
        """Everything needed for a bit-exact resume; the first axis of every array is K."""
        out = self._learning_state()
        del out["optimizer/moments"], out["optimizer/count"]
        states = [driven.state() for driven in self.models]
        return out | {
            f"sb3/{n}": stack_padded([np.asarray(s[n])[None] for s in states]) for n in states[0]
        }

    def _streams(self) -> dict[str, list[np.random.Generator]]:
        return {"distill": self._distiller.generators}

    def load_state(self, state: Mapping[str, Array]) -> None:
        """Continue from what `state` returned."""
        own = {n.removeprefix("sb3/"): a for n, a in state.items() if n.startswith("sb3/")}
        for k, driven in enumerate(self.models):
            driven.load_state({name: np.asarray(rows[k]) for name, rows in own.items()})
        self._read()
        learner = self.learner
        kept: dict[str, Array] = {"optimizer/moments": learner.moments}
        kept["optimizer/count"] = learner.count
        self._load_learning_state(dict(state) | kept)
        self._lost = False

    def close(self) -> None:
        """Free the environments."""
        for driven in self.models:
            driven.copies.close()


def _pull(p: Any, goal: Any, strength: float) -> Any:
    return lambda gradient: gradient + strength * (p.data - goal)


def _by_name(notes: list[dict[str, float]]) -> Metrics:
    """Return each metric of any model [K], NaN where a model has none."""
    names = sorted({name for note in notes for name in note})
    return {n: np.array([note.get(n, np.nan) for note in notes]) for n in names}
