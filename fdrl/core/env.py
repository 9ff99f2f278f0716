"""What a learner steps: copies of one environment, or worlds that several agents share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from fdrl.core.arrays import Array
from fdrl.core.registry import EnvSpec

if TYPE_CHECKING:
    import gymnasium

# ---- What a learner steps, many copies of one environment advanced together, and asks of them


class Step(NamedTuple):
    """The outcome of one step of n copies, with same-step autoreset.

    `observations` [n, *O] is what to act on next: for a finished copy, the first observation of
    its next episode. `next_observations` [n, *O] is where the action really led, so a truncated
    episode can be bootstrapped from it. A copy is finished when `terminated | truncated`.

    `alive` [n] says whose step it was, of agents in shared worlds of which some have left theirs;
    None: everybody's. Elsewhere the other arrays are 0 and False, and stand for no experience.
    """

    observations: NDArray[np.float32]
    next_observations: NDArray[np.float32]
    rewards: NDArray[np.float64]
    terminated: NDArray[np.bool_]
    truncated: NDArray[np.bool_]
    alive: NDArray[np.bool_] | None = None

    @property
    def arrays(self) -> tuple[Array, ...]:
        """The five arrays that every step has."""
        return self[:5]


class VectorEnv(Protocol):
    """n copies of one environment with its own random stream each.

    The arrays in a `Step` belong to the caller until the next call of `step`, no longer.
    """

    count: int

    def reset(self) -> NDArray[np.float32]:
        """Start a new episode in every copy; return the observations [n, *O]."""

    def step(self, actions: Array) -> Step:
        """Advance every copy by one action, [n] or, if continuous, [n, D] inside the space."""

    def state(self) -> dict[str, Array]:
        """Return everything needed to continue to the bit, including random streams."""

    def load_state(self, state: dict[str, Array]) -> None:
        """Continue from what `state` returned."""

    def close(self) -> None:
        """Free windows and simulators."""


class Envs(Protocol):
    """What a learner may ask of the environments of its K agents; O is an observation's shape."""

    @property
    def spec(self) -> EnvSpec:
        """What is known of the environment, its name first."""

    @property
    def kwargs(self) -> Sequence[Mapping[str, Any]]:
        """Each agent's environment arguments [K]."""

    @property
    def observation_space(self) -> spaces.Box:
        """The agents' observation space, a flat Box."""

    @property
    def action_space(self) -> spaces.Discrete | spaces.Box:
        """The agents' action space; discrete actions handed to copies always count from 0."""

    @property
    def observation_shape(self) -> tuple[int, ...]:
        """O."""

    @property
    def n_actions(self) -> int:
        """A, the number of discrete actions, or D, the dimensions of a continuous one."""

    @property
    def gaussian(self) -> bool:
        """Whether actions are continuous, so that policies are Gaussians."""

    def vector(self, copies: int) -> VectorEnv:
        """Return K*E training copies, agent-major: copy e of agent k is number k*E + e."""

    def evaluation(self, episodes: int, seed: int, held_out: bool = False) -> VectorEnv:
        """Return one copy per evaluation episode, [K, episodes], or [K, H, episodes] held out."""

    def open(self, row: int) -> gymnasium.Env[Any, Any]:
        """Return one real environment of agent `row` (0 to K-1), for the caller to close.

        Raises `FdrlError` for an environment that exists as many copies alone.
        """

    def subset(self, rows: Sequence[int]) -> Envs:
        """Return the environments of some of the agents, with the same random streams."""


# ---- Worlds in which several agents act together: what a vectorized one must offer ----


class MultiStep(NamedTuple):
    """The outcome of one step of W worlds, by agent, with same-step autoreset of whole worlds.

    A world starts again when its last agent has left. `observations` [W, *O] is what to act on
    next, `next_observations` [W, *O] where the action really led. `alive` [W] says who acted in
    this step: what the other arrays hold for an agent that had left before is to be ignored.
    """

    observations: dict[str, NDArray[np.float32]]
    rewards: dict[str, NDArray[np.float64]]
    terminated: dict[str, NDArray[np.bool_]]
    truncated: dict[str, NDArray[np.bool_]]
    next_observations: dict[str, NDArray[np.float32]]
    alive: dict[str, NDArray[np.bool_]]


class MultiVectorEnv(Protocol):
    """W worlds of the same agents, each world with its own random stream.

    A PettingZoo environment whose class has a class method ``vectorized(kwargs, seeds)`` is trained
    in what that returns instead of world by world; `kwargs` [W] are each world's arguments, `seeds`
    [W] `numpy.random.SeedSequence`s. Observation spaces are flat Boxes; actions are [W], counting
    from 0, or [W, D] if an agent's are continuous.
    """

    agents: tuple[str, ...]

    @property
    def observation_spaces(self) -> Mapping[str, spaces.Space[Any]]:
        """What each agent sees."""

    @property
    def action_spaces(self) -> Mapping[str, spaces.Space[Any]]:
        """What each agent can do."""

    def reset(self) -> dict[str, NDArray[np.float32]]:
        """Start a new episode in every world; return the observations [W, *O] by agent."""

    def step(self, actions: Mapping[str, Array]) -> MultiStep:
        """Advance every world by the agents' actions [W], or [W, D]."""

    def state(self) -> dict[str, Array]:
        """Return everything needed to continue to the bit; the first axis is W."""

    def load_state(self, state: Mapping[str, Array]) -> None:
        """Continue from what `state` returned."""

    def close(self) -> None:
        """Free windows and simulators."""
