"""What a run's numbers are called: returns of episodes, or accuracies on test examples."""

from __future__ import annotations

from dataclasses import dataclass

from fdrl.config import Run
from fdrl.registry import ENVS

_SAID = (
    ("greedy evaluation after training on fixed seeds", "on all test examples after training"),
    ("return of training episodes", "accuracy on test examples"),
    ("mean training return over all steps", "mean test accuracy over all of training"),
    ("no episode has ended", "nothing has been tested"),
    ("environment steps", "examples"),
    ("inal greedy return", "inal accuracy"),
    ("inal return", "inal accuracy"),
    ("raining return", "est accuracy"),
    ("above a return", "above an accuracy"),
    ("Return for bytes", "Accuracy for bytes"),
    ("steps, median", "examples, median"),
    ("steps, std", "examples, std"),
    ("so many steps", "so many examples"),
    ("Training until", "Training until accuracy"),
)


@dataclass(frozen=True)
class Wording:
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

    def said(self, text: str) -> str:
        """Return a sentence about returns in the words that fit."""
        for play, labeled in _SAID if self.labels else ():
            text = text.replace(play, labeled)
            if play[0].islower():
                text = text.replace(play.capitalize(), labeled.capitalize())
        return text


def of_env(env: str) -> Wording:
    """Return the words for an environment, by its name."""
    return Wording(labels=env in ENVS and ENVS.spec(env).labels)


def wording(run: Run) -> Wording:
    """Return the words for a run."""
    return of_env(run.env)
