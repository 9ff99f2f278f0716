"""What goes together: proxy states, channels, shared worlds and budgets, before anything starts."""

from __future__ import annotations

from typing import Any

import pytest
from messages import fails, says

from fdrl.config.run import Run, make_run
from fdrl.core.errors import FdrlError, Notice
from fdrl.federation import compatibility
from fdrl.federation.build import environments
from fdrl.federation.compatibility import (
    adapt_proxies,
    check_analog,
    check_budget,
    check_memory,
    check_teams,
    machine_bytes,
    memory_needed,
)  # fmt: skip
from fdrl.federation.groups import groups
from fdrl.federation.loop import Federation
from fdrl.proxies.settings import Mix, Rollout, Sobol, Uniform, Visited

IMAGES = {"env": "tiny_images:Beacon-v0", "agents": 2}
"""192 components: 64 bits cannot number the cells of a grid over them."""
PAIR: dict[str, Any] = {"env": "shared_worlds:Pair"}
AIR = {"channel": {"type": "mac-analog"}}
PPO = {"type": "ppo", "n_envs": 8}


@pytest.mark.parametrize(
    ("fields", "knob"),
    [
        ({"agents": 10_000_000}, "agents"),
        ({"agents": 10**14, "hetero": "dynamics"}, "agents"),
        ({"agent": {"type": "ppo", "hidden": [10**6, 10**6]}}, "agent.hidden"),
        ({"agent": {"type": "a2c", "n_steps": 10**11}, "steps": 10**13}, "agent.n_steps"),
        ({"agent": {"type": "ppo", "n_envs": 10**9}}, "agent.n_envs"),
        ({"evaluation": {"episodes": 10**9}}, "evaluation.episodes"),
        ({"agents": 10**6, "proxy": {"type": "sobol", "size": 2**20}}, "proxy.size"),
    ],
)
def test_what_no_memory_holds_is_refused_before_it_is_tried(
    fields: dict[str, Any], knob: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compatibility, "machine_bytes", lambda: 8e9)
    with fails(FdrlError, "8.0 GB", knob, f"{fields.get('agents', 10):,}"):
        Federation(make_run(**fields))


def test_what_fits_is_not_refused() -> None:
    check_memory(make_run(agents=100), observation=64, answer=16)
    parts = memory_needed(make_run(agents=100), observation=64, answer=16)
    assert 1e6 < sum(parts.values()) < 1e8
    assert machine_bytes() > 1e8


def fit(**fields: Any) -> Run:
    run = make_run(**fields)
    return adapt_proxies(run, environments(run))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("strategy", "kind", "name"),
    [("fd", Rollout, "rollout"), ("self", Uniform, "uniform")],
)
def test_what_no_grid_covers_gets_other_proxies_and_one_is_told(
    strategy: str, kind: type, name: str
) -> None:
    run = make_run(strategy=strategy, **IMAGES)
    assert isinstance(run.proxy, Mix | Visited)
    with pytest.warns(Notice) as told:
        got = fit(strategy=strategy, **IMAGES)
    assert got.proxy == kind(run.proxy.size)
    assert got.strategy == run.strategy
    says(told[0].message, "192", run.proxy.bins, name, "--proxy")


def test_proxies_that_were_chosen_stay(recwarn: pytest.WarningsRecorder) -> None:
    for proxy in (Sobol(5), Mix(size=7)):
        run = make_run(strategy="fd", proxy=proxy, **IMAGES)
        assert adapt_proxies(run, environments(run)) is run  # type: ignore[arg-type]
    for few in (make_run(strategy="fd", agents=2), make_run(strategy="fedhpd", agents=2)):
        assert adapt_proxies(few, environments(few)) is few  # type: ignore[arg-type]
    labels = make_run(
        strategy={"type": "fd", "answer": "labels"}, agents=2, agent="classifier",
        env="fdrl/Digits-v0",
    )  # fmt: skip
    assert adapt_proxies(labels, environments(labels)) is labels  # type: ignore[arg-type]
    assert not recwarn.list


@pytest.mark.parametrize(
    ("fields", "facts"),
    [
        ({"strategy": "fd", **PAIR}, ["roles", "mac-digital"]),
        ({"strategy": "fd", "env": "Pendulum-v1"}, ["deviations", "mac-digital, or fedavg"]),
        ({"strategy": "fedavg", "networks": "arch", "agents": 12}, ["networks", "mac-digital"]),
    ],
)
def test_what_cannot_add_up_in_the_air(fields: dict[str, Any], facts: list[str]) -> None:
    run = make_run(steps=512, same_init=False, **fields, **AIR)
    with fails(FdrlError, "channel.type", *facts):
        check_analog(run, environments(run))
    wired = make_run(steps=512, same_init=False, **fields)
    check_analog(wired, environments(wired))


@pytest.mark.parametrize("strategy", ["local", "self", "fedavg", "fd"])
def test_what_adds_up_in_the_air(strategy: str) -> None:
    run = make_run(strategy=strategy, agents=2, steps=512, **AIR)
    check_analog(run, environments(run))


def test_agents_that_send_no_parameters_may_have_other_networks_in_the_air() -> None:
    run = make_run(strategy="local", networks="arch", agents=12, same_init=False, steps=512, **AIR)
    assert len(groups(run)) > 1
    check_analog(run, environments(run))


@pytest.mark.parametrize(
    ("fields", "facts"),
    [
        ({"episodes": 5}, ["steps or iterations"]),
        ({"strategy": {"type": "fd", "unit": "episodes"}}, ["steps or iterations"]),
        ({"agent": "reinforce"}, ["'reinforce'", "ppo or a2c", "agent"]),
        ({"agent": "sb3"}, ["'sb3'", "ppo or a2c", "agent"]),
        ({"threads": 2}, ["threads"]),
        ({"networks": "arch"}, ["networks", "role"]),
        ({"cohorts": [{"agents": 3, "agent": {"type": "ppo"}}]}, ["networks", "role"]),
    ],
)
def test_what_agents_of_a_shared_world_cannot_have(
    fields: dict[str, Any], facts: list[str]
) -> None:
    run = make_run(**PAIR, **fields)
    with fails(FdrlError, "shared_worlds:Pair", *facts):
        check_teams(run)
    with fails(FdrlError, *facts):
        environments(run)


def test_agents_of_a_shared_world_may_learn_by_ppo_and_a2c() -> None:
    for agent in ("ppo", "a2c"):
        check_teams(make_run(agent=agent, **PAIR))


@pytest.mark.parametrize(
    ("steps", "use"), [(513, "512 or 520"), (5, "8"), (17, "16 or 24"), (1023, "1016 or 1024")]
)
def test_steps_that_copies_cannot_share_name_the_nearest_that_they_can(
    steps: int, use: str
) -> None:
    run = make_run(agents=2, steps=steps, agent=PPO)
    (group,) = groups(run)
    with fails(FdrlError, f"{steps} steps", "8 environment copies", "'ppo'", f"use {use}"):
        check_budget(run, group)
    for good in use.split(" or "):
        check_budget(make_run(agents=2, steps=int(good), agent=PPO), group)


def test_a_learning_rate_falls_over_steps_and_not_over_episodes() -> None:
    falling = {"type": "a2c", "n_envs": 1, "lr_schedule": "linear"}
    by_steps = make_run(agents=2, steps=64, agent=falling)
    (group,) = groups(by_steps)
    check_budget(by_steps, group)
    with fails(FdrlError, "lr_schedule", "'a2c'", "agent.lr_schedule"):
        check_budget(make_run(agents=2, episodes=5, agent=falling), group)
