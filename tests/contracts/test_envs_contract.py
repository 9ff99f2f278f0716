"""`fdrl.checks.env.check_env` over every registered environment, and over broken ones."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from idx_files import tiny_idx
from messages import says

from fdrl.checks.env import check_env
from fdrl.core.registry import ENVS, EnvSpec


@pytest.mark.parametrize("name", ENVS.names())
def test_registered_environments_keep_the_contract(name: str, tmp_path: Path) -> None:
    if ENVS.spec(name).extra == "box2d":
        pytest.importorskip("Box2D")
    kwargs = {"data_dir": str(tiny_idx(tmp_path))} if "MNIST" in name else {}
    findings = check_env(name, **kwargs)
    assert [f for f in findings if f.level != "ok"] == []
    checks = ["found", "spaces", "rollout", "gymnasium", "seeding", "copies", "resume"]
    assert [f.check for f in findings] == [*checks, "episode limit", "proxy box"]


@pytest.mark.parametrize("name", ENVS.names())
def test_registered_environments_say_what_a_benchmark_needs(name: str) -> None:
    spec = ENVS.spec(name)
    assert spec.summary
    assert spec.max_steps > 0
    assert spec.threshold is not None
    assert any(p.varies for p in spec.physics.values()) or "images" in spec.gym_id
    assert all(p.low <= p.default <= p.high for p in spec.physics.values())


class Good(gymnasium.Env[Any, Any]):
    observation_space: Any = spaces.Box(-10, 10, (2,))
    action_space: Any = spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.at = self.np_random.normal(size=2)
        return self.look(), {}

    def look(self) -> Any:
        return self.at.astype(np.float32)

    def step(self, action: int) -> Any:
        self.at = 0.9 * self.at + 0.1 * self.np_random.normal(size=2) * action
        return self.look(), 1.0, False, False, {}


class IgnoresSeed(Good):
    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        self.np_random = np.random.default_rng()
        return super().reset(seed=None)


class AlwaysTheSame(Good):
    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        return super().reset(seed=0)


class NaN(Good):
    def look(self) -> Any:
        return super().look() * np.nan


class WrongShape(Good):
    def look(self) -> Any:
        return np.zeros(3, np.float32)


class RaisesInStep(Good):
    def step(self, action: int) -> Any:
        raise ValueError("broken wheel")


class SharedState(Good):
    """Every copy's episode moves every other's."""

    shared: ClassVar = [0.0]

    def step(self, action: int) -> Any:
        self.shared[0] = (self.shared[0] + 1) % 7
        self.at = np.array([self.shared[0], 0.0])
        return self.look(), 1.0, False, False, {}

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        self.shared[0] = 0.0
        return super().reset(seed=seed)


class Leftovers(Good):
    """An episode depends on how many came before."""

    episodes = 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        self.episodes += 1
        self.left = 10
        return super().reset(seed=seed)

    def look(self) -> Any:
        return np.clip(self.at + 0.1 * self.episodes, -10, 10).astype(np.float32)

    def step(self, action: int) -> Any:
        self.left -= 1
        return (*super().step(action)[:2], self.left == 0, False, {})


class Unbounded(Good):
    action_space: Any = spaces.Box(-np.inf, np.inf, (1,))


class OutsideItsSpace(Good):
    observation_space: Any = spaces.Box(-0.001, 0.001, (2,))


class NoLimit(Good):
    """Nothing is wrong with it but that its episodes need never end."""


@pytest.fixture(autouse=True)
def _ids() -> Any:
    kinds: list[Any] = [
        Good,
        IgnoresSeed,
        AlwaysTheSame,
        NaN,
        WrongShape,
        RaisesInStep,
        SharedState,
    ]
    for kind in [*kinds, Leftovers, Unbounded, OutsideItsSpace]:
        gymnasium.register(f"contract/{kind.__name__}-v0", entry_point=kind, max_episode_steps=50)
    gymnasium.register("contract/NoLimit-v0", entry_point=f"{__name__}:NoLimit")
    yield
    for name in [n for n in gymnasium.registry if n.startswith("contract/")]:
        del gymnasium.registry[name]


def test_a_limit_given_as_an_argument_is_enough() -> None:
    findings = check_env("contract/NoLimit-v0", max_episode_steps=20)
    assert {f.level for f in findings if f.check == "episode limit"} == {"ok"}


def test_a_users_good_environment_passes() -> None:
    assert {f.level for f in check_env("contract/Good-v0")} == {"ok"}


@pytest.mark.parametrize(
    ("kind", "level", "check", "words"),
    [
        ("IgnoresSeed", "warning", "seeding", "the same seed gave two different trajectories"),
        ("AlwaysTheSame", "warning", "seeding", "different seeds gave the same trajectory"),
        ("NaN", "error", "finite observations", "'contract/NaN-v0', step 0"),
        ("WrongShape", "error", "observation shape", "shape (3,), but observation_space says"),
        ("RaisesInStep", "error", "step", "step raised ValueError: broken wheel"),
        ("SharedState", "warning", "copies", "must not share state"),
        ("Leftovers", "warning", "resume", "leftovers of earlier episodes"),
        ("Unbounded", "error", "spaces", "which is unbounded; actions are clipped"),
        ("OutsideItsSpace", "warning", "gymnasium", "not within the observation space"),
        ("NoLimit", "error", "episode limit", "--env_kwargs.max_episode_steps N"),
        ("Missing", "error", "found", "unknown environment 'contract/Missing-v0'"),
    ],
)
def test_a_broken_environment_is_found_out(kind: str, level: str, check: str, words: str) -> None:
    findings = check_env(f"contract/{kind}-v0")
    assert any(f.level == level and f.check == check and words in f.message for f in findings)
    if level == "warning":
        assert not [f for f in findings if f.level == "error"]


@pytest.mark.parametrize(
    ("kind", "fix"),
    [
        ("NaN", "Return only finite numbers"),
        ("WrongShape", "Return a NumPy array of exactly the shape"),
        ("RaisesInStep", "Let step(action) take every action"),
    ],
)
def test_a_fault_says_how_to_mend_it_and_what_was_not_checked(kind: str, fix: str) -> None:
    findings = check_env(f"contract/{kind}-v0")
    (error,) = [f for f in findings if f.level == "error"]
    assert fix in error.message
    assert "agent 0" not in error.message
    assert findings[-1].check == "skipped"
    says(findings[-1].message, "gymnasium, seeding, copies, resume")


def test_a_vector_class_is_held_to_the_types() -> None:
    name = "contract-float64"
    spec = replace(ENVS.spec("CartPole-v1"), name=name, vector=f"{__name__}:float64_cartpole")
    ENVS.register(spec)
    findings = check_env(name)
    assert ("error", "observation shape") in [(f.level, f.check) for f in findings]
    assert any({"float64", "float32"} <= set(f.message.replace(",", "").split()) for f in findings)
    ENVS.forget(name)


class _Float64:
    observation_space = spaces.Box(-np.inf, np.inf, (4,))
    action_space = spaces.Discrete(2)

    def __init__(self, count: int, params: Any, seeds: Any, max_steps: int) -> None:
        from fdrl.envs.classic_control.cartpole import CartPole

        self.count, self.inner = count, CartPole(count, params, seeds, max_steps)

    def reset(self) -> Any:
        return self.inner.reset().astype(np.float64)

    def step(self, actions: Any) -> Any:
        return self.inner.step(actions)

    def close(self) -> None:
        pass


float64_cartpole = _Float64


def test_an_environment_without_a_picture_is_a_warning() -> None:
    name = "contract-blind"
    ENVS.register(replace(ENVS.spec("CartPole-v1"), name=name, gym_id=""))
    found = {f.check: f for f in check_env(name)}
    assert found["gymnasium"].level == "warning"
    says(found["gymnasium"].message, "gym_id")
    assert isinstance(ENVS.forget(name), EnvSpec)
