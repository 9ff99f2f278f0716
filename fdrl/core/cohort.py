"""A cohort: K agents of one architecture that learn locally as one batched program.

Shapes: K agents, N proxy states, O observation shape, A actions, P parameters. Row k of every
array is agent `ids[k]`. Policies over D continuous actions are diagonal Gaussians: wherever
probabilities [.., A] are written, theirs are moments [.., 2D], D means and then D standard
deviations (of the Gaussians, before actions are clipped to the space). Nothing a cohort computes
for one agent may depend on another: a cohort of K agents equals K cohorts of one, to the bit
(`fdrl.check_cohort` tests it).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from fdrl.core.arrays import Array
from fdrl.core.env import Envs
from fdrl.core.settings import DistillSettings

Part = Literal["policy", "all", "optimizer"]
Episodes = int | NDArray[np.int64] | None
"""The episodes that end local training: of every agent, of each [K], or no matter how many.
"""


def is_gaussian(cohort: Cohort) -> bool:
    """Say whether a cohort's policies are Gaussians; learners of discrete actions need not say."""
    return bool(getattr(cohort, "gaussian", False))


def late_state(cohort: Cohort) -> tuple[str, ...]:
    """Return the arrays of a cohort's state that are only there after first use.

    Until then they count as zeros: an optimizer of something that few methods need, say. Learners
    that have some name them in an attribute ``late_state``.
    """
    return tuple(getattr(cohort, "late_state", ()))


def optimizer_squares(cohort: Cohort) -> tuple[int, int]:
    """Return where (first, end) an agent's optimizer keeps means of squared gradients.

    Before them stand as many means of the gradients, or nothing. Learners say so in an attribute
    ``optimizer_squares``; of others nobody can tell what their optimizer's state may be.
    """
    first, end = getattr(cohort, "optimizer_squares", (0, 0))
    return int(first), int(end)


@dataclass
class LabelTable:
    """What classifiers answered while they trained, by the label of the sample.

    `probs` [K, L, L]: row l is the mean answer to samples of label l (uniform where there was
    none); `counts` [K, L]: how many samples of each label were seen.
    """

    probs: NDArray[np.float32]
    counts: NDArray[np.float64]


@dataclass
class Experience:
    """What local training leaves behind.

    `observations` [K, M, *O] and `probs` [K, M, A], the policy **at visit time**, hold the first
    `steps[k]` rows for agent k, in order of time; rows beyond are padding. `returns` and `lengths`
    list each agent's episodes that ended in it. `metrics` [K] are means over it,
    under Stable-Baselines3's names (``train/loss``, ...). `ends` tell how many of its
    steps each of these episodes' agent had taken when it ended; left empty, lengths are added up,
    which is right for one environment copy. A learner that keeps no states, as a classifier, has
    none in `observations` and `probs` (M = 0), and `labels` instead. Agents that had left a shared
    world did not take all steps of their budget: `spent` [K] is what was taken of it,
    `steps` if None. `ends` count as `spent` does.
    """

    observations: NDArray[np.float32]
    probs: NDArray[np.float32]
    steps: NDArray[np.int64]
    returns: list[NDArray[np.float64]]
    lengths: list[NDArray[np.int64]]
    metrics: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    ends: list[NDArray[np.int64]] = field(default_factory=list)
    labels: LabelTable | None = None
    spent: NDArray[np.int64] | None = None


@dataclass(frozen=True)
class CohortContext:
    """What a learner is told when it is built.

    `agents` are the global indices of its agents, the key of every random stream, so that an agent
    draws the same numbers whatever cohort or process it lives in. With `same_init` all agents
    start from the weights that agent 0 would have. `total_steps` (per agent) is what a
    learning-rate schedule runs over.
    """

    ids: tuple[str, ...]
    agents: tuple[int, ...]
    envs: Envs
    seed: int
    same_init: bool = False
    total_steps: int = 0
    device: str = "cpu"


@runtime_checkable
class Cohort(Protocol):
    """K agents that learn. Implementations need no base class."""

    ids: tuple[str, ...]
    observation_shape: tuple[int, ...]
    n_actions: int
    """A; or D, of a cohort that also has ``gaussian = True``."""
    iteration_steps: int
    """Environment steps per agent in one local iteration; 0 if an iteration is one episode."""

    def learn(self, steps: NDArray[np.int64], episodes: Episodes = None) -> Experience:
        """Learn locally for `steps[k]` environment steps, or until `episodes` have ended.

        Agent k takes exactly `steps[k]` steps when `episodes` is None (a multiple of its number of
        environment copies). Episodes, environments and optimizers continue across calls.
        """

    def probs(self, states: Array) -> NDArray[np.float32]:
        """Answer `states` [N, *O] or, one set per agent, [K, N, *O]: probabilities [K, N, A]."""

    def distill(
        self, states: Array, targets: Array, weights: Array, settings: DistillSettings
    ) -> dict[str, NDArray[np.float64]]:
        """Move each policy toward `targets` [K, N, A] at `states` ([N, *O] or [K, N, *O]).

        `weights` [K, N] weigh the states in each agent's loss; an agent whose weights are all zero
        is left exactly as it was, its optimizer too. Steps with an optimizer of its own, which
        persists, or with the one of local learning, as ``settings.optimizer`` says.
        Returns metrics [K], at least ``distill/loss``, ``distill/kl_before``, ``distill/kl_after``
        (KL(target || policy), weighted mean over the states, or over many of them) and
        ``distill/gradient_steps``.
        """

    def parameters(self, part: Part = "all") -> NDArray[np.float32]:
        """Return [K, P], a copy: the policy's, policy and value's, or the optimizer's state."""

    def load_parameters(self, rows: Array, part: Part = "all") -> None:
        """Overwrite a part with `rows` [K, P]; the other parts stay."""

    def anchor(self, rows: Array | None, strength: float) -> None:
        """Add `strength` * (theta - rows) to local learning's gradient (FedProx); None ends it."""

    def evaluate(
        self, episodes: int, seed: int, *, held_out: bool = False, greedy: bool = True
    ) -> NDArray[np.float64]:
        """Return undiscounted returns [K, episodes] in fresh environments (kept out of training).

        Episode j starts from the same seed for every agent, method and call. `held_out` gives
        [K, H * episodes] in the H environments that no agent trains in.
        """

    def state(self) -> dict[str, Array]:
        """Everything needed for a bit-exact resume; the first axis of every array is K."""

    def load_state(self, state: Mapping[str, Array]) -> None:
        """Continue from what `state` returned."""

    def close(self) -> None:
        """Free environments and worker processes."""


@runtime_checkable
class Poolable(Protocol):
    """A cohort whose collecting and updating can be taken apart, as `pooled` needs."""

    def collect(self, steps: NDArray[np.int64]) -> tuple[Experience, dict[str, Array]]:
        """Act for one iteration of at most `steps` without learning; return the transitions.

        The arrays are agent-major, [K, T, E, ...]: observations, actions, rewards, terminated,
        truncated, next_observations.
        """

    def update(self, transitions: Mapping[str, Array]) -> dict[str, NDArray[np.float64]]:
        """Learn from transitions [1, T, E', ...] with a cohort of one agent; return metrics [1]."""


@runtime_checkable
class Watched(Protocol):
    """A cohort that looks after its own parameters: others' are copied to be looked at."""

    def keep_finite(self, rows: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Say of the agents that `rows` [K] marks whether their parameters are all finite [K].

        It says yes of the others. Those that are not go back to what they were at the last call,
        with an optimizer that has forgotten everything; those that are, are remembered.
        """


class Weighted(Protocol):
    """What has parameters to read and to overwrite, as every `Cohort`."""

    def parameters(self, part: Part = "all") -> NDArray[np.float32]:
        """Return [K, P], a copy."""

    def load_parameters(self, rows: Array, part: Part = "all") -> None:
        """Overwrite a part."""


def kept_finite(
    cohort: Weighted, who: NDArray[np.bool_], last: NDArray[np.float32] | None
) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
    """Do what `Watched.keep_finite` does for a cohort; `last` is what was returned before.

    Returns who is finite, and the parameters [K, P] to remember.
    """
    rows = cohort.parameters("all")
    finite = np.isfinite(rows).all(1) | ~who
    if last is None:
        last = np.where(np.isfinite(rows), rows, np.float32(0))
    lost = ~finite
    kept = np.where((who & finite)[:, None], rows, last)
    if lost.any():
        rows[lost] = last[lost]
        cohort.load_parameters(rows, "all")
        moments = cohort.parameters("optimizer")
        moments[lost] = 0.0
        cohort.load_parameters(moments, "optimizer")
    return finite, kept


@runtime_checkable
class Valued(Protocol):
    """A cohort whose agents estimate the values of states, and can be taught them."""

    def values(self, states: Array) -> NDArray[np.float32]:
        """Estimate the discounted return from `states` [N, *O] or [K, N, *O] on: [K, N]."""

    def distill_values(
        self, states: Array, targets: Array, weights: Array, settings: DistillSettings
    ) -> dict[str, NDArray[np.float64]]:
        """Move each agent's estimates toward `targets` [K, N]; policies stay exactly as they are.

        Like `Cohort.distill`, with squared errors as the loss, an optimizer of its own, and no
        clipping. Returns ``distill/value_error`` [K], the root of the weighted mean squared error
        over the steps taken, and their number ``distill/value_steps`` [K].
        """


@runtime_checkable
class Labeled(Protocol):
    """A cohort whose agents own labeled samples. L labels are its actions, O its pixels."""

    def samples(self) -> list[tuple[NDArray[np.float32], NDArray[np.int64]]]:
        """Return each agent's own inputs [M, O] and labels [M], copies."""

    def histogram(self) -> NDArray[np.int64]:
        """Return how many samples of each label each agent owns [K, L]."""

    def teach(self, targets: Array, weights: Array, strength: float) -> None:
        """Add a teacher to the loss of local learning from now on.

        A sample (x, y) of agent k adds ``strength * weights[k, y] * CE(F(x), targets[k, y])``;
        `targets` [K, L, L], `weights` [K, L].
        """


@runtime_checkable
class Extendable(Labeled, Protocol):
    """A labeled cohort whose agents can be given samples, as FAug does."""

    def extend(self, samples: Sequence[tuple[Array, Array]]) -> None:
        """Let each agent own these inputs [n, O] and labels [n] beside those it was dealt."""


@runtime_checkable
class Interruptible(Protocol):
    """A cohort whose agents may begin and end local training at different times.

    ``learn(steps, episodes)`` equals, to the bit, `begin` for all agents, `advance` until nobody is
    busy, and `result`. Between two calls of `advance` every other method may be called; what
    it is told about busy agents is what they have come to so far.
    """

    def begin(self, rows: NDArray[np.int64], steps: NDArray[np.int64], episodes: Episodes) -> None:
        """Let agents `rows` [R], none of them busy, set out to learn as `learn` would."""

    def advance(self, enough: Callable[[NDArray[np.bool_]], bool]) -> NDArray[np.bool_]:
        """Let all busy agents learn until `enough(busy [K])`, asked whenever one is through.

        Returns who is still busy [K].
        """

    def result(self, rows: NDArray[np.int64]) -> Experience:
        """Return the experience of agents `rows` [R], all of them through, and forget it."""
