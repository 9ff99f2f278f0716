"""Both halves of `fld`, `mixfld` and `mix2fld` for agents that learn from labels (2006.09801).

Each label's mean output goes up, and once a few seed samples; the server averages the outputs,
turns them into parameters on the seeds, and broadcasts these.

Shapes: L labels, S seeds of shape *O, N labels mixed into each, P parameters.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import numpy as np

from fdrl.core.arrays import Array, subtree
from fdrl.core.cohort import Cohort, Experience, Labeled
from fdrl.core.errors import FdrlError
from fdrl.core.message import Message, Parameters, ProbTable, parts_of
from fdrl.core.seeding import Purpose, generator
from fdrl.core.strategy import ClientContext, Messages, ServerContext
from fdrl.ops import mixup, privacy
from fdrl.strategies.base import Client as BaseClient
from fdrl.strategies.base import Server as BaseServer
from fdrl.strategies.base import learned, load_policies
from fdrl.strategies.distillation import teacher
from fdrl.strategies.distillation.answers import LabelMeans
from fdrl.strategies.fld import seeds
from fdrl.strategies.fld.settings import FLD
from fdrl.wire.checks import Expected, check_parameters, check_table
from fdrl.wire.parts import CellRows, MissingSeeds, SeedSamples, Visits

CHOICE = 1
"""The branch of an agent's stream that chooses its seeds: always the same, so never to be kept."""


class Client(BaseClient):
    """Uploads each label's mean output, at first with seed samples, and loads what comes back."""

    settings: FLD

    def __init__(self, context: ClientContext) -> None:
        super().__init__(context)
        seeds.check_settings(
            self.settings.seeds, self.settings.mix, context.n_actions, context.run.agents
        )
        self.answers = LabelMeans(self.settings, context)
        self.owes = np.ones(len(context.ids), np.bool_)
        self._privacy: Array | None = None

    def upload(self, cohort: Cohort, experience: Experience, round: int) -> dict[str, Message]:
        """Say each label's mean output while training; add seeds until they have arrived."""
        tables = self.answers.tables(cohort, experience, round)
        found: dict[str, Message] = {}
        hidden = np.full(len(self.context.ids), np.nan)
        for k, (name, table) in enumerate(zip(self.context.ids, tables, strict=True)):
            if table is None:
                continue
            if self.owes[k]:
                chosen = self._choose(cohort, k)
                hidden[k] = privacy.mean_privacy(chosen.samples, chosen.raw)
                coded = seeds.coded(chosen.samples, self.settings.seeds.coding)
                table = table.with_parts(SeedSamples(coded, chosen.labels.astype(np.uint8)))
            found[name] = table
        self._privacy = hidden if np.isfinite(hidden).any() else None
        return found

    def _choose(self, cohort: Cohort, k: int) -> seeds.Chosen:
        """Return agent k's seeds: the same whenever they are asked for."""
        settings, mix, run = self.settings.seeds, self.settings.mix, self.context.run
        number = self.context.agents[k]
        assert isinstance(cohort, Labeled)  # or there would be no tables
        images, labels = cohort.samples()[k]
        agreed = np.zeros((0, settings.labels), np.int64)
        if mix != "none":
            shared = generator(run.seed, Purpose.PROXY)
            agreed = mixup.agreed_labels(
                self.context.n_actions, settings.labels, settings.count, shared
            )
        own = generator(run.seed, Purpose.CLIENT, number, CHOICE)
        return seeds.choose(images, labels, settings, mix, agreed, number, own)

    def check(self, cohort: Cohort, message: Message, agent: str, round: int) -> None:
        """Refuse parameters of another round or size."""
        size = cohort.parameters("policy").shape[1]
        asked = (MissingSeeds.asked(below=self.context.run.agents, optional=True),)
        check_parameters(message, round=round, part="policy", size=size, parts=asked)

    def download(self, cohort: Cohort, messages: Messages, round: int) -> dict[str, Array]:
        """Load the server's model; what arrives says whose seeds are still missing."""
        received = {n: m for n, m in messages.items() if isinstance(m, Parameters)}
        for name, message in received.items():
            k = self.context.ids.index(name)
            missing = message.get(MissingSeeds)
            self.owes[k] = missing is not None and self.context.agents[k] in missing.agents
        own = {} if self._privacy is None else {"seeds/privacy": self._privacy}
        return own | load_policies(cohort, self.context.ids, received, self.settings.optimizer)

    def state(self) -> dict[str, Array]:
        """Everything needed to resume."""
        return {"owes": self.owes.copy()}

    def load_state(self, state: Mapping[str, Array]) -> None:
        """Continue from what `state` returned."""
        self.owes = np.array(state["owes"], dtype=np.bool_)


class Server(BaseServer):
    """Averages outputs by label, turns them into parameters on the seeds, and sends these.

    Equal initial weights are agreed through the config.
    """

    settings: FLD

    def __init__(self, context: ServerContext) -> None:
        super().__init__(context)
        seeds.check_settings(
            self.settings.seeds, self.settings.mix, context.n_actions, len(context.ids)
        )
        if context.trainer is None:
            raise FdrlError(f'strategy "{context.run.strategy_name}" needs a learner at the server')
        self.trainers = [context.trainer(group) for group in range(len(context.groups))]
        self.uploads: dict[int, tuple[Array, Array]] = {}
        self._usable: seeds.Usable | None = None
        self._metrics: dict[str, float] = {}

    def check(self, message: Message, agent: str, round: int) -> None:
        """Refuse what is not this round's outputs by label, and seeds of other shapes."""
        check_table(message, self._expected(agent, round))

    def most_bytes(self, agent: str, round: int) -> int:
        """Return the bytes of the longest table with seeds."""
        return self._expected(agent, round).most_bytes()

    def _expected(self, agent: str, round: int) -> Expected:
        wanted, labels = self.settings.seeds, self.context.n_actions
        mixed = 1 if self.settings.mix == "none" else wanted.labels
        asked = (
            CellRows.asked(below=labels),
            Visits.asked(most=self.context.steps_of(agent), optional=True),
            SeedSamples.asked(
                shape=self.context.low.shape,
                most=wanted.count,
                mixed=mixed,
                below=labels,
                optional=True,
            ),
        )
        return Expected(round, labels, most_rows=labels, parts=asked)

    def aggregate(self, round: int, messages: Mapping[str, Message]) -> dict[str, Message]:
        """Return the converted model to all agents; nothing before seeds have arrived."""
        self._metrics = {}
        tables = {n: m for n in self.context.ids if isinstance(m := messages.get(n), ProbTable)}
        if not tables:
            return {}
        self._keep_seeds(tables)
        usable = self._usable or self._prepare()
        if not len(usable.samples):
            return {}
        rows, known = self._by_label(list(tables.values()))
        self._convert(usable, rows, known)
        missing = [k for k in range(len(self.context.ids)) if k not in self.uploads]
        parts = parts_of(MissingSeeds(np.array(missing, np.int64)) if missing else None)
        out: dict[str, Message] = {}
        for ids, trainer in zip(self.context.groups, self.trainers, strict=True):
            values = trainer.parameters("policy")[0]
            out |= dict.fromkeys(ids, Parameters(round, values, "policy", parts=parts))
        return out

    def _keep_seeds(self, tables: Mapping[str, ProbTable]) -> None:
        for name, table in tables.items():
            number = self.context.ids.index(name)
            sent = table.get(SeedSamples)
            if sent is None or number in self.uploads:
                continue
            self.uploads[number] = seeds.decoded(sent.samples), sent.labels
            self._usable = None

    def _prepare(self) -> seeds.Usable:
        """Work out what the uploads so far are good for; the same whenever it is done."""
        run, labels = self.context.run, self.context.n_actions
        if not self.uploads:
            return seeds.nothing(self.context.low.shape, labels)
        rng = generator(run.seed, Purpose.SERVER)
        self._usable = seeds.usable(
            self.uploads, self.settings.seeds, self.settings.mix, labels, rng
        )
        return self._usable

    def _by_label(self, tables: list[ProbTable]) -> tuple[Array, Array]:
        """Return each label's mean output over its owners [L, L], and which labels have one [L]."""
        labels = self.context.n_actions
        sheet = teacher.align(tables, "labels")
        weights = teacher.agent_weights(sheet, teacher.scores_of(tables), self.settings)
        rows, known = np.full((labels, labels), 1.0 / labels), np.zeros(labels, np.bool_)
        rows[sheet.cells], known[sheet.cells] = teacher.combine(sheet, weights, self.settings), True
        return rows, known

    def _convert(self, usable: seeds.Usable, rows: Array, known: Array) -> None:
        """Output-to-model conversion, from where the last round left each network."""
        targets = seeds.conversion_targets(usable.labels, rows, known, self.settings.teacher)
        ones = np.ones((1, len(targets)), np.float32)
        found: dict[str, list[float]] = {}
        for g in range(len(self.trainers)):
            report = self._distill(g, usable, targets, ones)
            for key, value in report.items():
                found.setdefault(key.replace("distill/", "convert/"), []).append(float(value[0]))
        self._metrics = {key: float(np.mean(values)) for key, values in found.items()}
        self._metrics["convert/gradient_steps"] = sum(found["convert/gradient_steps"])
        self._metrics["convert/seeds"] = float(len(targets))

    def _distill(
        self, g: int, usable: seeds.Usable, targets: Array, ones: Array
    ) -> Mapping[str, Array]:
        """Train a network; raise if it diverges: inverse mixup may magnify seeds."""
        assert self.context.trainer is not None
        given = usable.samples, targets[None], ones, self.settings.convert
        trainer = self.trainers[g]
        fresh, distill = partial(self.context.trainer, g), partial(trainer.distill, *given)
        if any(np.abs(x).max(initial=0.0) > 1 for x, _ in self.uploads.values()):
            return learned(trainer, fresh, distill)  # no pixels: the settings need not be to blame
        report = distill()
        if np.isfinite(trainer.parameters("policy")).all():
            return report
        largest = float(np.abs(usable.samples).max())
        raise FdrlError(
            f"strategy {self.context.run.strategy_name!r}: the server's training on seeds of size "
            f"{largest:.3g} diverged: move lam away from an even mixture (at strategy.seeds.lam), "
            "or lower agent.learning_rate"
        )

    def metrics(self) -> dict[str, float]:
        """Return how the last conversion went."""
        return self._metrics

    def state(self) -> dict[str, Array]:
        """Return the seeds and the state of every network."""
        state: dict[str, Array] = {}
        for number, (samples, labels) in self.uploads.items():
            state |= {f"seeds.{number}.samples": samples, f"seeds.{number}.labels": labels}
        for g, trainer in enumerate(self.trainers):
            state |= {f"network.{g}.{key}": value for key, value in trainer.state().items()}
        return state

    def load_state(self, state: Mapping[str, Array]) -> None:
        """Continue from what `state` returned."""
        numbers = [k for k in range(len(self.context.ids)) if f"seeds.{k}.samples" in state]
        self.uploads = {
            k: (np.array(state[f"seeds.{k}.samples"]), np.array(state[f"seeds.{k}.labels"]))
            for k in numbers
        }
        self._usable = None
        for g, trainer in enumerate(self.trainers):
            trainer.load_state(subtree(state, f"network.{g}."))
