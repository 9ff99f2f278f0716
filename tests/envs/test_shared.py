"""Many worlds together, as a federation steps them, against the worlds themselves."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from fdrl.envs.shared import SharedWorlds
from fdrl.envs.spectrum import Spectrum, SpectrumAccess

import fdrl
from fdrl.joint import Joint
from fdrl.parallel import team_spec
from fdrl.parallelloop import ParallelLoop, make_worlds
from fdrl.team import Teams

WORLDS = 3


def seeds() -> list[np.random.SeedSequence]:
    return [np.random.SeedSequence(7, spawn_key=(w,)) for w in range(WORLDS)]


def test_each_agent_gets_its_own_column_of_its_own_worlds() -> None:
    kwargs = [{"worsen": 0.02 * (w + 1)} for w in range(WORLDS)]
    shared = SharedWorlds(SpectrumAccess, kwargs, seeds())
    worsen = np.array([0.02, 0.04, 0.06])[:, None]
    plain = Spectrum(WORLDS, {"worsen": worsen}, seeds(), SpectrumAccess.max_steps)
    first, expected = shared.reset(), plain.reset()
    draw = np.random.default_rng(0)
    for _ in range(SpectrumAccess.max_steps + 3):
        for i, agent in enumerate(shared.agents):
            np.testing.assert_array_equal(first[agent], expected[:, i])
        actions = draw.integers(4, size=(WORLDS, 4))
        told = shared.step({a: actions[:, i] for i, a in enumerate(shared.agents)})
        wanted = plain.step(actions)
        for i, agent in enumerate(shared.agents):
            np.testing.assert_array_equal(told.rewards[agent], wanted.rewards[:, i])
            np.testing.assert_array_equal(told.truncated[agent], wanted.truncated[:, i])
            np.testing.assert_array_equal(
                told.next_observations[agent], wanted.next_observations[:, i]
            )
        first, expected = told.observations, wanted.observations


def test_worlds_of_one_federation_end_at_the_same_step() -> None:
    with pytest.raises(fdrl.FdrlError, match="one max_cycles"):
        SharedWorlds(SpectrumAccess, [{"max_cycles": 5}, {"max_cycles": 6}], seeds()[:2])
    short = SharedWorlds(SpectrumAccess, [{"max_cycles": 2}], seeds()[:1])
    short.reset()
    idle = {a: np.zeros(1, np.int64) for a in short.agents}
    assert not short.step(idle).truncated["radio_0"].any()
    assert short.step(idle).truncated["radio_0"].all()


def federation(**fields: Any) -> fdrl.Federation:
    agent = {"type": "ppo", "n_envs": 2, "n_steps": 16, "n_epochs": 1, "hidden": [8]}
    options: dict[str, Any] = {"env": "fdrl/SpectrumAccess-v0", "steps": 128, "agent": agent}
    return fdrl.Federation(fdrl.make_run(**(options | fields)))


def test_a_federation_trains_in_them_and_resumes_to_the_bit() -> None:
    team = team_spec("fdrl/SpectrumAccess-v0", {})
    assert team is not None
    assert isinstance(make_worlds(team, [{}], seeds()[:1], ["world"]), SharedWorlds)
    whole, first, second = (federation(agents=8) for _ in range(3))
    assert isinstance(whole.envs, Teams)
    assert all(isinstance(j, Joint) and isinstance(j.env, SharedWorlds) for j in whole.envs.joints)
    records = [whole.round() for _ in range(3)]
    first.round()
    second.load_state(first.state())
    assert [second.round().returns for _ in range(2)] == [r.returns for r in records[1:]]
    for a, b in zip(whole.clients, second.clients, strict=True):
        np.testing.assert_array_equal(a.cohort.parameters(), b.cohort.parameters())
    for each in (whole, first, second):
        each.close()


def test_only_a_class_method_makes_many_worlds() -> None:
    team = team_spec("shared_worlds:Boastful", {})
    assert team is not None
    worlds = make_worlds(team, [{}], seeds()[:1], ["world"])
    assert isinstance(worlds, ParallelLoop)
    many = team_spec("fdrl/SpectrumAccess-v0", {})
    assert many is not None
    assert isinstance(make_worlds(many, [{}], seeds()[:1], ["world"]), SharedWorlds)
