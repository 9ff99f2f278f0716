"""Settings that do not fit an environment: other proxies where defaults fail, else an error."""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec
import numpy as np

from fdrl.build import groups
from fdrl.channel_settings import MacAnalog
from fdrl.client import CohortClient
from fdrl.cohort import Labeled
from fdrl.config import Run
from fdrl.environment import EnvFactory
from fdrl.errors import FdrlError
from fdrl.mac.sums import averaging
from fdrl.notices import say_once
from fdrl.proxy_settings import Mix, ProxySettings, Rollout, Uniform, Visited
from fdrl.registry import STRATEGIES, labeled_example
from fdrl.team import Teams


def fitted(run: Run, envs: EnvFactory) -> Run:
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
    say_once(
        f"observations of {width} components are too many for {proxy.bins} bins in each, so proxy "
        f"states are {kind} ones instead of {type(proxy).__struct_config__.tag} (choose others "
        "with --proxy)"
    )
    return msgspec.structs.replace(
        run, proxy=Rollout(proxy.size) if served else Uniform(proxy.size)
    )


def check_air(run: Run, envs: EnvFactory | Teams) -> None:
    """Raise `FdrlError` for what cannot add up in the air: Gaussians, answers of several roles."""
    if not isinstance(run.channel, MacAnalog):
        return
    sends = run.strategy.sends
    if sends != "answers" and not isinstance(envs, Teams):
        if len(groups(run)) > 1 and sends != "nothing":
            raise FdrlError(
                "config: different networks cannot add up in the air: use mac-digital, or "
                f"{STRATEGIES.default().name} (at channel.type)"
            )
        return
    roles = envs.roles if isinstance(envs, Teams) else (envs,)
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
        say_once(
            f"no agent owns a sample of label {names}, so nobody can learn it: use more "
            "agent.samples, agent.scarce above 0, or another agent.partition"
        )


def _default(run: Run) -> object:
    return msgspec.convert(dict(run.strategy.default_proxy), ProxySettings)
