"""A run's accounts: totals, goals, simulated time, and the summary."""

from __future__ import annotations

import importlib.metadata
import math
import platform
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fdrl.channels.settings import ChannelSettings, IdealChannel
from fdrl.config.budget import Goal
from fdrl.config.run import Run, digest
from fdrl.core.arrays import Array
from fdrl.core.records import RoundRecord, Summary
from fdrl.core.transport import Delivery, Direction
from fdrl.federation.client import LocalReport

# ---- Adding up a run: steps, episodes, bytes, and the training return of every agent ----


class RunTotals:
    """Running totals of K agents; `state` makes them survive a resume."""

    def __init__(self, ids: Sequence[str], goal: Goal | None = None) -> None:
        self.ids = tuple(ids)
        self.completion = GoalTracker(len(self.ids), goal)
        self._index = {name: k for k, name in enumerate(self.ids)}
        count = len(self.ids)
        self.bytes = {"up": np.zeros(count), "down": np.zeros(count)}
        self.steps = np.zeros(count, np.int64)
        self.episodes = np.zeros(count, np.int64)
        self.latest = np.full(count, np.nan)
        self.area = np.zeros(count)
        self.area_steps = np.zeros(count)
        self.gradient_steps = np.zeros(count)
        self.exchanges = 0
        self.seconds = 0.0
        self._round: dict[str, Any] = {}

    def count(self, direction: Direction, agent: str, size: int) -> None:
        """Count one encoded message."""
        self.bytes[direction][self._index[agent]] += size

    def add_round(
        self,
        reports: Mapping[str, tuple[LocalReport, int]],
        exchanged: bool,
        seconds: dict[str, float],
    ) -> None:
        """Add what every agent did; `reports` give a cohort's report and the agent's row in it."""
        fresh: list[float | None] = [None] * len(self.ids)
        metrics: dict[str, list[float]] = {}
        taken = np.zeros(len(self.ids), np.int64)
        for name, (report, row) in reports.items():
            k = self._index[name]
            taken[k] = report.steps[row]
            if len(report.returns[row]):
                fresh[k] = self.latest[k] = float(np.mean(report.returns[row]))
                self._add_episodes(k, report, row)
            for key, values in report.metrics.items():
                metrics.setdefault(key, []).append(float(values[row]))
            if "distill/gradient_steps" in report.metrics:
                self.gradient_steps[k] += float(report.metrics["distill/gradient_steps"][row])
        if alive := metrics.get("rollout/alive"):  # roles that nobody left are all there
            alive += [1.0] * (len(reports) - len(alive))
        self.steps += taken
        self.exchanges += exchanged
        total = sum(seconds.values())
        self.seconds += total
        self._round = {
            "returns": fresh,
            "exchanged": exchanged,
            "seconds": {k: round(v, 6) for k, v in seconds.items()},
            "steps_per_second": float(taken.sum() / total) if total else 0.0,
            "metrics": metrics,
        }

    def _add_episodes(self, k: int, report: LocalReport, row: int) -> None:
        """Add the episodes that agent k, row `row` of its cohort, ended in this round."""
        returns, lengths = report.returns[row], report.lengths[row]
        if report.ends:
            ends = self.steps[k] + report.ends[row]
        else:
            ends = int(self.area_steps[k]) + np.cumsum(lengths)
        self.completion.add(k, int(self.episodes[k]) + 1, returns, ends)
        self.episodes[k] += len(returns)
        self.area[k] += float(returns @ lengths)
        self.area_steps[k] += float(lengths.sum())

    def record(
        self, number: int, rejected: list[tuple[str, str]], extra: Mapping[str, float]
    ) -> RoundRecord:
        """Return the record of the round last added."""
        facts = dict(self._round)
        metrics = {k: _mean(v) for k, v in sorted(facts.pop("metrics").items())}
        if rejected:
            metrics["comm/rejected"] = float(len(rejected))
        return RoundRecord(
            round=number,
            env_steps=self.steps.tolist(),
            episodes=self.episodes.tolist(),
            return_mean=None if np.isnan(self.latest).all() else float(np.nanmean(self.latest)),
            bytes_up=float(self.bytes["up"].mean()),
            bytes_down=float(self.bytes["down"].mean()),
            completed=self.completion.count,
            rejected=rejected,
            metrics={k: v for k, v in (metrics | dict(extra)).items() if np.isfinite(v)},
            wall_seconds=self.seconds,
            **facts,
        )

    def auc(self) -> float:
        """Return the mean training return: over steps, then over agents; NaN before any episode.

        A step counts with the return of the episode it belongs to, so it does not matter how long
        rounds are; steps of episodes that never ended are left out.
        """
        known = self.area_steps > 0
        return float(np.mean(self.area[known] / self.area_steps[known])) if known.any() else np.nan

    def episode_auc(self) -> float:
        """Return the mean training return: over episodes, then over agents; NaN before any."""
        known = self.episodes > 0
        each = self.completion.total[known] / self.episodes[known]
        return float(np.mean(each)) if known.any() else np.nan

    def state(self) -> dict[str, Array]:
        """Return all totals."""
        own = {f"completion.{k}": v for k, v in self.completion.state().items()}
        return own | {
            "up": self.bytes["up"].copy(),
            "down": self.bytes["down"].copy(),
            "steps": self.steps.copy(),
            "episodes": self.episodes.copy(),
            "latest": self.latest.copy(),
            "area": self.area.copy(),
            "area_steps": self.area_steps.copy(),
            "gradient_steps": self.gradient_steps.copy(),
            "exchanges": np.array(self.exchanges),
            "seconds": np.array(self.seconds),
        }

    def load_state(self, state: Mapping[str, Array]) -> None:
        """Continue from what `state` returned."""
        self.bytes = {"up": np.array(state["up"]), "down": np.array(state["down"])}
        for name in ("steps", "episodes", "latest", "area", "area_steps", "gradient_steps"):
            setattr(self, name, np.array(state[name]))
        start = "completion."
        inner = {k[len(start) :]: v for k, v in state.items() if k.startswith(start)}
        self.completion.load_state(inner)
        self.exchanges = int(state["exchanges"])
        self.seconds = float(state["seconds"])


def _mean(values: Sequence[float]) -> float:
    """Return the mean of the finite values, NaN without any."""
    finite = [v for v in values if np.isfinite(v)]
    return float(np.mean(finite)) if finite else float("nan")


# ---- Watching training episodes one by one: when agents complete a goal, and how they end ----
#
# K agents. What is known of an episode depends on nothing but the episodes before it, however the
# rounds cut them.


LAST = 100
"""Episodes at the end of training that are looked at by themselves."""
NEVER = -1


class GoalTracker:
    """Each agent's latest training returns, and the episode and step at which it completed."""

    def __init__(self, agents: int, goal: Goal | None = None) -> None:
        self.goal = goal
        keep = max(LAST, goal.window if goal else 0)
        self._latest = [deque[float](maxlen=keep) for _ in range(agents)]
        self.total = np.zeros(agents)
        """[K] sum of all training returns."""
        self.episodes = np.full(agents, NEVER, np.int64)
        """[K] the episode, counted from 1, that completed the goal; `NEVER` if none has yet."""
        self.steps = np.full(agents, NEVER, np.int64)
        """[K] the agent's environment steps at its end."""

    def add(self, agent: int, first: int, returns: Array, ends: Array) -> None:
        """Take in an agent's new episodes: `first` is the number of the first of them.

        `ends` are the agent's environment steps, of the whole run, when each of them ended.
        """
        latest = self._latest[agent]
        for number, (value, step) in enumerate(zip(returns.tolist(), ends.tolist(), strict=True)):
            latest.append(value)
            self.total[agent] += value
            if self.episodes[agent] == NEVER and self._passes(latest):
                self.episodes[agent], self.steps[agent] = first + number, step

    def _passes(self, latest: deque[float]) -> bool:
        goal = self.goal
        if goal is None or len(latest) < goal.window:
            return False
        window = [latest[i] for i in range(-goal.window, 0)]
        return math.fsum(window) / goal.window > goal.mean

    @property
    def count(self) -> int | None:
        """How many agents have completed the goal; None without a goal."""
        return None if self.goal is None else int((self.episodes != NEVER).sum())

    @property
    def all_done(self) -> bool:
        """Whether every agent has completed the goal."""
        return self.count == len(self.episodes)

    def last_means(self) -> NDArray[np.float64]:
        """Return [K], the mean of each agent's last 100 episodes; NaN where none has ended."""
        latest = [list(own)[-LAST:] for own in self._latest]
        return np.array([math.fsum(own) / len(own) if own else math.nan for own in latest])

    def state(self) -> dict[str, Array]:
        """Return everything needed to resume; returns are [K, longest], flush right, else NaN."""
        longest = max(len(own) for own in self._latest)
        latest = np.full((len(self._latest), longest), np.nan)
        for k, own in enumerate(self._latest):
            latest[k, longest - len(own) :] = list(own)
        return {
            "latest": latest,
            "kept": np.array([len(own) for own in self._latest]),
            "total": self.total.copy(),
            "episodes": self.episodes.copy(),
            "steps": self.steps.copy(),
        }

    def load_state(self, state: Mapping[str, Array]) -> None:
        """Continue from what `state` returned."""
        for own, row, kept in zip(self._latest, state["latest"], state["kept"], strict=True):
            own.clear()
            own.extend(row[len(row) - int(kept) :].tolist())
        self.total = np.array(state["total"])
        self.episodes = np.array(state["episodes"])
        self.steps = np.array(state["steps"])


def known(values: Sequence[int] | Array) -> list[int | None]:
    """Return numbers with None for `NEVER`."""
    return [None if v == NEVER else int(v) for v in values]


# ---- Simulated time of a federation: what computing and sending would have taken ----


class SimulatedClock:
    """Adds up the simulated seconds of synchronous rounds, and the messages that were lost.

    A round lasts as long as its slowest agent computes, its slowest upload (at most the deadline),
    what the server computes, and the broadcasts, each until the slowest agent has it; different
    messages follow each other.
    """

    def __init__(self, settings: ChannelSettings) -> None:
        self.step_seconds = self.gradient_seconds = self.server_seconds = 0.0
        if not isinstance(settings, IdealChannel):
            self.step_seconds = settings.step_seconds
            self.gradient_seconds = self.server_seconds = settings.gradient_seconds
            if settings.server_gradient_seconds is not None:
                self.server_seconds = settings.server_gradient_seconds
        self.seconds = 0.0
        self.lost: dict[Direction, int] = {"up": 0, "down": 0}

    def add(self, direction: Direction, transmissions: Iterable[Sequence[Delivery]]) -> None:
        """Add transmissions one after another, each with its deliveries at the same time."""
        for deliveries in transmissions:
            self.seconds += max((d.seconds for d in deliveries), default=0.0)
            self.lost[direction] += sum(d.message is None for d in deliveries)

    def work(self, reports: Iterable[LocalReport]) -> None:
        """Add what the slowest agent of a round computed."""
        steps = gradients = 0.0
        for report in reports:
            steps = max(steps, float(report.steps.max(initial=0)))
            taken = report.metrics.get("distill/gradient_steps", np.zeros(1))
            gradients = max(gradients, float(np.max(taken, initial=0.0)))
        self.seconds += steps * self.step_seconds + gradients * self.gradient_seconds

    def serve(self, metrics: Mapping[str, float]) -> None:
        """Add what the server computed: its gradient steps of a round, by its metrics."""
        self.seconds += metrics.get("convert/gradient_steps", 0.0) * self.server_seconds

    def state(self) -> dict[str, Array]:
        """Return all totals."""
        lost = np.array([self.lost["up"], self.lost["down"]])
        return {"seconds": np.array(self.seconds), "lost": lost}

    def load_state(self, state: Mapping[str, Array]) -> None:
        """Continue from what `state` returned."""
        self.seconds = float(state["seconds"])
        self.lost = {"up": int(state["lost"][0]), "down": int(state["lost"][1])}


# ---- The summary of a run: what it cost, and what its agents can do in the end ----


PACKAGES = ("fdrl", "numpy", "torch", "gymnasium")


def versions() -> dict[str, str]:
    """Return the versions that a result may depend on."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


class Returns(NamedTuple):
    """Returns [K, episodes] of the final evaluation, in the order of the agents' ids."""

    greedy: NDArray[np.float64]
    stochastic: NDArray[np.float64]
    held_out: NDArray[np.float64]


def summarize(
    run: Run,
    tally: RunTotals,
    clock: SimulatedClock,
    rounds: int,
    returns: Returns,
    parameters: Sequence[int],
    server_env_steps: int,
) -> Summary:
    """Add up a run of `rounds` rounds; `parameters` [K] is how many each agent has."""
    greedy = returns.greedy.mean(1)
    steps = int(tally.steps.max())
    return Summary(
        strategy=run.strategy_name,
        env=run.env,
        seed=run.seed,
        agents=run.agents,
        env_steps=steps,
        return_mean=float(greedy.mean()),
        return_worst=float(greedy.min()),
        return_spread=float(greedy.std()),
        return_stochastic=float(returns.stochastic.mean()),
        return_held_out=float(returns.held_out.mean()),
        auc=tally.auc(),
        bytes_up=float(tally.bytes["up"].mean()),
        bytes_down=float(tally.bytes["down"].mean()),
        rounds=rounds,
        exchanges=tally.exchanges,
        gradient_steps=float(tally.gradient_steps.mean()),
        server_env_steps=server_env_steps,
        parameters=list(parameters),
        returns=[float(r) for r in greedy],
        wall_seconds=tally.seconds,
        steps_per_second=float(tally.steps.sum() / tally.seconds) if tally.seconds else 0.0,
        config=digest(run),
        sim_seconds=clock.seconds,
        lost_up=clock.lost["up"],
        lost_down=clock.lost["down"],
        versions=versions(),
        **_training(tally),
    )


def _training(tally: RunTotals) -> dict[str, Any]:
    """Return what a summary says of the training episodes, and of the goal."""
    done, last = tally.completion, tally.completion.last_means()
    some = np.isfinite(last)
    found: dict[str, Any] = {"episodes": tally.episodes.tolist()}
    found["episode_auc"] = tally.episode_auc()
    if some.any():
        own = last[some]
        found |= {"last_mean": float(own.mean()), "last_worst": float(own.min())}
        found["last_spread"] = float(own.std())
    if done.goal is None:
        return found
    found["completed"] = done.count
    for name, each in (("episodes", done.episodes), ("steps", done.steps)):
        own = each[each != NEVER]
        found[f"completion_{name}"] = known(each)
        found[f"first_{name}"] = int(own.min()) if len(own) else None
        found[f"all_{name}"] = int(each.max()) if done.all_done else None
    return found
