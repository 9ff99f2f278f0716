"""The round loop: learn, answer, aggregate, distill."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

import msgspec
import numpy as np
from numpy.typing import NDArray

from fdrl.config.run import Run, validated
from fdrl.core.arrays import Array, subtree
from fdrl.core.cohort import Cohort, Labeled, Part
from fdrl.core.records import RoundRecord, Summary
from fdrl.core.transport import (
    Channel,
    Delivery,
    Direction,
    Failure,
    Reply,
    SharedUplink,
    StatefulChannel,
)
from fdrl.federation import groups
from fdrl.federation.accounting import Returns, RunTotals, SimulatedClock, summarize
from fdrl.federation.build import (
    cohort_facts,
    environments,
    make_channel,
    make_clients,
    make_cohorts,
    make_server,
    measured,
    recall,
)
from fdrl.federation.client import CohortClient, Embedded
from fdrl.federation.compatibility import adapt_proxies, check_analog, check_labels
from fdrl.vector.factory import EnvFactory
from fdrl.vector.teams import together


class Agents:
    """The K agents of a run and their environments, to act and not to learn.

    For evaluation, films and export: without strategy, server and proxy states, nothing is
    measured, and no training copy of an environment is made.
    """

    def __init__(self, run: Run) -> None:
        self.run = run = validated(run)
        self.ids = groups.agent_ids(run.agents)
        self.envs = replace(environments(run), resting=True)
        self.together = together(self.envs)
        self._cohorts = make_cohorts(run, self.envs)

    @property
    def cohorts(self) -> Sequence[Cohort]:
        """The learners, one a group."""
        return self._cohorts

    def load_state(self, state: Mapping[str, Array]) -> None:
        """Take the agents out of what `Federation.state` returned."""
        for index, cohort in enumerate(self.cohorts):
            cohort.load_state(subtree(state, f"client.{index}.cohort."))

    def evaluate(
        self, episodes: int, *, held_out: bool = False, greedy: bool = True
    ) -> NDArray[np.float64]:
        """Return undiscounted returns [K, episodes] of every agent, in the order of `ids`."""
        rows: dict[str, Array] = {}
        seed = self.run.evaluation.seed
        jobs = [
            partial(cohort.evaluate, episodes, seed, held_out=held_out, greedy=greedy)
            for cohort in self.cohorts
        ]
        played = self.together.run(jobs) if self.together else [job() for job in jobs]
        for cohort, returns in zip(self.cohorts, played, strict=True):
            rows |= dict(zip(cohort.ids, returns, strict=True))
        return np.stack([rows[name] for name in self.ids])

    @property
    def labels(self) -> list[str]:
        """Return what is particular about each agent, in a few words."""
        networks = {
            agent: g.settings.architecture for g in groups.groups(self.run) for agent in g.agents
        }
        several = len({*networks.values()}) > 1
        owned = self._owned()
        return [
            " ".join(
                [
                    f"{key} {value:.3g}" if isinstance(value, float) else f"{key} {value}"
                    for key, value in kwargs.items()
                ]
                + ([networks[k]] if several else [])
                + ([owned[self.ids[k]]] if self.ids[k] in owned else [])
            )
            for k, kwargs in enumerate(self.envs.kwargs)
        ]

    def _owned(self) -> dict[str, str]:
        """Return the samples of each label that agents own, for those that own any."""
        return {
            name: "samples " + " ".join(map(str, row))
            for cohort in self.cohorts
            if isinstance(cohort, Labeled)
            for name, row in zip(cohort.ids, cohort.histogram().tolist(), strict=True)
        }

    def close(self) -> None:
        """Free environments and worker processes."""
        for cohort in self.cohorts:
            cohort.close()
        if self.together is not None:
            self.together.close()


class Federation(Agents):
    """K agents, a server, and the channel between them.

    `known` is what another federation of this run has measured (in its `state`, below
    ``measured.``), and so is not measured again.

    >>> from fdrl import Federation, make_run
    >>> federation = Federation(make_run(agents=2, steps=512))
    >>> while not federation.done:
    ...     record = federation.round()
    >>> federation.close()
    """

    def __init__(
        self,
        run: Run,
        channel: Channel | None = None,
        known: Mapping[str, Array] | None = None,
    ) -> None:
        self.run = run = validated(run)
        self.ids = groups.agent_ids(run.agents)
        self.channel: Channel = channel or make_channel(run, self.ids)
        self.envs = environments(run)
        recall(self.envs, known or {})
        check_analog(run, self.envs)
        self.together = together(self.envs)
        if isinstance(self.envs, EnvFactory):
            self.run = run = adapt_proxies(run, self.envs)
        self.clients: list[CohortClient] = make_clients(run, run.threads, self.envs)
        facts = [
            cohort_facts(client.cohort, group.settings)
            for client, group in zip(self.clients, groups.groups(run), strict=True)
        ]
        self.parameters = {
            name: f.parameters["all"]
            for client, f in zip(self.clients, facts, strict=True)
            for name in client.cohort.ids
        }
        try:
            self.server = make_server(run, facts, self.envs)
            check_labels(run, self.clients)
        except BaseException:
            self.close()  # worker processes may be waiting already
            raise
        self.proxy_steps = self.envs.proxy_box_steps + self.server.env_steps
        self._agree()
        self.transport = Embedded(self.clients, self.ids, self.together)
        self.tally, self.clock = RunTotals(self.ids, run.goal), SimulatedClock(run.channel)
        self.rounds_done = 0

    @property
    def cohorts(self) -> Sequence[Cohort]:
        """The learners, one a client."""
        return [client.cohort for client in self.clients]

    def _agree(self) -> None:
        """Tell a channel that sends changes what they are relative to, where all start alike."""
        if isinstance(self.channel, StatefulChannel) and self.run.same_init:
            part: Part = self.run.strategy.shared_part
            for client in self.clients:
                rows = client.cohort.parameters(part)
                self.channel.agree(dict(zip(client.cohort.ids, rows, strict=True)))

    @property
    def done(self) -> bool:
        """Whether every agent has used up its budget, or all have completed what ends the run."""
        goal = self.run.goal
        if goal is not None and goal.stop and self.tally.completion.all_done:
            return True
        return all(not client.left().any() for client in self.clients)

    @property
    def foreign(self) -> bool:
        """Whether somebody else's code is stepped, which may fail in the middle of a round."""
        return not (isinstance(self.envs, EnvFactory) and self.envs.spec.vector)

    def round(self) -> RoundRecord:
        """Run one round: agents learn and answer, the server combines, agents distill."""
        start = time.perf_counter()
        opening = self.server.announce() if self.rounds_done == 0 else {}
        failures = self._deliver(0, opening) if opening else []
        number = self.rounds_done + 1
        answers = self.transport.ask(number)
        learned = time.perf_counter()
        teachers = self.server.aggregate(number, self._collect(number, answers))
        failures += self.server.rejected + self._deliver(number, teachers)
        self.rounds_done = number
        seconds = {"learn": learned - start, "exchange": time.perf_counter() - learned}
        return self._record(bool(teachers), failures, seconds)

    def _collect(self, number: int, answers: Mapping[str, Reply]) -> dict[str, Reply]:
        """Carry the agents' answers over the uplink."""
        arrived = dict(answers)
        sent = self._upload(
            {a: m for a, m in answers.items() if isinstance(m, bytes) and m}, number
        )
        for agent, carried in sent.items():
            lost = Failure(carried.reason or "lost on the uplink")
            arrived[agent] = lost if carried.message is None else carried.message
        self.clock.add("up", [list(sent.values())])
        return arrived

    def _upload(self, messages: Mapping[str, bytes], number: int) -> dict[str, Delivery]:
        if not isinstance(self.channel, SharedUplink):
            return {a: self._carry(m, "up", a, number) for a, m in messages.items()}
        sent = self.channel.combine(messages, number)
        for agent, carried in sent.items():
            self._count("up", agent, messages[agent], carried)
        return sent

    def _deliver(self, number: int, messages: Mapping[str, bytes]) -> list[tuple[str, str]]:
        """Carry the server's messages over the downlink and hand them to the agents."""
        carried = {a: self._carry(m, "down", a, number) for a, m in messages.items()}
        together: dict[bytes, list[Delivery]] = {}  # equal messages are one broadcast
        for agent, delivery in carried.items():
            together.setdefault(messages[agent], []).append(delivery)
        self.clock.add("down", together.values())
        usable = {a: d.message for a, d in carried.items() if d.message}
        replies = self.transport.tell(number, usable)
        lost = [
            (a, d.reason or "lost on the downlink") for a, d in carried.items() if d.message is None
        ]
        failed = [(a, r.reason) for a, r in replies.items() if isinstance(r, Failure)]
        return lost + failed

    def _carry(self, message: bytes, direction: Direction, agent: str, number: int) -> Delivery:
        carried = self.channel.send(message, direction, agent, number)
        self._count(direction, agent, message, carried)
        return carried

    def _count(self, direction: Direction, agent: str, message: bytes, carried: Delivery) -> None:
        # What is lost on the way was sent all the same.
        self.tally.count(direction, agent, len(message) if carried.size is None else carried.size)

    def _record(
        self, exchanged: bool, rejected: list[tuple[str, str]], seconds: dict[str, float]
    ) -> RoundRecord:
        reports = {
            name: (client.report, k)
            for client in self.clients
            for k, name in enumerate(client.cohort.ids)
        }
        self.tally.add_round(reports, exchanged, seconds)
        self.clock.work(client.report for client in self.clients)
        self.clock.serve(self.server.half.metrics())
        extra = self.server.half.metrics() | self._evaluation()
        if isinstance(self.channel, StatefulChannel):
            extra |= self.channel.metrics()
        record = self.tally.record(self.rounds_done, rejected, extra)
        return msgspec.structs.replace(record, sim_seconds=self.clock.seconds)

    def _evaluation(self) -> dict[str, float]:
        """Evaluate in this round, if the config says so."""
        every = self.run.evaluation.every
        if not every or self.rounds_done % every:
            return {}
        returns = self.evaluate(self.run.evaluation.episodes).mean(1)
        return {
            "eval/mean_reward": float(returns.mean()),
            "eval/worst_reward": float(returns.min()),
        }

    def summary(self) -> Summary:
        """Evaluate every agent on fixed seeds and add up the run."""
        episodes = self.run.evaluation.episodes
        returns = Returns(
            greedy=self.evaluate(episodes),
            stochastic=self.evaluate(episodes, greedy=False),
            held_out=self.evaluate(episodes, held_out=True),
        )
        sizes = [self.parameters[name] for name in self.ids]
        return summarize(
            self.run, self.tally, self.clock, self.rounds_done, returns, sizes, self.proxy_steps
        )

    def state(self) -> dict[str, Array]:
        """Return everything needed to continue to the bit, as flat names and arrays."""
        state = {"rounds": np.array(self.rounds_done)}
        state |= {f"measured.{k}": v for k, v in measured(self.envs).items()}
        for index, client in enumerate(self.clients):
            state |= {f"client.{index}.{k}": v for k, v in client.state().items()}
        state |= {f"server.{k}": v for k, v in self.server.state().items()}
        state |= {f"clock.{k}": v for k, v in self.clock.state().items()}
        if isinstance(self.channel, StatefulChannel):
            state |= {f"channel.{k}": v for k, v in self.channel.state().items()}
        return state | {f"tally.{k}": v for k, v in self.tally.state().items()}

    def load_state(self, state: Mapping[str, Array]) -> None:
        """Continue from what `state` returned."""
        self.rounds_done = int(state["rounds"])
        for index, client in enumerate(self.clients):
            client.load_state(subtree(state, f"client.{index}."))
        self.server.load_state(subtree(state, "server."))
        self.clock.load_state(subtree(state, "clock."))
        if isinstance(self.channel, StatefulChannel):
            self.channel.load_state(subtree(state, "channel."))
        self.tally.load_state(subtree(state, "tally."))
