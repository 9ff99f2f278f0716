"""Tell a user whose agents exchange only a few times because of a learner's default."""

from __future__ import annotations

from fdrl.client import round_steps
from fdrl.config import Run
from fdrl.settings import LearnerSettings

FEW = 10
"""Exchanges; below, a run shows little of what federating does."""


def rarely(run: Run, settings: LearnerSettings, iteration: int) -> str:
    """Return a line if agents exchange fewer than `FEW` times, and nobody chose that; else "".

    `settings` are a learner's, whose unset `n_steps` stands for a default of its own; `iteration`
    is the environment steps of one of its iterations.
    """
    if not settings.default_rollout:
        return ""
    if run.strategy.every != 1 or run.strategy.unit != "iterations" or iteration < 1:
        return ""
    if run.strategy.sends == "nothing":
        return ""
    between = round_steps(run, iteration)
    times = -(-run.steps // between)
    if times >= FEW:
        return ""
    often = f"after every {between:,} steps, {times} times in this run"
    return (
        f"agents exchange {often if times > 1 else 'once in this run, at its end'}: this learner's "
        f"default rollout is {iteration:,} steps (--agent.n_steps 256 makes it shorter)"
    )
