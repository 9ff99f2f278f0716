"""What all learners of one network per agent share: answering, distilling, evaluating, resuming.

Shapes: K agents, E environment copies each, N states, O observation components, A actions,
P parameters.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fdrl.cohort import CohortContext, Part
from fdrl.distill import DistillSettings
from fdrl.errors import FdrlError
from fdrl.seeding import Purpose, generator, pack_generators, unpack_generators

from . import optimizers
from .activations import Name as ActivationName
from .backend import Backend, make_network
from .distilling import Distiller, distill
from .evaluation import evaluate
from .gaussian import answers, bounds_of, chance_shape
from .layout import Init, Layout, initial_rows
from .learner import Anchor, Learner
from .rollout import World

Array = NDArray[Any]
Floats = NDArray[np.float32]
Metrics = dict[str, NDArray[np.float64]]


class Networks(Protocol):
    """Settings of the networks, and of how many copies an agent steps."""

    @property
    def n_envs(self) -> int: ...
    @property
    def hidden(self) -> tuple[int, ...]: ...
    @property
    def activation(self) -> ActivationName: ...
    @property
    def init(self) -> Init: ...
    @property
    def backend(self) -> Backend: ...


class Policies:
    """K agents' networks, optimizers, random streams and environments; subclasses learn."""

    def __init__(
        self, settings: Networks, context: CohortContext, optimizer: optimizers.Kind
    ) -> None:
        self.ids, self.agents, self._context = context.ids, context.agents, context
        self.observation_shape = context.envs.observation_shape
        self.n_actions = context.envs.n_actions
        self.gaussian = context.envs.gaussian
        self._inputs = math.prod(self.observation_shape)
        sizes = (self._inputs, settings.hidden, self.n_actions, settings.activation)
        log_std = getattr(settings, "log_std_init", None)
        self.layout = Layout(*sizes, self.gaussian, 0.0 if log_std is None else log_std)
        self._chance = chance_shape(self.n_actions, self.gaussian)
        seed, same = context.seed, context.same_init
        rows = initial_rows(self.layout, seed, self.agents, same, settings.init)
        network = make_network(settings.backend, self.layout, rows, context.device)
        self.learner = Learner.fresh(network, optimizer)
        self._taken = np.zeros(len(self.ids), np.int64)
        self._action_rngs = self._generators(Purpose.ACTION)
        self._shuffle_rngs = self._generators(Purpose.MINIBATCH)
        distill_rngs = self._generators(Purpose.DISTILL)
        self._distiller = Distiller(len(self.ids), self.layout.policy_size, distill_rngs)
        self._bounds = bounds_of(context.envs)
        vector = context.envs.vector(settings.n_envs)
        self.world = World(vector, len(self.ids), self._inputs, self._bounds)

    def _generators(self, purpose: Purpose) -> list[np.random.Generator]:
        return [generator(self._context.seed, purpose, a) for a in self.agents]

    def probs(self, states: Array) -> NDArray[np.float32]:
        """Answer `states` [N, *O] or [K, N, *O]: probabilities [K, N, A], or moments [K, N, 2D]."""
        return answers(self.learner.network.policy(self._states(states)), self.gaussian)

    def _states(self, states: Array) -> Floats:
        """Check states and return them as [1 or K, N, O]."""
        rank = 1 + len(self.observation_shape)
        shared = states.ndim == rank
        tail = states.shape[1:] if shared else states.shape[2:]
        if states.ndim not in (rank, rank + 1) or tail != self.observation_shape:
            raise FdrlError(
                f"states of shape {states.shape} do not fit observations of shape "
                f"{self.observation_shape}"
            )
        lead = (1, states.shape[0]) if shared else states.shape[:2]
        if not shared and lead[0] != len(self.ids):
            raise FdrlError(f"states for {lead[0]} agents, but the cohort has {len(self.ids)}")
        return np.ascontiguousarray(states, dtype=np.float32).reshape(*lead, self._inputs)

    def distill(
        self, states: Array, targets: Array, weights: Array, settings: DistillSettings
    ) -> Metrics:
        """Move each policy toward `targets` [K, N, W] at `states`; see `fdrl.Cohort`."""
        x = self._states(states)
        k, n = len(self.ids), x.shape[1]
        if targets.shape != (k, n, self.layout.outputs) or weights.shape != (k, n):
            each = "means and standard deviations" if self.gaussian else "actions"
            raise FdrlError(
                f"targets {targets.shape} and weights {weights.shape} do not fit {k} agents, "
                f"{n} states and {self.layout.outputs} {each}"
            )
        distiller, rates = self._distiller, np.full(k, settings.lr)
        if settings.optimizer == "learner":
            distiller, rates = distiller.borrowing(self.learner), self._policy_rates()
        return distill(
            self.learner.network,
            distiller,
            rates,
            x,
            np.ascontiguousarray(targets, dtype=np.float32),
            np.ascontiguousarray(weights, dtype=np.float32),
            settings,
        )

    def _policy_rates(self) -> NDArray[np.float64]:
        """Return the learning rate [K] with which each policy learns at present."""
        raise NotImplementedError

    def evaluate(
        self, episodes: int, seed: int, *, held_out: bool = False, greedy: bool = True
    ) -> NDArray[np.float64]:
        """Return undiscounted returns [K, episodes] in fresh environments."""
        env = self._context.envs.evaluation(episodes, seed, held_out)
        try:
            network = self.learner.network
            return evaluate(network, env, self.agents, seed, greedy, self._bounds)
        finally:
            env.close()

    def parameters(self, part: Part = "all") -> NDArray[np.float32]:
        """Return [K, P], a copy; "optimizer" is its moments, then its number of steps."""
        params = self.learner.network.params
        if part == "optimizer":
            moments = self.learner.moments.reshape(len(params), -1)
            return np.hstack([moments, self.learner.count[:, None].astype(np.float32)])
        return params[:, : self.layout.policy_size].copy() if part == "policy" else params.copy()

    def load_parameters(self, rows: Array, part: Part = "all") -> None:
        """Overwrite a part with `rows` [K, P]; the other parts stay."""
        params, moments = self.learner.network.params, self.learner.moments
        sizes = {
            "policy": self.layout.policy_size,
            "all": self.layout.size,
            "optimizer": moments[0].size + 1,
        }
        if rows.shape != (len(self.ids), sizes[part]):
            raise FdrlError(
                f"rows {rows.shape} do not fit {part!r} [{len(self.ids)}, {sizes[part]}]"
            )
        if part == "optimizer":
            moments[...] = rows[:, :-1].reshape(moments.shape)
            # Rows may come from elsewhere: a negative mean of squares would turn weights into NaN.
            if moments.shape[1]:
                np.maximum(moments[:, -1], 0.0, out=moments[:, -1])
            self.learner.count[...] = np.rint(np.maximum(rows[:, -1], 0.0))
        else:
            params[:, : sizes[part]] = rows

    def anchor(self, rows: Array | None, strength: float) -> None:
        """Add `strength` * (theta - rows) to the gradient of local learning; None ends it."""
        if rows is not None and rows.shape != self.learner.network.params.shape:
            raise FdrlError(
                f"anchor {rows.shape} does not fit parameters {self.learner.network.params.shape}"
            )
        own = None if rows is None else np.array(rows, dtype=np.float32)
        self.learner.anchor = None if own is None else Anchor(own, strength)

    def state(self) -> dict[str, Array]:
        """Everything needed for a bit-exact resume; the first axis of every array is K."""
        world = {f"world/{name}": array for name, array in self.world.state().items()}
        return self._learning_state() | world

    def _learning_state(self) -> dict[str, Array]:
        """Return the state of everything but the environments."""
        out: dict[str, Array] = {
            "parameters": self.learner.network.params.copy(),
            "optimizer/moments": self.learner.moments.copy(),
            "optimizer/count": self.learner.count.copy(),
            "distill/moments": self._distiller.moments.copy(),
            "distill/count": self._distiller.count.copy(),
            "steps": self._taken.copy(),
        }
        out |= {f"rng/{name}": pack_generators(rngs) for name, rngs in self._streams().items()}
        if self.learner.anchor is not None:
            out["anchor/rows"] = self.learner.anchor.rows.copy()
            out["anchor/strength"] = np.full(len(self.ids), self.learner.anchor.strength)
        return out

    def _streams(self) -> dict[str, list[np.random.Generator]]:
        return {
            "action": self._action_rngs,
            "minibatch": self._shuffle_rngs,
            "distill": self._distiller.generators,
        }

    def load_state(self, state: Mapping[str, Array]) -> None:
        """Continue from what `state` returned."""
        self._load_learning_state(state)
        world = {n.removeprefix("world/"): a for n, a in state.items() if n.startswith("world/")}
        self.world.load_state(world)

    def _load_learning_state(self, state: Mapping[str, Array]) -> None:
        self.load_parameters(state["parameters"])
        self.learner.moments[...] = state["optimizer/moments"]
        self.learner.count[...] = state["optimizer/count"]
        self._distiller.moments[...] = state["distill/moments"]
        self._distiller.count[...] = state["distill/count"]
        self._taken[...] = state["steps"]
        for name, rngs in self._streams().items():
            unpack_generators(rngs, state[f"rng/{name}"])
        rows = state.get("anchor/rows")
        self.anchor(rows, 0.0 if rows is None else float(state["anchor/strength"][0]))

    def close(self) -> None:
        """Free the environments."""
        self.world.env.close()
