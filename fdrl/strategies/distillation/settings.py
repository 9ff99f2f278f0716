"""Settings of the distillation engine, and the methods that are settings of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import msgspec

from fdrl.core.errors import FdrlError
from fdrl.core.settings import DistillSettings, Exchange, PositiveInt

# ---- Settings of the distillation engine; every ingredient is a switch of its own ----


Combine = Literal["mean", "log", "median", "trimmed", "geometric"]
OWN_SAMPLES = "agents send samples of their own"
"""Why what agents of some methods send is no mean."""
Fraction = Annotated[float, msgspec.Meta(ge=0.0, lt=0.5)]


class Distillation(Exchange, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Exchange action probabilities, combine them, distill the result into each policy."""

    sends: ClassVar[Literal["answers"]] = "answers"
    default_proxy: ClassVar[Mapping[str, Any]] = {"type": "mix"}
    default_same_init: ClassVar[bool] = False

    answer: Literal["current", "cells", "raw", "labels"] = "current"
    """What agents upload: the current policy on the proxy states (current), the mean of the policy
    at visit time per visited grid cell (cells), every visited state with it (raw), or the mean
    answer per label while training (labels, for classifiers)."""
    label_weight: Annotated[float, msgspec.Meta(ge=0.0)] | None = None
    """With labels: weight of the teacher's cross-entropy beside the label's own; unset: 1."""
    coding: Literal["float32", "float16", "uint8"] = "float32"
    """How probabilities travel."""
    visit_power: Annotated[float, msgspec.Meta(ge=0.0)] = 0.0
    """Weigh an answer by (visits + visit_offset) ** visit_power; 0: all agents alike."""
    visit_offset: Annotated[float, msgspec.Meta(ge=0.0)] = 0.1
    """What an agent that has never been near a proxy state counts for there."""
    beta: float = 0.0
    """Weigh agents by softmax(beta * z-score of recent return); 0: all alike."""
    confidence: bool = False
    """Weigh an answer by how far it is from uniform."""
    leave_self_out: bool = False
    """Teach each agent by the others only."""
    combine: Combine = "mean"
    """Weighted mean of probabilities (mean) or of their logarithms (log), or a robust combination
    that ignores the weights."""
    gaussians: Literal["mixture", "product"] | None = None
    """Continuous actions: combine answers by the moments of their mixture, or by their product,
    whose precision is the mean of precisions; unset: mixture."""
    trim: Fraction = 0.2
    """Share of answers cut at each end by `trimmed`."""
    sharpen: Annotated[float, msgspec.Meta(gt=0.0)] = 1.0
    """Raise the teacher to this power and renormalize; 1: as it is."""
    mixup: Annotated[float, msgspec.Meta(ge=0.0)] = 0.0
    """Interpolate pairs of (state, target) with lambda ~ Beta(mixup, mixup); 0: do not."""
    pairs: Literal["random", "nearest"] = "random"
    """Which pairs `mixup` interpolates."""
    lr_end: Annotated[float, msgspec.Meta(ge=0.0)] = 1.0
    """The distillation's learning rate moves linearly to this share of itself over the run; ignored
    with the learner's optimizer, which has its own rate."""
    values: bool | None = None
    """Exchange estimates of the proxy states' values too, and distill their mean, weighted as the
    answers are, into the value networks; needs current answers and agents that estimate values."""
    gate: Annotated[float, msgspec.Meta(ge=0.0, lt=1.0)] | None = None
    """An agent says nothing while its recent return is below this share of the way from its worst
    to its best so far, and if it stays there it does not listen either; unset or 0: all always take
    part. Ignored with labels."""
    distill: DistillSettings = DistillSettings()

    @property
    def asks_states(self) -> bool:
        """Whether agents answer about states rather than labels."""
        return self.answer != "labels"

    @property
    def needs_labels(self) -> bool:
        """Whether agents answer by the label of their samples."""
        return self.answer == "labels"

    def why_no_mean(self) -> str:
        """Return what is no mean, if anything is."""
        if self.answer not in ("current", "labels"):
            return "agents answer about states of their own"
        if self.combine not in ("mean", "log"):
            return f"combine = {self.combine!r} is no mean"
        if self.values:
            return "values are not among what agents add up"
        return "beta weighs agents against each other" if self.beta else ""


def check_values(settings: Distillation) -> None:
    """Raise `FdrlError` for a setting that does not go with the exchange of values."""
    if not settings.values:
        return
    wrong = (
        (
            settings.answer != "current",
            f"answer = {settings.answer!r}",
            "values are of proxy states",
        ),
        (
            settings.combine not in ("mean", "log"),
            f"combine = {settings.combine!r}",
            "use mean or log",
        ),
        (settings.mixup > 0, "mixup", "values are not interpolated"),
        (settings.leave_self_out, "leave_self_out", "there is one mean of values for all"),
    )
    for used, name, why in wrong:
        if used:
            raise FdrlError(f"values = true does not go with {name}: {why} (at strategy)")


def check_actions(settings: Distillation, gaussian: bool) -> None:
    """Raise `FdrlError` for a setting that has no meaning for the kind of actions at hand."""
    if not gaussian:
        if settings.gaussians is not None:
            raise FdrlError(
                "gaussians is for continuous actions; these are discrete: use combine (at strategy)"
            )
        return
    robust = settings.combine not in ("mean", "log")
    wrong = (
        (robust, f"combine = {settings.combine!r}", "use gaussians = 'mixture' or 'product'"),
        (settings.confidence, "confidence", "no Gaussian is uniform: leave it out"),
        (settings.mixup > 0, "mixup", "it interpolates probabilities: use frd or fd"),
        (settings.distill.loss == "js", "distill.loss = 'js'", "use forward or reverse"),
    )
    for used, name, instead in wrong:
        if used:
            raise FdrlError(f"continuous actions do not go with {name}: {instead} (at strategy)")


def check_discrete(name: str, gaussian: bool) -> None:
    """Raise `FdrlError` if a strategy that knows probabilities only meets continuous actions."""
    if gaussian:
        raise FdrlError(
            f"strategy {name!r} has discrete actions only; for continuous ones use fd or fedavg"
        )


# ---- `fd`: federated distillation weighted by who has been where ----


class FD(Distillation, tag="fd", tag_field="type", frozen=True, kw_only=True):
    """Current policies on the proxy states, one byte each, weighted by visits."""

    coding: Literal["float32", "float16", "uint8"] = "uint8"
    """How probabilities travel."""
    visit_power: Annotated[float, msgspec.Meta(ge=0.0)] = 1.0
    """Weigh an answer by (visits + visit_offset) ** visit_power; 0: all agents alike."""
    combine: Combine = "log"
    """Weighted mean of probabilities (mean) or of their logarithms (log), or a robust combination
    that ignores the weights."""
    distill: DistillSettings = DistillSettings(steps=16, batch=128, lr=1e-3)


# ---- `fdv`: `fd` with estimates of value beside the answers ----


class FDV(FD, tag="fdv", tag_field="type", frozen=True, kw_only=True):
    """Policies and values on the proxy states, weighted by visits; for agents that have critics."""

    default_proxy: ClassVar[Mapping[str, Any]] = {"type": "mix", "size": 192}

    values: bool | None = True
    """Exchange estimates of the proxy states' values too, and distill their mean, weighted as the
    answers are, into the value networks; needs current answers and agents that estimate values."""
    distill: DistillSettings = DistillSettings(steps=32, batch=128, lr=2e-3)


# ---- `frd` and `mixfrd`: federated reinforcement distillation (arXiv 1907.06536, 2005.06105)


class FRD(Distillation, tag="frd", tag_field="type", frozen=True, kw_only=True):
    """Mean policy per visited cell of a grid; union of cells; one pass of cross-entropy."""

    default_proxy: ClassVar[Mapping[str, Any]] = {"type": "grid"}

    answer: Literal["current", "cells", "raw"] = "cells"
    """What agents upload: the mean of the policy at visit time per visited grid cell."""
    distill: DistillSettings = DistillSettings(passes=1, batch=64, lr=1e-4)


class MixFRD(FRD, tag="mixfrd", tag_field="type", frozen=True, kw_only=True):
    """FRD whose agents interpolate pairs of downloaded entries before distilling."""

    mixup: Annotated[float, msgspec.Meta(ge=0.0)] = 0.4
    """Interpolate pairs of (state, target) with lambda ~ Beta(mixup, mixup); 0: do not."""


# ---- `fedhpd`: the plain mean of current policies on many public states (arXiv 2502.00870) ----


class FedHPD(Distillation, tag="fedhpd", tag_field="type", frozen=True, kw_only=True):
    """As its published code runs it: 5,000 states in float32, five passes of Adam."""

    default_proxy: ClassVar[Mapping[str, Any]] = {"type": "uniform", "size": 5000}

    every: PositiveInt = 5
    """Local learning between two exchanges, in `unit`s (the paper's d)."""
    distill: DistillSettings = DistillSettings(passes=5, batch=2500, lr=1e-3, max_grad_norm=0.0)


# ---- `pd`: policy distillation, the baseline that shares every visited state (arXiv 1907.06536)


class PD(Distillation, tag="pd", tag_field="type", frozen=True, kw_only=True):
    """Upload all raw (state, policy) pairs; everyone downloads everything; one pass."""

    default_proxy: ClassVar[Mapping[str, Any]] = {"type": "sobol"}

    answer: Literal["current", "cells", "raw"] = "raw"
    """What agents upload: every visited state with the policy there."""
    distill: DistillSettings = DistillSettings(passes=1, batch=64, lr=1e-4)


# ---- `cd`: co-distillation, each agent taught by the mean of the others (arXiv 1804.03235) ----


class CD(Distillation, tag="cd", tag_field="type", frozen=True, kw_only=True):
    """Current answers on common samples; the teacher is the mean of the others' answers there.

    The common samples are public states by default (`proxy` rollout), which the server sends once.
    """

    default_proxy: ClassVar[Mapping[str, Any]] = {"type": "rollout"}

    leave_self_out: bool = True
    """Teach each agent by the others only."""
    distill: DistillSettings = DistillSettings(steps=16, batch=64, lr=1e-3)
