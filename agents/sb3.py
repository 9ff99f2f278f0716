"""Stable-Baselines3 models as a learner: PPO, A2C and DQN, one model an agent.

Slower than the batched learners (`ppo`, `a2c`), since one model learns after another; for what only
Stable-Baselines3 has, and for models that somebody already uses.
"""

from __future__ import annotations

import sys
from typing import Annotated, Any, ClassVar, Literal

import msgspec

from fdrl.cohort import Cohort, CohortContext
from fdrl.errors import FdrlError
from fdrl.settings import LearnerSettings

Positive = Annotated[int, msgspec.Meta(ge=1)]


class SB3(
    LearnerSettings,
    frozen=True,
    forbid_unknown_fields=True,
    kw_only=True,
    tag="sb3",
    tag_field="type",
):
    """A Stable-Baselines3 algorithm; unset fields have its own defaults."""

    steps_together: ClassVar[bool] = False

    algorithm: Literal["PPO", "A2C", "DQN"] = "PPO"
    """Which algorithm."""
    policy: str = "MlpPolicy"
    """Its policy class, by SB3's name."""
    n_envs: Positive = 1
    """Environment copies that an agent steps together."""
    learning_rate: Annotated[float, msgspec.Meta(gt=0)] | None = None
    """Step size of the optimizer, at first."""
    lr_schedule: Literal["constant", "linear"] = "constant"
    """The learning rate stays, or falls to 0 over the run's steps."""
    n_steps: Positive | None = None
    """PPO, A2C: steps of each copy in a rollout."""
    round_steps: Positive = 256
    """DQN: environment steps in one local iteration."""
    temperature: Annotated[float, msgspec.Meta(gt=0)] = 1.0
    """DQN: its answers are softmax(Q / temperature)."""
    kwargs: dict[str, Any] = msgspec.field(default_factory=dict)
    """Further arguments of the algorithm, as SB3 names them; in TOML: [agent.kwargs]."""
    load: str = ""
    """A zip that SB3 saved, whose weights every agent starts from; nothing in it is unpickled."""
    factory: str = ""
    """"module:function" that makes the model instead: function(env) -> model, or (model, callback),
    with any policy class, schedules and callbacks."""
    model: dict[str, Any] | None = None
    """Python only: the model object that agents copy, as `fdrl.agents.sb3.own` wrote it down."""
    start: Literal["fresh", "weights"] | None = None
    """Python only: copies of a model object begin fresh (unset), or with its weights."""

    @property
    def copies(self) -> int:
        """Environment copies that an agent steps together."""
        return self.n_envs

    @property
    def needs_steps(self) -> bool:
        """Whether the learning rate falls over the run's steps."""
        return self.lr_schedule == "linear"

    @property
    def default_rollout(self) -> bool:
        """Whether a rollout is as long as Stable-Baselines3 has it."""
        return self.n_steps is None


def own(
    model: Any,
    *,
    callback: Any = None,
    start: Literal["fresh", "weights"] = "fresh",
    temperature: float = 1.0,
    round_steps: int = 256,
) -> SB3:
    """Return the settings of agents that copy your own model object (PPO, A2C, DQN, or a subclass).

    Every agent gets a new model of its class, policy class, policy_kwargs and hyperparameters
    (schedules are kept as they are), seeded from the run's seed, on as many copies of the agent's
    environment as the model has. `start` = "weights" also copies what it has learned, not its
    optimizer. `callback` is a callback, a list of them (each agent gets copies), or a function
    without arguments that makes one. `temperature` and `round_steps` are those of `SB3`, for DQN.

        run = fdrl.make_run(env="CartPole-v1", agents=4, agent=own(PPO("MlpPolicy", env)))

    Raises `FdrlError` for a model that cannot be copied.
    """
    from .sb3_template import tabled

    if start not in ("fresh", "weights"):
        raise FdrlError(f"start is 'fresh' or 'weights', not {start!r}")
    table = tabled(model, callback, start == "weights")
    return SB3(
        n_envs=int(model.n_envs),
        temperature=temperature,
        round_steps=round_steps,
        model=table,
        start=None if start == "fresh" else start,
    )


def adopt(thing: Any) -> SB3 | None:
    """Return `own(thing)` if it is a Stable-Baselines3 model, else None."""
    if "stable_baselines3" not in sys.modules:
        return None
    from stable_baselines3.common.base_class import BaseAlgorithm

    return own(thing) if isinstance(thing, BaseAlgorithm) else None


def make(settings: SB3, context: CohortContext) -> Cohort:
    """Build the cohort; Stable-Baselines3 is imported only now."""
    from .sb3_cohort import SB3Cohort

    return SB3Cohort(settings, context)
