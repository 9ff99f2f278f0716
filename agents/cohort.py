"""What all learners of one network per agent share: answering, distilling, evaluating, resuming."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fdrl.core.arrays import Array, Floats, Metrics
from fdrl.core.cohort import CohortContext, Part, kept_finite
from fdrl.core.env import VectorEnv
from fdrl.core.errors import FdrlError
from fdrl.core.seeding import Purpose, generator, pack_generators, unpack_generators
from fdrl.core.settings import DistillSettings
from fdrl.core.watch import PULSE

from . import gaussian, train_state
from .distillation import DistillState, distill, gather, minibatches
from .gaussian import answers, bounds_of, draw_shape
from .networks import Backend, make_network
from .networks.base import Network
from .networks.layout import Init, Layout, for_images, initial_rows
from .networks.numpy_network import Name as ActivationName
from .rollout import Collector, sample
from .train_state import Anchor, TrainState, step_rows

# ---- Playing finished policies: every episode of every agent in one vector of copies ----


BLOCK = 128
"""Steps of uniforms drawn ahead."""


def evaluate(
    network: Network,
    env: VectorEnv,
    agents: tuple[int, ...],
    seed: int,
    greedy: bool,
    bounds: gaussian.Bounds | None = None,
) -> NDArray[np.float64]:
    """Play each of the K * J copies of `env` to the end of its first episode: returns [K, J].

    Ties between actions go to the first. A stochastic policy draws from a stream of its own per
    agent, so no evaluation moves training. Continuous actions stay inside `bounds`.
    """
    k = len(agents)
    copies = env.count // k
    rngs = [generator(seed, Purpose.EVALUATION, agent, 1) for agent in agents]
    layout = network.layout
    shape = gaussian.draw_shape(layout.n_actions, layout.gaussian)
    uniforms = np.zeros((k, BLOCK, copies, *shape), np.float32)
    observations = env.reset()
    returns = np.zeros(env.count)
    playing = np.ones(env.count, np.bool_)
    t = 0
    while playing.any():
        logits = network.policy(observations.reshape(k, copies, -1))
        if greedy:
            actions = gaussian.greedy(logits) if layout.gaussian else np.argmax(logits, axis=1)
        else:
            if t % BLOCK == 0:
                for row, rng in zip(uniforms, rngs, strict=True):
                    row[...] = rng.random(row.shape, dtype=np.float32)
            actions = sample(logits, uniforms[:, t % BLOCK], layout.gaussian)
        step = env.step(gaussian.playable(actions, bounds))
        PULSE.beats += 1
        returns += np.where(playing, step.rewards, 0.0)
        playing &= ~(step.terminated | step.truncated)
        observations = step.observations
        t += 1
    return returns.reshape(k, copies)


# ---- What all learners of one network per agent share: answering, distilling, evaluating,
# resuming
#
# Shapes: K agents, E environment copies each, N states, O observation components, A actions,
# P parameters.


class NetworkSettings(Protocol):
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


class NetworkCohort:
    """K agents' networks, optimizers, random streams and environments; subclasses learn."""

    _kept: Floats | None = None
    """Parameters [K, P] that were finite, to which an agent whose are not can go back."""

    def __init__(
        self, settings: NetworkSettings, context: CohortContext, optimizer: train_state.Kind
    ) -> None:
        self.ids, self.agents, self._context = context.ids, context.agents, context
        self.observation_shape = context.envs.observation_shape
        self.n_actions = context.envs.n_actions
        self.gaussian = context.envs.gaussian
        self._inputs = math.prod(self.observation_shape)
        sizes = (self._inputs, settings.hidden, self.n_actions, settings.activation)
        log_std = getattr(settings, "log_std_init", None)
        self.layout = Layout(*sizes, self.gaussian, 0.0 if log_std is None else log_std)
        if len(self.observation_shape) > 1:
            self.layout = for_images(self.layout, context.envs.observation_space)
        self._draw_shape = draw_shape(self.n_actions, self.gaussian)
        seed, same = context.seed, context.same_init
        rows = initial_rows(self.layout, seed, self.agents, same, settings.init)
        network = make_network(settings.backend, self.layout, rows, context.device)
        self.learner = TrainState.fresh(network, optimizer)
        self._taken = np.zeros(len(self.ids), np.int64)
        self._action_rngs = self._generators(Purpose.ACTION)
        self._shuffle_rngs = self._generators(Purpose.MINIBATCH)
        distill_rngs = self._generators(Purpose.DISTILL)
        self._distiller = DistillState(len(self.ids), self.layout.policy_size, distill_rngs)
        self._bounds = bounds_of(context.envs)
        vector = context.envs.vector(settings.n_envs)
        self.world = Collector(vector, len(self.ids), self._inputs, self._bounds)

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

    def keep_finite(self, rows: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Say who of `rows` [K] has finite parameters [K]; see `fdrl.core.cohort.Watched`."""
        finite, self._kept = kept_finite(self, rows, self._kept)
        return finite

    @property
    def optimizer_squares(self) -> tuple[int, int]:
        """Where (first, end) the optimizer's parameters are means of squared gradients."""
        slots, size = self.learner.moments.shape[1:]
        return max(0, slots - 1) * size, slots * size

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


# ---- Cohorts whose agents also estimate values, and can be taught other agents' estimates ----
#
# Shapes: K agents, N states, B rows of a minibatch, O observation components.


class ValueCohort(NetworkCohort):
    """Policies with value networks beside them (a `fdrl.core.cohort.Valued`)."""

    late_state = ("distill/value_moments", "distill/value_count")
    _critics: DistillState | None = None
    """The optimizer that distills values, once it is needed; it shares the policies' shuffles."""

    def values(self, states: Array) -> Floats:
        """Estimate the values of `states` [N, *O] or [K, N, *O]: [K, N]."""
        return np.array(self.learner.network.values(self._states(states)))

    def distill_values(
        self, states: Array, targets: Array, weights: Array, settings: DistillSettings
    ) -> Metrics:
        """Move each agent's values toward `targets` [K, N]; see `fdrl.core.cohort.Valued`."""
        x, k = self._states(states), len(self.ids)
        if targets.shape != weights.shape or weights.shape != (k, x.shape[1]):
            raise FdrlError(
                f"targets {targets.shape} and weights {weights.shape} do not fit {k} agents and "
                f"{x.shape[1]} states"
            )
        t = np.ascontiguousarray(targets, dtype=np.float32)
        w = np.ascontiguousarray(weights, dtype=np.float32)
        error, steps = teach(self.learner.network, self._critic_distiller(), x, t, w, settings)
        return {"distill/value_error": error, "distill/value_steps": steps}

    def _critic_distiller(self) -> DistillState:
        if self._critics is None:
            size = self.layout.size - self.layout.policy_size
            self._critics = DistillState(len(self.ids), size, self._distiller.generators)
        return self._critics

    def _learning_state(self) -> dict[str, Array]:
        out = super()._learning_state()
        if self._critics is not None:
            out["distill/value_moments"] = self._critics.moments.copy()
            out["distill/value_count"] = self._critics.count.copy()
        return out

    def _load_learning_state(self, state: Mapping[str, Array]) -> None:
        super()._load_learning_state(state)
        self._critics = None
        if "distill/value_count" in state:
            critics = self._critic_distiller()
            critics.moments[...] = state["distill/value_moments"]
            critics.count[...] = state["distill/value_count"]


def teach(
    network: Network,
    distiller: DistillState,
    states: Floats,
    targets: Floats,
    weights: Floats,
    settings: DistillSettings,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Regress the value networks on `targets` [K, N]; return errors and steps [K].

    Errors are roots of mean squares. `states` are [K or 1, N, O]. Agents without weights [K, N]
    stay as they are. Gradients are not clipped: the size of values depends on the task, and Adam
    does not mind it.
    """
    k, n = weights.shape
    first = network.layout.policy_size
    rates = np.full(k, settings.lr)
    live = np.asarray((weights > 0).any(axis=1))
    squared, taken = np.zeros(k), np.zeros(k)
    for rows in minibatches(distiller.generators, live, n, settings):
        w = gather(weights, rows)
        active = live & (w > 0).any(axis=1)
        total = np.add.reduce(w, axis=1, keepdims=True)
        shares = (w / np.where(total > 0, total, np.float32(1))).astype(np.float32)
        loss = network.backward_values(gather(states, rows), gather(targets, rows), shares)
        params, grad = network.params[:, first:], network.grad[:, first:]
        step_rows(train_state.adam, params, grad, distiller.moments, distiller.count, rates, active)
        squared += np.where(active, loss, 0.0)
        taken += active
    return np.sqrt(squared / np.maximum(taken, 1)), taken
