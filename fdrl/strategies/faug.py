"""Settings of `fd+faug` and `fl+faug`: fill up scarce labels first, then federate.

FAug (Jeong et al. 2018, arXiv 1811.11479, section 3): agents upload seed samples of the labels that
they lack, and of decoys; the server trains a conditional generator on everybody's; agents download
it and make up what they lack.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from fdrl.errors import FdrlError
from fdrl.generator_training import GeneratorTraining
from fdrl.strategies.distillation import OWN_SAMPLES, Distillation
from fdrl.strategies.fl import FL

Count = Annotated[int, msgspec.Meta(ge=0)]


class FAug(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which seed samples agents upload, and what is made of them."""

    seeds: Annotated[int, msgspec.Meta(ge=1)] = 5
    """Seed samples of a label, at the most; they travel with one byte a pixel."""
    decoys: Count = 0
    """Labels of which an agent uploads seeds without need, to hide which ones it lacks."""
    below: Annotated[float, msgspec.Meta(gt=0.0, le=1.0)] = 0.5
    """A label is scarce if an agent has fewer samples of it than this share of its mean."""
    generator: GeneratorTraining = GeneratorTraining()
    """The server's training."""


class FDFAug(Distillation, tag="fd+faug", tag_field="type", frozen=True, kw_only=True):
    """Federated distillation by label, after filling up scarce labels."""

    answer: Literal["current", "cells", "raw", "labels"] = "labels"
    """What agents upload: their mean answer per label while training, or as `fd` has it."""
    leave_self_out: bool = True
    """Teach each agent by the others only."""
    faug: FAug = FAug()

    @property
    def needs_labels(self) -> bool:
        """Labels are what is filled up."""
        return True

    def why_no_mean(self) -> str:
        """Return that samples are no answers."""
        return OWN_SAMPLES


class FLFAug(FL, tag="fl+faug", tag_field="type", frozen=True, kw_only=True):
    """Federated averaging after filling up scarce labels."""

    faug: FAug = FAug()

    @property
    def needs_labels(self) -> bool:
        """Labels are what is filled up."""
        return True

    def why_no_mean(self) -> str:
        """Return that samples are no answers."""
        return OWN_SAMPLES


def check_settings(faug: FAug, labels: int) -> None:
    """Raise `FdrlError` for more decoys than there are labels to choose them from."""
    if faug.decoys > labels:
        raise FdrlError(
            f"config: {faug.decoys} decoy labels, but there are {labels} labels "
            "(at strategy.faug.decoys)"
        )


def device_leak(targets: int, decoys: int) -> float:
    """Return how sure the server is that a label an agent uploaded is one that it lacks.

    |targets| / (|targets| + |decoys|), the paper's device-to-server privacy leakage; 0 if it
    uploaded nothing.
    """
    return targets / (targets + decoys) if targets + decoys else 0.0
