"""Stable-Baselines3 models as a learner: PPO, A2C and DQN, one model an agent.

Slower than the batched learners (`ppo`, `a2c`), since one model learns after another; for what only
Stable-Baselines3 has, and for models that somebody already uses.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import msgspec

from fdrl.core.settings import LearnerSettings

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
    may_name: ClassVar[tuple[str, ...]] = ("stable_baselines3", "torch.nn", "torch.optim")

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
    """Python only: the model object that agents copy, as `fdrl.agents.sb3.template.own` wrote it
    down.
    """
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
