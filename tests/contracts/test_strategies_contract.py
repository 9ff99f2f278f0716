"""The public checker over every registered strategy, and over deliberately broken ones."""

import pytest
from by_label import SMALL

import fdrl
from fdrl.core.registry import STRATEGIES


@pytest.mark.parametrize("name", STRATEGIES.names())
def test_registered_strategies_keep_the_rules(name):
    assert fdrl.check_strategy(name, **SMALL.get(name, {})) is None


@pytest.fixture
def broken_strategy():
    """Register a strategy for one test."""
    added = []

    def add(name, client, server="fdrl.strategies.fedavg:Server"):
        fdrl.register_strategy(
            name, settings=f"broken_strategies:{name.title()}", client=client, server=server
        )
        added.append(name)

    yield add
    for name in added:
        STRATEGIES.forget(name)


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("forgetful", "resuming differs"),
        ("credulous", "accepts another round"),
        ("ordered", "order of replies"),
        ("untagged", "tagged"),
    ],
)
def test_each_broken_rule_is_named(broken_strategy, name, rule):
    halves = {
        "forgetful": ("broken_strategies:ForgetfulClient", "fdrl.strategies.fedavg:Server"),
        "credulous": ("fdrl.strategies.fedavg:Client", "broken_strategies:CredulousServer"),
        "ordered": ("fdrl.strategies.fedavg:Client", "broken_strategies:OrderedServer"),
        "untagged": ("fdrl.strategies.fedavg:Client", "fdrl.strategies.fedavg:Server"),
    }
    broken_strategy(name, *halves[name])
    with pytest.raises(fdrl.FdrlError, match=rule):
        fdrl.check_strategy(name)
