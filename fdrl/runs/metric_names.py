"""What a run's numbers are called: returns of episodes, or accuracies on test examples."""

from __future__ import annotations

from dataclasses import dataclass

from fdrl.config.run import Run
from fdrl.core.registry import ENVS


@dataclass(frozen=True)
class MetricNames:
    """The words for a run. `labels` says that its environment holds examples to name."""

    labels: bool = False

    @property
    def value(self) -> str:
        """What is measured of an agent."""
        return "accuracy" if self.labels else "return"

    @property
    def training(self) -> str:
        """What is measured while it trains."""
        return "test accuracy" if self.labels else "training return"

    @property
    def steps(self) -> str:
        """What a budget counts."""
        return "examples" if self.labels else "steps"

    @property
    def learns(self) -> str:
        """What is particular about an agent: its environment, or what it owns."""
        return "owns" if self.labels else "learns in"

    @property
    def a_value(self) -> str:
        """The same with its article."""
        return "an accuracy" if self.labels else "a return"

    @property
    def final(self) -> str:
        """What the evaluation after training gives."""
        return f"final {self.value}"

    @property
    def final_greedy(self) -> str:
        """The same, where it must be told how agents act in it."""
        return "final accuracy" if self.labels else "final greedy return"

    @property
    def while_training(self) -> str:
        """What a learning curve shows."""
        return "accuracy on test examples" if self.labels else "return of training episodes"

    @property
    def env_steps(self) -> str:
        """What a budget counts, where steps alone could be other steps."""
        return "examples" if self.labels else "environment steps"

    @property
    def nothing_yet(self) -> str:
        """Why a curve is empty."""
        return "nothing has been tested" if self.labels else "no episode has ended"


def of_env(env: str) -> MetricNames:
    """Return the words for an environment, by its name."""
    return MetricNames(labels=env in ENVS and ENVS.spec(env).labels)


def wording(run: Run) -> MetricNames:
    """Return the words for a run."""
    return of_env(run.env)
