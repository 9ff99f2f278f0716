"""Every registered learner passes the public checker, and the checker catches liars."""

from typing import Any

import msgspec
import numpy as np
import pytest
from fdrl.agents.ppo import PPO, make

from fdrl.checks.cohort import BrokenRule, check_cohort
from fdrl.core.cohort import CohortContext
from fdrl.core.registry import AGENTS, load_object

SMALL = PPO(n_envs=2, n_steps=16, batch_size=16, n_epochs=2, hidden=(8,))

WORLDS = {"classifier": "fdrl/Digits-v0"}
FEWER: dict[str, Any] = {"sb3": {"n_steps": 64, "kwargs": {"n_epochs": 2}}}
"""Settings for learners whose defaults take long."""


@pytest.mark.parametrize("name", AGENTS.names())
def test_registered_learner_keeps_its_promises(name: str) -> None:
    spec = AGENTS.spec(name)
    settings, factory = load_object(spec.settings)(**FEWER.get(name, {})), load_object(spec.factory)
    env = WORLDS.get(name, "CartPole-v1")
    check_cohort(lambda context: factory(settings, context), env)


@pytest.mark.parametrize("env", ["Acrobot-v1", "MountainCar-v0"])
def test_other_environments(env: str) -> None:
    check_cohort(lambda context: make(SMALL, context), env)


@pytest.mark.parametrize("backend", ["numpy", "torch"])
def test_continuous_policies(backend: Any) -> None:
    small = msgspec.structs.replace(SMALL, n_steps=200, backend=backend)
    check_cohort(lambda context: make(small, context), "Pendulum-v1")


class Liar:
    """A good cohort with one method replaced."""

    def __init__(self, context: CohortContext) -> None:
        self._good: Any = make(SMALL, context)
        self._context = context

    def __getattr__(self, name: str) -> Any:
        return getattr(self._good, name)


class Overshoots(Liar):
    def learn(self, steps: np.ndarray, episodes: int | None = None) -> Any:
        return self._good.learn(steps + 2 * (steps > 0), episodes)


class Lends(Liar):
    def parameters(self, part: str = "all") -> Any:
        good = self._good
        own = good.learner.network.params[:, : good.layout.policy_size]
        return own if part == "policy" else good.parameters(part)


class Idle(Liar):
    def distill(self, states: Any, targets: Any, weights: Any, settings: Any) -> Any:
        return self._good.distill(states, targets, 0 * weights, settings)


class Mixes(Liar):
    def learn(self, steps: np.ndarray, episodes: int | None = None) -> Any:
        got = self._good.learn(steps, episodes)
        if steps.all():
            rows = self._good.parameters()
            self._good.load_parameters(rows + np.float32(1e-6) * rows.mean(0))
        return got


class Forgets(Liar):
    def load_state(self, state: Any) -> None:
        self._good.load_state({**state, "optimizer/count": 0 * state["optimizer/count"]})


class Disturbs(Liar):
    def evaluate(self, *args: Any, **kwargs: Any) -> Any:
        self._good._action_rngs[0].random()
        return self._good.evaluate(*args, **kwargs)


class Drifts(Liar):
    def anchor(self, rows: Any, strength: float) -> None:
        self._good.anchor(rows, -strength)


class Clones(Liar):
    def __init__(self, context: CohortContext) -> None:
        super().__init__(context)
        self._good.load_parameters(np.repeat(self._good.parameters()[:1], len(context.ids), 0))


class Logits(Liar):
    def probs(self, states: Any) -> Any:
        return np.log(self._good.probs(states))


class SharedAdam(Liar):
    def distill(self, states: Any, targets: Any, weights: Any, settings: Any) -> Any:
        self._good.learner.count[weights.any(axis=1)] += 1
        return self._good.distill(states, targets, weights, settings)


class OwnAdam(Liar):
    def distill(self, states: Any, targets: Any, weights: Any, settings: Any) -> Any:
        own = msgspec.structs.replace(settings, optimizer="own")
        return self._good.distill(states, targets, weights, own)


class Unmoved(Liar):
    def values(self, states: Any) -> Any:
        return self._good.values(states)

    def distill_values(self, states: Any, targets: Any, weights: Any, settings: Any) -> Any:
        return self._good.distill_values(states, targets, 0 * weights, settings)


class Tilted(Unmoved):
    def distill_values(self, states: Any, targets: Any, weights: Any, settings: Any) -> Any:
        self._good.learner.network.params[:, 0] += 1
        return self._good.distill_values(states, targets, weights, settings)


class Uncounted(Unmoved):
    def distill_values(self, states: Any, targets: Any, weights: Any, settings: Any) -> Any:
        found = self._good.distill_values(states, targets, weights, settings)
        return {"distill/value_error": found["distill/value_error"]}


@pytest.mark.parametrize(
    ("liar", "rule"),
    [
        (Overshoots, "exactly"),
        (Lends, "is a copy"),
        (Idle, "moves every weighted agent"),
        (Mixes, "to the bit"),
        (Forgets, "resumes to the bit"),
        (Disturbs, "does not move training"),
        (Drifts, "pulls"),
        (Clones, "weights of their own"),
        (Logits, "not negative"),
        (SharedAdam, "leaves the optimizer"),
        (OwnAdam, "steps with the learner's optimizer"),
        (Unmoved, "nearer to their targets"),
        (Tilted, "keeps policies"),
        (Uncounted, "value_steps"),
    ],
)
def test_the_checker_names_the_broken_rule(liar: Any, rule: str) -> None:
    with pytest.raises(BrokenRule, match=rule):
        check_cohort(liar)
