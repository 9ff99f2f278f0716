"""The final evaluation of a federation, and the summary of its run."""

from __future__ import annotations

import importlib.metadata
import platform
from typing import TYPE_CHECKING

from fdrl.config import digest
from fdrl.records import Summary

if TYPE_CHECKING:
    from fdrl.federation import Federation

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


def summarize(federation: Federation) -> Summary:
    """Evaluate every agent on fixed seeds and add up the run."""
    run, tally = federation.run, federation.tally
    episodes = run.evaluation.episodes
    greedy = federation.evaluate(episodes).mean(1)
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
        return_stochastic=float(federation.evaluate(episodes, greedy=False).mean()),
        return_held_out=float(federation.evaluate(episodes, held_out=True).mean()),
        auc=tally.auc(),
        bytes_up=float(tally.bytes["up"].mean()),
        bytes_down=float(tally.bytes["down"].mean()),
        rounds=federation.rounds_done,
        exchanges=tally.exchanges,
        gradient_steps=float(tally.gradient_steps.mean()),
        server_env_steps=federation.proxy_steps,
        parameters=[federation.parameters[name] for name in federation.ids],
        returns=[float(r) for r in greedy],
        wall_seconds=tally.seconds,
        steps_per_second=float(tally.steps.sum() / tally.seconds) if tally.seconds else 0.0,
        config=digest(run),
        sim_seconds=federation.clock.seconds,
        lost_up=federation.clock.lost["up"],
        lost_down=federation.clock.lost["down"],
        versions=versions(),
    )
