"""Settings that several packages share: bounded numbers, when to exchange, how to distill."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, TypeVar

import msgspec

_LOCK = threading.RLock()


def convert(raw: Any, cls: Any) -> Any:
    """Make plain data an object of a class, as `msgspec.convert` does, in any thread.

    msgspec looks at a class when it is first asked for one; two threads that ask at once crash the
    process (msgspec 0.20). Raises `msgspec.ValidationError` for data that is no such object.
    """
    with _LOCK:
        return msgspec.convert(raw, cls)


Loss = Literal["forward", "reverse", "js"]
NonNegativeCount = Annotated[int, msgspec.Meta(ge=0)]
NonNegativeFloat = Annotated[float, msgspec.Meta(ge=0)]


class DistillSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How an agent moves toward a teacher."""

    instead: ClassVar[Mapping[str, str]] = {"steps": "passes"}
    """Who gives the one does not want the strategy's own value of the other."""

    loss: Loss = "forward"
    """KL(teacher || policy) (forward), KL(policy || teacher) (reverse) or Jensen-Shannon."""
    steps: NonNegativeCount = 16
    """Gradient steps per exchange; ignored when `passes` is set."""
    passes: NonNegativeCount = 0
    """Passes over the proxy states per exchange instead of a number of steps."""
    batch: Annotated[int, msgspec.Meta(ge=1)] = 128
    """Proxy states in a gradient step."""
    lr: NonNegativeFloat = 1e-3
    """Learning rate of the distillation's own Adam."""
    optimizer: Literal["own", "learner"] = "own"
    """Adam of the distillation's own, or the learner's optimizer at its present learning rate, as
    FedHPD's published code has it (`lr` and a strategy's `lr_end` then count for values alone)."""
    max_grad_norm: NonNegativeFloat = 0.5
    """Gradient norm at which a step is clipped, per agent; value estimates are not clipped."""
    kl_limit: NonNegativeFloat = 0.0
    """Stop distilling an agent's policy once the mean KL(policy before || policy now) exceeds this;
    0: never."""


PositiveInt = Annotated[int, msgspec.Meta(ge=1)]
NonNegativeInt = Annotated[int, msgspec.Meta(ge=0)]


class Exchange(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """When agents exchange: the part of the settings that all strategies share.

    A strategy's settings subclass it, and override what is true of them: nobody else asks which
    strategy it is.
    """

    sends: ClassVar[Literal["nothing", "answers", "parameters", "other"]] = "other"
    """What agents upload: probabilities or moments (answers), parameters, nothing, or else."""
    served: ClassVar[bool] = True
    """Whether there is a server, which could visit proxy states for the agents."""

    every: PositiveInt = 1
    """Local learning between two exchanges, in `unit`s."""
    unit: Literal["iterations", "steps", "episodes"] = "iterations"
    """What `every` counts: the learner's own iterations, environment steps, or episodes."""

    @property
    def asks_states(self) -> bool:
        """Whether agents answer about proxy states, or distill on them."""
        return True

    @property
    def needs_labels(self) -> bool:
        """Whether agents must own labeled samples (`fdrl.core.cohort.Labeled`)."""
        return False

    @property
    def shared_part(self) -> Literal["policy", "all", "optimizer"]:
        """Which part of the parameters travels, if any does."""
        return "all"

    @property
    def shares_moments(self) -> bool:
        """Whether the optimizer's moments travel beside the parameters."""
        return False

    @property
    def weighted(self) -> bool:
        """Whether parameters count by the steps or samples that they say stand behind them."""
        return False

    def why_no_mean(self) -> str:
        """Return why a server's combining is no mean of what agents send; "" if it is one.

        What is one can add up on the way, in the air, before a server sees it.
        """
        return "its server needs more than a mean"


# ---- What the settings of every learner derive from: they say of themselves what others must
# know


Own = TypeVar("Own", bound="LearnerSettings")


class LearnerSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Settings of a learner; a subclass adds its fields, and overrides what is true of it.

    >>> class Mine(LearnerSettings, tag="mine", tag_field="type", frozen=True, kw_only=True):
    ...     n_envs: int = 4
    ...
    ...     @property
    ...     def copies(self) -> int:
    ...         return self.n_envs
    >>> Mine().copies, Mine().steps_together
    (4, True)
    """

    steps_together: ClassVar[bool] = True
    """Whether all its agents take each step at the same time, as those who share a world must."""
    may_name: ClassVar[tuple[str, ...]] = ()
    """Modules whose classes its settings may name, even in a run folder that nobody vouches for."""

    @property
    def copies(self) -> int:
        """Environment copies that an agent steps together; they share its steps evenly."""
        return 1

    @property
    def needs_steps(self) -> bool:
        """Whether something falls over the run's steps, which must then be its only budget."""
        return False

    @property
    def default_rollout(self) -> bool:
        """Whether an unset `n_steps` leaves the length of an iteration to somebody else's default.

        Who did not choose it may be surprised how rarely agents exchange.
        """
        return False

    @property
    def architecture(self) -> str:
        """An agent's network in a word, such as ``64-64``; empty if it goes without saying."""
        return ""

    def numbers(self, observation: int, answer: int, steps: int) -> dict[str, float]:
        """Return how many numbers an agent holds at the least, by the setting that decides it.

        An observation and a policy's answer have so many components; a run has so many steps. Who
        asks for more than a machine has is told so, and which setting to make smaller.
        """
        return {}

    def for_pool(self: Own, agents: int) -> Own:
        """Return the settings of one learner on the data of so many agents.

        It takes as many gradient steps as one of them, so its batches are that much larger.
        """
        return self

    def quick(self: Own) -> Own:
        """Return settings with which an iteration costs as little as it can, for checks."""
        return self


def network_numbers(hidden: tuple[int, ...], inputs: int, outputs: int) -> float:
    """Return the weights of dense layers, their gradients and Adam's two moments, as a count."""
    layers = [inputs, *hidden, outputs]
    return 4.0 * sum((a + 1.0) * b for a, b in itertools.pairwise(layers))


def sizes(hidden: tuple[int, ...]) -> str:
    """Return hidden layers in a word: ``64-64``, or ``linear`` for none."""
    return "-".join(map(str, hidden)) if hidden else "linear"
