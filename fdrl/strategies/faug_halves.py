"""Both halves of `fd+faug` and `fl+faug`: round 1 is FAug's, the rest are the inner method's.

Nobody learns in round 1, so that all local training has the filled-up samples. Agents that lack no
label send nothing and get nothing. What round 1 loses on the way is not sent again: such an agent
goes on with its own samples. Shapes: S seeds, O pixels, L labels, P values of the generator.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from fdrl import generator as generators
from fdrl import generator_training
from fdrl.cohort import Cohort, Episodes, Experience, Fillable
from fdrl.errors import BadMessage, FdrlError
from fdrl.generator import GeneratorLayout
from fdrl.message import Message, Transitions
from fdrl.registry import able
from fdrl.seeding import Purpose, generator
from fdrl.strategies import distillation_client, distillation_server, fedavg
from fdrl.strategies.faug import FAug, check_settings, device_leak
from fdrl.strategies.local import Client as BaseClient
from fdrl.strategies.local import Server as BaseServer
from fdrl.strategies.scarce import Wanted, pixels, wanted
from fdrl.strategy import ClientContext, ClientHalf, Messages, ServerContext, ServerHalf
from fdrl.wire import require

Array = NDArray[Any]
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
        self.half: ClientHalf = self.inner(context)
        self.layout = _layout(self.faug, context.low.shape)
        self.begun = False

    def learn(self, cohort: Cohort, steps: NDArray[np.int64], episodes: Episodes) -> Experience:
        """Learn nothing in round 1, then as the inner method does."""
        if self.begun:
            return self.half.learn(cohort, steps, episodes)
        if not isinstance(cohort, Fillable):
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
        assert isinstance(cohort, Fillable)
        found = []
        own = zip(self.context.ids, self.context.agents, cohort.samples(), strict=True)
        for name, agent, (x, y) in own:
            rng = generator(self.context.run.seed, Purpose.CLIENT, agent, CHOOSE)
            found.append((name, wanted(y, self.context.n_actions, self.faug, rng), (x, y)))
        return found

    def check(self, cohort: Cohort, message: Message, agent: str, round: int) -> None:
        """Refuse a generator that cannot be run."""
        if round != FAUG_ROUND:
            return self.half.check(cohort, message, agent, round)
        row, labels = _arrays(message, round, ("generator", "labels"))
        generators.check_row(self.layout, row)
        return _check_labels(labels, self.context.n_actions)

    def download(self, cohort: Cohort, messages: Messages, round: int) -> dict[str, Array]:
        """Make up the samples that each agent lacks."""
        if round != FAUG_ROUND:
            return self.half.download(cohort, messages, round)
        assert isinstance(cohort, Fillable)
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
        codes = generators.label_codes(seed, self.context.n_actions, self.layout.latent)
        rng = generator(seed, Purpose.CLIENT, agent, NOISE)
        noise = rng.standard_normal((len(labels), self.layout.latent)).astype(np.float32)
        row = message.arrays["generator"]
        return generators.generate(self.layout, row, noise + codes[labels]), labels

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
        self.half: ServerHalf = self.inner(context)
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
        codes = generators.label_codes(seed, self.context.n_actions, self.layout.latent)
        rng = generator(seed, Purpose.SERVER, TRAIN)
        row, loss = generator_training.train(self.layout, images, labels, codes, training, rng)
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

    inner = distillation_client.Client


class FDServer(Server):
    """FAug, then federated distillation."""

    inner = distillation_server.Server


class FLClient(Client):
    """FAug, then federated averaging."""

    inner = fedavg.Client


class FLServer(Server):
    """FAug, then federated averaging."""

    inner = fedavg.Server
