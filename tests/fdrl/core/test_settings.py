"""What settings say of themselves, and what is made of it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

import fdrl
from fdrl.config.run import parse
from fdrl.config.tables import settings_class
from fdrl.core.errors import FdrlError
from fdrl.core.registry import (
    AGENTS,
    ENVS,
    STRATEGIES,
    EnvSpec,
    Registry,
    StrategySpec,
    able,
    labeled_example,
    load_object,
)
from fdrl.core.settings import Exchange, LearnerSettings, sizes


class Bare(msgspec.Struct, frozen=True, tag="bare", tag_field="type"):
    """Settings that derive from nothing."""


def strategy(table: Any) -> Exchange:
    found: Exchange = fdrl.make_run(strategy=table).strategy
    return found


def test_a_config_that_names_nothing_means_the_defaults() -> None:
    run = parse({})
    names = (run.env, run.agent_name, run.strategy_name)
    best = STRATEGIES.defaults(AGENTS.default().abilities)[0]
    assert names == (ENVS.default().name, AGENTS.default().name, best.name)
    assert names == ("CartPole-v1", "ppo", "fdv")
    assert fdrl.Run().env == "CartPole-v1"


def test_there_is_one_default_of_a_kind() -> None:
    specs: Registry[EnvSpec] = Registry("environment")
    specs.register(EnvSpec("one"), default=True)
    specs.register(EnvSpec("two"))
    specs.register(EnvSpec("one"), default=True)
    assert specs.default().name == "one"
    assert [spec.name for spec in specs.by_default()] == ["one", "two"]
    with pytest.raises(FdrlError, match=r"'three'.*default"):
        specs.register(EnvSpec("three"), default=True)


@pytest.mark.parametrize(
    ("tables", "strategy"),
    [
        ({"agent": {"type": "a2c"}}, "fdv"),
        ({"agent": {"type": "reinforce"}}, "fd"),
        ({"channel": {"type": "mac-digital"}}, "fdv"),
        ({"channel": {"type": "mac-analog"}}, "fd"),  # values do not add up in the air
        ({"strategy": {"every": 2}}, "fdv"),
        ({"cohorts": [{"agents": 1, "agent": {"type": n}} for n in ("ppo", "a2c")]}, "fdv"),
        ({"cohorts": [{"agents": 1, "agent": {"type": n}} for n in ("ppo", "reinforce")]}, "fd"),
    ],
)
def test_agents_with_critics_exchange_values_unless_something_speaks_against_it(
    tables: dict[str, Any], strategy: str
) -> None:
    assert parse(tables).strategy_name == strategy


def test_the_default_of_those_who_can_more_is_another_one() -> None:
    specs: Registry[StrategySpec] = Registry("strategy")
    plain = StrategySpec("plain", "a:A", "a:B", "a:C")
    more = StrategySpec("more", "a:A", "a:B", "a:C", needs="values")
    specs.register(plain, default=True)
    specs.register(more, default=True)
    assert specs.default() == plain
    assert specs.defaults(()) == [plain]
    assert specs.defaults(("labels", "values")) == [more, plain]
    with pytest.raises(FdrlError, match=r"'third'.*'more'"):
        specs.register(StrategySpec("third", "a:A", "a:B", "a:C", needs="values"), default=True)


def test_without_a_default_a_config_must_name_one() -> None:
    with pytest.raises(FdrlError, match="environment"):
        Registry[EnvSpec]("environment").default()


@pytest.mark.parametrize(("key", "base"), [("agent", "LearnerSettings"), ("strategy", "Exchange")])
def test_settings_must_derive_from_their_base_and_a_name_can_be_forgotten(
    key: str, base: str
) -> None:
    registry: Any = AGENTS if key == "agent" else STRATEGIES
    if key == "agent":
        fdrl.register_agent("bare", settings=f"{__name__}:Bare", factory="m:make")
    else:
        fdrl.register_strategy("bare", settings=f"{__name__}:Bare", client="m:C", server="m:S")
    try:
        with pytest.raises(FdrlError, match=rf"'bare'.*{base}"):
            settings_class(key, "bare")
        with pytest.raises(FdrlError, match=base):
            parse({key: {"type": "bare"}})
    finally:
        assert registry.forget("bare") is not None
    assert "bare" not in registry
    assert registry.forget("bare") is None


@pytest.mark.parametrize(
    ("table", "mean"),
    [
        ("fd", True), ("fedavg", True), ("local", True), ("self", True), ("cd", True),
        ("fedhpd", True), ("fld", True), ("hfd", True),
        ("frd", False), ("pd", False), ("pooled", False), ("fdv", False), ("fd+faug", False),
        ("fl+faug", False), ("mix2fld", False),
        ({"type": "fd", "combine": "median"}, False), ({"type": "fd", "beta": 1.0}, False),
        ({"type": "fedavg", "weights": "return"}, False),
        ({"type": "fedavg", "weights": "steps"}, True),
        ({"type": "fld", "answer": "labels"}, False),
    ],
)  # fmt: skip
def test_a_strategy_says_whether_its_server_takes_a_mean(table: Any, mean: bool) -> None:
    assert (strategy(table).why_no_mean() == "") is mean


def test_a_strategy_says_what_it_sends_and_needs() -> None:
    sends = {name: strategy(name).sends for name in ("local", "fd", "fedavg", "pooled")}
    assert sends == {"local": "nothing", "fd": "answers", "fedavg": "parameters", "pooled": "other"}
    labeled = {name for name in STRATEGIES.names() if strategy(name).needs_labels}
    assert labeled >= {"fd+faug", "fl+faug", "mixfld", "mix2fld"}
    assert not labeled & {"fd", "fl", "fld", "fedavg", "local"}
    assert strategy({"type": "fd", "answer": "labels"}).needs_labels
    assert not strategy({"type": "fd", "answer": "labels"}).asks_states
    assert strategy({"type": "fd+faug", "answer": "current"}).asks_states
    assert [n for n in ("fd", "self", "local") if not strategy(n).served] == ["self"]


def test_parameter_sharing_says_what_travels() -> None:
    plain = strategy("fedavg")
    assert (plain.shared_part, plain.shares_moments, plain.weighted) == ("all", False, False)
    table = {"type": "fedavg", "part": "policy", "optimizer": "average", "weights": "steps"}
    other = strategy(table)
    assert (other.shared_part, other.shares_moments, other.weighted) == ("policy", True, True)
    assert strategy("fl").weighted


def learner(name: str, **fields: Any) -> LearnerSettings:
    found: LearnerSettings = load_object(AGENTS.spec(name).settings)(**fields)
    return found


def test_a_learner_says_how_it_steps() -> None:
    copies = {name: learner(name).copies for name in ("ppo", "a2c", "reinforce", "classifier")}
    assert copies == {"ppo": 8, "a2c": 8, "reinforce": 1, "classifier": 1}
    assert learner("sb3", n_envs=3).copies == 3
    together = {name for name in ("ppo", "a2c", "reinforce", "classifier", "sb3")
                if learner(name).steps_together}  # fmt: skip
    assert together == {"ppo", "a2c"}
    assert [learner("sb3", n_steps=n).default_rollout for n in (None, 64)] == [True, False]


@pytest.mark.parametrize("name", ["ppo", "a2c", "sb3"])
def test_a_falling_learning_rate_needs_steps(name: str) -> None:
    assert not learner(name).needs_steps
    assert learner(name, lr_schedule="linear").needs_steps


def test_a_learner_names_its_network() -> None:
    assert learner("ppo", hidden=(64, 32)).architecture == "64-32"
    assert learner("reinforce", hidden=()).architecture == sizes(()) == "linear"
    assert learner("classifier", network="small").architecture == "small"
    assert learner("sb3").architecture == ""


def test_a_pool_has_larger_batches_where_there_are_batches() -> None:
    ppo, classifier = learner("ppo"), learner("classifier")
    assert ppo.for_pool(3) == msgspec.structs.replace(ppo, batch_size=192)
    assert classifier.for_pool(2) == msgspec.structs.replace(classifier, batch_size=128)
    assert learner("a2c").for_pool(3) == learner("a2c")


def test_hints_name_who_is_able_the_default_first() -> None:
    assert able("values") == able("pooling") == "ppo or a2c"
    assert labeled_example() == "--agent classifier and --env fdrl/Digits-v0"
