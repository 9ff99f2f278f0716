"""Spectrum access: radios share fading channels, each knowing only what it senses itself.

Each slot, radio i stays silent (0) or sends on channel c = 1 .. C. Its packet arrives if nobody
else sends there and the link is good, or bad and lucky. Links follow Gilbert and Elliott (Bell
System Technical Journal 39, 1960; 42, 1963): a two-state Markov chain per radio and channel,

    P(bad next | good) = worsen_i,   P(good next | bad) = recover_i,

started from its stationary distribution. A packet joins radio i's queue with probability
`arrival_i` a slot and is dropped if the queue is full. The reward is

    r_i = (1 - fairness_i) e_i + fairness_i mean_j e_j,   e_i = delivered_i - energy_i sent_i.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import pettingzoo
from gymnasium import spaces
from numpy.typing import NDArray

from fdrl.core.arrays import Array, Bools, Doubles
from fdrl.core.env import Step
from fdrl.core.errors import FdrlError
from fdrl.core.registry import EnvSpec, Physics

from .grid_world import COLORS, GRAY, PALE, RED, box, canvas
from .worlds import SingleWorld, Worlds

ID = "fdrl/SpectrumAccess-v0"
RADIOS, CHANNELS, QUEUE = 4, 3, 8
SLOTS = 100
_SEEN = 1 + (CHANNELS + 1) + CHANNELS + 1
_LINKS = RADIOS * CHANNELS


class Spectrum(Worlds):
    """W worlds of 4 radios on 3 channels.

    A radio sees, all in [-1, 1]: its last slot (1 delivered, -1 lost, 0 silent); its last action,
    one-hot [4]; its channels as sensed, 1 good or -1 bad and wrong with probability
    `sensing_error` [3]; its queue's length over 8. It sees nothing of the other radios.
    """

    observation_space: ClassVar[spaces.Box] = spaces.Box(-1.0, 1.0, (_SEEN,), np.float32)
    action_space: ClassVar[spaces.Discrete] = spaces.Discrete(CHANNELS + 1)
    agents: ClassVar[int] = RADIOS
    # fading and sensing of each link, then arrival and luck of each radio
    draws: ClassVar[int] = 2 * _LINKS + 2 * RADIOS
    defaults: ClassVar[Mapping[str, float]] = {
        "worsen": 0.05,
        "recover": 0.2,
        "arrival": 0.6,
        "energy": 0.2,
        "sensing_error": 0.05,
        "luck": 0.1,
        "fairness": 0.0,
    }
    saved: ClassVar[tuple[str, ...]] = ("_good", "_sensed", "_queue", "_last", "_ack")

    def _prepare(self, count: int) -> None:
        self._good: Bools = np.zeros((count, RADIOS, CHANNELS), np.bool_)
        self._sensed: Bools = np.zeros_like(self._good)
        self._queue = np.zeros((count, RADIOS), np.int64)
        self._last = np.zeros((count, RADIOS), np.int64)
        self._ack = np.zeros((count, RADIOS), np.int64)
        p = self.params
        self._worsen, self._recover = p["worsen"][:, :, None], p["recover"][:, :, None]
        self._wrong = p["sensing_error"][:, :, None]
        self._stationary = self._recover / np.maximum(self._recover + self._worsen, 1e-12)
        self._channels = np.arange(1, CHANNELS + 1)
        self._actions = np.arange(CHANNELS + 1)

    def _begin(self, rows: NDArray[np.intp], drawn: Doubles) -> None:
        fade, sense = self._links(drawn)
        self._good[rows] = fade < self._stationary[rows]
        self._sensed[rows] = self._good[rows] ^ (sense < self._wrong[rows])
        self._queue[rows] = drawn[:, 2 * _LINKS : -RADIOS] < self.params["arrival"][rows]
        self._last[rows] = 0
        self._ack[rows] = 0

    def _links(self, drawn: Doubles) -> tuple[Doubles, Doubles]:
        shape = (len(drawn), RADIOS, CHANNELS)
        return drawn[:, :_LINKS].reshape(shape), drawn[:, _LINKS : 2 * _LINKS].reshape(shape)

    def _advance(self, actions: Array, drawn: Doubles) -> tuple[Doubles, Bools]:
        p, lucky = self.params, drawn[:, -RADIOS:]
        chosen = actions[:, :, None] == self._channels  # [W, N, C]
        sent = actions > 0
        alone = chosen.sum(axis=1)[:, None, :] == 1
        clear = (chosen & alone).any(axis=2)
        strong = (chosen & self._good).any(axis=2)
        delivered = clear & (strong | (lucky < p["luck"])) & (self._queue > 0)
        self._last[:] = actions
        self._ack[:] = 2 * delivered - sent
        own = delivered - p["energy"] * sent
        # summed in the order of the radios, so that W makes no difference to the last bit
        total = own[:, 0] + own[:, 1] + own[:, 2] + own[:, 3]
        rewards = (1 - p["fairness"]) * own + p["fairness"] * (total / RADIOS)[:, None]
        arrived = drawn[:, 2 * _LINKS : -RADIOS] < p["arrival"]
        self._queue += arrived
        self._queue -= delivered
        np.minimum(self._queue, QUEUE, out=self._queue)
        fade, sense = self._links(drawn)
        np.copyto(self._good, np.where(self._good, fade >= self._worsen, fade < self._recover))
        np.not_equal(self._good, sense < self._wrong, out=self._sensed)
        return rewards, np.zeros_like(sent)

    def _observe(self, out: NDArray[np.float32]) -> None:
        out[:, :, 0] = self._ack
        out[:, :, 1 : CHANNELS + 2] = self._last[:, :, None] == self._actions
        out[:, :, CHANNELS + 2 : -1] = 2.0 * self._sensed - 1.0
        out[:, :, -1] = self._queue / QUEUE


def _rate(default: float) -> Physics:
    return Physics(default, low=0.0, high=1.0, varies=False)


class SpectrumAccess(SingleWorld):
    """Four radios share three fading channels (PettingZoo ``fdrl/SpectrumAccess-v0``).

    >>> env = SpectrumAccess(worsen=[0.02, 0.05, 0.1, 0.2])
    >>> seen, _ = env.reset(seed=0)
    >>> seen["radio_0"].shape
    (9,)
    """

    metadata: ClassVar[dict[str, Any]] = {**SingleWorld.metadata, "name": "spectrum_access_v0"}
    worlds: ClassVar[type[Worlds]] = Spectrum
    physics: ClassVar[Mapping[str, Physics]] = {
        "worsen": Physics(0.05, low=0.0, high=1.0),
        "recover": _rate(0.2),
        "arrival": _rate(0.6),
        "energy": _rate(0.2),
        "sensing_error": _rate(0.05),
        "luck": _rate(0.1),
        "fairness": _rate(0.0),
    }
    prefix: ClassVar[str] = "radio"
    max_steps: ClassVar[int] = SLOTS

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._past: list[tuple[list[int], list[int]]] = []

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        """Start an episode."""
        self._past = []
        return super().reset(seed, options)

    def step(self, actions: dict[str, int]) -> Any:
        """Advance by one slot."""
        result = super().step(actions)
        world = self.world
        assert isinstance(world, Spectrum)
        self._past.append((world._last[0].tolist(), world._ack[0].tolist()))
        return result

    def render(self) -> NDArray[np.uint8]:
        """Draw the last 40 slots of each channel and the queues.

        A delivered packet has its radio's color, a collision is red, a packet lost to fading gray.
        """
        world = self.world
        assert isinstance(world, Spectrum)
        image = canvas(160, 328)
        for t, (last, acks) in enumerate(self._past[-40:]):
            for c in range(CHANNELS):
                users = [i for i, a in enumerate(last) if a == c + 1]
                color = PALE
                if len(users) > 1:
                    color = RED
                elif users:
                    color = COLORS[users[0]] if acks[users[0]] > 0 else GRAY
                box(image, 4 + c * 28, 4 + t * 8, 24, 7, color)
        for i, length in enumerate(world._queue[0].tolist()):
            box(image, 92 + i * 16, 4, 12, 320, PALE)
            box(image, 92 + i * 16, 4, 12, 40 * length, COLORS[i])
        return image


def heuristic(seen: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return actions [..., N] of a hand-written policy for observations [..., N, O].

    Radio i owns channel i, and the last radio borrows: it sends on the first channel that it
    senses as good, every other slot. Everybody sends only what is queued on a link sensed good.
    """
    good, backlog = seen[..., CHANNELS + 2 : -1] > 0, seen[..., -1] > 0
    actions = np.zeros(seen.shape[:-1], np.int64)
    for i in range(CHANNELS):
        actions[..., i] = np.where(good[..., i, i] & backlog[..., i], i + 1, 0)
    last = RADIOS - 1
    rested = seen[..., last, 1] > 0
    first = good[..., last, :].argmax(axis=-1) + 1
    sends = good[..., last, :].any(axis=-1) & backlog[..., last] & rested
    actions[..., last] = np.where(sends, first, 0)
    return actions


if ID not in pettingzoo.parallel_registry:
    pettingzoo.register("parallel", ID, "fdrl.envs.spectrum:SpectrumAccess")

# ---- Worlds seen agent by agent: agent k of a federation is agent k of every world
#
# A `fdrl.VectorEnv` of N * W copies, agent-major as fdrl asks for them: copy w of agent k sits in
# row k of world w. So the N agents of a run learn together in the same W worlds, each with a
# network of its own. For worlds that all agents leave together.


class AgentMajorView:
    """N * W copies of one agent's view; the seeds of the first agent's copies seed the worlds."""

    worlds: ClassVar[type[Worlds]]
    observation_space: ClassVar[spaces.Box]
    action_space: ClassVar[spaces.Discrete]

    def __init__(
        self,
        count: int,
        params: Mapping[str, Doubles],
        seeds: Sequence[np.random.SeedSequence],
        max_steps: int,
    ) -> None:
        agents = self.worlds.agents
        self.count, self._shape = count, (agents, count // agents)
        if count % agents:
            raise FdrlError(
                f"{self.worlds.__name__} has {agents} agents: train that many (--agents {agents}) "
                "in one process"
            )
        own = {name: values.reshape(self._shape).T for name, values in params.items()}
        self.world = self.worlds(self._shape[1], own, seeds[: self._shape[1]], max_steps)

    def _flat(self, values: Array) -> Array:
        """Return [W, N, ...] as [N * W, ...]."""
        return np.ascontiguousarray(values.swapaxes(0, 1)).reshape(self.count, *values.shape[2:])

    def reset(self) -> NDArray[np.float32]:
        """Start a new episode in every world; return the observations [n, *O]."""
        return self._flat(self.world.reset())

    def step(self, actions: Array) -> Step:
        """Advance every world by one action per agent [n]."""
        step = self.world.step(np.asarray(actions).reshape(self._shape).T)
        return Step(
            self._flat(step.observations),
            self._flat(step.next_observations),
            self._flat(step.rewards),
            self._flat(step.terminated),
            self._flat(step.truncated),
        )

    def state(self) -> dict[str, Array]:
        """Return the worlds' state, once for every agent."""
        agents = self._shape[0]
        return {k: np.concatenate([v] * agents) for k, v in self.world.state().items()}

    def load_state(self, state: dict[str, Array]) -> None:
        """Continue from what `state` returned."""
        self.world.load_state({k: v[: self._shape[1]] for k, v in state.items()})

    def close(self) -> None:
        """Nothing to free."""


class SpectrumView(AgentMajorView):
    """Four agents that are the radios of `fdrl.envs.spectrum`."""

    worlds: ClassVar[type[Worlds]] = Spectrum
    observation_space: ClassVar[spaces.Box] = Spectrum.observation_space
    action_space: ClassVar[spaces.Discrete] = Spectrum.action_space


SPECTRUM = EnvSpec(
    name="fdrl.envs.spectrum:SPECTRUM",
    summary="Four radios share three fading channels; 100 slots.",
    vector="fdrl.envs.spectrum:SpectrumView",
    physics=SpectrumAccess.physics,
    max_steps=SLOTS,
    threshold=30.0,
)
"""What ``fdrl train --env fdrl.envs.spectrum:SPECTRUM --agents 4`` trains."""
