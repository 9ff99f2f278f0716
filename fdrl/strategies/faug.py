"""`fd+faug` and `fl+faug`: fill up scarce labels from a generator first, then federate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from fdrl.core.arrays import Array
from fdrl.core.cohort import Cohort, Episodes, Experience, Extendable
from fdrl.core.errors import BadMessage, FdrlError
from fdrl.core.message import Message, Transitions
from fdrl.core.registry import able
from fdrl.core.seeding import Purpose, generator
from fdrl.core.strategy import (
    BoundsMessages,
    ClientContext,
    ClientStrategy,
    Messages,
    ServerContext,
    ServerStrategy,
)
from fdrl.strategies import faug_generator, fedavg
from fdrl.strategies.base import Client as BaseClient
from fdrl.strategies.base import Server as BaseServer
from fdrl.strategies.distillation import client, server
from fdrl.strategies.distillation.settings import OWN_SAMPLES, Distillation
from fdrl.strategies.faug_generator import GeneratorLayout, GeneratorTraining
from fdrl.strategies.fedavg import FL
from fdrl.wire.checks import most_bytes
from fdrl.wire.safetensors import LIMIT, require

# ---- Settings of `fd+faug` and `fl+faug`: fill up scarce labels first, then federate ----
#
# FAug (Jeong et al. 2018, arXiv 1811.11479, section 3): agents upload seed samples of the labels
# that they lack, and of decoys; the server trains a conditional generator on everybody's; agents
# download it and make up what they lack.


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

    fills_up: ClassVar[bool] = True

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


# ---- Both halves of `fd+faug` and `fl+faug`: round 1 is FAug's, the rest are the inner method's
#
# Nobody learns in round 1, so that all local training has the filled-up samples. Agents that lack
# no label send nothing and get nothing. What round 1 loses on the way is not sent again: such an
# agent goes on with its own samples. Shapes: S seeds, O pixels, L labels, P values of the
# generator.


FAUG_ROUND = 1
CHOOSE, NOISE, TRAIN = 1, 2, 1
"""Branches of the seed's tree, below an agent's or the server's."""


def _layout(faug: FAug, shape: tuple[int, ...]) -> GeneratorLayout:
    return GeneratorLayout(faug.generator.latent, faug.generator.hidden, int(np.prod(shape)))


def _arrays(message: Message, round: int, names: tuple[str, str]) -> tuple[Array, Array]:
    """Return a message's two arrays, or raise `BadMessage` if it has others."""
    require(isinstance(message, Transitions), f"expected arrays, got {type(message).__name__}")
    assert isinstance(message, Transitions)
    require(message.round == round, f"message of round {message.round} in round {round}")
    got = sorted(message.arrays)
    require(got == sorted(names), f"expected arrays {list(names)}, got {got}")
    return message.arrays[names[0]], message.arrays[names[1]]


def _check_labels(labels: Array, count: int, most: int | None = None) -> None:
    require(labels.dtype == np.uint8, f"labels are {labels.dtype}, not uint8")
    require(labels.ndim == 1 and len(labels) > 0, f"labels must be [n], got {list(labels.shape)}")
    require(int(labels.max(initial=0)) < count, f"a label beyond {count - 1}")
    require(most is None or len(labels) <= (most or 0), f"{len(labels)} seeds, more than {most}")


class Client(BaseClient):
    """Uploads seeds, fills up what its agents lack, then hands over to the inner method."""

    inner: ClassVar[Any]

    def __init__(self, context: ClientContext) -> None:
        super().__init__(context)
        self.faug: FAug = context.run.strategy.faug
        check_settings(self.faug, context.n_actions)
        self.half: ClientStrategy = self.inner(context)
        self.layout = _layout(self.faug, context.low.shape)
        self.begun = False

    def learn(self, cohort: Cohort, steps: NDArray[np.int64], episodes: Episodes) -> Experience:
        """Learn nothing in round 1, then as the inner method does."""
        if self.begun:
            return self.half.learn(cohort, steps, episodes)
        if not isinstance(cohort, Extendable):
            raise FdrlError(
                f"strategy {self.context.run.strategy_name!r} fills up scarce labels, but agent "
                f"{self.context.run.agent_name!r} has no labeled samples: use --agent "
                f"{able('labels')}"
            )
        return cohort.learn(np.zeros_like(steps), None)

    def upload(self, cohort: Cohort, experience: Experience, round: int) -> dict[str, Message]:
        """Upload seeds of scarce labels and of decoys in round 1."""
        if round != FAUG_ROUND:
            return self.half.upload(cohort, experience, round)
        self.begun = True
        out: dict[str, Message] = {}
        for name, want, (x, y) in self._wants(cohort):
            if len(want.seeds):
                seeds, labels = pixels(x[want.seeds]), y[want.seeds].astype(np.uint8)
                out[name] = Transitions(round, {"seeds": seeds, "labels": labels})
        return out

    def _wants(self, cohort: Cohort) -> list[tuple[str, Wanted, tuple[Array, Array]]]:
        assert isinstance(cohort, Extendable)
        found = []
        own = zip(self.context.ids, self.context.agents, cohort.samples(), strict=True)
        for name, agent, (x, y) in own:
            rng = generator(self.context.run.seed, Purpose.CLIENT, agent, CHOOSE)
            found.append((name, missing_labels(y, self.context.n_actions, self.faug, rng), (x, y)))
        return found

    def check(self, cohort: Cohort, message: Message, agent: str, round: int) -> None:
        """Refuse a generator that cannot be run."""
        if round != FAUG_ROUND:
            return self.half.check(cohort, message, agent, round)
        row, labels = _arrays(message, round, ("generator", "labels"))
        faug_generator.check_row(self.layout, row)
        return _check_labels(labels, self.context.n_actions)

    def download(self, cohort: Cohort, messages: Messages, round: int) -> dict[str, Array]:
        """Make up the samples that each agent lacks."""
        if round != FAUG_ROUND:
            return self.half.download(cohort, messages, round)
        assert isinstance(cohort, Extendable)
        extra, leak = [], []
        for k, (name, want, _) in enumerate(self._wants(cohort)):
            message = messages.get(name)
            extra.append(self._made(self.context.agents[k], want, message))
            leak.append(device_leak(want.targets, want.decoys))
        cohort.extend(extra)
        filled = [float(len(y)) for _, y in extra]
        return {"faug/filled": np.array(filled), "faug/leak": np.array(leak)}

    def _made(self, agent: int, want: Wanted, message: Message | None) -> tuple[Array, Array]:
        """Return images [n, O] and labels [n] of what an agent lacks and the generator can make."""
        labels = np.zeros(0, np.int64)
        if isinstance(message, Transitions):
            known = message.arrays["labels"].tolist()
            labels = np.array([y for y in want.missing.tolist() if y in known], np.int64)
        if not len(labels):
            return np.zeros((0, self.layout.pixels), np.float32), labels
        assert isinstance(message, Transitions)
        seed = self.context.run.seed
        codes = faug_generator.label_codes(seed, self.context.n_actions, self.layout.latent)
        rng = generator(seed, Purpose.CLIENT, agent, NOISE)
        noise = rng.standard_normal((len(labels), self.layout.latent)).astype(np.float32)
        row = message.arrays["generator"]
        return faug_generator.sample_images(self.layout, row, noise + codes[labels]), labels

    def state(self) -> dict[str, Array]:
        """Everything needed to resume; what was made up is the cohort's."""
        inner = {f"inner.{key}": value for key, value in self.half.state().items()}
        return {"begun": np.array(self.begun)} | inner

    def load_state(self, state: Mapping[str, Array]) -> None:
        """Continue from what `state` returned."""
        self.begun = bool(state["begun"])
        self.half.load_state({k[6:]: v for k, v in state.items() if k.startswith("inner.")})


class Server(BaseServer):
    """Trains the generator in round 1, then hands over to the inner method."""

    inner: ClassVar[Any]

    def __init__(self, context: ServerContext) -> None:
        super().__init__(context)
        self.faug: FAug = context.run.strategy.faug
        self.half: ServerStrategy = self.inner(context)
        self.layout = _layout(self.faug, context.low.shape)
        self._metrics: dict[str, float] = {}

    def announce(self) -> dict[str, Message]:
        """Say what the inner method says."""
        return self.half.announce()

    def check(self, message: Message, agent: str, round: int) -> None:
        """Refuse seeds of another shape, or more than were asked for."""
        if round != FAUG_ROUND:
            return self.half.check(message, agent, round)
        seeds, labels = _arrays(message, round, ("seeds", "labels"))
        count = self.context.n_actions
        _check_labels(labels, count, self.faug.seeds * count)
        require(seeds.dtype == np.uint8, f"seeds are {seeds.dtype}, not uint8")
        shape = (len(labels), self.layout.pixels)
        require(seeds.shape == shape, f"seeds {list(seeds.shape)}, expected {list(shape)}")
        if np.bincount(labels).max() > self.faug.seeds:
            raise BadMessage(f"more than {self.faug.seeds} seeds of one label")
        return None

    def most_bytes(self, agent: str, round: int) -> int:
        """Return the bytes of the most seeds, or of what the inner method asks for."""
        if round == FAUG_ROUND:
            return most_bytes(self.faug.seeds * self.context.n_actions * (self.layout.pixels + 1))
        inner = self.half
        return inner.most_bytes(agent, round) if isinstance(inner, BoundsMessages) else LIMIT

    def aggregate(self, round: int, messages: Mapping[str, Message]) -> dict[str, Message]:
        """Send the generator to all who sent seeds, in agent-id order."""
        if round != FAUG_ROUND:
            self._metrics = {}
            return self.half.aggregate(round, messages)
        sent = [(n, m) for n in self.context.ids if isinstance(m := messages.get(n), Transitions)]
        if not sent:
            return {}
        images = np.concatenate([m.arrays["seeds"] for _, m in sent]) / np.float32(255)
        labels = np.concatenate([m.arrays["labels"] for _, m in sent]).astype(np.int64)
        row = self._train(images, labels)
        known = np.unique(labels).astype(np.uint8)
        message = Transitions(round, {"generator": row, "labels": known})
        return {name: message for name, _ in sent}

    def _train(self, images: Array, labels: NDArray[np.int64]) -> Array:
        seed, training = self.context.run.seed, self.faug.generator
        codes = faug_generator.label_codes(seed, self.context.n_actions, self.layout.latent)
        rng = generator(seed, Purpose.SERVER, TRAIN)
        row, loss = faug_generator.train(self.layout, images, labels, codes, training, rng)
        self._metrics = {
            "faug/seeds": float(len(labels)),
            "faug/labels": float(len(np.unique(labels))),
            "faug/loss": loss,
            "faug/gradient_steps": float(training.steps),
        }
        return row

    def metrics(self) -> dict[str, float]:
        """Return what the generator was trained on, then what the inner method reports."""
        return self._metrics or self.half.metrics()

    def state(self) -> dict[str, Array]:
        """Return the inner method's state: the generator is used once."""
        return self.half.state()

    def load_state(self, state: Mapping[str, Array]) -> None:
        """Continue from what `state` returned."""
        self.half.load_state(state)


class FDClient(Client):
    """FAug, then federated distillation."""

    inner = client.Client


class FDServer(Server):
    """FAug, then federated distillation."""

    inner = server.Server


class FLClient(Client):
    """FAug, then federated averaging."""

    inner = fedavg.Client


class FLServer(Server):
    """FAug, then federated averaging."""

    inner = fedavg.Server


# ---- Which labels an agent lacks, and which of its samples it gives away to get more of them


@dataclass(frozen=True)
class Wanted:
    """What an agent asks for."""

    seeds: NDArray[np.int64]
    """Indices [S] of the samples that it uploads."""
    missing: NDArray[np.int64]
    """A label [n] for each sample that it lacks."""
    targets: int
    """Labels that it uploads because it lacks them."""
    decoys: int
    """Labels that it uploads to hide those."""


def missing_labels(
    labels: NDArray[np.int64], count: int, faug: FAug, rng: np.random.Generator
) -> Wanted:
    """Return what the owner of samples with `labels` [M], of 0..count-1, uploads and lacks.

    A label is scarce if there are fewer samples of it than ``faug.below`` of the mean; what is
    missing fills it up to the mean of the labels that are not (rounded down).
    """
    owned = np.bincount(labels, minlength=count)
    scarce = owned < faug.below * len(labels) / count
    if not scarce.any():
        nothing = np.zeros(0, np.int64)
        return Wanted(nothing, nothing, 0, 0)
    full = int(owned[~scarce].mean())
    rich = np.flatnonzero(~scarce)
    decoys = rng.permutation(rich)[: faug.decoys]
    targets = np.flatnonzero(scarce & (owned > 0))
    seeds = [
        rng.permutation(np.flatnonzero(labels == label))[: faug.seeds]
        for label in (*targets.tolist(), *decoys.tolist())
    ]
    missing = [np.full(full - owned[label], label) for label in np.flatnonzero(scarce)]
    chosen = rng.permutation(np.concatenate([np.zeros(0, np.int64), *seeds]))
    return Wanted(chosen, np.concatenate(missing), len(targets), len(decoys))


def pixels(images: Array) -> NDArray[np.uint8]:
    """Return images with values in [0, 1] as bytes."""
    return np.asarray(np.rint(np.clip(images, 0.0, 1.0) * 255), np.uint8)
