"""Adding up a run: steps, episodes, bytes, and the training return of every agent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fdrl.budget import Goal
from fdrl.channel import Direction
from fdrl.client import LocalReport
from fdrl.completion import Completion
from fdrl.records import RoundRecord

Array = NDArray[Any]


class Tally:
    """Running totals of K agents; `state` makes them survive a resume."""

    def __init__(self, ids: Sequence[str], goal: Goal | None = None) -> None:
        self.ids = tuple(ids)
        self.completion = Completion(len(self.ids), goal)
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
