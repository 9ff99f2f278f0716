"""Classifiers: agents that learn from labeled samples of their own, as a `fdrl.Cohort`.

Shapes: K agents, B samples of a minibatch, M samples of an agent, O pixels, A (= L) labels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from fdrl.core.arrays import Array, Doubles, Floats, Integers, stack_padded
from fdrl.core.cohort import CohortContext, Episodes, Experience, LabelTable
from fdrl.core.errors import FdrlError
from fdrl.core.seeding import Purpose, generator
from fdrl.core.settings import LearnerSettings, network_numbers, sizes

from . import partition
from .cohort import NetworkCohort
from .distillation import DistillState
from .losses import one_hot, softmax
from .networks import make_network
from .networks.layout import Layout, initial_rows
from .networks.numpy_network import Name as ActivationName
from .networks.policy_network import PolicyLayout, PolicyNetwork
from .train_state import TrainState

Positive = Annotated[int, msgspec.Meta(ge=1)]
NotNegative = Annotated[float, msgspec.Meta(ge=0)]


class Classifier(
    LearnerSettings,
    frozen=True,
    forbid_unknown_fields=True,
    kw_only=True,
    tag="classifier",
    tag_field="type",
):
    """A classifier that trains on the labeled samples it owns; a step is a sample seen."""

    steps_together: ClassVar[bool] = False

    network: Kind = "mlp"
    """Dense layers (mlp), or the convolutional network of Mix2FLD (small) or of FD (chapter)."""
    hidden: tuple[Positive, ...] = (64,)
    """Hidden layers of the mlp."""
    activation: ActivationName = "relu"
    """What follows each hidden layer of the mlp."""
    optimizer: Literal["sgd", "adam"] = "sgd"
    """Plain gradient descent, or Adam."""
    learning_rate: NotNegative = 0.05
    """Its step size."""
    batch_size: Positive = 64
    """Samples in a minibatch, drawn with replacement."""
    local_steps: Positive = 50
    """Minibatches in one local iteration."""
    max_grad_norm: NotNegative = 10.0
    """Gradient norm at which a step is clipped, per agent; 0: never."""
    partition: Literal["iid", "thinned", "scarce", "dirichlet"] = "iid"
    """How samples are dealt: evenly; some labels thinned (FD); some labels scarce, the others
    alike (Mix2FLD); or label shares drawn from a Dirichlet distribution."""
    samples: Positive = 120
    """Samples that an agent is dealt."""
    scarce_labels: Annotated[int, msgspec.Meta(ge=0)] = 3
    """Labels of which an agent has few (thinned, scarce)."""
    scarce: Annotated[int, msgspec.Meta(ge=0)] = 5
    """How many samples it has of each of those."""
    alpha: Annotated[float, msgspec.Meta(gt=0)] = 0.5
    """Concentration of the Dirichlet distribution; the smaller, the less alike the agents are."""
    curve_samples: Positive = 1000
    """Test samples that measure the accuracy with which local training begins."""

    @property
    def architecture(self) -> str:
        """Its hidden layers, or which convolutional network it is."""
        return sizes(self.hidden) if self.network == "mlp" else self.network

    def numbers(self, observation: int, answer: int, steps: int) -> dict[str, float]:
        """Return what a network holds."""
        return {"hidden": network_numbers(self.hidden, observation, answer)}

    def for_pool(self, agents: int) -> Classifier:
        """Return settings with minibatches of so many agents."""
        return msgspec.structs.replace(self, batch_size=self.batch_size * agents)


def make(settings: Classifier, context: CohortContext) -> Classifiers:
    """Build the cohort."""
    return Classifiers(settings, context)


def deal(settings: Classifier, labels: NDArray[np.int64], seed: int, device: int) -> Array:
    """Return the indices of one device's samples."""
    s = settings
    if s.partition == "iid":
        return partition.iid(labels, seed, device, s.samples)
    if s.partition == "dirichlet":
        return partition.dirichlet(labels, seed, device, s.samples, s.alpha)
    rule = partition.thinned if s.partition == "thinned" else partition.scarce
    return rule(labels, seed, device, s.samples, s.scarce_labels, s.scarce)


class Classifiers(NetworkCohort):
    """K classifiers (a `fdrl.Cohort`, and `fdrl.Labeled`).

    Steps count samples seen. Local training starts with a measurement of accuracy on test
    samples, which stands for its one episode; `evaluate` takes the whole test set.
    """

    def __init__(self, settings: Classifier, context: CohortContext) -> None:
        self.settings = settings
        self.ids, self.agents, self._context = context.ids, context.agents, context
        data = _samples(context)
        self._test = data.test
        self.observation_shape = (data.train[0].shape[1],)
        self.n_actions, self.gaussian = data.classes, False
        self._inputs = data.train[0].shape[1]
        self.iteration_steps = settings.batch_size * settings.local_steps
        network = build(settings, context, data.shape, data.classes)
        self.layout = network.layout
        self.learner = TrainState.fresh(network, settings.optimizer)
        k = len(self.ids)
        self._taken = np.zeros(k, np.int64)
        self._shuffle_rngs = self._generators(Purpose.MINIBATCH)
        rngs = self._generators(Purpose.DISTILL)
        self._distiller = DistillState(k, self.layout.policy_size, rngs)
        x, y = data.train
        rows = [deal(settings, y, context.seed, a) for a in self.agents]
        self._dealt = self._own = [(x[r], y[r]) for r in rows]
        self._extra: Extra | None = None
        self._teacher = np.zeros((k, data.classes, data.classes), np.float32)
        self._pull = np.zeros((k, data.classes), np.float32)

    def samples(self) -> list[tuple[Floats, NDArray[np.int64]]]:
        """Return each agent's own images [M, O] and labels [M]."""
        return [(x.copy(), y.copy()) for x, y in self._own]

    def histogram(self) -> NDArray[np.int64]:
        """Return how many samples of each label each agent owns [K, L]."""
        return np.stack([partition.histogram(y, self.n_actions) for _, y in self._own])

    def extend(self, samples: Sequence[tuple[Array, Array]]) -> None:
        """Let each agent own these images [n, O] and labels [n] too, instead of earlier such ones.

        Pixels are rounded to multiples of 1 / 255.
        """
        self._give(as_bytes(samples))

    def _give(self, extra: Extra | None) -> None:
        self._extra = extra
        self._own = self._dealt if extra is None else joined(self._dealt, extra)

    def teach(self, targets: Array, weights: Array, strength: float) -> None:
        """Let local learning add `strength` * CE(F(x), targets[k, y]) for samples of label y."""
        self._teacher[...] = targets
        self._pull[...] = np.asarray(weights) * np.float32(strength)

    def learn(self, steps: NDArray[np.int64], episodes: Episodes = None) -> Experience:
        """Learn from `steps[k]` samples of each agent's own, a minibatch at a time."""
        if episodes is not None:
            raise FdrlError(
                "agent 'classifier' has no episodes to count: use strategy.unit = 'iterations' "
                "or 'steps'"
            )
        k, length = len(self.ids), self.n_actions
        curve = self._accuracy(self.settings.curve_samples)
        table = np.zeros((k, length, length))
        seen = np.zeros((k, length))
        sums = np.zeros((2, k))
        left = np.array(steps, np.int64)
        while left.any():
            size = np.minimum(left, self.settings.batch_size)
            for b in np.unique(size[size > 0]).tolist():  # the last minibatch may be smaller
                rows = np.flatnonzero(size == b)
                sums[:, rows] += self._descend(rows, b, table, seen)
            left -= size
        self._taken += steps
        return self._experience(steps, curve, LabelTable(_means(table, seen), seen), sums)

    def _descend(self, rows: NDArray[np.int64], b: int, table: Doubles, seen: Doubles) -> Doubles:
        """Take one step of some agents [R]; add what they answered; return loss and hits [2, R]."""
        whole = len(rows) == len(self.ids)
        learner = self.learner if whole else self.learner.take(rows)
        x = np.empty((len(rows), b, self._inputs), np.float32)
        y = np.empty((len(rows), b), np.int64)
        for i, k in enumerate(rows.tolist()):
            picked = self._shuffle_rngs[k].integers(len(self._own[k][1]), size=b)
            x[i], y[i] = self._own[k][0][picked], self._own[k][1][picked]
        hot = np.ascontiguousarray(one_hot(y, self.n_actions).swapaxes(1, 2))
        pull = self._pull[rows[:, None], y][:, :, None]
        # The slope of KL(t || p) at the logits is p * sum(t) - t: that of both cross-entropies.
        targets = hot + pull * self._teacher[rows[:, None], y]
        _, logits = learner.network.backward_distill(
            x, targets, np.ones((len(rows), b), np.float32), "forward"
        )
        learner.descend(
            np.full(len(rows), self.settings.learning_rate), self.settings.max_grad_norm
        )
        if not whole:
            self.learner.put(rows, learner)
        p = softmax(logits).swapaxes(1, 2).astype(np.float64)
        at = (np.repeat(rows, b), y.ravel())
        np.add.at(table, at, p.reshape(-1, self.n_actions))
        np.add.at(seen, at, 1.0)
        right = np.maximum((p * hot).sum(2), np.finfo(np.float32).tiny)
        hits = (logits.argmax(1) == y).sum(1)
        return np.stack([-np.log(right).sum(1), hits.astype(np.float64)])

    def _experience(
        self, steps: NDArray[np.int64], curve: Doubles, labels: LabelTable, sums: Doubles
    ) -> Experience:
        k = len(self.ids)
        busy = steps > 0
        mean = sums / np.maximum(steps, 1)
        return Experience(
            observations=np.zeros((k, 0, self._inputs), np.float32),
            probs=np.zeros((k, 0, self.n_actions), np.float32),
            steps=np.array(steps, np.int64),
            returns=[curve[i : i + 1] if busy[i] else np.zeros(0) for i in range(k)],
            lengths=[steps[i : i + 1] if busy[i] else np.zeros(0, np.int64) for i in range(k)],
            metrics={"train/loss": mean[0], "train/accuracy": mean[1]},
            labels=labels,
        )

    def _policy_rates(self) -> Doubles:
        return np.full(len(self.ids), self.settings.learning_rate)

    def _right(self, count: int, greedy: bool = True) -> Doubles:
        """Return for each of the first test samples whether, or how surely, it is right [K, n]."""
        x, y = (a[:count] for a in self._test)
        out = np.empty((len(self.ids), len(y)))
        params = self.learner.network.params
        for k in range(len(self.ids)):
            if k and np.array_equal(params[k], params[k - 1]):  # as after averaging
                out[k] = out[k - 1]
                continue
            logits = self.learner.take(np.array([k])).network.policy(x[None])
            hit = logits.argmax(1) == y
            out[k] = hit[0] if greedy else softmax(logits)[0, y, np.arange(len(y))]
        return out

    def _accuracy(self, count: int) -> Doubles:
        return np.asarray(self._right(count).mean(1))

    def evaluate(
        self, episodes: int, seed: int, *, held_out: bool = False, greedy: bool = True
    ) -> Doubles:
        """Return the accuracy [K, episodes] on so many parts of the test set.

        Not greedy, an answer is drawn from the policy, and this is the expected accuracy.
        """
        y = self._test[1]
        parts = np.array_split(np.arange(len(y)), min(episodes, len(y)))
        right = self._right(len(y), greedy)
        return np.stack([right[:, p].mean(1) for p in parts], axis=1)

    def state(self) -> dict[str, Array]:
        """Everything needed for a bit-exact resume; the first axis of every array is K."""
        extra = {} if self._extra is None else pack(self._extra)
        return self._learning_state() | {
            "teacher": self._teacher.copy(),
            "pull": self._pull.copy(),
            **extra,
        }

    def _streams(self) -> dict[str, list[np.random.Generator]]:
        return {"minibatch": self._shuffle_rngs, "distill": self._distiller.generators}

    def load_state(self, state: Mapping[str, Array]) -> None:
        """Continue from what `state` returned."""
        self._load_learning_state(state)
        self._teacher[...] = state["teacher"]
        self._pull[...] = state["pull"]
        self._give(unpack(state))

    def close(self) -> None:
        """Nothing to free."""


def _samples(context: CohortContext) -> Any:
    """Return the `samples` of the agents' environment."""
    spec, found = context.envs.spec, None
    if not spec.vector:  # whose arguments are not those of a real environment, and has no samples
        env = context.envs.open(0)
        found = getattr(env.unwrapped, "samples", None)
        env.close()
    if found is None:
        raise FdrlError(
            f"agent 'classifier' learns from labeled samples, which environment {spec.name!r} has "
            "not: use fdrl/Digits-v0 or fdrl/MNIST-v0, or another agent"
        )
    return found


def _means(sums: Doubles, counts: Doubles) -> Floats:
    """Return the mean answer per label [K, L, L]; uniform where no sample was seen."""
    length = sums.shape[-1]
    mean = sums / np.maximum(counts, 1.0)[:, :, None]
    return np.where(counts[:, :, None] > 0, mean, 1.0 / length).astype(np.float32)


# ---- Which network a classifier has, and what it starts from ----


Kind = Literal["mlp", "small", "chapter"]


def build(settings: Any, context: CohortContext, shape: tuple[int, int], classes: int) -> Any:
    """Return K networks (a `Network` without values) that classify images of a shape."""
    if settings.network == "mlp":
        sizes = (shape[0] * shape[1], settings.hidden, classes, settings.activation)
        layout = Layout(*sizes)
        rows = initial_rows(layout, context.seed, context.agents, context.same_init, "torch")
        return PolicyNetwork(
            make_network("numpy", layout, rows, context.device), PolicyLayout(*sizes)
        )
    from .networks import conv

    maker = conv.small if settings.network == "small" else conv.chapter
    design = maker(shape[0], shape[1], classes)
    return conv.ConvNetwork(design, _rows(design, context), context.device)


def _rows(design: Any, context: CohortContext) -> NDArray[np.float32]:
    """Return [K, P]: each agent from its own stream, or all from agent 0's."""
    agents = (0,) * len(context.agents) if context.same_init else context.agents
    return np.stack([design.initial(generator(context.seed, Purpose.INIT, a)) for a in agents])


# ---- Samples that agents were given beside those they own: kept as bytes, saved with their
# state
#
# Shapes: K agents, n samples of one agent (padded to M in saved arrays), O pixels.


Extra = list[tuple[NDArray[np.uint8], Integers]]
"""Images [n, O] as bytes and labels [n], of each agent."""


def as_bytes(samples: Sequence[tuple[Array, Array]]) -> Extra:
    """Return samples with pixels in [0, 1] as bytes, so that saving them loses nothing."""
    return [
        (np.rint(np.clip(x, 0.0, 1.0) * 255).astype(np.uint8), np.asarray(y, np.int64))
        for x, y in samples
    ]


def joined(
    owned: Sequence[tuple[Array, Integers]], extra: Extra
) -> list[tuple[NDArray[np.float32], Integers]]:
    """Return each agent's own samples with its extra ones behind."""
    return [
        (np.concatenate([x, more / np.float32(255)]), np.concatenate([y, labels]))
        for (x, y), (more, labels) in zip(owned, extra, strict=True)
    ]


def pack(extra: Extra) -> dict[str, Array]:
    """Write them as arrays whose first axis is K."""
    counts = np.array([len(y) for _, y in extra], np.int64)
    images = stack_padded([x[None] for x, _ in extra])
    labels = stack_padded([y[None] for _, y in extra])
    return {"extra/images": images, "extra/labels": labels, "extra/counts": counts}


def unpack(state: Mapping[str, Array]) -> Extra | None:
    """Read what `pack` wrote; None if a state has nothing of the kind."""
    if "extra/counts" not in state:
        return None
    rows = zip(state["extra/images"], state["extra/labels"], strict=True)
    counts = state["extra/counts"].tolist()
    return [
        (x[:n].astype(np.uint8), y[:n].astype(np.int64))
        for (x, y), n in zip(rows, counts, strict=True)
    ]
