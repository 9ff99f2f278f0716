"""`fld`, `mixfld`, `mix2fld`: outputs up, parameters down, for links that are slow upward.

Federated learning after distillation (FLD) and its mixtures are from arXiv 2006.09801.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import msgspec

from fdrl.core.settings import DistillSettings, NonNegativeCount, NonNegativeFloat
from fdrl.strategies.distillation.settings import FD, OWN_SAMPLES, Combine
from fdrl.strategies.fld.seeds import Mix, Seeds


class Conversion(DistillSettings, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How a server turns outputs into parameters on seed samples."""

    steps: NonNegativeCount = 3_200
    """Gradient steps per exchange; ignored when `passes` is set."""
    batch: Annotated[int, msgspec.Meta(ge=1)] = 1
    """Seed samples in a gradient step."""
    optimizer: Literal["own", "learner"] = "learner"
    """Adam of its own with `lr`, or the learner's optimizer at the learner's rate."""
    max_grad_norm: NonNegativeFloat = 0.0
    """Gradient norm at which a step is clipped; 0: never."""


class FLD(FD, tag="fld", tag_field="type", frozen=True, kw_only=True):
    """Answers on the proxy states up; the server's own network, distilled from them, down.

    `distill` is what the server does in a round. All agents start from the same weights unless
    `same_init` says otherwise, and so does the server. With `answer = "labels"` agents send each
    label's mean output instead, and `seeds`, on which the server does what `convert` says.
    """

    default_same_init: ClassVar[bool] = True

    optimizer: Literal["keep", "reset"] = "keep"
    """What becomes of an agent's optimizer moments when the weights under them change."""
    distill: DistillSettings = DistillSettings(steps=64, batch=128, lr=1e-3)
    mix: Mix = "none"
    """Seeds as they are (none), mixed up at the agent (up), or inversely mixed by the server too
    (inverse)."""
    seeds: Seeds = Seeds()
    """Samples that agents upload once, if they answer by label."""
    convert: Conversion = Conversion()
    """The server's training on these seeds in a round, with the learner's own optimizer."""
    teacher: Annotated[float, msgspec.Meta(ge=0.0)] = 0.01
    """Weight of a label's mean output beside the label itself in that training."""

    def why_no_mean(self) -> str:
        """Return that samples are no answers, where agents send seeds."""
        return OWN_SAMPLES if self.answer == "labels" else super().why_no_mean()


class _Labels(FLD, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the published forms of `fld` for labels have in common."""

    answer: Literal["current", "cells", "raw", "labels"] = "labels"
    """What agents upload: each label's mean output while training."""
    coding: Literal["float32", "float16", "uint8"] = "float32"
    """How probabilities travel."""
    visit_power: Annotated[float, msgspec.Meta(ge=0.0)] = 0.0
    """Weigh an agent's mean by (samples + visit_offset) ** visit_power; 0: owners alike."""
    combine: Combine = "mean"
    """Mean of the owners' outputs, of their logarithms, or a robust combination."""


class MixFLD(_Labels, tag="mixfld", tag_field="type", frozen=True, kw_only=True):
    """`fld` for labels, with every seed mixed up from samples of several labels at the agent."""

    mix: Mix = "up"
    """Seeds are mixed up at the agent (up), or inversely mixed by the server too (inverse)."""


class Mix2FLD(_Labels, tag="mix2fld", tag_field="type", frozen=True, kw_only=True):
    """`mixfld`, whose server mixes inversely across agents: samples of one label, of no agent."""

    mix: Mix = "inverse"
    """Seeds are mixed up at the agent (up), or inversely mixed by the server too (inverse)."""
