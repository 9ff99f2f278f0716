"""The summary of a run: what it cost, and what its agents can do in the end."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fdrl.clock import Clock
from fdrl.completion import NEVER, known
from fdrl.config import Run, digest
from fdrl.records import Summary
from fdrl.tally import Tally

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
    tally: Tally,
    clock: Clock,
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


def _training(tally: Tally) -> dict[str, Any]:
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
