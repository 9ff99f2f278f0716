from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from messages import fails

from fdrl.core.errors import FdrlError
from fdrl.core.registry import EnvSpec, Physics
from fdrl.vector.heterogeneity import (
    Dynamics,
    Heterogeneity,
    Init,
    Nothing,
    Outlier,
    agent_kwargs,
    held_out_kwargs,
    held_out_positions,
    positions,
    scaled,
)

POLE = EnvSpec(
    name="pole",
    physics={"length": Physics(0.5, 0.15, 2.0), "gravity": Physics(9.8, varies=False)},
    init=(-0.1, 0.1, 0.4),
)
WIND = Physics(0.0, low=0.0, high=20.0)


def test_positions_are_even_and_one_agent_is_the_default() -> None:
    assert positions(5) == [-1.0, -0.5, 0.0, 0.5, 1.0]
    assert positions(2) == [-1.0, 1.0]
    assert positions(1) == [0.0]


def test_dynamics_by_hand() -> None:
    # 0.5 * (1 - 0.8), 0.5, 0.5 * 1.8; the first is below the range
    assert agent_kwargs(POLE, Dynamics(0.8), 3) == [
        {"length": 0.15},
        {"length": 0.5},
        {"length": pytest.approx(0.9)},
    ]
    assert agent_kwargs(POLE, Dynamics(0.0), 2) == [{"length": 0.5}] * 2


def test_outlier_is_one_agent_the_last_by_default() -> None:
    assert agent_kwargs(POLE, Outlier(3.6), 3) == [{}, {}, {"length": pytest.approx(1.8)}]
    assert agent_kwargs(POLE, Outlier(2.0, agent=0), 2) == [{"length": 1.0}, {}]


def test_outlier_holds_out_factors_in_between() -> None:
    lengths = [k["length"] for k in held_out_kwargs(POLE, Outlier(4.0), 3)]
    assert lengths == pytest.approx([0.75, 1.0, 1.25, 1.5, 1.75])


def test_init_shifts_the_interval() -> None:
    assert agent_kwargs(POLE, Init(0.5), 3) == [
        {"init_low": pytest.approx(-0.3), "init_high": pytest.approx(-0.1)},
        {"init_low": -0.1, "init_high": 0.1},
        {"init_low": pytest.approx(0.1), "init_high": pytest.approx(0.3)},
    ]
    assert len(held_out_kwargs(POLE, Init(0.5), 3)) == 5


def test_none_changes_nothing() -> None:
    assert agent_kwargs(POLE, Nothing(), 2) == [{}, {}]
    assert held_out_kwargs(POLE, Nothing(), 2) == [{}]


@pytest.mark.parametrize(
    ("physics", "factor", "value"),
    [
        (Physics(2.0), 1.5, 3.0),
        (Physics(-10.0, -11.99, -0.5), 2.0, -11.99),
        (Physics(-10.0, -11.99, -0.5), 0.01, -0.5),
        (WIND, 1.0, 0.0),
        (WIND, 2.0, 10.0),
        (WIND, 0.5, 0.0),
        (Physics(0.0, low=-4.0, high=20.0), 0.5, -2.0),
        (Physics(0.0), 1.0, 0.0),
    ],
)
def test_scaled(physics: Physics, factor: float, value: float) -> None:
    assert scaled(physics, factor) == value


def test_a_zero_default_without_a_range_is_an_error() -> None:
    with fails(FdrlError, 0, "low", "high"):
        scaled(Physics(0.0), 2.0)


def test_held_out_are_midpoints() -> None:
    assert held_out_positions(6) == pytest.approx([-0.8, -0.4, 0.0, 0.4, 0.8])
    assert held_out_positions(2) == pytest.approx([-2 / 3, -1 / 3, 0, 1 / 3, 2 / 3])


@given(agents=st.integers(1, 60))
def test_nobody_trains_in_a_held_out_environment(agents: int) -> None:
    unseen, trained = held_out_positions(agents), positions(agents)
    assert len(set(unseen)) == 5
    assert unseen == sorted(unseen)
    nearest = min(abs(u - t) for u in unseen for t in trained)
    assert nearest > 0.2 / agents
    assert -1 < unseen[0] < 0 < unseen[-1] < 1


@given(agents=st.integers(2, 30), level=st.floats(0.01, 0.99))
def test_dynamics_stay_in_range_and_in_order(agents: int, level: float) -> None:
    lengths = [k["length"] for k in agent_kwargs(POLE, Dynamics(level), agents)]
    assert lengths == sorted(lengths)
    assert lengths[0] >= 0.15
    assert lengths[-1] == pytest.approx(0.5 * (1 + level))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Dynamics(1.0), r"'dynamics'.*level.*1.*\[0, 1\)"),
        (lambda: Dynamics(-0.1), "'dynamics': level is -0.1"),
        (lambda: Dynamics(float("nan")), "'dynamics'.*level.*nan"),
        (lambda: Outlier(0.0), "'outlier'.*factor.*0"),
        (lambda: Init(-1.0), "'init'.*level.*-1"),
        (lambda: agent_kwargs(POLE, Outlier(agent=3), 3), "agent 3.*3 agents"),
        (lambda: agent_kwargs(EnvSpec("x"), Dynamics(), 2), "'x'"),
        (lambda: agent_kwargs(EnvSpec("x"), Dynamics(), 2), r"\[\[agent_kwargs\]\] tables"),
        (lambda: held_out_kwargs(EnvSpec("x"), Outlier(), 2), "agent"),
        (lambda: agent_kwargs(EnvSpec("x"), Init(), 2), "'init'.*'x'"),
    ],
)
def test_mistakes_are_named(make: object, words: str) -> None:
    with pytest.raises(FdrlError, match=words):
        make()  # type: ignore[operator]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('type = "none"', Nothing()),
        ('type = "dynamics"\nlevel = 0.5', Dynamics(0.5)),
        ('type = "outlier"', Outlier(3.6, -1)),
        ('type = "init"', Init(1.0)),
    ],
)
def test_toml_chooses_the_kind(text: str, value: Heterogeneity) -> None:
    pytest.importorskip("tomllib")
    assert msgspec.toml.decode(text.encode(), type=Heterogeneity) == value


def test_unknown_fields_are_refused() -> None:
    with fails(msgspec.ValidationError, "`levle`"):
        msgspec.convert({"type": "dynamics", "levle": 0.5}, type=Heterogeneity)
