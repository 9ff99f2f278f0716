"""A federation that learns nothing, in no time, but is as deterministic as a real one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from fdrl.config.run import Run, digest
from fdrl.core.errors import FdrlError
from fdrl.core.records import RoundRecord, Summary
from fdrl.core.seeding import Purpose, generator, pack_generators, unpack_generators

STEPS = 64


class FakeFederation:
    """Agents whose returns follow a random walk; one round is 64 steps, `delay` seconds long."""

    delay = 0.0
    fail_at = 0

    def __init__(self, run: Run) -> None:
        self.run = run
        self.ids = tuple(f"agent-{k:02}" for k in range(run.agents))
        self.labels = [f"length {0.1 + 0.1 * k:.2f}" for k in range(run.agents)]
        self.rounds_done = 0
        self.closed = False
        self._draw = generator(run.seed, Purpose.ENV)
        self._level = np.zeros(run.agents)

    @property
    def done(self) -> bool:
        return self.rounds_done * STEPS >= self.run.steps

    def round(self) -> RoundRecord:
        import time

        time.sleep(self.delay)
        if self.rounds_done + 1 == self.fail_at:
            raise FdrlError("environment 'Broken-v0' failed: the sky fell")
        self.rounds_done += 1
        n, count = self.rounds_done, self.run.agents
        self._level += self._draw.normal(1.0, 2.0, count)
        returns = [None if n == 1 and k == 0 else float(v) for k, v in enumerate(self._level)]
        return RoundRecord(
            round=n,
            env_steps=[n * STEPS] * count,
            episodes=[3 * n] * count,
            returns=returns,
            return_mean=float(self._level.mean()),
            bytes_up=100.0 * n,
            bytes_down=120.0 * n,
            exchanged=True,
            metrics={"train/loss": 1.0 / n, "rollout/ep_len_mean": 20.0},
            wall_seconds=0.01 * n,
            steps_per_second=12_000.0,
            seconds={"learn": 0.008},
        )

    def summary(self) -> Summary:
        returns = [float(v) for v in self._level]
        return Summary(
            strategy=self.run.strategy_name,
            env=self.run.env,
            seed=self.run.seed,
            agents=self.run.agents,
            env_steps=self.rounds_done * STEPS,
            return_mean=float(np.mean(returns)),
            return_worst=min(returns),
            return_spread=float(np.std(returns)),
            return_stochastic=float(np.mean(returns)) - 1,
            return_held_out=float("nan"),
            auc=1.0,
            bytes_up=100.0 * self.rounds_done,
            bytes_down=120.0 * self.rounds_done,
            rounds=self.rounds_done,
            exchanges=self.rounds_done,
            gradient_steps=0.0,
            server_env_steps=0,
            parameters=[10] * self.run.agents,
            returns=returns,
            wall_seconds=0.01 * self.rounds_done,
            steps_per_second=12_000.0,
            config=digest(self.run),
        )

    def state(self) -> dict[str, Any]:
        return {
            "rounds": np.array(self.rounds_done),
            "level": self._level.copy(),
            "random": pack_generators([self._draw]),
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        self.rounds_done = int(state["rounds"])
        self._level = np.array(state["level"])
        unpack_generators([self._draw], state["random"])

    def close(self) -> None:
        self.closed = True
