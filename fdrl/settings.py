"""What the settings of every learner derive from: they say of themselves what others must know."""

from __future__ import annotations

from typing import ClassVar, TypeVar

import msgspec

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

    def for_pool(self: Own, agents: int) -> Own:
        """Return the settings of one learner on the data of so many agents.

        It takes as many gradient steps as one of them, so its batches are that much larger.
        """
        return self

    def quick(self: Own) -> Own:
        """Return settings with which an iteration costs as little as it can, for checks."""
        return self


def sizes(hidden: tuple[int, ...]) -> str:
    """Return hidden layers in a word: ``64-64``, or ``linear`` for none."""
    return "-".join(map(str, hidden)) if hidden else "linear"
