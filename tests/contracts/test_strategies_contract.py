"""The public checker over every registered strategy, and over deliberately broken ones."""

import pytest

import fdrl
from fdrl.registry import STRATEGIES

DIGITS = {
    "env": "fdrl/Digits-v0",
    "agent": {"type": "classifier", "local_steps": 4, "partition": "thinned", "scarce": 1},
}
GENERATOR = {"latent": 4, "hidden": [8], "encoder": 4, "steps": 2, "batch": 4}
SMALL = {"fedhpd": {"proxy": {"type": "uniform", "size": 64}}}
for _name in ("fd+faug", "fl+faug"):
    SMALL[_name] = DIGITS | {"strategy": {"type": _name, "faug": {"generator": GENERATOR}}}


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
        del STRATEGIES._specs[name]


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
