"""Settings that do not go together, or do not fit an environment: an error, or other settings."""

from __future__ import annotations

import contextlib
import math
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from fdrl.channels.settings import MacAnalog
from fdrl.config.run import Run, agent_settings
from fdrl.core.cohort import Labeled
from fdrl.core.errors import FdrlError, Notice, warn_once
from fdrl.core.registry import AGENTS, STRATEGIES, labeled_example, load_object
from fdrl.core.settings import convert
from fdrl.federation.client import CohortClient
from fdrl.federation.groups import Group, groups
from fdrl.proxies.settings import Mix, ProxySettings, Rollout, Uniform, Visited
from fdrl.vector.factory import EnvFactory
from fdrl.vector.teams import SharedEnvFactory

if TYPE_CHECKING:
    from fdrl.core.settings import Exchange


ABSURD_REWARD = 1e6
"""Training returns beyond it, in either direction, are worth a warning."""
ABSURD_RATE = 100.0
"""Learning rates beyond it are: weights are about 1."""
REMEDY = "lower agent.learning_rate, or scale rewards in a wrapper around the environment"


def warn_of_rates(run: Run) -> None:
    """Warn of the first learning rate with which no network's numbers stay finite."""
    for where, value in _rates(msgspec.to_builtins(run), ""):
        if value > ABSURD_RATE:
            warnings.warn(
                f"{where} = {value:g} moves weights farther than float32 bears: lower it (3e-4 is "
                "usual)",
                Notice,
                stacklevel=3,
            )
            return


def _rates(table: Any, prefix: str) -> Iterator[tuple[str, float]]:
    """Yield the dotted names and values of all learning rates in a config."""
    listed = dict(enumerate(table)) if isinstance(table, list | tuple) else {}
    for key, value in (table if isinstance(table, Mapping) else listed).items():
        name = f"{prefix}.{key}" if prefix else str(key)
        if isinstance(value, int | float) and (key == "lr" or str(key).endswith("learning_rate")):
            yield name, float(value)
        else:
            yield from _rates(value, name)


def check_strategy(run: Run) -> None:
    """Raise `FdrlError` for a strategy whose messages a multiple-access uplink cannot carry.

    In the air they add up, so that a server that does more than average would learn nothing.
    """
    if run.strategy.shares_moments:
        raise FdrlError(
            "config: a multiple-access uplink carries parameters alone, not the optimizer's "
            "moments: use keep or reset (at strategy.optimizer)"
        )
    why = run.strategy.why_no_mean() if isinstance(run.channel, MacAnalog) else ""
    if why:
        raise FdrlError(
            f"config: strategy {run.strategy_name!r} cannot add up in the air: {why}; use "
            f"{averaging()}, or channel mac-digital (at channel.type)"
        )


def averaging(sends: str = "") -> str:
    """Name well-known strategies that send something (or just that) and take its mean, for hints.

    Well-known are the default one and the baselines.
    """
    found = []
    for spec in STRATEGIES.by_default():
        if not (spec.baseline or spec == STRATEGIES.default()):
            continue
        settings: Exchange = load_object(spec.settings)()
        if settings.sends in ({sends} if sends else {"answers", "parameters"}):
            found += [] if settings.why_no_mean() else [spec.name]
    return " or ".join(found)


def check_budget(run: Run, group: Group) -> None:
    """Raise for a budget that an agent cannot learn by.

    Its steps must be dealt evenly to its environment copies, and a learning rate that falls over
    the steps needs a run that takes them.
    """
    if run.episodes and group.settings.needs_steps:
        raise FdrlError(
            f"config: the linear lr_schedule of agent {group.name!r} falls over the run's steps, "
            "which a budget of episodes ends long before: use constant, or steps without episodes "
            "(at agent.lr_schedule)"
        )
    copies = group.settings.copies
    if run.steps % copies:
        low = run.steps // copies * copies
        near = f"{low} or {low + copies}" if low else f"{copies}"
        raise FdrlError(
            f"config: {run.steps} steps cannot be shared by the {copies} environment copies of "
            f"agent {group.name!r} (agent.n_envs): use {near} (at steps)"
        )


# ---- Settings that do not fit an environment: other proxies where defaults fail, else an error


def adapt_proxies(run: Run, envs: EnvFactory) -> Run:
    """Return the run with other proxies if observations have too many components for a grid.

    The cells of a grid are numbered, which ends at 2**63 of them. Where the strategy's own default
    needs more, states that a random policy visits take its place (uniform ones, where there is no
    server to visit any). Proxies that the user chose are left alone, and may be refused.
    """
    proxy, width = run.proxy, math.prod(envs.observation_shape)
    chosen = msgspec.to_builtins(proxy) != msgspec.to_builtins(_default(run))
    if not isinstance(proxy, Mix | Visited) or chosen or proxy.bins**width < 2**63:
        return run
    if not run.strategy.asks_states:
        return run
    served = run.strategy.served
    kind = "rollout" if served else "uniform"
    warn_once(
        f"observations of {width} components are too many for {proxy.bins} bins in each, so proxy "
        f"states are {kind} ones instead of {type(proxy).__struct_config__.tag} (choose others "
        "with --proxy)"
    )
    return msgspec.structs.replace(
        run, proxy=Rollout(proxy.size) if served else Uniform(proxy.size)
    )


def check_analog(run: Run, envs: EnvFactory | SharedEnvFactory) -> None:
    """Raise `FdrlError` for what cannot add up in the air: Gaussians, answers of several roles."""
    if not isinstance(run.channel, MacAnalog):
        return
    sends = run.strategy.sends
    if sends != "answers" and not isinstance(envs, SharedEnvFactory):
        if len(groups(run)) > 1 and sends != "nothing":
            raise FdrlError(
                "config: different networks cannot add up in the air: use mac-digital, or "
                f"{STRATEGIES.default().name} (at channel.type)"
            )
        return
    roles = envs.roles if isinstance(envs, SharedEnvFactory) else (envs,)
    if len(roles) > 1:
        raise FdrlError(
            "config: agents of several roles cannot add up in the air: use mac-digital (at "
            "channel.type)"
        )
    if roles[0].gaussian and sends == "answers":
        raise FdrlError(
            "config: means and standard deviations cannot add up in the air: use mac-digital, or "
            f"{averaging('parameters')} (at channel.type)"
        )


def check_labels(run: Run, clients: Sequence[CohortClient]) -> None:
    """Raise `FdrlError` if a strategy needs labeled samples that agents have not.

    Say so if there is a label that no agent owns a sample of: nobody can learn it.
    """
    if run.strategy.needs_labels and not all(isinstance(c.cohort, Labeled) for c in clients):
        raise FdrlError(
            f"config: strategy {run.strategy_name!r} as it is set needs agents with labeled "
            f"samples: use {labeled_example()}, or another strategy"
        )
    owners = [c.cohort.histogram().sum(0) for c in clients if isinstance(c.cohort, Labeled)]
    missing = np.flatnonzero(np.sum(owners, axis=0) == 0) if owners else np.zeros(0, np.int64)
    if len(missing):
        names = ", ".join(map(str, missing.tolist()))
        warn_once(
            f"no agent owns a sample of label {names}, so nobody can learn it: use more "
            "agent.samples, agent.scarce above 0, or another agent.partition"
        )


def _default(run: Run) -> object:
    return convert(dict(run.strategy.default_proxy), ProxySettings)


def check_teams(run: Run) -> None:
    """Raise for settings that agents of a shared world cannot have: all must step together."""
    name = f"agents of {run.env!r} share a world and step together"
    if run.episodes or run.strategy.unit == "episodes":
        raise FdrlError(f"config: {name}: count steps or iterations, not episodes")
    if not run.agent.steps_together:
        able = [s.name for s in AGENTS.by_default() if load_object(s.settings).steps_together]
        raise FdrlError(
            f"config: {name}, which agent {run.agent_name!r} cannot: use {' or '.join(able)} "
            "(at agent)"
        )
    if run.threads > 1:
        raise FdrlError(f"config: {name}: a team cannot be spread over threads, leave it at 1")
    if run.networks != "same" or run.cohorts:
        raise FdrlError(
            f"config: {name}: their networks are set by role alone, one learner for all"
        )


# ---- What a run holds in memory at the least, before any of it is asked of the machine ----


AGENT_BYTES, COPY_BYTES = 4_000, 1_000
"""What Python holds for an agent and for a copy of its environment, at the least (measured)."""


def machine_bytes() -> float:
    """Return how much memory this process may have; infinity where nobody says."""
    found = [math.inf]
    with contextlib.suppress(OSError, ValueError, AttributeError):
        found.append(float(os.sysconf("SC_PHYS_PAGES")) * os.sysconf("SC_PAGE_SIZE"))
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        with contextlib.suppress(OSError, ValueError):
            found.append(float((Path("/sys/fs/cgroup") / name).read_text()))  # a container's share
    return min(f for f in found if f > 0)


def memory_needed(run: Run, observation: int = 1, answer: int = 1) -> dict[str, float]:
    """Return the bytes that a run holds at the least, by the setting that decides them.

    An observation and a policy's answer have so many components.
    """
    table = [(c.agents, agent_settings(c.agent)) for c in run.cohorts] or [(run.agents, run.agent)]
    found = {"agents": float(AGENT_BYTES * run.agents)}
    for count, settings in table:
        copies = float(COPY_BYTES * count * settings.copies)
        found["agent.n_envs"] = found.get("agent.n_envs", 0.0) + copies
        for name, numbers in settings.numbers(observation, answer, run.steps).items():
            key = f"agent.{name}"
            found[key] = found.get(key, 0.0) + 4.0 * count * numbers
    size = getattr(run.proxy, "size", 0)
    found["proxy.size"] = 4.0 * size * (observation + 2.0 * run.agents * answer)
    found["evaluation.episodes"] = float(COPY_BYTES * run.agents * run.evaluation.episodes)
    return found


def check_memory(run: Run, observation: int = 1, answer: int = 1) -> None:
    """Raise `FdrlError` for a run that cannot fit this machine's memory, before it is tried."""
    have, parts = machine_bytes(), memory_needed(run, observation, answer)
    need = sum(parts.values())
    if need <= have:
        return
    largest = max(parts, key=lambda name: parts[name])
    fits = int(run.agents * have / need)
    fewer = f"; about {fits:,} such agents fit" if fits else ""
    also = "" if largest == "agents" else f", or {largest}"
    raise FdrlError(
        f"config: a run of {run.agents:,} agents needs at least {_gigabytes(need)} of memory, this "
        f"machine has {_gigabytes(have)}: make agents smaller{also}, which takes "
        f"{_gigabytes(parts[largest])} of it{fewer}"
    )


def _gigabytes(count: float) -> str:
    return f"{count / 1e9:,.1f} GB" if count < 1e15 else f"{count / 1e12:,.0f} TB"
