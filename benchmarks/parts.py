"""Where the time and the memory go: parts of a federated round, and a thousand agents."""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import peers
from fdrl.agents.actor_critic import ActorCriticCohort
from fdrl.agents.ppo import PPO, make
from numpy.typing import NDArray

from fdrl.config.run import parse
from fdrl.config.tables import read_tables
from fdrl.core.settings import DistillSettings
from fdrl.federation.loop import Federation

PROXIES = 256


class Stopwatch:
    """Adds up seconds under names."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def time(self, name: str, work: Callable[[], Any]) -> None:
        """Run and time."""
        self.wrap(name, work)()

    def wrap(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function, timed."""
        self.seconds.setdefault(name, 0.0)

        def timed(*args: Any, **kwargs: Any) -> Any:
            start = time.perf_counter()
            result = function(*args, **kwargs)
            self.seconds[name] += time.perf_counter() - start
            return result

        return timed


def shares(agents: int, rounds: int = 20) -> dict[str, float]:
    """Return each part's share of rounds of default PPO with an exchange on 256 proxy states."""
    cohort: Any = make(PPO(), peers.context("CartPole-v1", agents))
    watch = Stopwatch()
    _instrument(cohort, watch)
    states = np.random.default_rng(0).uniform(-1, 1, (PROXIES, 4)).astype(np.float32)
    steps = np.full(agents, cohort.iteration_steps)
    for turn in range(rounds + 1):
        watch.time("learn", lambda: cohort.learn(steps))
        policy = watch.seconds["rollout policy"]
        watch.time("exchange", lambda: _exchange(cohort, states))
        watch.seconds["rollout policy"] = policy  # the exchange's forward passes are its own
        if turn == 0:
            watch.seconds = dict.fromkeys(watch.seconds, 0.0)
    cohort.close()
    s = watch.seconds
    total = s["learn"] + s["exchange"]
    named = {n: s[n] for n in ("rollout policy", "environment", "update", "exchange")}
    named["rest"] = total - sum(named.values())
    return {name: value / total for name, value in named.items()}


def _exchange(cohort: ActorCriticCohort, states: NDArray[np.float32]) -> None:
    """Answer on the proxy states, take the mean, distill it with the default settings."""
    answers = cohort.probs(states)
    teacher = np.broadcast_to(answers.mean(0, dtype=np.float64), answers.shape)
    cohort.distill(states, teacher, np.ones(answers.shape[:2]), DistillSettings())


def _instrument(cohort: Any, watch: Stopwatch) -> None:
    """Time the parts of local learning."""
    cohort.world.env.step = watch.wrap("environment", cohort.world.env.step)
    cohort._update = watch.wrap("update", cohort._update)
    cohort.learner.network.policy = watch.wrap("rollout policy", cohort.learner.network.policy)


def quickstart_exchange(rounds: int = 40) -> dict[str, float]:
    """Return the parts of the exchange in the quickstart's rounds, as shares of a whole round.

    `upload` is answering and encoding (what agents do beyond learning), `aggregate` decoding,
    checking and combining, `distill` decoding and the gradient steps.
    """
    tables = read_tables("quickstart")
    federation = Federation(parse(tables | {"steps": 256 * (rounds + 5)}))
    for _ in range(5):
        federation.round()
    client, watch = federation.clients[0], Stopwatch()
    client.half.learn = watch.wrap("learn", client.half.learn)  # type: ignore[method-assign]
    client.learn = watch.wrap("upload", client.learn)  # type: ignore[method-assign]
    federation.server.aggregate = watch.wrap("aggregate", federation.server.aggregate)  # type: ignore[method-assign]
    client.receive = watch.wrap("distill", client.receive)  # type: ignore[method-assign]
    start = time.perf_counter()
    for _ in range(rounds):
        federation.round()
    total = time.perf_counter() - start
    federation.close()
    watch.seconds["upload"] -= watch.seconds.pop("learn")
    return {name: seconds / total for name, seconds in watch.seconds.items()}


def peak_memory(agents: int) -> float:
    """Return the peak MiB of a fresh process in which so many agents learn and exchange."""
    command = [sys.executable, __file__, str(agents)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout)


def _learn_in_company(agents: int) -> None:
    """Let agents learn and exchange twice, then print the peak MiB of this process."""
    from fdrl.federation.shards import build_cohort

    cohort: Any = build_cohort("fdrl.agents.ppo:make", PPO(), peers.context("CartPole-v1", agents))
    states = np.random.default_rng(0).uniform(-1, 1, (PROXIES, 4)).astype(np.float32)
    for _ in range(2):
        cohort.learn(np.full(agents, cohort.iteration_steps))
        _exchange(cohort, states)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


if __name__ == "__main__":
    _learn_in_company(int(sys.argv[1]))
