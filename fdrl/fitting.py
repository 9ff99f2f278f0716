"""Proxy states for environments that a strategy's default ones do not fit."""

from __future__ import annotations

import math

import msgspec

from fdrl.config import Run
from fdrl.environment import EnvFactory
from fdrl.notices import say_once
from fdrl.proxy_settings import Mix, ProxySettings, Rollout, Uniform, Visited


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
    if getattr(run.strategy, "answer", "") == "labels":  # which asks about no states
        return run
    served = run.strategy_name != "self"
    kind = "rollout" if served else "uniform"
    say_once(
        f"observations of {width} components are too many for {proxy.bins} bins in each, so proxy "
        f"states are {kind} ones instead of {type(proxy).__struct_config__.tag} (choose others "
        "with --proxy)"
    )
    return msgspec.structs.replace(
        run, proxy=Rollout(proxy.size) if served else Uniform(proxy.size)
    )


def _default(run: Run) -> object:
    return msgspec.convert(dict(run.strategy.default_proxy), ProxySettings)
