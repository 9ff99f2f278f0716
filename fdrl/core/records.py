"""What a run says about itself: a record a round, and a summary at the end."""

from __future__ import annotations

import math

import msgspec

WALL_CLOCK = ("wall_seconds", "steps_per_second", "seconds")
"""The only fields of a record that may differ between two runs of the same config."""


class RoundRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One line of ``metrics.jsonl``. Lists have an entry an agent; bytes are cumulative."""

    round: int
    env_steps: list[int]
    """Environment steps so far, per agent."""
    episodes: list[int]
    """Episodes ended so far, per agent."""
    returns: list[float | None]
    """Mean return of the training episodes that ended in this round; None if none did."""
    return_mean: float | None
    """Mean of the agents' latest known `returns`."""
    bytes_up: float
    """Encoded bytes sent so far, mean per agent."""
    bytes_down: float
    exchanged: bool
    """Whether the round ended with an exchange."""
    completed: int | None = None
    """Agents that have completed the goal so far; None without a goal."""
    rejected: list[tuple[str, str]] = []
    """Agents whose message was lost or refused, and why."""
    metrics: dict[str, float] = {}
    """Means over agents: ``train/*``, ``distill/*``, ``comm/*``, ``rollout/*``, ``eval/*``."""
    sim_seconds: float = 0.0
    """Simulated time so far, of computing and of the channel; 0 with an ideal channel."""
    wall_seconds: float = 0.0
    """Training time so far, over all sittings."""
    steps_per_second: float = 0.0
    """Environment steps of all agents per second, in this round."""
    seconds: dict[str, float] = {}
    """Where this round's time went: learn, exchange."""


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """``summary.json``: the run in one object."""

    strategy: str
    env: str
    seed: int
    agents: int
    env_steps: int
    """Environment steps per agent."""
    return_mean: float
    """Final greedy evaluation on fixed seeds: mean over agents of their mean return."""
    return_worst: float
    """The agent with the lowest mean return."""
    return_spread: float
    """Standard deviation of the agents' mean returns."""
    return_stochastic: float
    """The same evaluation with sampled actions."""
    return_held_out: float
    """Greedy, in environments that no agent trains in."""
    auc: float
    """Mean training return over steps (each with its episode's return), then over agents."""
    bytes_up: float
    """Per agent, whole run."""
    bytes_down: float
    rounds: int
    exchanges: int
    gradient_steps: float
    """Gradient steps of distillation per agent."""
    server_env_steps: int
    """Environment steps that were taken for the federation (proxy ranges), not by an agent."""
    parameters: list[int]
    """Parameters of each agent's network."""
    returns: list[float]
    """Final greedy return, per agent."""
    wall_seconds: float
    steps_per_second: float
    """Environment steps of all agents per second of training."""
    config: str
    """Digest of the config."""
    sim_seconds: float = 0.0
    """Simulated time of computing and of the channel; 0 with an ideal channel."""
    lost_up: int = 0
    """Uploads that missed their deadline, of all agents; their bytes count as sent."""
    lost_down: int = 0
    """Downloads that agents missed; their bytes count as sent."""
    versions: dict[str, str] = {}
    episodes: list[int] = []
    """Training episodes that each agent ended."""
    episode_auc: float = math.nan
    """Mean training return over episodes, each counting alike, then over agents (FedHPD's AUC)."""
    last_mean: float = math.nan
    """Mean over agents of their mean return in their last 100 training episodes."""
    last_worst: float = math.nan
    """The agent with the lowest such mean."""
    last_spread: float = math.nan
    """Standard deviation of these means."""
    completed: int | None = None
    """How many agents completed the goal; None without a goal."""
    completion_episodes: list[int | None] = []
    """The training episode, counted from 1, at whose end each agent completed it; None if never."""
    completion_steps: list[int | None] = []
    """The environment step of the agent at which it did."""
    first_episodes: int | None = None
    """Episodes until the first agent completed the goal; None if no agent did."""
    first_steps: int | None = None
    """Environment steps until the first agent did."""
    all_episodes: int | None = None
    """Episodes until the last agent completed the goal; None if one never did."""
    all_steps: int | None = None
    """Environment steps until the last agent did."""
    stopped: list[str] | msgspec.UnsetType = msgspec.UNSET
    """Agents that stopped because their parameters, answers or losses were not finite any more;
    there only if there are any."""
