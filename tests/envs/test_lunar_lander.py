"""The lander: wind as one number, and Gymnasium's own without it."""

from __future__ import annotations

import sys

import gymnasium
import numpy as np
import pytest
from messages import fails

from fdrl.core.errors import FdrlError
from fdrl.vector.factory import make_factory
from fdrl.vector.gym import find_env, open_env
from fdrl.vector.heterogeneity import Dynamics, Nothing

pytest.importorskip("Box2D")


def test_without_wind_it_is_gymnasiums_to_the_bit() -> None:
    ours, theirs = open_env(find_env("LunarLander-v3"), {}), gymnasium.make("LunarLander-v3")
    np.testing.assert_array_equal(ours.reset(seed=4)[0], theirs.reset(seed=4)[0])
    for action in np.random.default_rng(0).integers(4, size=60).tolist():
        a, b = ours.step(action), theirs.step(action)
        np.testing.assert_array_equal(a[0], b[0])
        assert a[1:4] == b[1:4]


@pytest.mark.parametrize(
    ("kwargs", "wind"),
    [
        ({}, (False, 0.0, 0.0)),
        ({"wind_power": 10.0}, (True, 10.0, 1.0)),
        ({"enable_wind": True}, (True, 15.0, 1.5)),
        ({"wind_power": 10.0, "turbulence_power": 0.5}, (True, 10.0, 0.5)),
        ({"wind_power": 10.0, "enable_wind": False}, (False, 10.0, 1.0)),
    ],
)
def test_wind(kwargs: dict[str, float], wind: tuple[bool, float, float]) -> None:
    env = open_env(find_env("LunarLander-v3"), kwargs).unwrapped
    assert (env.enable_wind, env.wind_power, env.turbulence_power) == wind  # type: ignore[attr-defined]


def test_dynamics_spread_gravity_and_wind_within_what_gymnasium_allows() -> None:
    kwargs = make_factory("LunarLander-v3", 3, Dynamics(0.8), 0).kwargs
    assert [k["gravity"] for k in kwargs] == pytest.approx([-2.0, -10.0, -11.99])
    # factor 1.8 is 1 - 1/1.8 of the way from 0 to 20
    assert [k["wind_power"] for k in kwargs] == pytest.approx([0.0, 0.0, 20 * (1 - 1 / 1.8)])


def test_gravity_out_of_range_is_an_error() -> None:
    with fails(FdrlError, "gravity", -20, "[-11.99, -0.5]"):
        make_factory("LunarLander-v3", 1, Nothing(), 0, {"gravity": -20.0})


def test_without_box2d_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "Box2D", None)
    for name in [n for n in sys.modules if n.startswith("gymnasium.envs.box2d")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, "fdrl.envs.lunar_lander", raising=False)
    with fails(FdrlError, 'pip install "fdrl[box2d]"'):
        make_factory("LunarLander-v3", 1, Nothing(), 0).observation_space  # noqa: B018
