"""The table of what cohorts can do: it names every method, and its ways there lead back."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest
from tiny_cohorts import context

from fdrl.core.abilities import (
    ABILITIES,
    COHORT,
    METHODS,
    Items,
    Profile,
    alike,
    bound,
    cut,
    joined_profile,
    merged,
    profile,
    standing_in,
)
from fdrl.core.cohort import Cohort, Experience, LabelTable
from fdrl.core.errors import FdrlError
from fdrl.core.registry import AGENTS, load_object
from fdrl.core.settings import DistillSettings
from fdrl.packs.view import StackView

K = 5
WHOLE = Profile(tuple("abcde"), (3,), 2, 1, gaussian=False)
WHERE = [slice(0, 2), slice(2, 5)]


def sample(name: str) -> dict[str, Any]:
    """Return arguments of a method for K agents."""
    rng = np.random.default_rng(len(name))
    known: dict[str, Any] = {
        "steps": np.arange(1, K + 1),
        "episodes": 3 if name == "evaluate" else np.arange(K),
        "states": rng.random((K, 4, 3), np.float32),
        "targets": rng.random((K, 4, 2), np.float32),
        "weights": rng.random((K, 4), np.float32),
        "rows": rng.random((K, 7), np.float32),
        "settings": DistillSettings(steps=3),
        "samples": [(np.zeros((k, 3)), np.zeros(k)) for k in range(K)],
        "transitions": {"rewards": rng.random((K, 2))},
        "state": {"weights": rng.random((K, 2)), "count": np.arange(K)},
    }
    return {arg: known.get(arg, 1) for arg in METHODS[name].takes}


@pytest.mark.parametrize(
    "ability", [COHORT, *ABILITIES.values()], ids=lambda a: a.protocol.__name__
)
def test_every_method_of_a_protocol_is_in_the_table(ability: Any) -> None:
    inherited = {n for b in ability.protocol.__mro__[1:] for n in vars(b)}
    own = {n: f for n, f in vars(ability.protocol).items() if inspect.isfunction(f)}
    methods = {n: f for n, f in own.items() if not n.startswith("_") and n not in inherited}
    assert methods.keys() - {"close"} == ability.methods.keys()
    for name, method in ability.methods.items():
        assert [*inspect.signature(methods[name]).parameters][1:] == [*method.takes]


@pytest.mark.parametrize("name", METHODS)
def test_what_is_cut_is_all_there(name: str) -> None:
    given = sample(name)
    parts = [own.arguments for own in cut(name, given, WHOLE, WHERE)]
    for arg, value in given.items():
        own = [part[arg] for part in parts]
        if isinstance(value, np.ndarray):
            assert [len(a) for a in own] == [2, 3]
            np.testing.assert_array_equal(np.concatenate(own), value)
        elif isinstance(value, dict):
            for key in value:
                np.testing.assert_array_equal(np.concatenate([a[key] for a in own]), value[key])
        elif isinstance(value, list):
            assert [*own[0], *own[1]] == value
        else:
            assert own == [value] * 2


@pytest.mark.parametrize("name", METHODS)
def test_calls_of_several_are_merged_with_rows_of_their_own(name: str) -> None:
    given = sample(name)
    calls = [dict(own.arguments) for own in cut(name, given, WHOLE, WHERE)]
    if any(isinstance(arg, Items) for arg in METHODS[name].takes.values()):
        with pytest.raises(TypeError):
            merged(name, calls, WHOLE, WHERE)
        return
    if "states" not in given:  # whose number of agents counts
        assert alike(name, calls[0]) == alike(name, calls[1])
    both = merged(name, calls, WHOLE, WHERE).arguments
    second = merged(name, calls[1:], WHOLE, WHERE[1:]).arguments
    for arg, value in given.items():
        if not isinstance(value, np.ndarray):
            assert both[arg] == value
            continue
        np.testing.assert_array_equal(both[arg], value)
        assert both[arg].dtype == value.dtype
        np.testing.assert_array_equal(second[arg][2:], value[2:])
        idle = 0.5 if (name, arg) == ("distill", "targets") else 0
        assert (second[arg][:2] == idle).all()


def experience(k: int) -> Experience:
    rng = np.random.default_rng(k)
    return Experience(
        rng.random((k, k, 3), np.float32), rng.random((k, k, 2), np.float32),
        np.full(k, k), [rng.random(i) for i in range(k)], [np.arange(i) for i in range(k)],
        {"loss": rng.random(k)}, [np.arange(i) for i in range(k)],
        LabelTable(rng.random((k, 2, 2), np.float32), rng.random((k, 2))),
        np.full(k, 2 * k),
    )  # fmt: skip


def test_an_experience_is_joined_and_parted() -> None:
    gives = METHODS["learn"].gives
    parts = [experience(2), experience(3)]
    whole = gives.join(parts, [2, 3])
    assert whole.observations.shape == (K, 3, 3)
    assert whole.spent.tolist() == [4, 4, 6, 6, 6]
    for rows, part in zip(WHERE, parts, strict=True):
        again = gives.part(whole, rows)
        for name in ("observations", "probs", "steps", "spent"):
            np.testing.assert_array_equal(getattr(again, name), getattr(part, name))
        np.testing.assert_array_equal(again.labels.counts, part.labels.counts)
        np.testing.assert_array_equal(again.metrics["loss"], part.metrics["loss"])
        assert [r.tolist() for r in again.returns] == [r.tolist() for r in part.returns]


def test_whoever_measured_nothing_counts_as_zero() -> None:
    joined = METHODS["distill"].gives.join([{}, {"loss": np.ones(3)}], [2, 3])
    assert joined["loss"].tolist() == [0, 0, 1, 1, 1]


def test_learning_with_steps_left_and_without_are_no_one_call() -> None:
    some, none = np.array([0, 3]), np.zeros(2, np.int64)
    kinds = [alike("learn", {"steps": s, "episodes": e}) for s in (some, none) for e in (None, 3)]
    assert len({*kinds}) == 4
    assert alike("learn", {"steps": some, "episodes": 3}) == alike(
        "learn", {"steps": 2 * some, "episodes": np.arange(2)}
    )


def test_rows_of_other_agents_are_refused() -> None:
    with pytest.raises(FdrlError, match="5 agents"):
        cut("load_parameters", {"rows": np.zeros((4, 7)), "part": "all"}, WHOLE, WHERE)


def test_a_whole_can_do_what_all_its_pieces_can() -> None:
    able = [("poolable", "valued"), ("valued", "labeled")]
    parts = [
        Profile((i,), (3,), 2, 1, False, ("late",), a) for i, a in zip("ab", able, strict=True)
    ]
    whole = joined_profile(parts)
    assert whole.ids == ("a", "b")
    assert whole.abilities == ("valued",)
    assert whole.late_state == ("late",)


class Parrot:
    """Says what it was asked."""

    def forward(self, name: str, given: Any) -> Any:
        return name, dict(given)

    def close(self) -> None:
        pass


@pytest.mark.parametrize("able", [(), ("valued",), ("poolable", "valued"), ("labeled",),
                                  ("labeled", "fillable")])  # fmt: skip
def test_a_stand_in_has_the_methods_of_its_abilities_and_no_others(able: tuple[str, ...]) -> None:
    parrot: Any = standing_in(Parrot, able)()
    found = {name for name, a in ABILITIES.items() if isinstance(parrot, a.protocol)}
    assert found == {*able}
    asked = parrot.evaluate(3, seed=1, greedy=False)
    assert asked == ("evaluate", {"episodes": 3, "seed": 1, "held_out": False, "greedy": False})
    own = bound(*asked)
    assert (own.args, own.kwargs) == ((3, 1), {"held_out": False, "greedy": False})
    with pytest.raises(TypeError):
        parrot.probs()
    assert inspect.signature(type(parrot).learn) == inspect.signature(Cohort.learn)


@pytest.mark.parametrize("name", AGENTS.names())
def test_late_state_is_what_comes_after_first_use(name: str) -> None:
    spec = AGENTS.spec(name)
    env = "fdrl/Digits-v0" if name == "classifier" else "CartPole-v1"
    cohort = load_object(spec.factory)(load_object(spec.settings)(), context(2, env=env))
    said, before = profile(cohort), set(cohort.state())
    assert not before & {*said.late_state}
    if "valued" in said.abilities:
        cohort.distill_values(np.zeros((3, 4), np.float32), np.zeros((2, 3), np.float32),
                              np.zeros((2, 3), np.float32), DistillSettings(steps=1))  # fmt: skip
    assert set(cohort.state()) - before == {*said.late_state}
    cohort.close()


def test_packs_can_serve_every_method_or_say_that_they_do_not() -> None:
    own = {"load_state", *(name for name in METHODS if hasattr(StackView, name))}
    for ability in (COHORT, *ABILITIES.values()):
        for name, method in ability.methods.items():
            items = any(isinstance(arg, Items) for arg in method.takes.values())
            alone = ability.alone or method.alone or ability is ABILITIES["fillable"]
            assert alone or name in own or not items
